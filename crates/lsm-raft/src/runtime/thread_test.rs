//! What each thread of a node owes the others, with its turns taken by hand.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lsm_core::ManualClock;
use lsm_log::fs::{Fault, FaultFs, MemFs, Op as FsOp};
use parking_lot::Mutex;
use raft::eraftpb::{Entry, HardState, Message, MessageType};
use tokio::sync::oneshot;

use super::beside::Beside;
use super::inbox::Turn;
use super::open::{Made, ReplicaOptions};
use super::queues::{ApplyJob, Event, LogJob, Waiter};
use crate::command::{Command, Op, collect};
use crate::config::Config;
use crate::members::{Change, Member, Members, Role};
use crate::node::{Apply, Input, Persist, Wants};
use crate::outcome::{Outcome, Refusal, Reply};
use crate::snapshot::Outgoing;
use crate::state_machine::Checked;
use crate::transport::Transport;

const TURN: Duration = Duration::ZERO;
/// A thread that wakes up only for what it cannot leave for later.
const NOTHING: Wants = Wants { proposal_bytes: usize::MAX, reads: false, persisted: false };

/// Keeps what is sent.
#[derive(Default)]
struct Sent(Mutex<Vec<Message>>);

impl Transport for Sent {
    fn send(&self, messages: Vec<Message>) {
        self.0.lock().extend(messages);
    }
    fn send_snapshot(&self, _: Message, _: Arc<Outgoing>) {
        unreachable!("nobody is behind")
    }
}

/// A node, and what is around it.
struct TestNode {
    made: Made,
    fs: FaultFs,
    clock: Arc<ManualClock>,
    sent: Arc<Sent>,
}

fn options(fs: &FaultFs, clock: &Arc<ManualClock>, voters: u64) -> ReplicaOptions {
    let member = |id: u64| Member {
        role: Role::Voter,
        peer_address: format!("peer:{id}"),
        client_address: format!("client:{id}"),
        incarnation: None,
    };
    let nodes = (1..=voters).map(|id| (id, member(id))).collect();
    ReplicaOptions {
        config: Config { disk_reserve_bytes: Some(0), ..Config::new(1) },
        cluster: "test".into(),
        founders: Some(Members { nodes, ..Members::default() }),
        engine: lsm_core::Options::default().stepped(1),
        log_segment_bytes: 64 << 10,
        log_cache_bytes: 1 << 20,
        fs: Arc::new(fs.clone()),
        clock: Arc::clone(clock) as _,
        nonce: 7,
    }
}

impl TestNode {
    fn start(voters: u64) -> Self {
        let (fs, clock) = (FaultFs::new(Arc::new(MemFs::default())), Arc::default());
        let sent = Arc::new(Sent::default());
        let transport = Arc::clone(&sent) as Arc<dyn Transport>;
        let options = options(&fs, &clock, voters);
        let made = options.make("node".into(), transport, Beside::steps(), usize::MAX).unwrap();
        Self { made, fs, clock, sent }
    }

    /// One that is alone, and leads.
    fn leader() -> Self {
        let mut node = Self::start(1);
        node.made.raft.shared.inbox.tell(Event::Input(Input::Campaign));
        node.settle();
        assert!(node.made.raft.node.status().leads());
        node
    }

    /// Lets all threads go on until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..10 {
            assert!(self.made.raft.turn(false).unwrap());
            self.made.log.turn(TURN);
            self.made.apply.turn(TURN);
        }
    }

    /// Lets the raft and the log thread go on: something is committed, and not yet applied.
    fn commit(&mut self, input: Input<Waiter>) {
        self.made.raft.shared.inbox.request(input).unwrap();
        for _ in 0..3 {
            self.made.raft.turn(false).unwrap();
            self.made.log.turn(TURN);
        }
        self.made.raft.turn(false).unwrap();
    }

    /// Puts an entry into the log behind what is there, as if it were committed.
    fn append(&self, command: &[u8]) -> u64 {
        let index = self.made.raft.shared.log.last_index() + 1;
        let mut data = Vec::new();
        collect(command, &mut data);
        let entry = Entry { term: 1, index, data: data.into(), ..Entry::default() };
        self.made.raft.shared.log.append(&[entry]);
        index
    }

    fn apply_through(&self, through: u64, waiters: Vec<(u64, Vec<Waiter>)>) {
        self.made.raft.apply.give(ApplyJob::Apply(Apply { through, conf: Vec::new(), waiters }));
    }
}

fn put(value: &[u8]) -> Vec<u8> {
    Command::Write { session: None, ops: vec![Op::Put { key: b"key", value }] }.to_bytes()
}

fn waiter() -> (Waiter, oneshot::Receiver<Reply>) {
    let (waiter, told) = oneshot::channel();
    (Waiter(waiter), told)
}

fn vote(term: u64) -> HardState {
    HardState { term, vote: 2, ..HardState::default() }
}

fn persist(ready: u64, hard_state: Option<HardState>) -> LogJob {
    let messages = vec![Message { to: 2, ..Message::default() }];
    LogJob::Persist(Persist { ready, hard_state, entries: Vec::new(), messages })
}

#[test]
fn a_vote_is_in_the_log_before_it_is_given() {
    let mut node = TestNode::start(3);
    node.made.raft.log.give(persist(1, Some(vote(5))));
    assert!(node.sent.0.lock().is_empty());
    node.made.log.turn(TURN);
    assert_eq!(node.sent.0.lock().len(), 1);
    drop(node.made);
    let opened = options(&node.fs, &node.clock, 3).open_folder(Path::new("node")).unwrap();
    assert_eq!((opened.log.hard_state().term, opened.log.hard_state().vote), (5, 2));
}

/// Not even what has nothing to write itself: it promises what came before, too.
#[test]
fn nothing_is_promised_after_a_sync_that_failed() {
    let mut node = TestNode::start(3);
    node.fs.inject(Fault::error(FsOp::Sync, io::ErrorKind::Other).on(".log"));
    for (ready, hard_state) in [(1, Some(vote(5))), (2, None), (3, Some(vote(6)))] {
        node.made.raft.log.give(persist(ready, hard_state));
        node.made.log.turn(TURN);
    }
    assert!(node.sent.0.lock().is_empty());
    let mut turn = Turn::default();
    node.made.raft.shared.inbox.take(NOTHING, TURN, &mut turn);
    let told = turn.events.make_contiguous();
    assert!(matches!(told, [Event::Input(Input::Fail { .. })]), "{told:?}");
}

#[test]
fn each_command_is_answered_with_its_own_outcome() {
    let mut node = TestNode::start(3);
    let (waiter, mut told) = waiter();
    let indexes: Vec<_> = (0..3).map(|i| node.append(&put(&[i]))).collect();
    node.apply_through(indexes[2], vec![(indexes[1], vec![waiter])]);
    node.made.apply.turn(TURN);
    assert_eq!(told.try_recv(), Ok(Ok(Outcome::Written { index: indexes[1] })));
}

/// A snapshot of a node that has applied so many writes.
fn snapshot_for(node: &TestNode, writes: u8) -> Checked {
    let mut other = TestNode::start(3);
    let through = (0..writes).map(|i| other.append(&put(&[i]))).max().unwrap();
    other.apply_through(through, Vec::new());
    other.made.apply.turn(TURN);
    let outgoing = Arc::new(other.made.raft.shared.reader.checkpoint().unwrap());
    let reader = &node.made.raft.shared.reader;
    let mut incoming = reader.receive(outgoing.header().clone()).unwrap();
    for piece in outgoing.pieces() {
        incoming.write(&piece.unwrap()).unwrap();
    }
    reader.check(incoming.finish().unwrap()).unwrap()
}

#[test]
fn whoever_waits_for_what_a_snapshot_passes_over_hears_that_it_is_open() {
    let mut node = TestNode::start(3);
    let (waiter, mut told) = waiter();
    node.apply_through(3, vec![(3, vec![waiter])]);
    let (done, restored) = std::sync::mpsc::channel();
    let checked = Box::new(snapshot_for(&node, 5));
    node.made.raft.apply.give(ApplyJob::Restore { checked, done });
    node.made.apply.turn(TURN);
    restored.try_recv().unwrap().unwrap();
    assert_eq!(told.try_recv(), Ok(Err(Refusal::Unknown)));
}

/// Also if the next one is there already.
#[test]
fn what_came_behind_a_snapshot_is_looked_at_behind_the_switch() {
    let mut node = TestNode::start(3);
    let arrival = |node: &TestNode, writes| {
        let checked = snapshot_for(node, writes);
        let header = checked.header();
        let mut message = Message { from: 2, to: 1, term: 1, ..Message::default() };
        message.set_msg_type(MessageType::MsgSnapshot);
        let metadata = message.mut_snapshot().mut_metadata();
        (metadata.index, metadata.term) = (header.index, header.term);
        metadata.set_conf_state(header.conf_state.clone());
        Event::Snapshot(Box::new(message), Box::new(checked))
    };
    let events = [5, 9].map(|writes| arrival(&node, writes));
    events.into_iter().for_each(|event| node.made.raft.shared.inbox.tell(event));
    node.settle();
    assert_eq!(node.made.raft.shared.reader.applied(), 10);
}

/// The next change waits for it; a write waits for nothing, and costs no switch of threads.
#[test]
fn a_change_of_the_members_wakes_the_raft_thread_once_it_is_applied() {
    let mut node = TestNode::leader();
    let change = |id| Change::AddLearner {
        node: id,
        peer_address: "peer".into(),
        client_address: "client".into(),
    };
    for id in [2, 3] {
        node.commit(Input::ChangeMembers { changes: vec![change(id)], waiter: waiter().0 });
        assert!(!node.made.raft.shared.inbox.matters(NOTHING));
        node.made.apply.turn(TURN);
        assert!(node.made.raft.shared.inbox.matters(NOTHING), "change {id}");
        node.settle();
        node.commit(Input::Propose { command: put(b"1"), waiter: waiter().0 });
        node.made.apply.turn(TURN);
        assert!(!node.made.raft.shared.inbox.matters(NOTHING), "a write");
        node.settle();
    }
}

#[test]
fn the_log_is_told_of_what_is_in_tables_alone() {
    let mut node = TestNode::leader();
    node.commit(Input::Propose { command: put(b"1"), waiter: waiter().0 });
    node.settle();
    let status = node.made.raft.node.status();
    assert!(status.flushed < status.applied, "{status:?}");
    node.made.apply.machine.flush().unwrap();
    node.settle();
    assert_eq!(node.made.raft.node.status().flushed, status.applied);
}

/// Nobody takes the lead from a leader that is alone.
#[test]
fn a_leader_that_cannot_persist_stops_once_its_time_to_hand_over_is_over() {
    let mut node = TestNode::leader();
    node.fs.inject(Fault::error(FsOp::Write, io::ErrorKind::Other).on(".log").forever());
    node.fs.inject(Fault::error(FsOp::Sync, io::ErrorKind::Other).on(".log").forever());
    node.commit(Input::Propose { command: put(b"1"), waiter: waiter().0 });
    assert!(node.made.raft.turn(false).unwrap(), "it has a while to hand over");
    node.clock.advance(node.made.raft.hand_over_time + Duration::from_millis(1));
    assert!(!node.made.raft.turn(false).unwrap());
}

#[test]
fn a_node_that_was_paused_does_not_make_up_for_its_ticks() {
    let mut node = TestNode::start(3);
    let before = node.made.raft.ticks;
    node.clock.advance(node.made.raft.tick * 100);
    node.settle();
    assert_eq!(node.made.raft.ticks, before + 1);
    assert_eq!(node.made.raft.node.status().leader, None);
}
