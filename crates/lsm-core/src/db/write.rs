//! The write path: number, log, memtable, publish, sync.
//!
//! One lock orders writes. Under it a write gets its sequence numbers and is appended to the
//! log: a copy into a mapping for `Buffered`, a `pwrite` for `Sync`, which a later fdatasync
//! can wait for without dirtying the mapping. Inserting into the memtable, waiting for the
//! turn to become visible, and waiting for the disk happen outside the lock, so that a write
//! runs beside the next one's, and one sync serves all that wait for it.
//!
//! A `Sync` write becomes visible before it is durable, as every other: a reader may see it
//! a moment before its writer is told that it is safe. If the sync fails, the database
//! refuses writes until it is reopened, and the log decides what was written.

use std::sync::Arc;

use lsm_log::error::{Error, Result};
use lsm_log::wal::{Log, Lsn, WriteMode};
use parking_lot::MutexGuard;

use super::engine::Engine;
use super::stall::StallReason;
use super::tree::Tree;
use super::write_queue::Commit;
use crate::batch::{Operation, WriteBatch};
use crate::event::BackgroundJob::{Compaction, Flush};
use crate::key::{KeyspaceId, OWN_SEQ_MIN, SeqNo};
use crate::memtable::{Insert, Memtable};
use crate::options::Durability;

/// Where a batch goes: the memtable of each keyspace it names, in the order of their numbers.
type Targets = Vec<Arc<Memtable>>;

/// What must hold for a batch to be written.
pub(super) trait Precondition {
    /// Does what can be done beside other writers.
    fn prepare(&mut self) -> Result<()>;

    /// Whether it holds behind all that was written so far, with `last` as the last number; that may
    /// not be visible yet. Under the commit lock: nothing is written meanwhile.
    fn check(&self, last: SeqNo) -> Result<()>;
}

/// Nothing.
impl Precondition for () {
    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    fn check(&self, _last: SeqNo) -> Result<()> {
        Ok(())
    }
}

impl Engine {
    /// Writes a batch; returns the sequence number of its last operation.
    pub(crate) fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<SeqNo> {
        self.write_if(batch, durability, ())
    }

    /// Writes a batch if `precondition` holds when it takes its place in the write order.
    pub(super) fn write_if(
        &self,
        batch: &WriteBatch,
        durability: Durability,
        mut precondition: impl Precondition,
    ) -> Result<SeqNo> {
        self.lifecycle.check_writable()?;
        batch.check(self.token)?;
        if batch.is_empty() {
            return self.write_nothing(durability);
        }
        self.hold_back(batch.bytes())?;
        precondition.prepare()?;
        let (targets, first, position) = self.commit(batch, durability, &precondition)?;
        let last = SeqNo(first.0 + batch.len() as u64 - 1);
        insert(batch, &targets, first);
        self.published.publish(first, last);
        self.metrics.count_write(batch);
        if durability == Durability::Sync {
            self.sync_log(position)?;
        }
        Ok(last)
    }

    /// An empty batch changes nothing, but a synced one still makes all before it durable.
    fn write_nothing(&self, durability: Durability) -> Result<SeqNo> {
        if durability == Durability::Sync {
            let commit = self.logged()?;
            let position = commit.log.as_ref().map(Log::end);
            drop(commit);
            position.map_or(Ok(()), |position| self.sync_log(position))?;
        }
        Ok(self.published.get())
    }

    /// Makes every write so far survive power loss.
    pub(crate) fn sync_all(&self) -> Result<()> {
        self.lifecycle.check_writable()?;
        self.write_nothing(Durability::Sync).map(drop)
    }

    /// The locked part: numbers the batch and appends it to the log.
    fn commit(
        &self,
        batch: &WriteBatch,
        durability: Durability,
        precondition: &impl Precondition,
    ) -> Result<(Targets, SeqNo, Lsn)> {
        loop {
            let mut commit = match durability {
                Durability::None => self.unlogged()?,
                Durability::Buffered | Durability::Sync => self.logged()?,
            };
            self.lifecycle.check_writable()?;
            let trees = self.trees_of(batch)?;
            if !self.make_room(&mut commit, &trees) {
                drop(commit);
                self.count_wait(StallReason::Memtables, |_| {
                    trees.iter().all(|tree| tree.super_version().has_room())
                })?;
                continue;
            }
            precondition.check(commit.last_seq)?;
            self.bound_memory(&commit);
            let first = SeqNo(commit.last_seq.0 + 1);
            let last = first.0 + batch.len() as u64 - 1;
            if last >= OWN_SEQ_MIN.0 {
                return Err(Error::invalid("the database has used up its sequence numbers"));
            }
            let position = match durability {
                Durability::None => {
                    commit.unlogged = SeqNo(last);
                    Lsn::default()
                }
                Durability::Buffered => self.append(&mut commit, batch, first, WriteMode::Mmap)?,
                Durability::Sync => self.append(&mut commit, batch, first, WriteMode::Pwrite)?,
            };
            commit.last_seq = SeqNo(last);
            let active = |tree: &Arc<Tree>| Arc::clone(&tree.super_version().active);
            return Ok((trees.iter().map(active).collect(), first, position));
        }
    }

    /// The commit lock, for a write that goes into the log: once everything that is in no log has
    /// been flushed, as the log may not have holes.
    ///
    /// Beside unlogged writes that never let up this is a matter of turns. A logged write raises
    /// the barrier, behind which all wait for a flush. Once that is done, the logged writes that
    /// waited go on, then the unlogged ones that did, and only then may the barrier be raised
    /// again: so each side waits for one flush, and for those of the other who came before it.
    pub(crate) fn logged(&self) -> Result<MutexGuard<'_, Commit>> {
        let mut commit = self.commit.lock();
        while commit.unlogged > self.flushed_seq() {
            self.lifecycle.check_writable()?;
            if commit.barrier <= self.flushed_seq() {
                if commit.unlogged_waiting > 0 {
                    self.commit.wait(&mut commit);
                    continue;
                }
                commit.barrier = commit.unlogged;
                self.seal_all(&commit, None);
            }
            let barrier = commit.barrier;
            commit.logged_waiting += 1;
            drop(commit);
            let waited = self.wait_for(Flush, 0, |engine| engine.flushed_seq() >= barrier);
            commit = self.commit.lock();
            commit.logged_waiting -= 1;
            if commit.logged_waiting == 0 {
                self.commit.pass_on();
            }
            waited?;
        }
        Ok(commit)
    }

    /// The commit lock, for a write in no log: when no logged one waits for its turn.
    fn unlogged(&self) -> Result<MutexGuard<'_, Commit>> {
        let mut commit = self.commit.lock();
        let is_free =
            |commit: &Commit| commit.barrier <= self.flushed_seq() && commit.logged_waiting == 0;
        if is_free(&commit) {
            return Ok(commit);
        }
        commit.unlogged_waiting += 1;
        let mut waited = Ok(());
        while waited.is_ok() && !is_free(&commit) {
            let barrier = commit.barrier;
            if barrier <= self.flushed_seq() {
                self.commit.wait(&mut commit);
                continue;
            }
            drop(commit);
            waited = self.wait_for(Flush, 0, |engine| engine.flushed_seq() >= barrier);
            commit = self.commit.lock();
        }
        commit.unlogged_waiting -= 1;
        if commit.unlogged_waiting == 0 {
            self.commit.pass_on();
        }
        waited.map(|()| commit)
    }

    fn trees_of(&self, batch: &WriteBatch) -> Result<Vec<Arc<Tree>>> {
        let trees: std::result::Result<Vec<_>, KeyspaceId> =
            batch.keyspaces().iter().map(|id| self.tree(*id).ok_or(*id)).collect();
        trees.map_err(|dropped| batch.names_dropped(dropped))
    }

    /// Seals full memtables; false if there are already too many waiting to be flushed.
    fn make_room(&self, commit: &mut Commit, trees: &[Arc<Tree>]) -> bool {
        if !trees.iter().any(|tree| tree.super_version().is_full()) {
            return true;
        }
        if trees.iter().any(|tree| !tree.super_version().has_room()) {
            return false;
        }
        let full: Vec<_> =
            trees.iter().filter(|tree| tree.super_version().is_full()).cloned().collect();
        self.seal(commit, &full);
        true
    }

    /// Waits as long as the background work's debt asks for these bytes: the smooth part of a
    /// stall. Where the debt is beyond all measure, waits until it is not.
    fn hold_back(&self, bytes: usize) -> Result<()> {
        if !self.pacing.is_pressed() {
            return Ok(());
        }
        if self.pacing.count(bytes) {
            self.update_pressure();
        }
        let charge = self.pacing.charge(bytes, self.options.clock.now());
        if !charge.pause.is_zero() {
            self.metrics.count_pause(charge.reason, charge.pause);
            self.options.clock.sleep(charge.pause);
        }
        if !self.pacing.is_stopped() {
            return Ok(());
        }
        self.count_wait(charge.reason, |engine| !engine.pacing.is_stopped())
    }

    /// Waits for background work, and counts the time. Work that fails is not waited for.
    fn count_wait(&self, reason: StallReason, done: impl Fn(&Self) -> bool) -> Result<()> {
        let start = self.options.clock.now();
        let job = match reason {
            StallReason::None | StallReason::Memtables | StallReason::Memory => Flush,
            StallReason::LevelZero | StallReason::Debt => Compaction,
        };
        let waited = self.wait_for(job, 0, done);
        self.metrics.count_stop(reason, self.options.clock.now().saturating_sub(start));
        waited
    }
}

fn insert(batch: &WriteBatch, targets: &Targets, first: SeqNo) {
    let inserts = batch.operations().zip(first.0..).map(numbered);
    if let [memtable] = targets.as_slice() {
        return memtable.insert(inserts.map(|(_, insert)| insert));
    }
    let mut inserts: Vec<_> = inserts.collect();
    inserts.sort_by_key(|(keyspace, _)| *keyspace);
    let groups = inserts.chunk_by(|a, b| a.0 == b.0);
    for (group, memtable) in groups.zip(targets) {
        memtable.insert(group.iter().map(|(_, insert)| *insert));
    }
}

fn numbered((operation, seq): (Operation<'_>, u64)) -> (KeyspaceId, Insert<'_>) {
    let Operation { kind, keyspace, key, value } = operation;
    (keyspace, Insert { seq: SeqNo(seq), kind, key, value })
}

#[cfg(test)]
#[path = "write_test.rs"]
mod tests;
