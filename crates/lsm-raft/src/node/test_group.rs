//! Nodes over raft's storage in memory, and what is on its way between them, carried out by hand.
//! What each node does is noted as a line of text.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use raft::eraftpb::{ConfState, Entry, HardState, Message, MessageType, Snapshot};
use raft::storage::MemStorage;
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::test_trace::{describe_entries, describe_leader, describe_members, describe_message};
use super::{Apply, Input, Node, NodeStatus, NodeStorage, Output, Persist, Restore};
use crate::command::{Command, Op};
use crate::config::Config;
use crate::error::Error;
use crate::members::{Member, Members, Role};

pub(super) struct TestStorage {
    log: MemStorage,
    /// Entries cannot be read; see [`NodeStorage::take_read_error`].
    pub(super) is_unreadable: Cell<bool>,
    read_error: Cell<bool>,
    /// Index and term of the last entry that was cut.
    truncated: (u64, u64),
    /// See [`NodeStorage::lost_through`].
    lost_through: u64,
    /// See [`NodeStorage::snapshot_index`].
    pub(super) snapshot_index: Cell<Option<u64>>,
}

impl TestStorage {
    fn new(conf_state: ConfState) -> Self {
        Self {
            log: MemStorage::new_with_conf_state(conf_state),
            is_unreadable: Cell::new(false),
            read_error: Cell::new(false),
            truncated: (0, 0),
            lost_through: 0,
            snapshot_index: Cell::new(None),
        }
    }
}

impl Storage for TestStorage {
    fn initial_state(&self) -> raft::Result<RaftState> {
        self.log.initial_state()
    }
    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if self.is_unreadable.get() {
            self.read_error.set(true);
            return if context.can_async() {
                Err(raft::Error::Store(StorageError::LogTemporarilyUnavailable))
            } else {
                Ok(Vec::new())
            };
        }
        self.log.entries(low, high, max_size, context)
    }
    fn term(&self, index: u64) -> raft::Result<u64> {
        let (truncated, term) = self.truncated;
        if index == truncated { Ok(term) } else { self.log.term(index) }
    }
    fn first_index(&self) -> raft::Result<u64> {
        self.log.first_index()
    }
    fn last_index(&self) -> raft::Result<u64> {
        self.log.last_index()
    }
    /// Of all that was cut.
    fn snapshot(&self, _: u64, _: u64) -> raft::Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = self.truncated;
        metadata.set_conf_state(self.log.initial_state()?.conf_state);
        Ok(snapshot)
    }
}

impl NodeStorage for TestStorage {
    fn append(&mut self, entries: &[Entry]) {
        self.log.wl().append(entries).unwrap();
    }
    fn truncate(&mut self, index: u64) {
        self.truncated = (index, self.log.term(index).unwrap());
        self.log.wl().compact(index + 1).unwrap();
    }
    fn reset(&mut self, index: u64, term: u64) {
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = (index, term);
        metadata.set_conf_state(self.log.initial_state().unwrap().conf_state);
        self.log.wl().apply_snapshot(snapshot).unwrap();
        self.truncated = (index, term);
    }
    fn take_snapshot_wanted(&mut self, _: u64) -> bool {
        false
    }
    fn snapshot_index(&self) -> Option<u64> {
        self.snapshot_index.get()
    }
    fn take_read_error(&mut self) -> Option<Error> {
        self.read_error.take().then(|| Error::corrupt("segment 7", "offset 9"))
    }
    fn lost_through(&self) -> u64 {
        self.lost_through
    }
    /// Each entry counts for a byte.
    fn cut_for(&self, keep_bytes: u64) -> u64 {
        self.log.last_index().unwrap().saturating_sub(keep_bytes)
    }
}

/// A node, and what is around it.
pub(super) struct TestNode {
    /// Who waits for an answer has a name.
    pub(super) node: Node<TestStorage, String>,
    pub(super) config: Config,
    /// What it gave out to be persisted, and is not yet.
    unsynced: VecDeque<Persist>,
    /// The snapshot that it switches to, and has not yet.
    restore: Option<Restore>,
    /// Term and vote that are durable.
    vote: (u64, u64),
    /// What it gave out to be applied.
    pub(super) applied: u64,
    /// What it told of itself last.
    pub(super) told: NodeStatus,
    /// What was noted of that last.
    leader: String,
    /// It failed, and does nothing more.
    pub(super) ended: bool,
    pub(super) disk_stalls: bool,
    pub(super) apply_stalls: bool,
    /// It is cut off from the others.
    pub(super) is_cut: bool,
}

/// Some nodes, of which each has the number of its place, from 1.
pub(super) struct TestGroup {
    nodes: Vec<TestNode>,
    pub(super) now: Duration,
    /// Messages of these kinds are lost, if they are for this node.
    pub(super) lost: Vec<MessageType>,
    pub(super) lost_to: Option<u64>,
    /// What the nodes did.
    pub(super) trace: Vec<String>,
    /// Whose reads were answered.
    pub(super) readable: Vec<String>,
}

impl TestGroup {
    /// Of so many voters and learners.
    pub(super) fn new(voters: u64, learners: u64, change: impl Fn(&mut Config)) -> Self {
        let ids: Vec<u64> = (1..=voters + learners).collect();
        let (voters, learners) = ids.split_at(voters as usize);
        let conf_state = ConfState::from((voters.to_vec(), learners.to_vec()));
        let nodes = ids.iter().map(|&id| {
            let mut config = Config { election_ticks_min: 10 + id as usize, ..Config::new(id) };
            config.election_ticks_max = config.election_ticks_min + 1;
            change(&mut config);
            TestNode::new(config, TestStorage::new(conf_state.clone()), 0, 0)
        });
        Self {
            nodes: nodes.collect(),
            now: Duration::from_secs(1),
            lost: Vec::new(),
            lost_to: None,
            trace: Vec::new(),
            readable: Vec::new(),
        }
    }

    /// What the nodes did so far is not news.
    pub(super) fn forget(&mut self) {
        self.trace.clear();
        for node in &mut self.nodes {
            node.leader = describe_leader(&node.node.status());
        }
    }

    pub(super) fn ids(&self) -> std::ops::RangeInclusive<u64> {
        1..=self.nodes.len() as u64
    }

    pub(super) fn node(&mut self, id: u64) -> &mut TestNode {
        &mut self.nodes[id as usize - 1]
    }

    /// Steps one node, and then all until nothing moves.
    pub(super) fn input(&mut self, id: u64, input: Input<String>) {
        let messages = self.step(id, input);
        self.settle(messages);
    }

    /// Lets all nodes go on until nothing moves.
    pub(super) fn settle(&mut self, mut messages: Vec<Message>) {
        loop {
            for message in std::mem::take(&mut messages) {
                messages.extend(self.step(message.to, Input::Message(message)));
            }
            for id in self.ids() {
                messages.extend(self.sync(id));
            }
            if messages.is_empty() {
                return;
            }
        }
    }

    /// Steps one node. Returns what it sent, without what gets lost.
    pub(super) fn step(&mut self, id: u64, input: Input<String>) -> Vec<Message> {
        let now = self.now;
        let node = self.node(id);
        if node.ended {
            return Vec::new();
        }
        match node.node.step(input, now).and_then(|()| node.node.outputs(now)) {
            Ok(outputs) => outputs.into_iter().flat_map(|o| self.carry_out(id, o)).collect(),
            Err(error) => {
                node.ended = true;
                self.note(id, &format!("ends: {error}"));
                Vec::new()
            }
        }
    }

    /// Makes durable what waits for it.
    pub(super) fn sync(&mut self, id: u64) -> Vec<Message> {
        let mut messages = Vec::new();
        while !self.node(id).disk_stalls
            && let Some(persist) = self.node(id).unsynced.pop_front()
        {
            let Persist { ready, hard_state, entries, messages: late } = persist;
            if let Some(HardState { term, vote, .. }) = hard_state {
                let before = std::mem::replace(&mut self.node(id).vote, (term, vote));
                let vote = (before != (term, vote)).then(|| format!(" Term:{term} Vote:{vote}"));
                let text = vote.unwrap_or_default() + &describe_entries(&entries);
                self.note(id, &format!("persists{text}"));
            }
            messages.extend(self.send(late));
            messages.extend(self.step(id, Input::Persisted { ready }));
        }
        if !self.node(id).disk_stalls
            && let Some(restore) = self.node(id).restore.take()
        {
            let Restore { ready, index, conf_state, hard_state, messages: late, .. } = restore;
            self.node(id).vote = (hard_state.term, hard_state.vote);
            self.node(id).applied = index;
            self.note(id, &format!("has switched to {index}"));
            messages.extend(self.send(late));
            let members = members(&conf_state);
            messages.extend(self.step(id, Input::Restored { ready, index, members }));
        }
        messages
    }

    fn carry_out(&mut self, id: u64, output: Output<String>) -> Vec<Message> {
        match output {
            Output::Send(messages) => return self.send(messages),
            Output::Persist(persist) => self.node(id).unsynced.push_back(persist),
            Output::Apply(apply) => self.apply(id, &apply),
            Output::Read { index, waiters } => {
                self.note(id, &format!("answers {}: read at {index}", waiters.join(" ")));
                self.readable.extend(waiters);
            }
            Output::Refuse { waiter, refusal } => {
                self.note(id, &format!("refuses {waiter}: {refusal}"));
            }
            Output::Status(status) => {
                let leader = describe_leader(&status);
                self.node(id).told = status;
                if leader != self.node(id).leader {
                    self.node(id).leader.clone_from(&leader);
                    self.note(id, &leader);
                }
            }
            Output::Truncate { index, .. } => self.note(id, &format!("truncates through {index}")),
            Output::Failed(error) => self.note(id, &format!("fails: {error}")),
            Output::Removed => self.note(id, "is removed"),
            Output::Restore(restore) => {
                self.note(id, &format!("switches to {}", restore.index));
                self.node(id).restore = Some(restore);
            }
            Output::MakeSnapshot => unreachable!("the storage never asks for one"),
        }
        Vec::new()
    }

    fn apply(&mut self, id: u64, apply: &Apply<String>) {
        let Apply { through, conf, waiters } = apply;
        let from = self.node(id).applied + 1;
        self.node(id).applied = *through;
        let mut text = if from == *through {
            format!("applies {through}")
        } else {
            format!("applies {from}..{through}")
        };
        for (_, conf_state) in conf {
            text += &describe_members(conf_state);
        }
        let waiters: Vec<_> = waiters.iter().flat_map(|(_, waiters)| waiters.clone()).collect();
        if !waiters.is_empty() {
            let _ = write!(text, ", answers {}", waiters.join(" "));
        }
        self.note(id, &text);
        if !self.node(id).apply_stalls {
            let (input, now) = (Input::Applied { index: *through }, self.now);
            self.node(id).node.step(input, now).unwrap();
        }
    }

    /// Those that do not get lost.
    fn send(&mut self, mut messages: Vec<Message>) -> Vec<Message> {
        messages.retain(|message| {
            let is_for = self.lost_to.is_none_or(|to| to == message.to);
            let ends = [message.from, message.to].map(|id| &self.nodes[id as usize - 1]);
            let is_lost = (is_for && self.lost.contains(&message.get_msg_type()))
                || ends.iter().any(|node| node.is_cut);
            if let Some(text) = describe_message(message) {
                self.trace.push(if is_lost { format!("{text} (lost)") } else { text });
            }
            !is_lost
        });
        messages
    }

    fn note(&mut self, id: u64, text: &str) {
        self.trace.push(format!("{id} {text}"));
    }
}

impl TestNode {
    /// One whose state machine has applied through there.
    fn new(config: Config, storage: TestStorage, applied: u64, restarts: u64) -> Self {
        let members = members(&storage.log.initial_state().unwrap().conf_state);
        let nonce = config.node * 100 + restarts;
        let node = Node::new(config.clone(), storage, applied, members, nonce).unwrap();
        Self {
            leader: describe_leader(&node.status()),
            told: node.status(),
            node,
            config,
            unsynced: VecDeque::new(),
            restore: None,
            vote: (0, 0),
            applied,
            ended: false,
            disk_stalls: false,
            apply_stalls: false,
            is_cut: false,
        }
    }

    /// Starts anew with a log that ends at `last`, although there was more that was durable.
    pub(super) fn restart_with_loss(&mut self, last: u64) {
        let log = &self.node.storage().log;
        let kept = log.entries(1, last + 1, None, GetEntriesContext::empty(false)).unwrap();
        let mut storage = TestStorage::new(log.initial_state().unwrap().conf_state);
        storage.lost_through = self.node.status().last;
        storage.append(&kept);
        let (term, vote) = self.vote;
        let hard_state = HardState { term, vote, commit: last, ..HardState::default() };
        storage.log.wl().set_hardstate(hard_state);
        *self = Self { vote: self.vote, ..Self::new(self.config.clone(), storage, last, 1) };
    }
}

/// A command that is found in traces by this name.
pub(super) fn command(name: &str, bytes: usize) -> Vec<u8> {
    let op = Op::Put { key: name.as_bytes(), value: &vec![0; bytes] };
    Command::Write { session: None, ops: vec![op] }.to_bytes()
}

fn members(conf_state: &ConfState) -> Members {
    let member = |id: u64, role| {
        let address = format!("node{id}");
        let (peer_address, client_address) = (address.clone(), address);
        (id, Member { role, peer_address, client_address, incarnation: None })
    };
    let voters = conf_state.voters.iter().map(|&id| member(id, Role::Voter));
    let learners = conf_state.learners.iter().map(|&id| member(id, Role::Learner));
    Members { nodes: voters.chain(learners).collect(), ..Members::default() }
}
