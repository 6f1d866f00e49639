use raft::eraftpb::{ConfState, Message, MessageType};
use raft::storage::MemStorage;
use raft::{GetEntriesContext, Storage};

use super::super::test_group::{Group, Memory, members};
use super::super::{Input, Node};
use crate::config::Config;

/// Three nodes; the last entry is committed by nodes 1 and 3, and node 3 starts anew without it.
fn with_loss() -> Group {
    let mut group = Group::with_leader(3, |_| {});
    group.propose(1, 1);
    group.cut = vec![2];
    group.propose(1, 2);
    let log = &group.node(3).storage().log;
    let last = log.last_index().unwrap();
    let kept = log.entries(1, last, None, GetEntriesContext::empty(false)).unwrap();
    let mut hard_state = log.initial_state().unwrap().hard_state;
    let status = group.node(3).status();
    assert_eq!((last, status.committed), (3, 3));
    (hard_state.term, hard_state.commit) = (status.term, last - 1);
    let log = MemStorage::new_with_conf_state(ConfState::from((vec![1, 2, 3], vec![])));
    log.wl().append(&kept).unwrap();
    log.wl().set_hardstate(hard_state);
    let memory = Memory { lost_through: last, ..Memory::new(log) };
    let config = Config { election_ticks_min: 13, election_ticks_max: 14, ..Config::new(3) };
    group.nodes[2] = Node::new(config, memory, last - 1, members(&[1, 2, 3]), 301).unwrap();
    group.unsynced[2].clear();
    group
}

#[test]
fn what_a_node_lost_comes_back_from_the_leader_that_knew_it_there() {
    let mut group = with_loss();
    assert_eq!(group.node(3).storage().log.last_index().unwrap(), 2);
    let term = group.node(1).status().term;
    (0..10).for_each(|_| group.input(1, Input::Tick));
    assert!(group.ended.is_empty(), "{:?}", group.ended);
    assert_eq!(group.node(3).storage().log.last_index().unwrap(), 3);
    assert_eq!(group.node(3).status().committed, 3);
    assert_eq!(group.node(1).status().term, term, "nobody had to lead anew");
    // All is as before: it votes.
    group.cut = vec![1];
    let next = group.elect();
    assert_ne!(next, 1);
}

#[test]
fn a_node_that_lost_entries_helps_nobody_to_lead_before_it_has_them_again() {
    let mut group = with_loss();
    group.cut = vec![1];
    for _ in 0..200 {
        group.input(2, Input::Tick);
        group.input(3, Input::Tick);
    }
    group.input(3, Input::Campaign);
    assert!(!group.node(2).status().leads() && !group.node(3).status().leads());
    group.cut = vec![];
    let leader = group.elect();
    (0..20).for_each(|_| group.input(leader, Input::Tick));
    assert!(group.ended.is_empty(), "{:?}", group.ended);
    for id in 1..=3 {
        assert!(group.node(id).status().committed >= 3, "node {id} lost what was acknowledged");
    }
}

/// What only its sender may say of itself, and only now.
#[test]
fn a_leader_believes_no_loss_of_another_time() {
    let mut group = Group::with_leader(3, |_| {});
    // A term that another one came before.
    group.input(1, Input::Transfer { to: Some(2) });
    group.input(2, Input::Transfer { to: Some(1) });
    let status = group.node(1).status();
    assert!(status.leads() && status.term > 1, "{status:?}");
    let (term, held) = (status.term, status.last);
    let mut admission =
        Message { from: 3, to: 1, term: term - 1, reject: true, ..Message::default() };
    admission.set_msg_type(MessageType::MsgAppendResponse);
    admission.context = b"lost".to_vec().into();
    group.cut = vec![3];
    group.input(1, Input::Message(admission.clone()));
    let holds = |group: &mut Group| group.node(1).status().peers[1].matched;
    assert_eq!(holds(&mut group), held);
    admission.term = term;
    group.input(1, Input::Message(admission));
    assert_eq!(holds(&mut group), 0);
    group.cut = vec![];
    (0..10).for_each(|_| group.input(1, Input::Tick));
    assert_eq!(holds(&mut group), held);
}

#[test]
fn a_leader_whose_state_is_damaged_hands_over_and_asks_for_another_one() {
    let mut group = Group::with_leader(3, |_| {});
    group.propose(1, 1);
    group.input(1, Input::StateDamaged);
    assert!(!group.node(1).status().leads());
    // The next leader's first entry has to come before it can ask.
    let asked = (0..10).any(|_| {
        (2..=3).for_each(|id| group.input(id, Input::Tick));
        let sent = group.step(1, Input::StateDamaged);
        sent.iter().any(|message| message.request_snapshot > 0)
    });
    assert!(asked);
}
