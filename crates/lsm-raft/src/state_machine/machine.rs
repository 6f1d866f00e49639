//! Applies entries to the engine, and puts another node's state in force.
//!
//! Entries and what they mean for the bookkeeping are written in one batch, which is in no log
//! of the engine: after a crash the engine holds what it had flushed, an exact prefix, and says
//! through which index that is. The entries behind it come from raft's log again.
//!
//! Atomic steps of a restore; a crash between any two leaves the old state or the new one:
//!
//! 1. the received files are complete and durable in a folder of their own
//! 2. the engine there is opened, and every table, the index and the configuration are checked
//!    (see [`Checked`]), all beside the applying
//! 3. the pointer is switched to that folder: from here on the new state is in force
//! 4. readers are switched, the old engine is closed, its folder removed
//!
//! With a stepped engine everything here runs in the caller's thread: what has to wait for the
//! engine's background work (a flush, a checkpoint, a write that finds the memtables full) does
//! that work itself; `Db::step` does the rest, compactions above all.
//!
//! Threads: the machine is one thread's; its [`StateReader`]s are for all.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use lsm_core::{Durability, Options, SeqNo, WriteBatch};
use lsm_log::fs::Fs;
use raft::eraftpb::{ConfState, Entry};

use super::announced::Announced;
use super::checked::Checked;
use super::current::open_engine;
use super::folder::Folder;
use super::hash::HashJob;
use super::metadata::Metadata;
use super::reader::{ReaderShared, StateReader};
use crate::config::SESSIONS_MAX;
use crate::error::{Error, Result};
use crate::members::{Members, Role};
use crate::outcome::Outcome;
use crate::snapshot::{Outgoing, remove_folder};

/// A batch that entries have brought so many bytes into is written before the next entry. With
/// what one entry may bring at most, it stays below what the engine takes in one batch.
pub(super) const BATCH_BYTES: usize = 8 << 20;
/// How many batches are remembered until they are flushed; of more, every second is forgotten.
pub(super) const UNFLUSHED_MAX: usize = 4096;
/// How many states wait to be hashed; of more, the oldest are forgotten.
pub(super) const HASH_JOBS_MAX: usize = 16;

/// The engine prepares segments of a log that is never written to: as small as they may be.
const LOG_SEGMENT_BYTES: u64 = 64 << 10;

/// Where the state lives.
#[derive(Clone, Debug)]
pub struct StateOptions {
    /// Settings of the engine. Its file system is replaced by `fs`, and its log, to which nothing
    /// is written, made small.
    pub engine: Options,
    /// The file system.
    pub fs: Arc<dyn Fs>,
}

/// The replicated state of one node.
#[derive(Debug)]
pub struct StateMachine {
    shared: Arc<ReaderShared>,
    metadata: Metadata,
    announced: Announced,
    sessions_max: usize,
    /// Sequence number and index after each batch, oldest first.
    unflushed: VecDeque<(SeqNo, u64)>,
    /// Everything through this index is flushed.
    flushed: u64,
    hash_jobs: VecDeque<HashJob>,
    /// A call failed half-way: what is in memory may not be what is in the engine.
    failed: bool,
}

impl StateMachine {
    /// Opens the state in folder `dir`, or makes an empty one. What a crash left half-done is
    /// removed.
    ///
    /// # Errors
    ///
    /// `Folder` if it cannot be told which state is in force, `Corrupt`, `Storage`.
    pub fn open(options: StateOptions, dir: &Path) -> Result<Self> {
        let StateOptions { engine, fs } = options;
        let engine = engine.fs(Arc::clone(&fs)).log_segment_bytes(LOG_SEGMENT_BYTES);
        let (folder, state, may_be_new) = Folder::open(fs, dir)?;
        let (current, metadata) =
            open_engine(engine.clone().create_if_missing(may_be_new), &state)?;
        folder.remove_strays(&state)?;
        let index = metadata.applied().0;
        let shared = ReaderShared {
            current: ArcSwap::from_pointee(current),
            applied: AtomicU64::new(index),
            members: ArcSwap::new(Arc::clone(metadata.members())),
            known_members: ArcSwap::new(Arc::clone(metadata.members())),
            folder,
            engine,
        };
        Ok(Self {
            shared: Arc::new(shared),
            metadata,
            announced: Announced::default(),
            sessions_max: SESSIONS_MAX,
            unflushed: VecDeque::new(),
            // No log brought it back: it was in tables.
            flushed: index,
            hash_jobs: VecDeque::new(),
            failed: false,
        })
    }

    /// Keeps at most so many sessions, also of states that it is restored from; [`SESSIONS_MAX`] if
    /// nothing is said. To be called before anything is applied.
    pub fn limit_sessions(&mut self, max: usize) {
        self.sessions_max = max;
        self.metadata.limit_sessions(max);
    }

    /// Lets readers know of what these entries announce, as [`StateReader::known_members`]. They are
    /// in the log behind the state, in order; they may or may not be applied some day.
    pub fn announce(&mut self, entries: &[Entry]) {
        self.announced.note(entries);
        self.publish_members();
    }

    /// Makes the state of a new group, the same on each of its founders: entry 1 of term 1 is
    /// applied, all voters among the members vote. Durable when this returns.
    ///
    /// # Errors
    ///
    /// `Invalid` if something was applied already, or nobody votes; `Storage`.
    pub fn bootstrap(&mut self, members: Members) -> Result<()> {
        self.check_usable()?;
        if self.applied() != (0, 0) {
            return Err(Error::Invalid("the state belongs to a group already".into()));
        }
        let of = |role| {
            let nodes = members.nodes.iter().filter(move |(_, member)| member.role == role);
            nodes.map(|(id, _)| *id).collect::<Vec<_>>()
        };
        let (voters, learners) = (of(Role::Voter), of(Role::Learner));
        if voters.is_empty() {
            return Err(Error::Invalid("a group needs at least one voter".into()));
        }
        self.metadata.found(members, ConfState::from((voters, learners)));
        let done = self.commit(WriteBatch::new()).and_then(|()| self.flush());
        self.failed = done.is_err();
        done
    }

    /// Index and term of the last entry applied; zeros before the first.
    pub fn applied(&self) -> (u64, u64) {
        self.metadata.applied()
    }

    /// Who decides, as of [`applied`](Self::applied); ids ascending.
    pub fn conf_state(&self) -> ConfState {
        self.metadata.conf().clone()
    }

    /// The members, as of [`applied`](Self::applied).
    pub fn members(&self) -> Arc<Members> {
        Arc::clone(self.metadata.members())
    }

    /// Applies committed entries, the first of which follows the last applied, and returns what
    /// came of each command of each: readers see all of it. `conf` holds the configuration that
    /// raft went on to at each entry that changes the members; where it has none, raft refused.
    ///
    /// # Errors
    ///
    /// `Corrupt`, with the index, for an entry that is not the next or does not decode: none is
    /// ever left out. `Storage` if the engine fails. After an error the state must be opened
    /// anew.
    pub fn apply(
        &mut self,
        entries: &[Entry],
        conf: &[(u64, ConfState)],
    ) -> Result<Vec<(u64, Vec<Outcome>)>> {
        self.check_usable()?;
        let outcomes = self.apply_all(entries, conf);
        self.failed = outcomes.is_err();
        outcomes
    }

    fn apply_all(
        &mut self,
        entries: &[Entry],
        conf: &[(u64, ConfState)],
    ) -> Result<Vec<(u64, Vec<Outcome>)>> {
        let mut outcomes = Vec::with_capacity(entries.len());
        let (mut batch, mut bytes) = (WriteBatch::new(), 0);
        for entry in entries {
            let step = self.metadata.step(entry, conf, &mut batch)?;
            outcomes.push((entry.index, step.outcomes));
            bytes += step.bytes;
            if bytes >= BATCH_BYTES || step.hash {
                self.commit(std::mem::take(&mut batch))?;
                bytes = 0;
            }
            if step.hash {
                self.pin_for_hash()?;
            }
        }
        if self.shared.applied.load(Ordering::Relaxed) < self.applied().0 {
            self.commit(batch)?;
        }
        Ok(outcomes)
    }

    /// Writes a batch with the rows that belong to it, and lets readers see it.
    fn commit(&mut self, mut batch: WriteBatch) -> Result<()> {
        let current = self.shared.current.load_full();
        self.metadata.write_rows(&current.rows, &mut batch);
        let sequence = current.db.write_with(&batch, Durability::None);
        let sequence = sequence.map_err(Error::storage("apply entries"))?;
        let index = self.applied().0;
        self.note_flushed(current.db.flushed_sequence());
        if self.unflushed.len() >= UNFLUSHED_MAX {
            // The newest stays: what is forgotten only makes the answer less exact for a while.
            let mut keep = true;
            self.unflushed.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.unflushed.push_back((sequence, index));
        self.publish_members();
        self.shared.applied.store(index, Ordering::Release);
        Ok(())
    }

    fn publish_members(&mut self) {
        self.announced.applied(self.applied().0);
        let (shared, applied) = (&self.shared, self.metadata.members());
        if !Arc::ptr_eq(&shared.members.load(), applied) {
            shared.members.store(Arc::clone(applied));
        }
        if !self.announced.is_empty() {
            shared.known_members.store(Arc::new(self.announced.complete(applied)));
        } else if !Arc::ptr_eq(&shared.known_members.load(), applied) {
            shared.known_members.store(Arc::clone(applied));
        }
    }

    fn note_flushed(&mut self, sequence: SeqNo) {
        while let Some((_, index)) = self.unflushed.front().filter(|(seq, _)| *seq <= sequence) {
            self.flushed = *index;
            self.unflushed.pop_front();
        }
    }

    /// The greatest index through which everything is in durable tables: after a crash applying
    /// goes on behind it or later, so the log may be cut up to it.
    pub fn flushed_index(&self) -> u64 {
        let sequence = self.shared.current.load().db.flushed_sequence();
        let flushed = self.unflushed.partition_point(|(seq, _)| *seq <= sequence);
        match flushed.checked_sub(1) {
            Some(last) => self.unflushed[last].1,
            None => self.flushed,
        }
    }

    /// A handle for readers, which follows every restore.
    pub fn reader(&self) -> StateReader {
        StateReader { shared: Arc::clone(&self.shared) }
    }

    /// The states that `Hash` commands asked to be hashed since the last call, in order. Take
    /// them soon: only a few are kept, and none over a restore.
    pub fn take_hash_jobs(&mut self) -> Vec<HashJob> {
        std::mem::take(&mut self.hash_jobs).into()
    }

    /// The state of this moment, to be hashed.
    ///
    /// # Errors
    ///
    /// `Storage`.
    pub fn hash_job(&self) -> Result<HashJob> {
        let current = self.shared.current.load();
        HashJob::new(self.applied().0, current.db.snapshot(), &current.rows)
    }

    /// Called when the entry is the last that was written.
    fn pin_for_hash(&mut self) -> Result<()> {
        if self.hash_jobs.len() >= HASH_JOBS_MAX {
            self.hash_jobs.pop_front();
        }
        self.hash_jobs.push_back(self.hash_job()?);
        Ok(())
    }

    /// Makes a copy of the state to be sent: see [`StateReader::checkpoint`], which does it
    /// beside the applying.
    ///
    /// # Errors
    ///
    /// See there.
    pub fn checkpoint(&self) -> Result<Outgoing> {
        self.check_usable()?;
        self.reader().checkpoint()
    }

    /// Puts a received state in force in place of this one; durable when it returns.
    ///
    /// # Errors
    ///
    /// `Invalid` if the snapshot is not [useful](StateReader::check) or of another folder, `Storage`: then
    /// this state stays in force, unless the switch itself failed, after which the state must be
    /// opened anew.
    pub fn restore(&mut self, checked: Checked) -> Result<()> {
        self.check_usable()?;
        let index = checked.header().index;
        self.reader().check_useful(checked.header())?;
        let name = self.shared.folder.state_name(checked.staged.dir())?;
        let Checked { current, metadata, staged } = checked;
        if let Err(error) = self.shared.folder.switch(&name) {
            // Which of the two is in force now, only the disk knows: neither may go.
            self.failed = true;
            staged.keep();
            return Err(error);
        }
        staged.keep();
        self.metadata = metadata;
        self.limit_sessions(self.sessions_max);
        (self.flushed, self.unflushed) = (index, VecDeque::new());
        self.hash_jobs.clear();
        let old = self.shared.current.swap(Arc::new(current));
        self.publish_members();
        self.shared.applied.store(index, Ordering::Release);
        // The old state is of no use to anyone: that it cannot be closed well is no failure, and
        // what stays behind is removed at the next start.
        let _ = old.db.clone().close();
        let _ = remove_folder(&**self.shared.folder.fs(), &old.dir);
        Ok(())
    }

    /// Turns everything applied into durable tables.
    ///
    /// # Errors
    ///
    /// `Storage`.
    pub fn flush(&self) -> Result<()> {
        self.shared.current.load().db.flush().map_err(Error::storage("flush the state"))
    }

    /// Flushes and closes the state; readers get errors from here on.
    ///
    /// # Errors
    ///
    /// `Storage`: then the entries since the last flush are applied again at the next start.
    pub fn close(self) -> Result<()> {
        self.reader().db().close().map_err(Error::storage("close the state"))
    }

    fn check_usable(&self) -> Result<()> {
        if self.failed {
            let message = "the state has failed before and must be opened anew";
            return Err(Error::Invalid(message.into()));
        }
        Ok(())
    }
}
