//! One simulated node: the production parts, carried out step by step instead of by threads.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lsm_core::fs::{CrashFs, Lock};
use lsm_core::{KeyspaceOptions, ManualClock, Options};
use lsm_raft::raft::eraftpb::{ConfState, Entry, Message, MessageType};
use lsm_raft::{
    Config, Error, GroupStorage, Header, Input, LogStore, LogWriter, Members, Node, NodeStatus,
    Opened, Outcome, Output, Persist, Piece, Refusal, ReplicaOptions, Restore, Result, SegmentJob,
    SnapshotSlot, Staged, StateMachine, Timing, snapshot_message,
};

/// One attempt of a client.
pub(crate) type Ticket = u64;

const DIR: &str = "node";
/// Small, so that logs are cut and snapshots needed.
const LOG_KEEP_BYTES: u64 = 6 << 10;
/// States are compared where the index is a multiple of this.
const COMPARE_EVERY: u64 = 20;

/// Work of the log thread.
#[derive(Debug)]
enum LogJob {
    Persist(Persist),
    Truncate(u64, u64),
}

/// What a step of a node leads to outside of it.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) messages: Vec<Message>,
    pub(crate) replies: Vec<(Ticket, std::result::Result<Outcome, Refusal>)>,
    /// Reads that may be done now, on this node.
    pub(crate) readable: Vec<Ticket>,
    pub(crate) committed: Vec<Entry>,
    pub(crate) states: Vec<(u64, u128)>,
    /// Something was queued for the log or the state machine.
    pub(crate) log_work: bool,
    pub(crate) apply_work: bool,
    pub(crate) removed: bool,
    pub(crate) restored: bool,
    pub(crate) truncated: bool,
}

/// What a simulated disk is opened with.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) id: u64,
    pub(crate) founders: Option<Members>,
    pub(crate) lease_reads: bool,
    pub(crate) seed: u64,
}

pub(crate) struct Running {
    node: Node<GroupStorage, Ticket>,
    log: LogStore,
    writer: LogWriter,
    pub(crate) machine: StateMachine,
    slot: SnapshotSlot,
    _lock: Box<dyn Lock>,
    jobs: VecDeque<LogJob>,
    through: u64,
    conf: Vec<(u64, ConfState)>,
    waiters: VecDeque<(u64, Vec<Ticket>)>,
    reads: Vec<(u64, Vec<Ticket>)>,
    staged: Option<Staged>,
    seen_committed: u64,
}

impl Setup {
    fn config(&self) -> Config {
        // raft draws election timeouts from a generator of the thread; a range of one pins them.
        let election = 10 + 2 * (self.id as usize % 8);
        Config {
            election_ticks_min: election,
            election_ticks_max: election + 1,
            lease_reads: self.lease_reads,
            log_keep_bytes: LOG_KEEP_BYTES,
            append_bytes: 2 << 10,
            appends_in_flight_max: 4,
            entry_bytes: 256,
            ..Config::new(self.id)
        }
    }

    /// What the others are told of this node's times.
    pub(crate) fn timing(&self) -> Timing {
        self.config().timing()
    }

    fn options(&self, fs: &CrashFs, clock: &Arc<ManualClock>, nonce: u64) -> ReplicaOptions {
        let tables = KeyspaceOptions::default().write_buffer_bytes(64 << 10);
        ReplicaOptions {
            config: self.config(),
            cluster: "simulated".into(),
            founders: self.founders.clone(),
            engine: Options::default().default_keyspace(tables).stepped(self.seed),
            log_segment_bytes: 16 << 10,
            log_cache_bytes: 2 << 10,
            fs: Arc::new(fs.clone()),
            clock: Arc::clone(clock) as Arc<dyn lsm_core::Clock>,
            nonce,
        }
    }
}

impl Running {
    pub(crate) fn start(
        setup: &Setup,
        fs: &CrashFs,
        clock: &Arc<ManualClock>,
        nonce: u64,
    ) -> Result<Self> {
        let options = setup.options(fs, clock, nonce);
        let Opened { log, writer, machine, lock, .. } = options.open_folder(Path::new(DIR))?;
        let (applied, slot) = (machine.applied().0, SnapshotSlot::default());
        let storage = GroupStorage::new(log.clone(), machine.conf_state(), applied, slot.clone());
        let members = (*machine.members()).clone();
        let node = Node::new(options.config, storage, applied, members, nonce)?;
        Ok(Self {
            node,
            log,
            writer,
            machine,
            slot,
            _lock: lock,
            jobs: VecDeque::new(),
            through: applied,
            conf: Vec::new(),
            waiters: VecDeque::new(),
            reads: Vec::new(),
            staged: None,
            seen_committed: applied,
        })
    }

    pub(crate) fn status(&self) -> NodeStatus {
        self.node.status()
    }

    pub(crate) fn applied(&self) -> u64 {
        self.machine.applied().0
    }

    /// A message from a node with these times.
    pub(crate) fn receive(
        &mut self,
        timing: Option<Timing>,
        message: Message,
        now: Duration,
    ) -> Result<Effects> {
        if let Some(timing) = timing {
            self.node.step(Input::Timing { node: message.from, timing }, now)?;
        }
        self.step(Input::Message(message), now)
    }

    pub(crate) fn step(&mut self, input: Input<Ticket>, now: Duration) -> Result<Effects> {
        let mut effects = Effects::default();
        self.node.step(input, now)?;
        self.carry_out(now, &mut effects)?;
        Ok(effects)
    }

    fn carry_out(&mut self, now: Duration, effects: &mut Effects) -> Result<()> {
        for output in self.node.outputs(now)? {
            match output {
                Output::Send(messages) => effects.messages.extend(messages),
                Output::Persist(persist) => {
                    self.jobs.push_back(LogJob::Persist(persist));
                    effects.log_work = true;
                }
                Output::Truncate { index, term } => {
                    self.jobs.push_back(LogJob::Truncate(index, term));
                    effects.log_work = true;
                    effects.truncated = true;
                }
                Output::Apply(apply) => {
                    self.through = apply.through;
                    self.conf.extend(apply.conf);
                    self.waiters.extend(apply.waiters);
                    effects.apply_work = true;
                }
                Output::Read { index, waiters } => {
                    self.reads.push((index, waiters));
                    self.release_reads(effects);
                }
                Output::Refuse { waiter, refusal } => effects.replies.push((waiter, Err(refusal))),
                Output::MakeSnapshot => {
                    self.slot.made(Some(Arc::new(self.machine.checkpoint()?)));
                }
                Output::Restore(restore) => self.restore(restore, now, effects)?,
                Output::Status(_) => {}
                Output::Failed(error) => return Err(error),
                Output::Removed => effects.removed = true,
            }
        }
        self.show_committed(effects)
    }

    fn show_committed(&mut self, effects: &mut Effects) -> Result<()> {
        let committed = self.node.status().committed;
        let from = (self.seen_committed + 1).max(self.log.first_index());
        if committed >= from {
            let entries = self.log.entries(from, committed + 1, None);
            effects.committed.extend(entries.map_err(|error| Error::Raft(error.to_string()))?);
            self.seen_committed = committed;
        }
        Ok(())
    }

    /// Does up to `count` jobs of the log, with one sync.
    pub(crate) fn persist(&mut self, count: usize, now: Duration) -> Result<Effects> {
        let mut effects = Effects::default();
        let (mut ready, mut messages) = (None, Vec::new());
        for _ in 0..count {
            match self.jobs.pop_front() {
                None => break,
                Some(LogJob::Truncate(index, term)) => self.writer.truncate(index, term)?,
                Some(LogJob::Persist(persist)) => {
                    if persist.hard_state.is_some() || !persist.entries.is_empty() {
                        self.writer.write(persist.hard_state.as_ref(), &persist.entries)?;
                    }
                    messages.extend(persist.messages);
                    ready = Some(persist.ready);
                }
            }
        }
        if let Some(ready) = ready {
            self.writer.sync()?;
            self.writer.make_ahead(SegmentJob::at_once);
            effects.messages.extend(messages);
            self.node.step(Input::Persisted { ready }, now)?;
            self.carry_out(now, &mut effects)?;
        }
        effects.log_work |= !self.jobs.is_empty();
        Ok(effects)
    }

    /// Lets the state machine go on by up to `count` entries.
    pub(crate) fn apply(&mut self, count: u64, now: Duration) -> Result<Effects> {
        let mut effects = Effects::default();
        if self.applied() < self.through {
            self.apply_some(count, &mut effects)?;
            self.node.step(Input::Applied { index: self.applied() }, now)?;
            self.carry_out(now, &mut effects)?;
        }
        effects.apply_work |= self.applied() < self.through;
        Ok(effects)
    }

    fn apply_some(&mut self, count: u64, effects: &mut Effects) -> Result<()> {
        let next = self.applied() + 1;
        let compared = next.next_multiple_of(COMPARE_EVERY);
        let last = self.through.min(next.saturating_add(count - 1)).min(compared);
        let entries = self.log.entries(next, last + 1, None);
        let entries = entries.map_err(|error| Error::Raft(error.to_string()))?;
        let outcomes = self.machine.apply(&entries, &self.conf)?;
        let applied = self.applied();
        self.conf.retain(|(index, _)| *index > applied);
        for (index, outcomes) in outcomes {
            if self.waiters.front().is_none_or(|(waiting, _)| *waiting != index) {
                continue;
            }
            let (_, waiters) = self.waiters.pop_front().expect("it is the front");
            assert_eq!(waiters.len(), outcomes.len(), "each command has its outcome");
            effects.replies.extend(waiters.into_iter().zip(outcomes.into_iter().map(Ok)));
        }
        if applied.is_multiple_of(COMPARE_EVERY) {
            effects.states.push((applied, self.hash()?));
        }
        self.release_reads(effects);
        Ok(())
    }

    pub(crate) fn hash(&self) -> Result<u128> {
        self.machine.hash_job()?.run()
    }

    fn release_reads(&mut self, effects: &mut Effects) {
        let applied = self.applied();
        let ready = self.reads.extract_if(.., |(index, _)| *index <= applied);
        effects.readable.extend(ready.flat_map(|(_, waiters)| waiters));
    }

    /// Some background work of the engine, and what it says is durable.
    pub(crate) fn maintain(&mut self, flush: bool, now: Duration) -> Result<Effects> {
        if flush {
            self.machine.flush()?;
            // Now and then: an old one is offered to others meanwhile.
            self.slot.retire();
        }
        self.machine.reader().db().step().map_err(Error::storage("work in the background"))?;
        let index = self.machine.flushed_index();
        self.step(Input::Flushed { index }, now)
    }

    /// All of the snapshot on offer, if this message announces it.
    pub(crate) fn read_snapshot(&self, message: &Message) -> Option<(Header, Vec<Piece>)> {
        assert_eq!(message.get_msg_type(), MessageType::MsgSnapshot);
        let offered = self.slot.offered()?;
        let index = message.get_snapshot().get_metadata().index;
        let header = offered.header().clone();
        let pieces: Result<Vec<_>> = offered.pieces().collect();
        // It cannot be read on a disk that is about to be found dead.
        pieces.ok().filter(|_| header.index == index).map(|pieces| (header, pieces))
    }

    /// A snapshot arrived.
    pub(crate) fn receive_snapshot(
        &mut self,
        from: u64,
        term: u64,
        header: &Header,
        pieces: &[Piece],
        now: Duration,
    ) -> Result<Effects> {
        let mut incoming = self.machine.reader().receive(header.clone())?;
        for piece in pieces {
            incoming.write(piece)?;
        }
        let staged = incoming.finish()?;
        let message = snapshot_message(from, self.node.status().node, term, header);
        self.staged = Some(staged);
        let effects = self.step(Input::Message(message), now)?;
        self.staged = None;
        Ok(effects)
    }

    fn restore(&mut self, restore: Restore, now: Duration, effects: &mut Effects) -> Result<()> {
        let passed = self.waiters.drain(..).flat_map(|(_, waiters)| waiters);
        effects.replies.extend(passed.map(|waiter| (waiter, Err(Refusal::Unknown))));
        self.conf.clear();
        let staged = self.staged.take().expect("a snapshot is switched to when it arrives");
        self.machine.restore(self.machine.reader().check(staged)?)?;
        self.through = self.applied();
        self.seen_committed = self.seen_committed.max(self.through);
        while let Some(job) = self.jobs.pop_front() {
            match job {
                LogJob::Truncate(index, term) => self.writer.truncate(index, term)?,
                LogJob::Persist(persist) => {
                    if persist.hard_state.is_some() || !persist.entries.is_empty() {
                        self.writer.write(persist.hard_state.as_ref(), &persist.entries)?;
                    }
                    effects.messages.extend(persist.messages);
                }
            }
        }
        let Restore { ready, index, term, hard_state, messages, .. } = restore;
        self.writer.reset(index, term)?;
        self.writer.write(Some(&hard_state), &[])?;
        self.writer.sync()?;
        effects.messages.extend(messages);
        effects.states.push((index, self.hash()?));
        effects.restored = true;
        self.release_reads(effects);
        let members = (*self.machine.members()).clone();
        self.node.step(Input::Restored { ready, index, members }, now)?;
        self.carry_out(now, effects)
    }
}
