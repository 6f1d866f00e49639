//! What there is to do in the background, and how those who do it and those who wait for it hear of
//! it.
//!
//! Whoever looks for work, or for what it brings about, notes [`Work::announced`] first: if the
//! number is the same when it goes to sleep, it has missed nothing.
//!
//! Threads: any. The lock is a leaf, and is held over looks at super-versions.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lsm_log::wal::Lsn;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::tree::Tree;
use crate::compaction::{BusyTables, Plan};
use crate::key::{KeyspaceId, SeqNo};
use crate::memtable::Memtable;
use crate::version::Catalog;

/// The background work of one open database.
#[derive(Debug, Default)]
pub(crate) struct Work {
    jobs: Mutex<Jobs>,
    /// How often something was announced. Raised under the lock.
    announced: AtomicU64,
    /// There may be work to do.
    wake: Condvar,
    /// Work was done: room in the memtables, a number flushed, a table no longer busy.
    progress: Condvar,
    /// Jobs end as soon as they can.
    stopping: AtomicBool,
}

impl Work {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock()
    }

    /// How often something was announced.
    pub(crate) fn announced(&self) -> u64 {
        self.announced.load(Ordering::Acquire)
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

    /// Waits for work, unless some was announced since `seen`; for this long at most.
    pub(crate) fn wait_for_work(&self, seen: u64, at_most: Duration) {
        let mut jobs = self.jobs.lock();
        if self.announced.load(Ordering::Relaxed) == seen {
            self.wake.wait_for(&mut jobs, at_most);
        }
    }

    /// Waits for work to be done, unless something was announced since `seen`.
    pub(crate) fn wait_for_progress(&self, seen: u64) {
        let mut jobs = self.jobs.lock();
        if self.announced.load(Ordering::Relaxed) == seen {
            self.progress.wait(&mut jobs);
        }
    }

    /// Has all jobs end as soon as they can.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.announce();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// What a long job looks at now and then.
    pub(crate) fn stop_flag(&self) -> &AtomicBool {
        &self.stopping
    }

    /// Passes the time that `left` says is left, until that is none or all jobs are to end.
    pub(crate) fn sleep(&self, left: impl Fn() -> Duration) {
        let mut jobs = self.jobs.lock();
        while !self.is_stopping() {
            let left = left();
            if left.is_zero() || self.wake.wait_for(&mut jobs, left).timed_out() {
                return;
            }
        }
    }
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

    /// Gives back what those compactions took that were put off and of which `ends` says so.
    pub(crate) fn take_put_off(&mut self, ends: impl Fn(&PutOffPlan) -> bool) -> Vec<PutOffPlan> {
        let ended: Vec<_> = self.put_off.extract_if(.., |plan| ends(plan)).collect();
        ended.iter().for_each(|put_off| self.finish(put_off.tree, &put_off.plan));
        ended
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
