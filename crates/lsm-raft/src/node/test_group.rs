//! Nodes over raft's storage in memory, and what is on its way between them, carried out by hand.

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Duration;

use raft::eraftpb::{ConfState, Entry, Message, Snapshot};
use raft::storage::MemStorage;
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::{Input, Node, NodeStatus, NodeStorage, Output};
use crate::command::Command;
use crate::config::{Config, Timing};
use crate::error::Error;
use crate::members::{Change, Member, Members, Role};
use crate::outcome::Refusal;

pub(super) const NOW: Duration = Duration::from_secs(1);

pub(super) struct Memory {
    pub(super) log: MemStorage,
    /// Entries cannot be read; see [`NodeStorage::take_read_error`].
    pub(super) is_unreadable: Cell<bool>,
    pub(super) read_error: Cell<bool>,
    /// Index and term of the last entry that was cut.
    pub(super) truncated: (u64, u64),
    /// See [`NodeStorage::lost_through`].
    pub(super) lost_through: u64,
    /// See [`NodeStorage::snapshot_index`].
    pub(super) snapshot_index: Cell<Option<u64>>,
}

impl Memory {
    pub(super) fn new(log: MemStorage) -> Self {
        let (is_unreadable, read_error) = (Cell::new(false), Cell::new(false));
        Self {
            log,
            is_unreadable,
            read_error,
            truncated: (0, 0),
            lost_through: 0,
            snapshot_index: Cell::new(None),
        }
    }
}

impl Storage for Memory {
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

impl NodeStorage for Memory {
    fn append(&mut self, entries: &[Entry]) {
        self.log.wl().append(entries).unwrap();
    }
    fn truncate(&mut self, index: u64) {
        self.truncated = (index, self.log.term(index).unwrap());
        self.log.wl().compact(index + 1).unwrap();
    }
    fn reset(&mut self, _: u64, _: u64) {
        unreachable!("these tests send no snapshot")
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

/// Of each peer: its number, what it holds, whether it answered lately.
pub(super) fn peers(status: &NodeStatus) -> Vec<(u64, u64, bool)> {
    status.peers.iter().map(|peer| (peer.node, peer.matched, peer.active)).collect()
}

/// Some nodes, and what is on its way between them.
pub(super) struct Group {
    pub(super) nodes: Vec<Node<Memory, u32>>,
    /// Readies that are not persisted yet, by node.
    pub(super) unsynced: Vec<VecDeque<(u64, Vec<Message>)>>,
    pub(super) applied: Vec<Vec<(u64, Vec<u32>)>>,
    pub(super) entries: Vec<u64>,
    pub(super) readable: Vec<(u64, Vec<u32>)>,
    pub(super) refused: Vec<(u32, Refusal)>,
    /// Nodes whose disk does not answer.
    pub(super) slow: Vec<u64>,
    /// Nodes that apply nothing.
    pub(super) idle: Vec<u64>,
    /// Messages that get lost, beside all from and to these nodes.
    pub(super) lost: fn(&Message) -> bool,
    pub(super) cut: Vec<u64>,
    /// Where node 1 cut its log, and what it told of itself last.
    pub(super) cuts: Vec<u64>,
    pub(super) told: NodeStatus,
    /// Nodes that hand over because of their log, and those that ended; with the reason.
    pub(super) failed: Vec<(u64, String)>,
    pub(super) ended: Vec<(u64, String)>,
}

impl Group {
    pub(super) fn new(count: u64, change: impl Fn(&mut Config)) -> Self {
        let ids: Vec<u64> = (1..=count).collect();
        let nodes = ids.iter().map(|&id| {
            let mut config = Config { election_ticks_min: 10 + id as usize, ..Config::new(id) };
            config.election_ticks_max = config.election_ticks_min + 1;
            change(&mut config);
            let storage = MemStorage::new_with_conf_state(ConfState::from((ids.clone(), vec![])));
            Node::new(config, Memory::new(storage), 0, members(&ids), id * 100).unwrap()
        });
        let nodes: Vec<_> = nodes.collect();
        let n = nodes.len();
        Self {
            nodes,
            unsynced: vec![VecDeque::new(); n],
            applied: vec![Vec::new(); n],
            entries: vec![0; n],
            readable: Vec::new(),
            refused: Vec::new(),
            slow: Vec::new(),
            idle: Vec::new(),
            lost: |_| false,
            cut: Vec::new(),
            cuts: Vec::new(),
            told: NodeStatus::default(),
            failed: Vec::new(),
            ended: Vec::new(),
        }
    }

    pub(super) fn with_leader(count: u64, change: impl Fn(&mut Config)) -> Self {
        let mut group = Self::new(count, change);
        group.input(1, Input::Campaign);
        assert!(group.nodes[0].status().leads());
        group
    }

    pub(super) fn node(&mut self, id: u64) -> &mut Node<Memory, u32> {
        &mut self.nodes[id as usize - 1]
    }

    /// Steps one node, and then all until nothing moves.
    pub(super) fn input(&mut self, id: u64, input: Input<u32>) {
        let mut messages = self.step(id, input);
        loop {
            for message in std::mem::take(&mut messages) {
                let is_cut = |id| self.cut.contains(id);
                if (self.lost)(&message) || [message.from, message.to].iter().any(is_cut) {
                    continue;
                }
                messages.extend(self.step(message.to, Input::Message(message)));
            }
            for id in 1..=self.nodes.len() as u64 {
                messages.extend(self.sync(id));
            }
            if messages.is_empty() {
                return;
            }
        }
    }

    pub(super) fn step(&mut self, id: u64, input: Input<u32>) -> Vec<Message> {
        if self.ended.iter().any(|&(ended, _)| ended == id) {
            return Vec::new();
        }
        match self.node(id).step(input, NOW) {
            Ok(()) => self.carry_out(id),
            Err(error) => {
                self.ended.push((id, error.to_string()));
                Vec::new()
            }
        }
    }

    pub(super) fn sync(&mut self, id: u64) -> Vec<Message> {
        let mut messages = Vec::new();
        while !self.slow.contains(&id) {
            let Some((ready, late)) = self.unsynced[id as usize - 1].pop_front() else { break };
            messages.extend(late);
            messages.extend(self.step(id, Input::Persisted { ready }));
        }
        messages
    }

    pub(super) fn carry_out(&mut self, id: u64) -> Vec<Message> {
        let at = id as usize - 1;
        let mut sent = Vec::new();
        let outputs = self.nodes[at].outputs(NOW).unwrap_or_else(|error| {
            self.ended.push((id, error.to_string()));
            Vec::new()
        });
        for output in outputs {
            match output {
                Output::Send(messages) => sent.extend(messages),
                Output::Persist(persist) => {
                    self.unsynced[at].push_back((persist.ready, persist.messages));
                }
                Output::Apply(apply) => {
                    self.entries[at] = apply.through;
                    self.applied[at].extend(apply.waiters);
                    if self.idle.contains(&id) {
                        continue;
                    }
                    let index = apply.through;
                    self.nodes[at].step(Input::Applied { index }, NOW).unwrap();
                }
                Output::Read { index, waiters } => self.readable.push((index, waiters)),
                Output::Refuse { waiter, refusal } => self.refused.push((waiter, refusal)),
                Output::Status(status) if id == 1 => self.told = status,
                Output::Truncate { index, .. } if id == 1 => self.cuts.push(index),
                Output::Failed(error) => self.failed.push((id, error.to_string())),
                _ => {}
            }
        }
        sent
    }

    /// The nodes that are not cut off elect a leader, if need be.
    pub(super) fn elect(&mut self) -> u64 {
        let there: Vec<_> =
            (1..=self.nodes.len() as u64).filter(|id| !self.cut.contains(id)).collect();
        let leader = (0..100).find_map(|_| {
            there.iter().for_each(|&id| self.input(id, Input::Tick));
            there.iter().copied().find(|&id| self.node(id).status().leads())
        });
        leader.expect("somebody leads in the end")
    }

    /// Each node hears the times of the others, as `change`d.
    pub(super) fn tell_times(&mut self, change: fn(u64, Timing) -> Timing) {
        for to in 1..=self.nodes.len() as u64 {
            for node in (1..=self.nodes.len() as u64).filter(|&node| node != to) {
                let election_ticks_min = 10 + node as usize;
                let config = Config { election_ticks_min, lease_reads: true, ..Config::new(node) };
                let timing = change(node, config.timing());
                self.input(to, Input::Timing { node, timing });
            }
        }
    }

    /// Whether a leader that a quorum has just confirmed answers a read at this time on its own.
    pub(super) fn answers_alone(&mut self, leader: u64, after: Duration) -> bool {
        // What was lost of an earlier question is asked again.
        (0..5).for_each(|_| self.input(leader, Input::Tick));
        self.input(leader, Input::Read { waiter: 1 });
        let now = NOW + after;
        self.node(leader).step(Input::Read { waiter: 2 }, now).unwrap();
        let outputs = self.node(leader).outputs(now).unwrap();
        outputs.iter().any(|output| matches!(output, Output::Read { .. }))
    }

    pub(super) fn propose(&mut self, id: u64, waiter: u32) {
        self.input(id, Input::Propose { command: Command::Hash.to_bytes(), waiter });
    }
}

pub(super) fn remove(node: u64) -> Vec<Change> {
    vec![Change::Remove { node }]
}

pub(super) fn add(node: u64) -> Vec<Change> {
    let address = format!("node{node}");
    vec![Change::AddLearner { node, peer_address: address.clone(), client_address: address }]
}

pub(super) fn members(ids: &[u64]) -> Members {
    let member = |&id: &u64| {
        let address = format!("node{id}");
        let (peer_address, client_address) = (address.clone(), address);
        let role = Role::Voter;
        (id, Member { role, peer_address, client_address, incarnation: None })
    };
    Members { nodes: ids.iter().map(member).collect(), ..Members::default() }
}
