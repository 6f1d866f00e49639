//! What raft reads: the log, and the snapshot that is offered to followers.

use std::sync::Arc;

use parking_lot::Mutex;
use raft::eraftpb::{ConfState, Entry, Message, MessageType, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::error::Error;
use crate::log_store::LogStore;
use crate::node::NodeStorage;
use crate::snapshot::{Header, Outgoing};

/// The snapshot on offer, shared with whoever makes and sends it.
#[derive(Clone, Debug, Default)]
pub struct SnapshotSlot {
    shared: Arc<Mutex<SnapshotState>>,
}

#[derive(Debug, Default)]
struct SnapshotState {
    offered: Option<Arc<Outgoing>>,
    /// One is being made, of this index or a later one.
    making: Option<u64>,
    wanted: bool,
}

impl SnapshotSlot {
    /// The snapshot on offer.
    pub fn offered(&self) -> Option<Arc<Outgoing>> {
        self.shared.lock().offered.clone()
    }

    /// One was made, or making it failed: then it will be asked for again.
    pub fn made(&self, snapshot: Option<Arc<Outgoing>>) {
        let mut slot = self.shared.lock();
        slot.making = None;
        if snapshot.is_some() {
            slot.offered = snapshot;
        }
    }

    /// Takes back what nobody is being sent; true if nothing is on offer any more.
    pub fn retire(&self) -> bool {
        let mut slot = self.shared.lock();
        slot.offered.take_if(|snapshot| Arc::strong_count(snapshot) == 1);
        slot.offered.is_none()
    }
}

/// The log and the snapshot of one node, as raft wants to see them.
#[derive(Debug)]
pub struct GroupStorage {
    log: LogStore,
    /// The configuration at the start; raft keeps it from then on.
    conf_state: ConfState,
    /// What is applied at the start: committed, whatever the log says.
    applied: u64,
    slot: SnapshotSlot,
    /// Why entries could not be read: the first reason, until it is asked for.
    read_error: Mutex<Option<Error>>,
}

impl GroupStorage {
    /// Over a log; `conf_state` is that of `applied`.
    pub fn new(log: LogStore, conf_state: ConfState, applied: u64, slot: SnapshotSlot) -> Self {
        Self { log, conf_state, applied, slot, read_error: Mutex::new(None) }
    }

    /// Keeps an error of the disk from raft, which would panic.
    fn keep_back(&self, error: raft::Error, can_wait: bool) -> raft::Result<Vec<Entry>> {
        if !matches!(error, raft::Error::Store(StorageError::Other(_))) {
            return Err(error);
        }
        self.read_error.lock().get_or_insert_with(|| error.into());
        if can_wait {
            return Err(raft::Error::Store(StorageError::LogTemporarilyUnavailable));
        }
        Ok(Vec::new())
    }
}

fn is_member(conf_state: &ConfState, node: u64) -> bool {
    let ConfState { voters, learners, voters_outgoing, learners_next, .. } = conf_state;
    [voters, learners, voters_outgoing, learners_next].iter().any(|ids| ids.contains(&node))
}

/// What raft knows of a snapshot: not its files.
fn to_raft(header: &Header) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    (metadata.index, metadata.term) = (header.index, header.term);
    metadata.set_conf_state(header.conf_state.clone());
    snapshot
}

/// The message that announces a snapshot which was received whole.
pub fn snapshot_message(from: u64, to: u64, term: u64, header: &Header) -> Message {
    let mut message = Message::default();
    message.set_msg_type(MessageType::MsgSnapshot);
    (message.from, message.to, message.term) = (from, to, term);
    message.set_snapshot(to_raft(header));
    message
}

impl Storage for GroupStorage {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let mut hard_state = self.log.hard_state();
        // What is applied was committed, and a commit index is not always written.
        hard_state.commit = hard_state.commit.max(self.applied);
        Ok(RaftState { hard_state, conf_state: self.conf_state.clone() })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let entries = self.log.entries(low, high, max_size.into());
        entries.or_else(|error| self.keep_back(error, context.can_async()))
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        self.log.term(index)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.log.first_index())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.log.last_index())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let mut slot = self.slot.shared.lock();
        let useful = slot.offered.as_ref().filter(|snapshot| {
            let Header { index, conf_state, .. } = snapshot.header();
            // The log must go on right behind it; and raft takes no snapshot that is from before
            // its node was a member.
            *index >= request_index
                && index + 1 >= self.log.first_index()
                && is_member(conf_state, to)
        });
        if let Some(snapshot) = useful {
            return Ok(to_raft(snapshot.header()));
        }
        slot.wanted = true;
        Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

impl NodeStorage for GroupStorage {
    fn append(&mut self, entries: &[Entry]) {
        self.log.append(entries);
    }

    fn truncate(&mut self, index: u64) {
        self.log.truncate(index);
    }

    fn reset(&mut self, index: u64, term: u64) {
        self.log.reset_to(index, term);
    }

    fn take_snapshot_wanted(&mut self, applied: u64) -> bool {
        let mut slot = self.slot.shared.lock();
        let begin = std::mem::take(&mut slot.wanted) && slot.making.is_none();
        if begin {
            slot.making = Some(applied);
        }
        begin
    }

    fn snapshot_index(&self) -> Option<u64> {
        let slot = self.slot.shared.lock();
        let offered = slot.offered.as_ref().map(|snapshot| snapshot.header().index);
        slot.making.into_iter().chain(offered).min()
    }

    fn take_read_error(&mut self) -> Option<Error> {
        self.read_error.get_mut().take()
    }

    fn lost_through(&self) -> u64 {
        self.log.lost_through()
    }

    fn cut_for(&self, keep_bytes: u64) -> u64 {
        let (before, last) = (self.log.first_index() - 1, self.log.last_index());
        let excess = self.log.bytes_behind(last).saturating_sub(keep_bytes);
        // The greatest index through which no more than the excess stands.
        let (mut low, mut high) = (before, last);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.log.bytes_behind(middle) <= excess {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }
}
