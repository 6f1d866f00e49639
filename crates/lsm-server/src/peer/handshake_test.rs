//! The handshake: who lets whom in.

use std::time::Duration;

use lsm_raft::{Config, Member, Origin, Role};
use tonic::metadata::MetadataMap;

use super::*;

fn identity(node: u64) -> Identity {
    Identity { cluster: "prüfung 1".into(), group: 1, node, incarnation: 1000 + node }
}

fn members() -> Members {
    let member = |node: u64| Member {
        role: Role::Voter,
        peer_address: format!("host{node}:1"),
        client_address: format!("host{node}:2"),
        incarnation: (node != 3).then_some(1000 + node),
    };
    Members {
        nodes: (1..4).map(|node| (node, member(node))).collect(),
        removed: [9].into(),
        origin: Origin { founders: Some(1), cluster_id: Some(10) },
    }
}

fn with(founders: Option<u128>, cluster_id: Option<u128>) -> Members {
    Members { origin: Origin { founders, cluster_id }, ..members() }
}

/// What `from`, which knows `known`, says to `to`, as it is read there.
fn said(from: u64, to: u64, known: &Members) -> PeerHeaders {
    let timing = Config::new(from).timing();
    let mut metadata = MetadataMap::new();
    PeerHeaders::new(&identity(from), timing, known, to, None).write(&mut metadata);
    PeerHeaders::read(&metadata, &identity(to)).unwrap()
}

fn call(from: u64, to: u64) -> PeerHeaders {
    said(from, to, &members())
}

fn cause(checked: Result<(), Refused>) -> Option<Cause> {
    checked.err().map(|refused| refused.cause)
}

#[test]
fn members_let_each_other_in_and_one_that_joins() {
    let joins = Members::default();
    for (from, to) in [(1, 2), (2, 1), (1, 3), (3, 1)] {
        assert_eq!(check(&call(from, to), &identity(to), &members()), Ok(()), "{from} to {to}");
    }
    // One that joins knows nobody yet; and is known to who calls it.
    assert_eq!(check(&call(1, 7), &identity(7), &joins), Ok(()));
    let mut added = members();
    added.nodes.insert(7, Member { incarnation: None, ..members().nodes[&1].clone() });
    let answer = said(7, 1, &joins);
    assert_eq!(check_answer(&answer, 7, &identity(1), &added), Ok(()));
    assert_eq!(cause(check(&answer, &identity(1), &members())), Some(Cause::Stranger));
}

#[test]
fn a_call_says_where_the_caller_is_reached() {
    assert_eq!(call(2, 1).peer_address.as_deref(), Some("host2:1"));
    let timing = Config::new(2).timing();
    let told = PeerHeaders::new(&identity(2), timing, &members(), 1, Some("new:1".into()));
    assert_eq!(told.peer_address.as_deref(), Some("new:1"));
    assert_eq!(said(7, 1, &Members::default()).peer_address, None);
}

/// Every pair of what two nodes may know of their group, said by a member and by others.
#[test]
fn whatever_two_nodes_know_of_their_group_both_decide_alike() {
    let founders = [None, Some(1), Some(2)];
    let ids = [None, Some(10), Some(20)];
    let all = || founders.into_iter().flat_map(move |founders| ids.map(|id| (founders, id)));
    let differ = |one: Option<u128>, two: Option<u128>| {
        one.is_some_and(|one| two.is_some_and(|two| one != two))
    };
    for (theirs, ours) in all().flat_map(|theirs| all().map(move |ours| (theirs, ours))) {
        let (known_there, known_here) = (with(theirs.0, theirs.1), with(ours.0, ours.1));
        let both_have_ids = theirs.1.is_some() && ours.1.is_some();
        let wrong = if differ(theirs.1, ours.1) {
            Some(Cause::ClusterId)
        } else if differ(theirs.0, ours.0) && !both_have_ids {
            Some(Cause::Founders)
        } else {
            None
        };
        let here = check(&said(1, 2, &known_there), &identity(2), &known_here);
        let there = check_answer(&said(2, 1, &known_here), 2, &identity(1), &known_there);
        assert_eq!((cause(here), cause(there)), (wrong, wrong), "{theirs:?} and {ours:?}");
        // One that is no member must know the cluster.
        let stranger = if theirs.1.is_none() { Some(Cause::Stranger) } else { None };
        let made_up = check(&said(77, 2, &known_there), &identity(2), &known_here);
        assert_eq!(cause(made_up), wrong.or(stranger), "{theirs:?} and {ours:?}");
        let removed = check(&said(9, 2, &known_there), &identity(2), &known_here);
        assert_eq!(cause(removed), wrong.or(Some(Cause::Removed)), "{theirs:?} and {ours:?}");
        let wiped = PeerHeaders { incarnation: 5, ..said(1, 2, &known_there) };
        let wiped = check(&wiped, &identity(2), &known_here);
        assert_eq!(cause(wiped), wrong.or(Some(Cause::Identity)), "{theirs:?} and {ours:?}");
    }
}

#[test]
fn what_is_wrong_between_two_clusters_is_told_with_both_sides() {
    let refused = |theirs: &Members, ours: &Members| {
        check(&said(1, 2, theirs), &identity(2), ours).unwrap_err().sentence
    };
    let ids = refused(&with(Some(1), Some(10)), &with(Some(1), Some(20)));
    let founders = refused(&with(Some(10), None), &with(Some(20), None));
    for sentence in [ids, founders] {
        for part in ["nodes 1 and 2", "pr\\u{fc}fung 1", "0000000a and ", "00000014", "folder"] {
            assert!(sentence.contains(part), "{part}: {sentence}");
        }
    }
}

#[test]
fn calls_from_elsewhere_are_refused_with_both_sides_named() {
    let headers = call(1, 2);
    let other = PeerHeaders { cluster: "prod".into(), ..headers.clone() };
    let wrong = [
        (other, ["cluster prod", "node 2 of cluster pr\\u{fc}fung 1"]),
        (PeerHeaders { group: 4, ..headers.clone() }, ["group 4", "node 2 of group 1"]),
        (PeerHeaders { to: 3, ..headers.clone() }, ["called node 3", "reached node 2"]),
        (PeerHeaders { from: 2, ..headers.clone() }, ["node 2 called", "an id of its own"]),
        (PeerHeaders { from: 0, ..headers.clone() }, ["node 0 called", "node 2"]),
    ];
    for (headers, parts) in wrong {
        let refused = check(&headers, &identity(2), &members()).unwrap_err();
        assert_eq!(refused.cause, Cause::Elsewhere, "{headers:?}");
        assert!(parts.iter().all(|part| refused.sentence.contains(part)), "{refused:?}");
    }
    let refused = check_answer(&headers, 3, &identity(2), &members()).unwrap_err();
    assert_eq!(refused.cause, Cause::Elsewhere);
    assert!(refused.sentence.contains("node 3 was called, but node 1"), "{refused:?}");
}

#[test]
fn another_folder_and_a_removed_node_are_refused_with_what_to_do() {
    let headers = PeerHeaders { incarnation: 5, ..call(1, 2) };
    let refused = check(&headers, &identity(2), &members()).unwrap_err();
    assert_eq!(refused.cause, Cause::Identity);
    assert!(refused.sentence.contains("add a learner"), "{refused:?}");
    // Nobody has said yet which folder node 3 lives in.
    let headers = PeerHeaders { incarnation: 5, ..call(3, 2) };
    assert_eq!(check(&headers, &identity(2), &members()), Ok(()));
    let refused = check(&call(9, 2), &identity(2), &members()).unwrap_err();
    assert_eq!(refused.cause, Cause::Removed);
    assert!(refused.sentence.contains("node 9 was removed"), "{refused:?}");
    let headers = PeerHeaders { to_incarnation: Some(5), ..call(1, 2) };
    let refused = check(&headers, &identity(2), &members()).unwrap_err();
    assert_eq!(refused.cause, Cause::Receiver);
    assert!(refused.sentence.contains("node 2 is known"), "{refused:?}");
}

#[test]
fn times_under_which_followers_of_a_living_leader_campaign_are_told() {
    let usual = Config::new(1).timing();
    let slow = Timing { heartbeat: Duration::from_millis(500), ..usual };
    assert_eq!(clash(1, &usual, 2, &usual), None);
    for (ours, theirs, parts) in [
        (&usual, &slow, ["timeout of node 1, 1s", "heartbeats of node 2, 500ms"]),
        (&slow, &usual, ["timeout of node 2, 1s", "heartbeats of node 1, 500ms"]),
    ] {
        let sentence = clash(1, ours, 2, theirs).unwrap();
        assert!(parts.iter().all(|part| sentence.contains(part)), "{sentence}");
    }
    // Whatever a stranger says.
    let huge = Timing { heartbeat: Duration::MAX, election: Duration::MAX, ..usual };
    assert!(clash(1, &usual, 2, &huge).is_some());
}
