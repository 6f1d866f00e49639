//! What the handles, the background work and the readers of one open database share.
//!
//! Invariants:
//! * `published <= last_seq`; everything up to `flushed` is in tables; `flushed <= published`.
//! * Sealed memtables are flushed in the order they were sealed, and nothing is written to one
//!   once it is sealed: sealing waits until every number given out is published.
//! * Writes that are in no log are flushed together, over all keyspaces, in one edit: a crash
//!   can not tear a batch apart that no log holds together.
//! * With several keyspaces, the log is durable up to where a memtable was sealed before that
//!   memtable's table is named: a crash can not keep one keyspace's part of a batch in a table
//!   and lose another's with the end of the log.
//! * A log segment is given up only when every operation in it is in tables.
//!
//! Threads: any. The order of the locks is in `sync`.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::health::Health;
use super::idle::Idle;
use super::publish::Publisher;
use super::retry::Retries;
use super::snapshot::Snapshots;
use super::stall::{Pacer, Pressure, Shape};
use super::stats::Metrics;
use super::tree::{MEMTABLES_A_BUFFER, Tree, View};
use super::trees::Trees;
use crate::cache::BlockCache;
use crate::compaction::{BusyTables, Plan};
use crate::event::Event;
use crate::key::{KeyspaceId, SeqNo};
use crate::memtable::{MemoryUse, Memtable};
use crate::options::Options;
use crate::sstable::OpenTables;
use crate::version::{Catalog, VersionSet};
use lsm_log::error::{Error, Result};
use lsm_log::fs::{Lock, ProcessMark};
use lsm_log::wal::{Log, Lsn, Syncer};
use parking_lot::{Condvar, Mutex, RwLock, RwLockReadGuard};

/// One open database.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) options: Options,
    pub(crate) dir: PathBuf,
    pub(crate) read_only: bool,
    /// Of the process that opened the database: a forked one has copies of its memory and its open
    /// files, but none of its threads.
    pub(crate) process: Arc<ProcessMark>,
    /// Tells this open database from every other in the process.
    pub(crate) token: u64,
    pub(crate) set: VersionSet,
    pub(crate) tables: Arc<OpenTables>,
    pub(crate) cache: Arc<BlockCache>,
    pub(crate) trees: Trees,
    /// Of all memtables together.
    pub(crate) memory: Arc<MemoryUse>,
    pub(crate) commit: Mutex<Commit>,
    /// Somebody's turn to write has come: waited for under the commit lock.
    pub(crate) turn: Condvar,
    /// Makes the log durable; none if the database was opened to be read only.
    pub(crate) log: OnceLock<Arc<Syncer>>,
    pub(crate) published: Publisher,
    /// Mirrors the version set's number for those who only compare.
    pub(crate) flushed: AtomicU64,
    pub(crate) snapshots: Snapshots,
    pub(crate) health: Health,
    /// What failed without harm, and when it is tried again.
    pub(crate) retries: Mutex<Retries>,
    pub(crate) metrics: Metrics,
    pub(crate) pacing: Mutex<Pacing>,
    /// Whether anything waits to be flushed or holds writers back: if not, writers need not
    /// look at the pacing.
    pub(crate) pressed: AtomicBool,
    /// Whether writers wait until background work has caught up.
    pub(crate) stopped: AtomicBool,
    pub(crate) jobs: Mutex<Jobs>,
    /// How often something was announced: whoever saw the same number before and after
    /// looking for work has missed none. Raised under the lock of the jobs.
    pub(crate) announced: AtomicU64,
    /// There may be work to do.
    pub(crate) wake: Condvar,
    /// Work was done: room in the memtables, a number flushed, a table no longer busy.
    pub(crate) progress: Condvar,
    /// Held while a memtable is being flushed: flushes are one at a time, in order.
    pub(crate) flushing: Mutex<()>,
    /// Held, over I/O, by whoever brings a keyspace to rest; never waited for.
    pub(crate) idle: Mutex<Idle>,
    pub(crate) closed: AtomicBool,
    /// Background jobs stop as soon as they can.
    pub(crate) stopping: AtomicBool,
    pub(crate) folder_lock: Mutex<Option<Box<dyn Lock>>>,
    /// Held, shared, by jobs that run in callers' threads: closing waits for them, as others may
    /// write to the folder after that.
    pub(crate) caller_jobs: RwLock<()>,
}

/// The write path: who holds it gives out sequence numbers and appends to the log.
#[derive(Debug, Default)]
pub(crate) struct Commit {
    /// `None` when the database was opened to be read only.
    pub(crate) log: Option<Log>,
    pub(crate) last_seq: SeqNo,
    /// The greatest sequence number that was given to a write in no log.
    pub(crate) unlogged: SeqNo,
    /// Every write waits for everything up to here to be flushed: a logged one has asked for it.
    pub(crate) barrier: SeqNo,
    /// Logged writes that wait for the barrier to fall, or have not taken their turn since.
    pub(crate) logged_waiting: usize,
    /// The same of unlogged writes, whose turn comes after theirs.
    pub(crate) unlogged_waiting: usize,
}

/// How much writers are held back.
#[derive(Debug, Default)]
pub(crate) struct Pacing {
    pub(crate) pressure: Pressure,
    pub(crate) pacer: Pacer,
    /// Bytes written since the pressure was computed: filling a memtable raises it.
    pub(crate) written: usize,
    /// The keyspaces that may hold writers back: those that did when they were looked at last,
    /// and those that have changed since.
    pub(crate) watched: BTreeMap<KeyspaceId, Arc<Tree>>,
}

/// What there is to do in the background, and what is being done.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    pub(crate) flushes: VecDeque<FlushGroup>,
    /// Of each keyspace on which compactions are running, what they have taken.
    pub(crate) busy: BTreeMap<KeyspaceId, BusyTables>,
    /// The keyspaces that have anything to compact, some of it perhaps not yet.
    pub(crate) due: BTreeMap<KeyspaceId, Arc<Tree>>,
    /// Which keyspace was compacted last: of those that are equally urgent, it comes last.
    pub(crate) last_tree: KeyspaceId,
    pub(crate) segment_wanted: bool,
    /// Compactions that failed; their tables stay taken until they are tried again.
    pub(crate) put_off: Vec<PutOffPlan>,
}

/// A compaction that failed without harm.
#[derive(Debug)]
pub(crate) struct PutOffPlan {
    pub(crate) tree: KeyspaceId,
    pub(crate) plan: Plan,
    /// In the time of the database's clock.
    pub(crate) until: Duration,
}

impl Jobs {
    /// What running compactions have taken of one keyspace.
    pub(crate) fn busy(&mut self, id: KeyspaceId) -> &mut BusyTables {
        self.busy.entry(id).or_default()
    }

    /// Gives back what `plan` took.
    pub(crate) fn finish(&mut self, id: KeyspaceId, plan: &Plan) {
        self.busy(id).finish(plan);
        self.busy.retain(|_, busy| !busy.is_empty());
    }
}

/// Memtables that become one table.
#[derive(Clone, Debug)]
pub(crate) struct FlushPart {
    pub(crate) tree: Arc<Tree>,
    /// Newest first.
    pub(crate) memtables: Vec<Arc<Memtable>>,
}

/// Write buffers that become tables in one edit.
#[derive(Clone, Debug)]
pub(crate) struct FlushGroup {
    /// Everything up to here is in the memtables of this group, of an earlier one, or flushed.
    pub(crate) sealed_at: SeqNo,
    pub(crate) parts: Vec<FlushPart>,
    /// Where the log ended when the group was sealed; `None` while the log is replayed, which
    /// is durable before.
    pub(crate) log_end: Option<Lsn>,
    /// Gets the catalog as it is right after this flush: the state at `sealed_at`, exactly.
    pub(crate) capture: Option<Arc<Mutex<Option<Catalog>>>>,
}

impl Engine {
    /// Refuses the call if the database was closed.
    #[inline]
    pub(crate) fn check_open(&self) -> Result<()> {
        self.process.check()?;
        match self.closed.load(Ordering::Acquire) {
            false => Ok(()),
            true => Err(Error::closed()),
        }
    }

    /// Refuses the call if nothing may be written.
    #[inline]
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if self.read_only {
            return Err(Error::invalid("the database was opened to be read only"));
        }
        self.health.check()
    }

    /// Begins a job in the caller's thread: the folder is ours until the guard is dropped. A job
    /// may be a part of another.
    pub(crate) fn begin_job(&self) -> Result<RwLockReadGuard<'_, ()>> {
        // First: whoever held a lock when this process was forked will never let it go here.
        self.process.check()?;
        let guard = self.caller_jobs.read_recursive();
        // Looked at behind the gate: whoever closes has said so before waiting at it.
        self.check_open()?;
        Ok(guard)
    }

    #[inline]
    pub(crate) fn tree(&self, id: KeyspaceId) -> Option<Arc<Tree>> {
        self.trees.get(id)
    }

    pub(crate) fn live_trees(&self) -> Vec<Arc<Tree>> {
        self.trees.all()
    }

    pub(crate) fn flushed_seq(&self) -> SeqNo {
        SeqNo(self.flushed.load(Ordering::Acquire))
    }

    /// Seals the active memtables of `trees`, and queues a flush of each write buffer that is
    /// full by that.
    pub(crate) fn seal(&self, commit: &Commit, trees: &[Arc<Tree>]) {
        // Whoever still inserts needs no lock we hold, and is done in microseconds.
        self.published.wait_for(commit.last_seq);
        for tree in trees {
            tree.seal();
            self.changed(tree);
        }
        let is_full = |tree: &&Arc<Tree>| tree.view().unqueued >= MEMTABLES_A_BUFFER;
        let full: Vec<_> = trees.iter().filter(is_full).cloned().collect();
        if !full.is_empty() {
            self.seal_now(commit, &full);
        }
        self.update_pressure();
    }

    /// Queues a flush of the write buffers of `trees`, full or not, in one edit: of all
    /// keyspaces, if any write is in no log.
    pub(crate) fn seal_now(&self, commit: &Commit, trees: &[Arc<Tree>]) {
        let parts = match commit.unlogged > self.flushed_seq() {
            true => self.seal_parts(commit, &self.live_trees()),
            false => self.seal_parts(commit, trees),
        };
        if !parts.is_empty() {
            self.queue_flush(commit, parts, None);
        }
    }

    /// Queues a flush of all write buffers, even of nothing: once it is done, everything up to
    /// the last number given out is in tables.
    pub(crate) fn seal_all(&self, commit: &Commit, capture: Option<Arc<Mutex<Option<Catalog>>>>) {
        let parts = self.seal_parts(commit, &self.live_trees());
        self.queue_flush(commit, parts, capture);
    }

    fn seal_parts(&self, commit: &Commit, trees: &[Arc<Tree>]) -> Vec<FlushPart> {
        self.published.wait_for(commit.last_seq);
        let part = |tree: &Arc<Tree>| {
            if !tree.view().active.is_empty() {
                tree.seal();
            }
            let memtables = tree.queue();
            if !memtables.is_empty() {
                self.changed(tree);
            }
            FlushPart { tree: Arc::clone(tree), memtables }
        };
        trees.iter().map(part).filter(|part| !part.memtables.is_empty()).collect()
    }

    pub(crate) fn queue_flush(
        &self,
        commit: &Commit,
        parts: Vec<FlushPart>,
        capture: Option<Arc<Mutex<Option<Catalog>>>>,
    ) {
        let log_end = commit.log.as_ref().map(Log::end);
        let group = FlushGroup { sealed_at: commit.last_seq, parts, log_end, capture };
        self.jobs.lock().flushes.push_back(group);
        self.announce();
        self.update_pressure();
    }

    /// Everything up to here is in tables, given that the memtables of `done` are.
    ///
    /// Loads the published number first: inserts up to it have happened, so a memtable that
    /// shows no operation at or below it has none.
    pub(crate) fn flushed_through(&self, done: &FlushGroup) -> SeqNo {
        let published = self.published.get();
        let done = done.parts.iter().flat_map(|part| &part.memtables);
        let done: HashSet<*const Memtable> = done.map(Arc::as_ptr).collect();
        let is_done = |memtable: &Arc<Memtable>| done.contains(&Arc::as_ptr(memtable));
        let first = |tree: &Arc<Tree>| {
            let view = tree.view();
            let waiting = view.memtables().filter(|memtable| !is_done(memtable));
            waiting.filter_map(|memtable| memtable.first_seq()).min()
        };
        match self.live_trees().iter().filter_map(first).min() {
            Some(first) => published.min(SeqNo(first.0 - 1)),
            None => published,
        }
    }

    /// Computes anew how much writers are held back, by those keyspaces that may: the others are
    /// not looked at, as there may be thousands.
    ///
    /// Under the lock from the first look on: whoever stores last has looked last. Otherwise a
    /// stop, seen before the last job took its cause away, could be stored after it, for ever.
    /// For the same reason a tree is watched from each of its changes on until it was looked at.
    ///
    /// Why none is missed: nothing but a change makes an idle keyspace hold writers back. As its
    /// active memtable fills it comes no further than to the soft limit.
    pub(crate) fn update_pressure(&self) {
        let mut pacing = self.pacing.lock();
        let memory_max = self.options.write_buffers_bytes_max;
        let mut worst = Pressure::of_memory(self.memory.bytes(), self.memory.filling(), memory_max);
        let mut any_flushing = false;
        pacing.watched.retain(|_, tree| {
            let view = tree.view();
            let pressure = pressure_of(&view);
            worst = worst.worse(pressure);
            any_flushing |= view.is_flushing();
            view.is_flushing() || !pressure.is_none()
        });
        self.pressed.store(any_flushing || !worst.is_none(), Ordering::Relaxed);
        let was_stopped = self.stopped.swap(worst.stop, Ordering::Relaxed);
        (pacing.pressure, pacing.written) = (worst, 0);
        drop(pacing);
        if was_stopped && !worst.stop {
            self.announce();
        }
    }

    /// Puts the tables of `catalog` in force for one keyspace, unless it was dropped meanwhile.
    pub(crate) fn install(&self, catalog: &Catalog, tree: &Arc<Tree>, flushed: &[Arc<Memtable>]) {
        if let Some(state) = catalog.keyspaces.get(&tree.id) {
            tree.install(&state.version, flushed);
            self.changed(tree);
        }
    }

    /// To be told of each change of a view, once it is made: the tree is looked at when the
    /// pressure is computed next, and compacted if it has anything to compact.
    pub(crate) fn changed(&self, tree: &Arc<Tree>) {
        self.pacing.lock().watched.insert(tree.id, Arc::clone(tree));
        // Looked at under the lock: whoever stores last has looked last.
        let mut jobs = self.jobs.lock();
        let view = tree.view();
        match view.named && view.facts.is_due {
            true => jobs.due.insert(tree.id, Arc::clone(tree)),
            false => jobs.due.remove(&tree.id),
        };
    }

    /// Stores a failure that makes writing unsafe, and wakes all who wait for progress.
    pub(crate) fn fail(&self, error: Error) -> Error {
        if self.health.fail(&error) {
            self.options.listener.tell(&Event::Failed { error: error.clone() });
        }
        self.announce();
        error
    }

    /// Tells workers that there may be work, and waiters that something changed. Counted
    /// under the lock, so that nobody who is about to wait misses it.
    pub(crate) fn announce(&self) {
        let jobs = self.jobs.lock();
        self.announced.fetch_add(1, Ordering::Release);
        drop(jobs);
        self.wake.notify_all();
        self.progress.notify_all();
    }
}

/// How much one keyspace holds writers back.
fn pressure_of(view: &View) -> Pressure {
    // What is not compacted must not hold anyone back until it is.
    if !view.named {
        return Pressure::default();
    }
    Pressure::of(&Shape {
        sealed_memtables: (view.sealed.len() - view.unqueued).div_ceil(MEMTABLES_A_BUFFER),
        active_bytes: view.filling_bytes() as u64,
        write_buffer_bytes: view.options.write_buffer_bytes as u64,
        write_buffers_max: view.options.write_buffers_max,
        l0_tables: view.version.levels[0].len(),
        l0_tables_compact: view.options.l0_tables_compact,
        debt_bytes: view.facts.debt_bytes,
        level_bytes_base: view.options.level_bytes_base,
        total_bytes: view.facts.table_bytes,
    })
}

#[cfg(test)]
#[path = "state_test.rs"]
mod tests;
