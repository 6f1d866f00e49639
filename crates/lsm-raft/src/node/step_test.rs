//! What one node and a few of them do, input by input.

use std::collections::VecDeque;
use std::time::Duration;

use raft::eraftpb::{ConfState, Entry, Message, MessageType};
use raft::storage::MemStorage;
use raft::{GetEntriesContext, Storage};

use super::test_group::{Group, Memory, NOW, add, members, peers, remove};
use super::{Input, Node, Output, Wants};
use crate::command::{Command, Commands, Op};
use crate::config::Config;
use crate::members::{Change, Role};
use crate::outcome::Refusal;

#[test]
fn a_proposal_is_applied_everywhere_and_answered_where_it_was_made() {
    let mut group = Group::with_leader(3, |_| {});
    group.propose(1, 7);
    let (index, waiters) = group.applied[0].last().unwrap().clone();
    assert_eq!(waiters, [7]);
    group.input(1, Input::Tick);
    group.input(1, Input::Tick);
    assert_eq!(group.entries, [index; 3]);
    assert!(group.applied[1].is_empty() && group.refused.is_empty());
}

#[test]
fn others_refuse_and_say_who_leads() {
    let mut group = Group::with_leader(3, |_| {});
    group.propose(2, 7);
    assert_eq!(group.refused, [(7, Refusal::NotLeader { leader: Some(1) })]);
}

#[test]
fn a_leader_commits_with_a_quorum_of_others_and_applies_only_what_it_holds() {
    let mut group = Group::with_leader(3, |_| {});
    group.slow = vec![1];
    group.propose(1, 7);
    let status = group.nodes[0].status();
    assert_eq!(status.committed, status.last, "two of three are enough");
    assert!(group.applied[0].is_empty(), "its own disk has it not");
    group.slow.clear();
    group.input(1, Input::Tick);
    assert_eq!(group.applied[0].last().unwrap().1, [7]);
}

#[test]
fn nothing_is_promised_before_it_is_durable() {
    let mut group = Group::with_leader(3, |_| {});
    group.slow = vec![2, 3];
    group.propose(1, 7);
    let status = group.nodes[0].status();
    assert!(status.committed < status.last, "nobody else has it on disk");
    group.slow = vec![3];
    group.input(1, Input::Tick);
    assert_eq!(group.applied[0].last().unwrap().1, [7]);
}

#[test]
fn while_entries_are_on_their_way_commands_are_collected() {
    let mut group = Group::with_leader(3, |config| config.entries_in_flight_max = 1);
    group.slow = vec![2, 3];
    let last = group.nodes[0].status().last;
    for waiter in 0..10 {
        group.propose(1, waiter);
    }
    assert_eq!(group.nodes[0].status().last, last + 1, "the rest waits");
    group.slow.clear();
    group.input(1, Input::Tick);
    assert_eq!(group.nodes[0].status().last, last + 2);
    let entries = group.nodes[0].storage().log.entries(
        last + 2,
        last + 3,
        None,
        GetEntriesContext::empty(false),
    );
    assert_eq!(Commands::new(&entries.unwrap()[0].data).count(), 9);
    let answered: Vec<_> = group.applied[0].iter().flat_map(|(_, waiters)| waiters).collect();
    assert_eq!(answered, (0..10).collect::<Vec<_>>().iter().collect::<Vec<_>>());
}

#[test]
fn reads_wait_for_a_quorum_and_not_for_a_disk() {
    let mut group = Group::with_leader(3, |_| {});
    group.slow = vec![1, 2, 3];
    group.propose(1, 1);
    group.input(2, Input::Read { waiter: 5 });
    group.input(1, Input::Read { waiter: 6 });
    let committed = group.nodes[0].status().committed;
    assert_eq!(group.readable, [(committed, vec![5]), (committed, vec![6])]);
}

/// Until then its question would be lost, and asked again only after a while.
#[test]
fn a_new_leader_asks_for_reads_once_its_first_entry_is_committed() {
    let mut group = Group::new(3, |_| {});
    group.lost = |message| message.get_msg_type() == MessageType::MsgAppend;
    group.input(1, Input::Campaign);
    group.input(1, Input::Read { waiter: 5 });
    let status = group.nodes[0].status();
    assert!(status.leads() && status.committed < status.last, "{status:?}");
    group.lost = |_| false;
    for _ in 0..Config::new(1).heartbeat_ticks {
        assert_eq!(group.readable, []);
        group.input(1, Input::Tick);
    }
    assert_eq!(group.readable, [(status.last, vec![5])]);
}

/// Many rounds are on their way by then, and each answer counts.
#[test]
fn reads_are_answered_within_two_round_trips_however_long_these_are() {
    const LAST: u32 = 40;
    for one_way in 0..=7 {
        let mut group = Group::with_leader(3, |_| {});
        let (mut on_their_way, mut asked, mut late) = (VecDeque::new(), 0, 0);
        for tick in 0.. {
            let due = on_their_way.partition_point(|&(at, _): &(u32, Message)| at <= tick);
            let due: Vec<_> = on_their_way.drain(..due).map(|(_, message)| message).collect();
            let mut sent = Vec::new();
            for message in due {
                sent.extend(group.step(message.to, Input::Message(message)));
            }
            for id in 1..=3 {
                sent.extend(group.step(id, Input::Tick));
                if tick < LAST {
                    // Its number tells when and where it was asked.
                    let waiter = 10 * tick + id as u32;
                    sent.extend(group.step(id, Input::Read { waiter }));
                    asked += 1;
                }
                sent.extend(group.sync(id));
            }
            on_their_way.extend(sent.into_iter().map(|message| (tick + one_way, message)));
            for waiter in group.readable.drain(..).flat_map(|(_, waiters)| waiters) {
                let (began, node) = (waiter / 10, waiter % 10);
                // A follower asks its leader, who asks the others. A read waits for a heartbeat
                // until it is asked for.
                let round_trips = if node == 1 { 1 } else { 2 };
                let most = round_trips * (2 * one_way + 2) + 2;
                late += u32::from(tick - began > most);
                asked -= 1;
            }
            if tick > LAST && asked == 0 {
                break;
            }
            assert!(tick < 3 * LAST, "{asked} reads have no answer, one way {one_way}");
        }
        assert_eq!((late, &group.refused), (0, &vec![]), "one way {one_way}");
    }
}

#[test]
fn a_read_of_a_leader_that_is_alone_is_not_answered() {
    let mut group = Group::with_leader(3, |_| {});
    group.nodes[0].step(Input::Read { waiter: 5 }, NOW).unwrap();
    for _ in 0..40 {
        group.nodes[0].step(Input::Tick, NOW).unwrap();
        let _ = group.carry_out(1);
    }
    assert!(group.readable.is_empty());
    assert_eq!(group.refused, [(5, Refusal::NotLeader { leader: None })]);
}

#[test]
fn a_lease_answers_alone_until_it_ends() {
    let mut group = Group::new(3, |config| config.lease_reads = true);
    group.tell_times(|_, timing| timing);
    group.input(1, Input::Campaign);
    assert!(!group.nodes[0].status().leads(), "a lease from before a restart may still hold");
    let leader = (0..100).find_map(|_| {
        (1..=3).for_each(|id| group.input(id, Input::Tick));
        (1..=3).find(|&id| group.node(id).status().leads())
    });
    let leader = leader.expect("somebody leads in the end");
    group.input(leader, Input::Read { waiter: 5 });
    assert_eq!(group.readable.len(), 1);
    let soon = NOW + Duration::from_millis(100);
    group.node(leader).step(Input::Read { waiter: 6 }, soon).unwrap();
    assert!(group.carry_out(leader).is_empty(), "no message was needed");
    assert_eq!(group.readable.len(), 2);
    let later = NOW + Duration::from_secs(5);
    group.node(leader).step(Input::Read { waiter: 7 }, later).unwrap();
    let outputs = group.node(leader).outputs(later).unwrap();
    assert!(!outputs.iter().any(|output| matches!(output, Output::Read { .. })));
}

#[test]
fn members_change_one_at_a_time() {
    let mut group = Group::with_leader(3, |_| {});
    group.slow = vec![2, 3];
    group.input(1, Input::ChangeMembers { changes: remove(3), waiter: 1 });
    let proposed = group.node(1).status().last;
    group.input(1, Input::ChangeMembers { changes: remove(3), waiter: 2 });
    assert_eq!(group.node(1).status().last, proposed, "one is in the log at a time");
    assert!(group.refused.is_empty(), "the other waits: {:?}", group.refused);
    group.slow.clear();
    group.input(1, Input::Tick);
    assert_eq!(group.applied[0].last().unwrap().1, [1]);
    // Its turn came after the first was applied: only then is it known to be impossible.
    assert!(
        matches!(&group.refused[..], [(2, Refusal::Invalid(why))] if why.contains("no member"))
    );
    group.input(1, Input::ChangeMembers { changes: remove(2), waiter: 3 });
    assert_eq!(group.applied[0].last().unwrap().1, [3]);
}

#[test]
fn a_change_waits_for_what_the_leader_has_not_applied() {
    let mut group = Group::with_leader(5, |_| {});
    group.idle = vec![1];
    group.input(1, Input::ChangeMembers { changes: remove(5), waiter: 1 });
    let &(index, ref answered) = group.applied[0].last().unwrap();
    assert_eq!(answered, &[1]);
    // The answer, and so the next change, may come here before the news that this is applied.
    group.input(1, Input::ChangeMembers { changes: remove(4), waiter: 2 });
    assert_eq!(group.node(1).status().last, index);
    group.input(1, Input::Applied { index });
    assert_eq!(group.applied[0].last().unwrap(), &(index + 1, vec![2]));
    assert!(group.refused.is_empty(), "{:?}", group.refused);
}

#[test]
fn a_change_waits_until_the_joint_configuration_is_left() {
    let mut group = Group::with_leader(5, |_| {});
    // It never hears that the change is applied, and so does not leave.
    group.idle = vec![1];
    let changes = vec![Change::Remove { node: 4 }, Change::Remove { node: 5 }];
    group.input(1, Input::ChangeMembers { changes, waiter: 1 });
    group.input(1, Input::Tick);
    group.input(1, Input::Transfer { to: Some(2) });
    let last = group.node(2).status().last;
    group.input(2, Input::ChangeMembers { changes: remove(1), waiter: 2 });
    assert_eq!(group.node(2).status().last, last);
    (0..20).for_each(|_| group.input(2, Input::Tick));
    assert_eq!(group.applied[1].last().unwrap().1, [2], "after that it left");
    assert!(group.refused.is_empty(), "{:?}", group.refused);
}

#[test]
fn changes_wait_in_bounds_and_while_the_node_leads() {
    for fails in [false, true] {
        let mut group = Group::with_leader(3, |_| {});
        group.slow = vec![2, 3];
        for waiter in 0..17 {
            group.input(1, Input::ChangeMembers { changes: add(10 + u64::from(waiter)), waiter });
        }
        assert!(group.refused.is_empty(), "one is in the log: {:?}", group.refused);
        group.input(1, Input::ChangeMembers { changes: add(30), waiter: 30 });
        assert!(matches!(group.refused[..], [(30, Refusal::Busy { .. })]), "{:?}", group.refused);
        group.refused.clear();
        if fails {
            group.input(1, Input::Fail { reason: "no space is left".into() });
            let stopped =
                group.refused.iter().filter(|refused| matches!(refused.1, Refusal::Stopped(_)));
            assert_eq!(stopped.count(), 16, "{:?}", group.refused);
            assert!(group.refused.contains(&(0, Refusal::Unknown)));
        } else {
            // It hears from nobody for two election timeouts.
            for _ in 0..40 {
                group.node(1).step(Input::Tick, NOW).unwrap();
                let _ = group.carry_out(1);
            }
            assert!(!group.node(1).status().leads());
            let left = group
                .refused
                .iter()
                .filter(|refused| matches!(refused.1, Refusal::NotLeader { .. }));
            assert_eq!(left.count(), 16, "the one in the log may still be: {:?}", group.refused);
        }
    }
}

#[test]
fn a_node_that_fails_hands_over_and_promises_nothing_more() {
    let mut group = Group::with_leader(3, |_| {});
    group.propose(1, 1);
    group.slow = vec![1];
    group.propose(1, 2);
    group.input(1, Input::Fail { reason: "no space is left".into() });
    assert!(group.refused.contains(&(2, Refusal::Unknown)));
    assert!(!group.nodes[0].status().leads());
    assert!(group.nodes[1].status().leads() || group.nodes[2].status().leads());
    group.propose(1, 3);
    assert!(
        matches!(&group.refused.last().unwrap(), (3, Refusal::Stopped(why)) if why.contains("space"))
    );
}

#[test]
fn a_leader_whose_disk_is_silent_hands_over_and_in_the_end_stops() {
    let mut group = Group::with_leader(3, |_| {});
    group.slow = vec![1];
    group.propose(1, 1);
    let ticks = Config::new(1).election_ticks_min;
    (0..ticks - 2).for_each(|_| group.input(1, Input::Tick));
    assert!(group.node(1).status().leads(), "it may be a slow sync");
    group.propose(1, 2);
    (0..3).for_each(|_| group.input(1, Input::Tick));
    assert!(!group.node(1).status().leads());
    let leader = (2..=3).find(|&id| group.node(id).status().leads());
    let leader = leader.expect("another one leads, without an election timeout");
    // Whether it took effect the old leader learns when its disk answers: nobody waits for that.
    // The other one was not in the log yet.
    group.refused.sort_by_key(|&(waiter, _)| waiter);
    let not_leader = Refusal::NotLeader { leader: None };
    assert_eq!(group.refused, [(1, Refusal::Unknown), (2, not_leader)]);
    group.propose(leader, 3);
    let answered = group.applied[leader as usize - 1].iter().any(|(_, waiters)| waiters == &[3]);
    assert!(answered, "the others go on");
    // It never leads like this.
    group.input(leader, Input::Transfer { to: Some(1) });
    (0..3 * ticks).for_each(|_| (1..=3).for_each(|id| group.input(id, Input::Tick)));
    assert!(!group.node(1).status().leads() && group.ended.is_empty());
    (0..30 * ticks).for_each(|_| group.input(1, Input::Tick));
    let told = "the disk has not answered for 33 seconds".to_owned();
    assert_eq!(group.ended, [(1, told)]);
}

#[test]
fn a_disk_that_answers_in_time_costs_no_leadership() {
    let mut group = Group::with_leader(3, |_| {});
    for waiter in 0..20 {
        group.slow = vec![1];
        group.propose(1, waiter);
        (0..Config::new(1).election_ticks_min - 2).for_each(|_| group.input(1, Input::Tick));
        group.slow.clear();
        group.input(1, Input::Tick);
        (0..20).for_each(|_| group.input(1, Input::Tick));
    }
    assert!(group.node(1).status().leads() && group.refused.is_empty());
    assert_eq!(group.node(1).status().term, 1);
}

#[test]
fn a_node_says_what_it_would_act_on() {
    let mut group = Group::with_leader(3, |_| {});
    group.input(1, Input::Tick);
    let idle = Wants { proposal_bytes: 0, reads: true, persisted: true };
    assert_eq!(group.node(1).wants(), idle);
    let follows = Wants { persisted: false, ..idle };
    assert_eq!(group.node(2).wants(), follows, "all that is committed is durable here");
    group.slow = vec![2, 3];
    group.propose(1, 7);
    let entry_bytes = Config::new(1).entry_bytes;
    assert_eq!(group.node(1).wants(), Wants { proposal_bytes: entry_bytes, ..idle });
    group.slow = vec![3];
    // The entry is committed without node 3, which hears of it before its own disk answers.
    (0..4).for_each(|_| group.input(1, Input::Tick));
    assert_eq!(group.node(1).wants(), idle);
    assert_eq!(group.node(2).wants(), follows);
    assert!(group.node(3).wants().persisted);
    group.slow.clear();
    group.input(3, Input::Tick);
    assert_eq!(group.node(3).wants(), follows);
    group.nodes[0].step(Input::Read { waiter: 5 }, NOW).unwrap();
    group.nodes[0].outputs(NOW).unwrap();
    assert_eq!(group.node(1).wants(), Wants { reads: false, ..idle }, "a round is on its way");
}

#[test]
fn what_is_told_of_the_others_is_true_while_nothing_is_written() {
    let mut group = Group::with_leader(3, |_| {});
    let ticks = |group: &mut Group, count: usize| {
        (0..count).for_each(|_| group.input(1, Input::Tick));
        peers(&group.told)
    };
    group.slow = vec![3];
    group.propose(1, 7);
    let last = group.told.committed;
    assert_eq!(last, group.nodes[0].status().last);
    assert!(peers(&group.told)[1].1 < last, "the third has it not on disk");
    group.slow.clear();
    assert_eq!(ticks(&mut group, 5), [(2, last, true), (3, last, true)]);
    // Over several looks of raft at its quorum.
    for tick in 0..50 {
        assert_eq!(ticks(&mut group, 1), [(2, last, true), (3, last, true)], "{tick}");
    }
    group.ended.push((3, "it is away".into()));
    // See `Group::new`.
    let timeout = 11;
    let away = ticks(&mut group, 2 * timeout + 5);
    assert_eq!(away, [(2, last, true), (3, last, false)]);
    group.ended.clear();
    assert_eq!(ticks(&mut group, 10), [(2, last, true), (3, last, true)]);
    assert_eq!(group.told.committed, last, "nothing was written");
    group.input(1, Input::Flushed { index: last });
    ticks(&mut group, 5);
    assert_eq!(group.told.flushed, last);
}

#[test]
fn the_log_is_cut_as_far_as_the_tables_go() {
    let mut group = Group::with_leader(3, |config| config.log_keep_bytes = 8);
    let tick = |group: &mut Group, flushed| {
        group.input(1, Input::Flushed { index: flushed });
        (0..10).for_each(|_| group.input(1, Input::Tick));
        std::mem::take(&mut group.cuts)
    };
    (0..8).for_each(|waiter| group.propose(1, waiter));
    let last = group.nodes[0].status().last;
    assert_eq!(tick(&mut group, last), [0; 0], "a little more than is kept");
    (0..30).for_each(|waiter| group.propose(1, waiter));
    assert_eq!(tick(&mut group, last), [last], "much more is needed than is kept");
    let last = group.nodes[0].status().last;
    assert_eq!(tick(&mut group, last), [last - 8], "the rest is for those who are behind");
}

#[test]
fn a_leader_whose_log_cannot_be_read_hands_over() {
    let mut group = Group::with_leader(3, |_| {});
    group.node(1).storage().is_unreadable.set(true);
    group.propose(1, 7);
    assert!(matches!(&group.failed[..], [(1, why)] if why.contains("offset 9")));
    assert_eq!(group.refused, [(7, Refusal::Unknown)]);
    assert!(group.applied[0].iter().all(|(_, waiters)| waiters.is_empty()));
    assert!(!group.nodes[0].status().leads());
    assert!(group.nodes[1].status().leads() || group.nodes[2].status().leads());
}

#[test]
fn a_follower_whose_log_cannot_be_read_ends_and_the_others_go_on() {
    let mut group = Group::with_leader(3, |_| {});
    group.node(2).storage().is_unreadable.set(true);
    for waiter in 0..3 {
        group.propose(1, waiter);
        group.input(1, Input::Tick);
    }
    assert!(matches!(&group.ended[..], [(2, why)] if why.contains("offset 9")));
    let answered: Vec<_> = group.applied[0].iter().flat_map(|(_, waiters)| waiters).collect();
    assert_eq!(answered, [&0, &1, &2]);
}

/// It cannot see whether a membership change is among what it has to apply.
#[test]
fn a_node_that_cannot_read_what_it_has_to_apply_does_not_campaign() {
    let mut group = Group::with_leader(3, |_| {});
    group.idle = vec![2];
    group.propose(1, 7);
    group.input(1, Input::Tick);
    group.input(1, Input::Tick);
    let status = group.nodes[1].status();
    assert!(status.applied < status.committed && group.ended.is_empty(), "{status:?}");
    group.node(2).storage().is_unreadable.set(true);
    assert!(group.step(2, Input::Campaign).is_empty(), "nothing is sent");
    assert!(matches!(&group.ended[..], [(2, why)] if why.contains("offset 9")));
}

fn message(kind: MessageType, from: u64) -> Message {
    let mut message = Message::default();
    message.set_msg_type(kind);
    (message.from, message.to, message.term) = (from, 1, 9);
    message
}

#[test]
fn a_node_that_lost_entries_notices_and_stops() {
    let mut group = Group::new(3, |_| {});
    let mut heartbeat = message(MessageType::MsgHeartbeat, 2);
    heartbeat.commit = 1000;
    let error = group.node(1).step(Input::Message(heartbeat), NOW).unwrap_err();
    assert!(error.to_string().contains("entries were lost"), "{error}");
}

/// Anybody can make up a number, and whoever lags does not know all.
#[test]
fn no_node_that_does_not_vote_stops_another() {
    let mut group = Group::with_leader(3, |_| {});
    group.propose(1, 7);
    (0..3).for_each(|_| group.input(1, Input::Tick));
    let mut heartbeat = message(MessageType::MsgHeartbeat, 77);
    heartbeat.commit = 1000;
    let mut append = message(MessageType::MsgAppend, 77);
    let entry = Entry { index: 1, term: 9, ..Entry::default() };
    append.set_entries(vec![entry].into());
    for mut bad in [heartbeat, append] {
        bad.to = 2;
        group.node(2).step(Input::Message(bad.clone()), NOW).unwrap();
        bad.from = 3;
        assert!(group.node(2).step(Input::Message(bad), NOW).is_err(), "a voter knows");
    }
}

#[test]
fn messages_that_no_correct_node_sends_do_nothing() {
    let mut group = Group::with_leader(3, |_| {});
    let before = group.nodes[0].status();
    let term = before.term;
    let mut bad = vec![
        message(MessageType::MsgPropose, 2),
        message(MessageType::MsgHup, 2),
        message(MessageType::MsgReadIndex, 2),
        message(MessageType::MsgAppend, 1),
        message(MessageType::MsgAppend, 2),
        message(MessageType::MsgHeartbeat, 2),
        message(MessageType::MsgAppendResponse, 2),
    ];
    for message in &mut bad {
        message.term = term;
    }
    bad[6].index = 1_000_000;
    let entry = Entry { index: 77, ..Entry::default() };
    let mut gap = message(MessageType::MsgAppend, 2);
    gap.set_entries(vec![entry].into());
    bad.push(gap);
    for message in bad {
        let kind = message.get_msg_type();
        group.input(1, Input::Message(message));
        assert_eq!(group.nodes[0].status(), before, "{kind:?}");
    }
}

fn is_log_for_node_3(message: &Message) -> bool {
    let kinds = [MessageType::MsgAppend, MessageType::MsgSnapshot];
    message.to == 3 && kinds.contains(&message.get_msg_type())
}

/// One entry more, on tables.
fn write(group: &mut Group) {
    group.propose(1, 0);
    let index = group.entries[0];
    group.node(1).step(Input::Flushed { index }, NOW).unwrap();
    (0..3).for_each(|_| group.input(1, Input::Tick));
}

/// Node 3 has taken a snapshot, and gets nothing of the log behind it. Also where the log was cut
/// last.
fn with_a_node_that_catches_up() -> (Group, u64) {
    let mut group = Group::with_leader(3, |config| config.log_keep_bytes = 10);
    group.cut = vec![3];
    (0..40).for_each(|_| write(&mut group));
    let snapshot = *group.cuts.last().expect("the log was cut");
    // It answers, but the snapshot is yet to arrive.
    group.cut.clear();
    group.lost = |message| message.get_msg_type() == MessageType::MsgSnapshot;
    (0..8).for_each(|_| group.input(1, Input::Tick));
    assert!(group.node(1).status().peers[1].snapshot, "{:?}", group.node(1).status());
    group.lost = is_log_for_node_3;
    let taken = *group.cuts.last().unwrap();
    group.input(1, Input::SnapshotSent { node: 3, whole: true });
    (group, taken.max(snapshot))
}

/// A snapshot may take long to arrive and to be checked, while others write.
#[test]
fn the_log_behind_a_snapshot_is_kept_for_who_takes_it() {
    let (mut group, taken) = with_a_node_that_catches_up();
    (0..60).for_each(|_| write(&mut group));
    assert_eq!(*group.cuts.last().unwrap(), taken, "that would start it all over");
    // It is gone for good.
    group.cut = vec![3];
    (0..200).for_each(|_| write(&mut group));
    assert!(*group.cuts.last().unwrap() > group.entries[0] - 20, "{:?}", group.cuts);
}

/// It may be read whole before it is offered, and is of no use without the log behind it.
#[test]
fn the_log_behind_a_snapshot_that_is_being_made_is_kept() {
    let mut group = Group::with_leader(3, |config| config.log_keep_bytes = 10);
    (0..40).for_each(|_| write(&mut group));
    let before = group.entries[0];
    group.node(1).storage().snapshot_index.set(Some(before));
    (0..100).for_each(|_| write(&mut group));
    assert_eq!(*group.cuts.last().unwrap(), before);
    group.node(1).storage().snapshot_index.set(None);
    (0..20).for_each(|_| write(&mut group));
    assert!(*group.cuts.last().unwrap() > before + 80);
}

/// Each entry counts for a byte.
#[test]
fn what_is_kept_for_who_catches_up_is_bounded_by_the_disk() {
    let (mut group, taken) = with_a_node_that_catches_up();
    group.input(1, Input::Spare { bytes: 400 });
    (0..300).for_each(|_| write(&mut group));
    assert_eq!(*group.cuts.last().unwrap(), taken, "the disk has room for it");
    group.input(1, Input::Spare { bytes: 0 });
    (0..50).for_each(|_| write(&mut group));
    let kept = group.entries[0] - group.cuts.last().unwrap();
    assert!((100..=200).contains(&kept), "{kept}");
}

/// Such a voter leads at once. After a crash it might lead the same term again.
#[test]
fn nothing_of_a_term_leaves_a_lone_voter_before_the_term_is_durable() {
    let conf_state = ConfState::from((vec![1], vec![2]));
    let storage = Memory::new(MemStorage::new_with_conf_state(conf_state));
    let mut members = members(&[1, 2]);
    members.nodes.get_mut(&2).unwrap().role = Role::Learner;
    let mut node: Node<_, u32> = Node::new(Config::new(1), storage, 0, members, 7).unwrap();
    node.step(Input::Campaign, NOW).unwrap();
    let outputs = node.outputs(NOW).unwrap();
    assert!(node.status().leads());
    let sent = outputs.iter().find(|output| matches!(output, Output::Send(_)));
    assert!(sent.is_none(), "{sent:?}");
    let persists = outputs.iter().filter_map(|output| match output {
        Output::Persist(persist) => Some(persist),
        _ => None,
    });
    let messages: Vec<_> = persists.flat_map(|persist| &persist.messages).collect();
    assert!(messages.iter().any(|message| message.to == 2), "it hears of it afterwards");
}

#[test]
fn news_of_an_older_state_is_passed_over() {
    let mut group = Group::with_leader(3, |_| {});
    group.propose(1, 1);
    let applied = group.node(1).status().applied;
    group.input(1, Input::Applied { index: applied - 1 });
    assert_eq!(group.node(1).status().applied, applied);
}

/// The others may elect another leader after their own timeout, whatever this one's is.
#[test]
fn a_lease_ends_with_the_least_timeout_of_all_voters() {
    let mut group = Group::new(3, |config| {
        config.lease_reads = true;
        if config.node == 1 {
            (config.election_ticks_min, config.election_ticks_max) = (100, 101);
        }
    });
    for _ in 0..100 {
        group.input(1, Input::Tick);
    }
    (0..20).for_each(|_| (2..=3).for_each(|id| group.input(id, Input::Tick)));
    let leader = group.elect();
    group.input(leader, Input::Transfer { to: Some(1) });
    assert!(group.node(1).status().leads());
    let millis = Duration::from_millis;
    assert!(!group.answers_alone(1, millis(1)), "no times are known");
    group.tell_times(|_, timing| timing);
    assert!(group.answers_alone(1, millis(850)));
    assert!(!group.answers_alone(1, millis(900)), "node 2 holds still for 1.1 s");
    group.input(1, Input::Timing { node: 3, timing: Config::new(3).timing() });
    assert!(!group.answers_alone(1, millis(1)), "node 3 takes no part any more");
}

/// The one that the last round gave rests on times that are not true any more.
#[test]
fn a_lease_ends_when_a_voter_tells_other_times() {
    let mut group = Group::new(3, |config| config.lease_reads = true);
    group.tell_times(|_, timing| timing);
    let leader = group.elect();
    assert!(group.answers_alone(leader, Duration::ZERO));
    let config = Config { lease_reads: true, election_ticks_min: 6, ..Config::new(1) };
    let timing = config.timing();
    group.input(leader, Input::Timing { node: leader % 3 + 1, timing });
    group.node(leader).step(Input::Read { waiter: 3 }, NOW).unwrap();
    let outputs = group.node(leader).outputs(NOW).unwrap();
    assert!(!outputs.iter().any(|output| matches!(output, Output::Read { .. })), "it asks first");
}

/// Whoever was told to take over may do so later, when the leader has given it up.
#[test]
fn a_hand_over_that_was_begun_ends_the_lease_for_the_term() {
    let mut group = Group::new(3, |config| config.lease_reads = true);
    group.tell_times(|_, timing| timing);
    let leader = group.elect();
    assert!(group.answers_alone(leader, Duration::ZERO));
    group.lost = |message| message.get_msg_type() == MessageType::MsgTimeoutNow;
    group.input(leader, Input::Transfer { to: None });
    for _ in 0..30 {
        (1..=3).for_each(|id| group.input(id, Input::Tick));
    }
    assert!(group.node(leader).status().leads(), "it was given up");
    assert!(!group.answers_alone(leader, Duration::ZERO));
}

/// What is left of an earlier leadership neither holds commands up nor is told a wrong outcome.
#[test]
fn a_leader_that_leads_again_forgets_what_was_replaced() {
    let mut group = Group::with_leader(3, |config| {
        (config.entry_bytes, config.entries_in_flight_max) = (200, 4);
    });
    group.cut = vec![1];
    for waiter in 1..=3 {
        let op = Op::Put { key: b"key", value: &[0; 300] };
        let command = Command::Write { session: None, ops: vec![op] }.to_bytes();
        group.input(1, Input::Propose { command, waiter });
    }
    let lost = group.node(1).status().last;
    // The others go on without it, with fewer entries.
    let other = group.elect();
    assert!(group.node(other).status().last < lost - 1);
    group.cut.clear();
    (0..5).for_each(|_| group.input(other, Input::Tick));
    group.input(other, Input::Transfer { to: Some(1) });
    assert!(group.node(1).status().leads());
    assert!(group.node(1).status().last < lost);
    group.propose(1, 7);
    assert_eq!(group.applied[0].last().unwrap().1, [7], "it waits for nothing");
    assert!(group.refused.contains(&(3, Refusal::Unknown)), "{:?}", group.refused);
}

#[test]
fn leadership_is_handed_over_before_anybody_has_answered() {
    let mut group = Group::new(3, |_| {});
    group.input(1, Input::Campaign);
    group.input(1, Input::Transfer { to: None });
    assert!(!group.node(1).status().leads());
}
