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
//! Threads: any. The order of the locks is in the header of `db`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use lsm_log::error::{Error, ErrorKind, Result};
use lsm_log::file_name::FileName;
use lsm_log::fs::Lock;
use lsm_log::wal::Syncer;
use parking_lot::{Mutex, ReentrantMutex, RwLock, RwLockReadGuard};

use super::cold_reads::ColdReads;
use super::idle::Idle;
use super::lifecycle::Lifecycle;
use super::pacing::Pacing;
use super::retry::{Failure, Retries};
use super::snapshot::Snapshots;
use super::stats::{Metrics, Stats};
use super::tree::Tree;
use super::trees::Trees;
use super::visible_seq::VisibleSeq;
use super::work::Work;
use super::write_queue::WriteQueue;
use crate::cache::BlockCache;
use crate::compaction::{Job, RateLimit};
use crate::event::Event;
use crate::key::{KeyspaceId, SeqNo};
use crate::memtable::{MemoryUse, Memtable};
use crate::options::{KeyspaceOptions, Options};
use crate::sstable::OpenTables;
use crate::version::{Catalog, TableMeta, VersionSet};

/// One open database.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) options: Options,
    pub(crate) dir: PathBuf,
    pub(crate) lifecycle: Lifecycle,
    /// Tells this open database from every other in the process.
    pub(crate) token: u64,
    pub(crate) set: VersionSet,
    pub(crate) tables: Arc<OpenTables>,
    pub(crate) cache: Arc<BlockCache>,
    pub(crate) trees: Trees,
    /// Of all memtables together.
    pub(crate) memory: Arc<MemoryUse>,
    pub(crate) commit: WriteQueue,
    /// Makes the log durable; none if the database was opened to be read only.
    pub(crate) log: OnceLock<Arc<Syncer>>,
    pub(crate) published: VisibleSeq,
    /// The turn of transactions that others are faster than all the time: held over a run of one, and
    /// waited for no longer than for a while. One may run within another.
    pub(crate) contended: ReentrantMutex<()>,
    /// Mirrors the version set's number for those who only compare.
    pub(crate) flushed: AtomicU64,
    pub(crate) snapshots: Snapshots,
    /// What failed without harm, and when it is tried again.
    pub(crate) retries: Mutex<Retries>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) pacing: Pacing,
    /// Whether lookups of many keys wait for the disk.
    pub(crate) cold_reads: ColdReads,
    /// Of all compactions; nobody waits where steps are made by hand.
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) work: Work,
    /// Held while a memtable is being flushed, one at a time and in order, or the log shrinks: both
    /// give logs up.
    pub(crate) flushing: Mutex<()>,
    /// Held, over I/O, by whoever brings a keyspace to rest; never waited for.
    pub(crate) idle: Mutex<Idle>,
    pub(crate) folder_lock: Mutex<Option<Box<dyn Lock>>>,
    /// Held, shared, by jobs that run in callers' threads: closing waits for them, as others may
    /// write to the folder after that.
    pub(crate) caller_jobs: RwLock<()>,
}

impl Engine {
    pub(crate) fn default_tree(&self) -> Arc<Tree> {
        self.tree(KeyspaceId::DEFAULT).expect("every database has a default keyspace")
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

    /// Begins a job in the caller's thread: the folder is ours until the guard is dropped. A job
    /// may be a part of another.
    pub(crate) fn begin_job(&self) -> Result<RwLockReadGuard<'_, ()>> {
        // First: whoever held a lock when this process was forked will never let it go here.
        self.lifecycle.check_process()?;
        let guard = self.caller_jobs.read_recursive();
        // Looked at behind the gate: whoever closes has said so before waiting at it.
        self.lifecycle.check_open()?;
        Ok(guard)
    }

    /// Puts the tables of `catalog` in force for one keyspace, unless it was dropped meanwhile.
    pub(crate) fn install(&self, catalog: &Catalog, tree: &Arc<Tree>, flushed: &[Arc<Memtable>]) {
        if let Some(state) = catalog.keyspaces.get(&tree.id) {
            tree.install(&state.version, flushed);
            self.changed(tree);
        }
    }

    /// To be told of each change of a super-version, once it is made: the tree is looked at when
    /// the pressure is computed next, and compacted if it has anything to compact.
    pub(crate) fn changed(&self, tree: &Arc<Tree>) {
        self.pacing.watch(tree);
        // Looked at under the lock: whoever stores last has looked last.
        let mut jobs = self.work.lock();
        let view = tree.super_version();
        match view.facts.is_due {
            true => jobs.due.insert(tree.id, Arc::clone(tree)),
            false => jobs.due.remove(&tree.id),
        };
    }

    /// Computes anew how much writers are held back.
    pub(crate) fn update_pressure(&self) {
        if self.pacing.update(&self.memory, self.options.write_buffers_bytes_max) {
            self.work.announce();
        }
    }

    pub(crate) fn job<'a>(
        &'a self,
        options: &'a KeyspaceOptions,
        snapshots: &'a [SeqNo],
    ) -> Job<'a> {
        Job {
            fs: &self.options.fs,
            dir: &self.dir,
            tables: &self.tables,
            set: &self.set,
            options,
            snapshots,
            stop: self.work.stop_flag(),
            limit: self.rate_limit.as_ref().map(|limit| (limit, &*self.options.clock)),
        }
    }

    /// Stores a failure that makes writing unsafe, and wakes all who wait for progress.
    pub(crate) fn fail(&self, error: Error) -> Error {
        if self.lifecycle.fail(&error) {
            self.options.listener.tell(&Event::Failed { error: error.clone() });
        }
        self.work.announce();
        error
    }

    /// What it means that an edit was refused which was to name `tables`.
    pub(crate) fn edit_refused(&self, error: Error, tables: &[TableMeta]) -> Failure {
        match error.kind() == ErrorKind::Io && !self.set.is_failed() {
            // The manifest is as it was.
            true => {
                self.remove_unnamed(tables);
                Failure::Harmless(error)
            }
            // It may name them.
            false => Failure::Fatal(error),
        }
    }

    /// Fails the database if the manifest has failed, which refused an edit.
    pub(crate) fn fail_with_manifest(&self, error: Error) -> Error {
        match self.edit_refused(error, &[]) {
            Failure::Fatal(error) => self.fail(error),
            Failure::Harmless(error) => error,
        }
    }

    /// Has tables removed that were written for a keyspace that was dropped meanwhile: no edit
    /// names them.
    pub(crate) fn remove_unnamed(&self, tables: &[TableMeta]) {
        for meta in tables {
            self.set.obsolete_files().push(FileName::Table(meta.number));
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.metrics.read();
        let (log_bytes, log_syncs) =
            self.log.get().map_or((0, 0), |log| (log.written(), log.syncs()));
        (stats.log_bytes, stats.log_syncs) = (log_bytes, log_syncs);
        for tree in self.live_trees() {
            let view = tree.super_version();
            stats.memtable_bytes += view.memtables().map(|table| table.bytes() as u64).sum::<u64>();
            stats.table_bytes += view.facts.table_bytes;
            stats.debt_bytes += view.facts.debt_bytes;
        }
        stats.cache_bytes = self.cache.bytes();
        stats.obsolete_files = self.set.obsolete_files().len() as u64;
        let retries = self.retries.lock();
        stats.job_failures = retries.failures();
        stats.job_error = retries.error().map(ToString::to_string);
        drop(retries);
        stats.snapshots = self.snapshots.count() as u64;
        stats
    }
}

#[cfg(test)]
#[path = "engine_test.rs"]
mod tests;
