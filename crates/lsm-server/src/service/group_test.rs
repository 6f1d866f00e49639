//! Three nodes: requests find the leader, wherever they are asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lsm_proto::v1::{
    AddLearnerRequest, BatchWriteRequest, DeleteRequest, GetRequest, HashCheckRequest,
    MembersRequest, OpenSessionRequest, PromoteRequest, PutOp, PutRequest, RemoveRequest, Role,
    ScanRequest, Session, StatusRequest, TransferLeadershipRequest, Write, write,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::test_group::{Group, PATIENCE};
use crate::limits::Limits;
use crate::status;

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), session: None }
}

async fn value(group: &Group, node: u64, key: &str) -> Option<String> {
    let request = GetRequest { key: key.to_owned().into(), consistency: 0 };
    let answer = group.kv(node).get(request).await.unwrap().into_inner();
    answer.found.then(|| String::from_utf8(answer.value.to_vec()).unwrap())
}

fn remove(id: u64) -> RemoveRequest {
    RemoveRequest { id, force: false }
}

fn says(status: &Status, code: Code, word: &str) {
    let said = status::says(status, word);
    assert!(status.code() == code && said, "{word} was expected, not {status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_takes_writes_and_reads_what_any_took() {
    let group = Group::start(3, Limits::default()).await;
    let leader = group.leader().await;
    for node in 1..=3 {
        let key = format!("k{node}");
        let answer = group.kv(node).put(put(&key, "1")).await.unwrap().into_inner();
        let header = answer.header.unwrap();
        assert_eq!((header.node, header.leader), (node, leader));
        let address = if node == leader { "" } else { &group.addresses[leader as usize - 1] };
        assert_eq!(header.leader_address, address);
        for asked in 1..=3 {
            assert_eq!(value(&group, asked, &key).await.as_deref(), Some("1"), "node {asked}");
            let scan = group.kv(asked).scan(ScanRequest::default()).await.unwrap().into_inner();
            assert_eq!(scan.entries.len(), node as usize);
        }
    }
}

/// It waits until it holds what was acknowledged, however long that takes to reach it.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_lags_reads_nothing_old() {
    let limits =
        Limits { leader_wait_max: PATIENCE, request_time_max: PATIENCE, ..Limits::default() };
    let group = Arc::new(Group::start(3, limits).await);
    for (round, key) in ["get", "page", "stream"].into_iter().enumerate() {
        let (leader, follower) = (group.leader().await, group.follower().await);
        group.net.hold(follower);
        group.kv(leader).put(put(key, "1")).await.unwrap();
        let asked = Arc::clone(&group);
        let found = tokio::spawn(async move {
            let scan = ScanRequest { prefix: key.into(), ..ScanRequest::default() };
            match round {
                0 => value(&asked, follower, key).await.is_some(),
                1 => !asked.kv(follower).scan(scan).await.unwrap().into_inner().entries.is_empty(),
                _ => {
                    let pages = asked.kv(follower).scan_stream(scan).await;
                    let first = pages.unwrap().into_inner().next().await.unwrap().unwrap();
                    !first.entries.is_empty()
                }
            }
        });
        // Time to answer wrongly.
        tokio::time::sleep(Duration::from_millis(300)).await;
        group.net.release();
        assert!(found.await.unwrap(), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_changes_is_passed_on() {
    let group = Group::start(3, Limits::default()).await;
    let follower = group.follower().await;
    let mut kv = group.kv(follower);
    let opened = group.sessions(follower).open_session(OpenSessionRequest {}).await.unwrap();
    let opened = opened.into_inner();
    assert_eq!(opened.header.unwrap().node, follower);
    let op = PutOp { key: "a".into(), value: "1".into() };
    let batch = BatchWriteRequest {
        writes: vec![Write { op: Some(write::Op::Put(op)) }],
        session: Some(Session { id: opened.id, sequence: 1 }),
    };
    let first = kv.batch_write(batch.clone()).await.unwrap().into_inner();
    let again = kv.batch_write(batch.clone()).await.unwrap().into_inner();
    assert_eq!((again.index, again.header.unwrap().node), (first.index, follower));
    let deleted = kv.delete(DeleteRequest { key: "a".into(), session: None }).await.unwrap();
    assert!(deleted.into_inner().index > first.index);
    assert_eq!(value(&group, follower, "a").await, None);
    let session = Some(Session { id: opened.id + 1, sequence: 1 });
    let status = kv.batch_write(BatchWriteRequest { session, ..batch }).await.unwrap_err();
    says(&status, Code::FailedPrecondition, "session-unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_passed_on_is_not_passed_on_again() {
    let group = Group::start(3, Limits::default()).await;
    let (leader, follower) = (group.leader().await, group.follower().await);
    let mut request = Request::new(put("a", "1"));
    request.metadata_mut().insert(status::FORWARDED_KEY, 1.into());
    let status = group.kv(follower).put(request).await.unwrap_err();
    says(&status, Code::Unavailable, "not-leader");
    let address = status.metadata().get(status::LEADER_KEY).unwrap();
    assert_eq!(*address, *group.addresses[leader as usize - 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_requests_end_in_time_and_say_what_is_known() {
    let short = Duration::from_millis(600);
    let limits = Limits {
        request_time_max: short,
        leader_wait_max: Duration::from_millis(200),
        ..Limits::default()
    };
    let group = Group::start(3, limits).await;
    let (leader, follower) = (group.leader().await, group.follower().await);
    (1..=3).for_each(|node| group.net.cut(node));
    let status = group.kv(leader).put(put("a", "1")).await.unwrap_err();
    says(&status, Code::DeadlineExceeded, "unknown-outcome");
    assert!(status.message().contains("may still take effect"), "{status:?}");
    let mut status = group.replica(follower).watch();
    status.wait_for(|status| status.leader.is_none()).await.unwrap();
    let refused = group.kv(follower).put(put("a", "1")).await.unwrap_err();
    says(&refused, Code::Unavailable, "not-leader");
    let get = GetRequest { key: "a".into(), consistency: 0 };
    let refused = group.kv(follower).get(get.clone()).await.unwrap_err();
    says(&refused, Code::Unavailable, "not-leader");
    // What is there can be read all the same.
    let stale = group.kv(follower).get(GetRequest { consistency: 1, ..get }).await.unwrap();
    assert_eq!(stale.into_inner().header.unwrap().leader, 0);
    // Probes ask about the node as a whole.
    for service in ["", "lsm.v1.KVService"] {
        let request = HealthCheckRequest { service: service.into() };
        let mut watch =
            HealthClient::new(group.channel(follower)).watch(request).await.unwrap().into_inner();
        let told = async { while watch.next().await.unwrap().unwrap().status != 2 {} };
        timeout(Duration::from_secs(10), told).await.expect("it does not serve");
    }
}

/// Also one who gives up before the node does: nothing was applied, and nothing may yet be.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_leader_nothing_is_left_open() {
    let limits = Limits {
        request_time_max: Duration::from_millis(300),
        leader_wait_max: Duration::from_secs(60),
        ..Limits::default()
    };
    let group = Group::start(3, limits).await;
    let follower = group.follower().await;
    (1..=3).for_each(|node| group.net.cut(node));
    let mut status = group.replica(follower).watch();
    status.wait_for(|status| status.leader.is_none()).await.unwrap();
    let refused = group.kv(follower).put(put("a", "1")).await.unwrap_err();
    says(&refused, Code::Unavailable, "not-leader");
    let get = GetRequest { key: "a".into(), consistency: 0 };
    let refused = group.kv(follower).get(get).await.unwrap_err();
    says(&refused, Code::Unavailable, "not-leader");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_the_next_leader() {
    let limits =
        Limits { leader_wait_max: PATIENCE, request_time_max: PATIENCE, ..Limits::default() };
    let group = Group::start(3, limits).await;
    let (leader, follower) = (group.leader().await, group.follower().await);
    group.net.cut(leader);
    let mut status = group.replica(follower).watch();
    let gone = status.wait_for(|status| status.leader != Some(leader));
    timeout(PATIENCE, gone).await.expect("the leader is missed in time").unwrap();
    group.kv(follower).put(put("a", "1")).await.unwrap();
    assert_eq!(value(&group, follower, "a").await.as_deref(), Some("1"));
}

/// Certainly not applied, so it is tried again, as long as there is patience.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_be_reached_was_asked_for_nothing() {
    let limits = Limits { leader_wait_max: Duration::from_millis(300), ..Limits::default() };
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let group = Group::start_behind(Some(&nowhere.to_string()), 3, limits).await;
    let follower = group.follower().await;
    let status = group.kv(follower).put(put("a", "1")).await.unwrap_err();
    says(&status, Code::Unavailable, "not-leader");
}

/// Reads from each connection until a value comes, and breaks it. Returns the address, and how
/// many values came.
async fn breaker() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // HTTP/2's empty settings; then all that comes, until the request is there.
            stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            let mut received = Vec::new();
            while !received.windows(5).any(|window| window == b"value") {
                if stream.read_buf(&mut received).await.unwrap() == 0 {
                    break;
                }
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    (address, calls)
}

fn in_session(put: PutRequest, session: u64) -> PutRequest {
    PutRequest { session: Some(Session { id: session, sequence: 1 }), ..put }
}

/// It may have been applied: only what applies once is tried again.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_leaves_the_outcome_open() {
    let (address, calls) = breaker().await;
    let limits = Limits { leader_wait_max: Duration::from_millis(500), ..Limits::default() };
    let group = Group::start_behind(Some(&address), 3, limits).await;
    let follower = group.follower().await;
    let status = group.kv(follower).put(put("a", "value")).await.unwrap_err();
    says(&status, Code::Unavailable, "unknown-outcome");
    assert_eq!(calls.load(Ordering::Relaxed), 1, "it was tried once");
    let status = group.kv(follower).put(in_session(put("a", "value"), 7)).await.unwrap_err();
    says(&status, Code::Unavailable, "unknown-outcome");
    assert!(calls.load(Ordering::Relaxed) > 2, "it was tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_has_lost_the_others_is_not_waited_for() {
    for is_safe in [false, true] {
        let limits = Limits { request_time_max: Duration::from_secs(60), ..Limits::default() };
        let group = Group::start(3, limits).await;
        let (leader, follower) = (group.leader().await, group.follower().await);
        let opened = group.sessions(follower).open_session(OpenSessionRequest {}).await.unwrap();
        let session = opened.into_inner().id;
        group.net.cut(leader);
        // It goes to the old leader, which cannot commit it.
        if is_safe {
            let answer = group.kv(follower).put(in_session(put("a", "1"), session)).await.unwrap();
            assert_ne!(answer.into_inner().header.unwrap().leader, leader);
            assert_eq!(value(&group, follower, "a").await.as_deref(), Some("1"));
        } else {
            let status = group.kv(follower).put(put("a", "1")).await.unwrap_err();
            says(&status, Code::Unavailable, "unknown-outcome");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over_where_the_operator_wants_it() {
    let group = Group::start(3, Limits::default()).await;
    let (leader, to) = (group.leader().await, group.follower().await);
    let other = 6 - leader - to;
    let request = TransferLeadershipRequest { to };
    let answer = group.cluster(other).transfer_leadership(request).await.unwrap();
    assert_eq!(answer.into_inner().leader, to);
    assert_eq!(group.leader().await, to);
    let again = group.cluster(other).transfer_leadership(request).await.unwrap();
    assert_eq!(again.into_inner().leader, to, "it leads already");
    let anyone = TransferLeadershipRequest { to: 0 };
    let answer = group.cluster(to).transfer_leadership(anyone).await.unwrap();
    assert_ne!(answer.into_inner().leader, to);
    let nobody = TransferLeadershipRequest { to: 9 };
    let status = group.cluster(1).transfer_leadership(nobody).await.unwrap_err();
    says(&status, Code::InvalidArgument, "invalid");
    group.kv(other).put(put("a", "1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_added_promoted_and_removed() {
    let group = Group::start(3, Limits::default()).await;
    let follower = group.follower().await;
    let mut cluster = group.cluster(follower);
    let add = AddLearnerRequest { id: 4, peer_address: "d:1".into(), client_address: "d:2".into() };
    let members = cluster.add_learner(add.clone()).await.unwrap().into_inner().members;
    assert!(members.len() == 4 && members[3].role() == Role::Learner, "{members:?}");
    assert_eq!((&*members[3].peer_address, &*members[3].client_address), ("d:1", "d:2"));
    says(&cluster.add_learner(add).await.unwrap_err(), Code::InvalidArgument, "invalid");

    // Nothing runs there: as a voter it would only be in the way.
    let promote = PromoteRequest { id: 4, force: false };
    let status = cluster.promote(promote).await.unwrap_err();
    says(&status, Code::FailedPrecondition, "invalid");
    assert!(status.message().contains("use force"), "{status:?}");
    let promote = PromoteRequest { id: 4, force: true };
    let members = cluster.promote(promote).await.unwrap().into_inner().members;
    assert_eq!(members[3].role(), Role::Voter);
    let members = cluster.remove(remove(4)).await.unwrap().into_inner().members;
    assert_eq!(members.iter().map(|member| member.id).collect::<Vec<_>>(), [1, 2, 3]);
    let back =
        AddLearnerRequest { id: 4, peer_address: "d:1".into(), client_address: "d:2".into() };
    says(&cluster.add_learner(back).await.unwrap_err(), Code::InvalidArgument, "invalid");
    says(&cluster.remove(remove(4)).await.unwrap_err(), Code::InvalidArgument, "invalid");

    let listed = cluster.members(MembersRequest {}).await.unwrap().into_inner().members;
    assert_eq!(listed.len(), 3);
    assert_eq!(listed[0].client_address, group.addresses[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_has_addresses_and_they_are_its_own() {
    let group = Group::start(1, Limits::default()).await;
    let add = async |id: u64, peer: &str, client: &str| {
        let (peer_address, client_address) = (peer.to_owned(), client.to_owned());
        group.cluster(1).add_learner(AddLearnerRequest { id, peer_address, client_address }).await
    };
    let of_another = group.addresses[0].clone();
    for (peer, client, why) in [
        ("db2.example.net", "db2:4001", "it has no port"),
        ("db2:5001", "http://db2:4001", "the host is"),
        ("db2:5001", "", "it has no port"),
        ("db2:5001", "db2:5001", "given twice"),
        ("db2:5001", &*of_another, "an address of node 1"),
        (&*of_another, "db2:4001", "an address of node 1"),
        ("peer-1:1", "db2:4001", "an address of node 1"),
    ] {
        let refused = add(2, peer, client).await.unwrap_err();
        says(&refused, Code::InvalidArgument, "invalid");
        assert!(refused.message().contains(why), "{refused:?}");
    }
    add(2, "db2:5001", "db2:4001").await.expect("no mistake cost the number");
}

/// Also while nobody leads.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_tells_the_members_that_it_knows() {
    let group = Group::start(3, Limits::default()).await;
    (1..=3).for_each(|node| group.net.cut(node));
    let mut status = group.replica(1).watch();
    status.wait_for(|status| status.leader.is_none()).await.unwrap();
    let status = group.cluster(1).status(StatusRequest {}).await.unwrap().into_inner();
    let known: Vec<_> = status.members.iter().map(|member| &member.client_address).collect();
    assert_eq!((status.leader, known), (0, group.addresses.iter().collect()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_hands_over_before_it_is_removed() {
    for by_leader in [false, true] {
        let group = Group::start(3, Limits::default()).await;
        let (leader, follower) = (group.leader().await, group.follower().await);
        let asked = if by_leader { leader } else { follower };
        let members = group.cluster(asked).remove(remove(leader)).await.unwrap();
        let members = members.into_inner().members;
        assert!(members.len() == 2 && members.iter().all(|member| member.id != leader));
        group.kv(follower).put(put("a", "1")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_voter_goes_that_the_others_need() {
    let group = Group::start(3, Limits::default()).await;
    let (leader, follower) = (group.leader().await, group.follower().await);
    let silent = 6 - leader - follower;
    group.net.cut(silent);
    // At once: the leader has not missed it yet.
    for needed in [leader, follower] {
        let refused = group.cluster(leader).remove(remove(needed)).await.unwrap_err();
        says(&refused, Code::FailedPrecondition, "invalid");
        assert!(refused.message().contains("would stand still"), "{refused:?}");
    }
    group.kv(leader).put(put("b", "1")).await.unwrap();
    let forced = RemoveRequest { id: follower, force: true };
    let members = group.cluster(leader).remove(forced).await.unwrap().into_inner().members;
    assert_eq!(members.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_is_added_only_if_most_of_all_then_answer() {
    let group = Group::start(3, Limits::default()).await;
    let (leader, follower) = (group.leader().await, group.follower().await);
    let add = AddLearnerRequest { id: 4, peer_address: "d:1".into(), client_address: "d:2".into() };
    group.cluster(leader).add_learner(add).await.unwrap();
    group.net.cut(6 - leader - follower);
    let promote = PromoteRequest { id: 4, force: false };
    let refused = group.cluster(leader).promote(promote).await.unwrap_err();
    says(&refused, Code::FailedPrecondition, "invalid");
    group.kv(leader).put(put("a", "1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_not_handed_to_a_node_that_is_dead() {
    let group = Group::start(3, Limits::default()).await;
    let (leader, follower) = (group.leader().await, group.follower().await);
    let silent = 6 - leader - follower;
    group.net.cut(silent);
    let to_silent = TransferLeadershipRequest { to: silent };
    let refused = group.cluster(leader).transfer_leadership(to_silent).await.unwrap_err();
    says(&refused, Code::FailedPrecondition, "invalid");
    assert!(refused.message().contains("does not answer"), "{refused:?}");
    group.kv(leader).put(put("a", "1")).await.unwrap();
    let to_living = TransferLeadershipRequest { to: follower };
    let led = group.cluster(leader).transfer_leadership(to_living).await.unwrap().into_inner();
    assert_eq!(led.leader, follower);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_voter_goes() {
    let group = Group::start(3, Limits::default()).await;
    let (leader, follower) = (group.leader().await, group.follower().await);
    let silent = 6 - leader - follower;
    group.net.cut(silent);
    let members = group.cluster(leader).remove(remove(silent)).await.unwrap().into_inner().members;
    assert_eq!(members.len(), 2);
    group.kv(leader).put(put("a", "1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_voter_stays() {
    let group = Group::start(1, Limits::default()).await;
    let status = group.cluster(1).remove(remove(1)).await.unwrap_err();
    says(&status, Code::InvalidArgument, "invalid");
    assert!(status.message().contains("at least one voter"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_hash_the_same() {
    let group = Group::start(3, Limits::default()).await;
    for i in 0..50 {
        group.kv(1).put(put(&format!("k{i}"), "1")).await.unwrap();
    }
    let (leader, follower) = (group.leader().await, group.follower().await);
    let check = group.cluster(follower).hash_check(HashCheckRequest {}).await.unwrap().into_inner();
    assert!(check.equal && check.index > 50, "{check:?}");
    let nodes: Vec<_> = check.hashes.iter().map(|hash| hash.node).collect();
    assert_eq!(nodes, [1, 2, 3]);
    assert!(check.hashes.iter().all(|hash| hash.hash.len() == 16 && hash.error.is_empty()));
    assert_eq!(check.hashes[0].hash, check.hashes[2].hash);

    let away = 6 - leader - follower;
    group.net.cut(away);
    // It may have come to lead meanwhile.
    let mut cluster = group.cluster(group.leader().await);
    let check = timeout(PATIENCE, cluster.hash_check(HashCheckRequest {})).await;
    let check = check.expect("it is not waited for without end").unwrap().into_inner();
    let (silent, rest): (Vec<_>, Vec<_>) = check.hashes.iter().partition(|hash| hash.node == away);
    assert!(check.equal && !silent[0].error.is_empty() && rest.len() == 2, "{check:?}");
    // The other state is no longer equal, and the index no longer the same.
    assert_eq!(rest[0].hash, rest[1].hash);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_hash_check_runs_at_a_time_however_impatient_its_caller() {
    let group = Group::start(3, Limits::default()).await;
    let (leader, follower) = (group.leader().await, group.follower().await);
    // Then the entry with which the leader begins is applied.
    group.kv(leader).put(put("key", "1")).await.unwrap();
    group.net.slow(Some(follower));
    let applied = || group.replica(leader).status().applied;
    let (before, mut first) = (applied(), group.cluster(leader));
    let first = tokio::spawn(async move { first.hash_check(HashCheckRequest {}).await });
    while applied() == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let check = async |node| {
        let mut request = Request::new(HashCheckRequest {});
        request.set_timeout(Duration::from_secs(10));
        group.cluster(node).hash_check(request).await
    };
    says(&check(follower).await.unwrap_err(), Code::ResourceExhausted, "busy");
    first.abort();
    let _ = first.await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    says(&check(leader).await.unwrap_err(), Code::ResourceExhausted, "busy");

    group.net.slow(None);
    let done = loop {
        match check(leader).await {
            Ok(answer) => break answer.into_inner(),
            Err(status) => says(&status, Code::ResourceExhausted, "busy"),
        }
    };
    assert!(done.equal && done.hashes.iter().all(|hash| !hash.hash.is_empty()), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_tells_how_far_the_others_are() {
    let group = Group::start(3, Limits::default()).await;
    let leader = group.leader().await;
    for i in 0..5 {
        group.kv(leader).put(put(&format!("k{i}"), "1")).await.unwrap();
    }
    for node in 1..=3 {
        let status = group.cluster(node).status(StatusRequest {}).await.unwrap().into_inner();
        assert_eq!((status.node, status.leader), (node, leader));
        assert_eq!(status.followers.len(), if node == leader { 2 } else { 0 });
        assert!(status.followers.iter().all(|follower| follower.id != leader));
    }
}
