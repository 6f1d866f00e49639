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
use std::sync::atomic::Ordering;

use super::retry::Failure;
use super::stall::StallReason;
use super::state::{Commit, Engine};
use super::tree::Tree;
use crate::batch::{Operation, WriteBatch};
use crate::event::BackgroundJob::{Compaction, Flush, LogSegment};
use crate::key::{KeyspaceId, SEQ_MAX, SeqNo};
use crate::memtable::{Insert, Memtable};
use crate::options::Durability;
use lsm_log::error::{Error, Result};
use lsm_log::wal::{self, Log, Lsn, Syncer, WriteMode};
use parking_lot::MutexGuard;

/// The pressure is computed anew after so many bytes, as the active memtable fills up.
const PRESSURE_EVERY: usize = 256 << 10;

/// When the memory of all memtables is half full, one part in so many of it is flushed.
const SEALED_PART: usize = 8;

/// Where a batch goes: the memtable of each keyspace it names, in the order of their numbers.
type Targets = Vec<Arc<Memtable>>;

/// Whether room was made in the log.
type Made = std::result::Result<(), Failure>;

impl Engine {
    /// Writes a batch; returns the sequence number of its last operation.
    pub(crate) fn write(&self, batch: &mut WriteBatch, durability: Durability) -> Result<SeqNo> {
        self.check_writable()?;
        batch.check(self.token)?;
        if batch.is_empty() {
            return self.write_nothing(durability);
        }
        self.hold_back(batch.bytes())?;
        let (targets, first, position) = self.commit(batch, durability)?;
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

    pub(crate) fn sync_log(&self, position: Lsn) -> Result<()> {
        self.syncer().sync_through(position).map_err(|error| self.fail(error))
    }

    /// Makes every write so far survive power loss.
    pub(crate) fn sync_all(&self) -> Result<()> {
        self.check_writable()?;
        self.write_nothing(Durability::Sync).map(drop)
    }

    pub(crate) fn syncer(&self) -> &Syncer {
        self.log.get().expect("a writable database has a log")
    }

    /// The locked part: numbers the batch and appends it to the log.
    fn commit(
        &self,
        batch: &mut WriteBatch,
        durability: Durability,
    ) -> Result<(Targets, SeqNo, Lsn)> {
        loop {
            let mut commit = match durability {
                Durability::None => self.unlogged()?,
                Durability::Buffered | Durability::Sync => self.logged()?,
            };
            self.check_writable()?;
            let trees = self.trees_of(batch)?;
            if !self.make_room(&mut commit, &trees) {
                drop(commit);
                self.count_wait(StallReason::Memtables, |_| {
                    trees.iter().all(|tree| tree.view().has_room())
                })?;
                continue;
            }
            self.bound_memory(&commit);
            let first = SeqNo(commit.last_seq.0 + 1);
            let last = first.0 + batch.len() as u64 - 1;
            if last > SEQ_MAX.0 {
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
            let active = |tree: &Arc<Tree>| Arc::clone(&tree.view().active);
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
            self.check_writable()?;
            if commit.barrier <= self.flushed_seq() {
                if commit.unlogged_waiting > 0 {
                    self.turn.wait(&mut commit);
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
                self.turn.notify_all();
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
                self.turn.wait(&mut commit);
                continue;
            }
            drop(commit);
            waited = self.wait_for(Flush, 0, |engine| engine.flushed_seq() >= barrier);
            commit = self.commit.lock();
        }
        commit.unlogged_waiting -= 1;
        if commit.unlogged_waiting == 0 {
            self.turn.notify_all();
        }
        waited.map(|()| commit)
    }

    /// Asks for flushes of the keyspaces that hold most, full or not, when all memtables together
    /// have filled half of what they may: the other half is for those that are being flushed.
    pub(super) fn bound_memory(&self, commit: &Commit) {
        let most = self.options.write_buffers_bytes_max;
        if self.memory.filling() > most / 2 {
            self.seal_largest(commit, most / SEALED_PART);
        }
    }

    /// Seals and queues the largest write buffers, in one flush, until that is `bytes` of them:
    /// many at once, as they are found by a walk over all keyspaces.
    #[cold]
    fn seal_largest(&self, commit: &Commit, bytes: usize) {
        let sized = |tree: Arc<Tree>| (tree.view().filling_bytes(), tree);
        let mut trees: Vec<_> = self.live_trees().into_iter().map(sized).collect();
        trees.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        let (mut largest, mut sum) = (Vec::new(), 0);
        for (held, tree) in trees.into_iter().take_while(|(held, _)| *held > 0) {
            if sum >= bytes {
                break;
            }
            sum += held;
            largest.push(tree);
        }
        self.seal_now(commit, &largest);
    }

    fn trees_of(&self, batch: &mut WriteBatch) -> Result<Vec<Arc<Tree>>> {
        let trees: std::result::Result<Vec<_>, KeyspaceId> =
            batch.keyspaces().iter().map(|id| self.tree(*id).ok_or(*id)).collect();
        trees.map_err(|dropped| batch.names_dropped(dropped))
    }

    /// Seals full memtables; false if there are already too many waiting to be flushed.
    fn make_room(&self, commit: &mut Commit, trees: &[Arc<Tree>]) -> bool {
        if !trees.iter().any(|tree| tree.view().is_full()) {
            return true;
        }
        if trees.iter().any(|tree| !tree.view().has_room()) {
            return false;
        }
        let full: Vec<_> = trees.iter().filter(|tree| tree.view().is_full()).cloned().collect();
        self.seal(commit, &full);
        true
    }

    fn append(
        &self,
        commit: &mut Commit,
        batch: &mut WriteBatch,
        first: SeqNo,
        mode: WriteMode,
    ) -> Result<Lsn> {
        self.make_log_room(commit, batch.bytes()).map_err(|failure| match failure {
            // The log is as it was: the next write asks again, and meanwhile the thread tries.
            Failure::Harmless(error) => {
                self.jobs.lock().segment_wanted = true;
                self.put_off(LogSegment, error)
            }
            Failure::Fatal(error) => self.fail(error),
        })?;
        let log = commit.log.as_mut().expect("a writable database has a log");
        let last = first.0 + batch.len() as u64 - 1;
        let payload = batch.stamp(first);
        let fill = |out: &mut Vec<u8>| out.extend_from_slice(payload);
        let appended = log.append_with(first.0, last, mode, payload.len(), fill);
        let end = appended.map_err(|error| self.fail(error))?;
        if log.wants_segment() {
            self.jobs.lock().segment_wanted = true;
            self.announce();
        }
        Ok(end)
    }

    /// Makes room for a batch at the end of the log: goes on in the segment made ahead, or in a new
    /// one that is long enough.
    fn make_log_room(&self, commit: &mut Commit, batch_bytes: usize) -> Made {
        let log = commit.log.as_mut().expect("a writable database has a log");
        if log.has_room(batch_bytes) {
            return Ok(());
        }
        while !log.has_room(batch_bytes) {
            let next = match log.take_ahead() {
                Some(Ok(segment)) => segment,
                // Why it was not made is told already.
                Some(Err(_)) | None => {
                    let (number, nonce) = self.set.new_framed_file();
                    let job = log.job(number, nonce, wal::record_len(batch_bytes), false);
                    self.new_segment(job)?
                }
            };
            log.enter(next).map_err(Failure::Fatal)?;
        }
        self.bound_logs(commit);
        Ok(())
    }

    /// Seals the memtables that keep the oldest log alive once there is too much of it.
    fn bound_logs(&self, commit: &Commit) {
        let full = || commit.log.iter().flat_map(Log::full);
        let total: u64 = full().map(|segment| segment.bytes).sum();
        let Some(oldest) = full().next() else { return };
        if total + self.options.log_segment_bytes <= self.options.log_bytes_max {
            return;
        }
        self.published.wait_for(commit.last_seq);
        let pins = |tree: &Arc<Tree>| {
            let first = tree.view().filling().filter_map(|memtable| memtable.first_seq()).min();
            first.is_some_and(|first| first.0 <= oldest.last)
        };
        let pinning: Vec<_> = self.live_trees().into_iter().filter(pins).collect();
        if !pinning.is_empty() {
            self.seal_now(commit, &pinning);
        }
    }

    /// Waits as long as the background work's debt asks for these bytes: the smooth part of a
    /// stall. Where the debt is beyond all measure, waits until it is not.
    fn hold_back(&self, bytes: usize) -> Result<()> {
        if !self.pressed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut pacing = self.pacing.lock();
        pacing.written += bytes;
        if pacing.written >= PRESSURE_EVERY {
            drop(pacing);
            self.update_pressure();
            pacing = self.pacing.lock();
        }
        let (pressure, now) = (pacing.pressure, self.options.clock.now());
        let pause = pacing.pacer.charge(&pressure, bytes, now);
        drop(pacing);
        if !pause.is_zero() {
            self.metrics.count_pause(pressure.reason, pause);
            self.options.clock.sleep(pause);
        }
        if !self.stopped.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.count_wait(pressure.reason, |engine| !engine.stopped.load(Ordering::Relaxed))
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
