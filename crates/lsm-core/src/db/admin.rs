//! What is asked of a database now and then: keyspaces made and dropped, flushes and
//! compactions on request, statistics, and the end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::open::DEFAULT_KEYSPACE;
use super::state::{Commit, Engine};
use super::stats::Stats;
use super::tree::Tree;
use crate::compaction::{RangeSweep, Step};
use crate::event::BackgroundJob;
use crate::key::{KeyRange, KeyspaceId, SeqNo};
use crate::options::{Background, KEYSPACE_NAME_LEN_MAX, KEYSPACES_MAX, KeyspaceOptions};
use crate::version::Edit;
use lsm_log::error::{Error, Result};
use lsm_log::wal::Log;
use parking_lot::MutexGuard;

impl Engine {
    pub(crate) fn default_tree(&self) -> Arc<Tree> {
        self.tree(KeyspaceId::DEFAULT).expect("every database has a default keyspace")
    }

    /// The keyspace called `name`, made if need be.
    pub(crate) fn keyspace(&self, name: &str, options: KeyspaceOptions) -> Result<Arc<Tree>> {
        self.check_open()?;
        options.validate()?;
        if !(1..=KEYSPACE_NAME_LEN_MAX).contains(&name.len()) {
            return Err(Error::invalid(format!(
                "the name of a keyspace has from 1 to {KEYSPACE_NAME_LEN_MAX} bytes, not {}",
                name.len()
            )));
        }
        // One at a time; and no write is numbered between the edit and the tree.
        let _commit = self.commit.lock();
        if let Some(tree) = self.trees.named(name) {
            tree.set_options(options);
            self.changed(&tree);
            // Other limits may let writers go on, or give compaction something to do.
            self.update_pressure();
            self.announce();
            return Ok(tree);
        }
        if self.read_only {
            let message = format!("there is no keyspace \"{name}\", and a reader makes none");
            return Err(Error::invalid(message));
        }
        self.check_writable()?;
        if self.trees.len() >= KEYSPACES_MAX {
            let message = format!("the database has its {KEYSPACES_MAX} keyspaces already");
            return Err(Error::invalid(message));
        }
        let id = KeyspaceId(self.set.with(|catalog| catalog.next_keyspace));
        let create = Edit { create_keyspaces: vec![(id, name.to_owned())], ..Edit::default() };
        self.set.apply(create, |_| {}).map_err(|error| self.fail_with_manifest(error))?;
        let tree = Arc::new(Tree::new(id, name, options, Arc::default(), true, &self.memory));
        self.trees.insert(&tree);
        Ok(tree)
    }

    pub(crate) fn drop_keyspace(&self, name: &str) -> Result<()> {
        self.check_writable()?;
        if name == DEFAULT_KEYSPACE {
            return Err(Error::invalid("the default keyspace cannot be dropped"));
        }
        let commit = self.durable_commit()?;
        let tree = self.trees.named(name);
        let tree =
            tree.ok_or_else(|| Error::invalid(format!("there is no keyspace \"{name}\"")))?;
        let was_unflushed = tree.view().memtables().any(|memtable| !memtable.is_empty());
        let edit = Edit { drop_keyspaces: vec![tree.id], ..Edit::default() };
        // Marked in the moment the edit takes effect: a job whose edit comes next and finds no
        // such keyspace must see that it was dropped.
        let dropped = self.set.apply(edit, |_| tree.mark_dropped());
        dropped.map_err(|error| self.fail_with_manifest(error))?;
        self.trees.remove(&tree);
        self.changed(&tree);
        self.release_put_off(|plan| plan.tree == tree.id);
        // With its memtables gone, everything may be flushed further than before. A flush finds
        // out, if need be one of nothing: the first in the queue may have looked already.
        if was_unflushed && self.jobs.lock().flushes.len() < 2 {
            self.queue_flush(&commit, Vec::new(), None);
        }
        drop(commit);
        // It may be what writers waited for.
        self.update_pressure();
        self.announce();
        Ok(())
    }

    /// The commit lock, once every write so far survives power loss: what is dropped next must
    /// not be gone after a crash that also takes what was written before.
    fn durable_commit(&self) -> Result<MutexGuard<'_, Commit>> {
        // Most of the work without holding writers up.
        drop(self.logged()?);
        self.sync_all()?;
        let commit = self.logged()?;
        // A close may have come first.
        self.check_writable()?;
        let end = commit.log.as_ref().map(Log::end);
        end.map_or(Ok(()), |end| self.sync_log(end))?;
        Ok(commit)
    }

    pub(crate) fn flush_all(&self) -> Result<()> {
        self.check_writable()?;
        let failures = self.hurry(BackgroundJob::Flush);
        let through = {
            let commit = self.commit.lock();
            if commit.last_seq > self.flushed_seq() {
                self.seal_all(&commit, None);
            }
            commit.last_seq
        };
        self.wait_for(BackgroundJob::Flush, failures, |engine| engine.flushed_seq() >= through)
    }

    pub(crate) fn wait_flushed(&self, through: SeqNo) -> Result<()> {
        self.check_writable()?;
        if through > self.published.get() {
            return Err(Error::invalid(format!("nothing has sequence number {through} yet")));
        }
        let is_flushed = |engine: &Self| engine.flushed_seq() >= through;
        if self.options.background == Background::Stepped {
            while !is_flushed(self) {
                if !self.step()? {
                    let message = format!("no flush is queued that would reach number {through}");
                    return Err(Error::invalid(message));
                }
            }
        }
        self.wait_for(BackgroundJob::Flush, 0, is_flushed)
    }

    pub(crate) fn compact_range(&self, tree: &Arc<Tree>, range: KeyRange) -> Result<()> {
        let _job = self.begin_job()?;
        tree.check_not_dropped()?;
        self.flush_all()?;
        self.release_put_off(|plan| plan.tree == tree.id);
        let mut sweep = RangeSweep::new(&tree.view().version, range);
        loop {
            self.check_writable()?;
            tree.check_not_dropped()?;
            let (step, announced) = {
                let mut jobs = self.jobs.lock();
                let view = tree.view();
                let busy = jobs.busy(tree.id);
                let step = sweep.next(&view.version, busy, &view.options);
                if let Step::Run(plan) = &step {
                    busy.start(plan);
                }
                (step, self.announced.load(Ordering::Relaxed))
            };
            match step {
                Step::Run(plan) => {
                    self.run_plan(tree, &plan)?;
                }
                Step::Wait => {
                    let moved =
                        |engine: &Self| engine.announced.load(Ordering::Relaxed) != announced;
                    self.wait_until(moved)?;
                }
                Step::Done => return Ok(()),
            }
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.metrics.read();
        let (log_bytes, log_syncs) =
            self.log.get().map_or((0, 0), |log| (log.written(), log.syncs()));
        (stats.log_bytes, stats.log_syncs) = (log_bytes, log_syncs);
        for tree in self.live_trees() {
            let view = tree.view();
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

    /// From here on every call is refused. False if that was so before.
    pub(crate) fn begin_close(&self) -> bool {
        // Under the lock: a write has either its number or is refused.
        let _commit = self.commit.lock();
        let was_closed = self.closed.swap(true, Ordering::AcqRel);
        self.announce();
        !was_closed
    }

    /// Flushes the writes that are in no log, which closing would lose. After
    /// [`begin_close`](Self::begin_close): there are no more to come.
    pub(crate) fn flush_unlogged(&self) -> Result<()> {
        if self.read_only || self.health.is_failed() {
            return Ok(());
        }
        let unlogged = {
            let commit = self.commit.lock();
            if commit.unlogged > self.flushed_seq() {
                self.seal_all(&commit, None);
            }
            commit.unlogged
        };
        let failures = self.hurry(BackgroundJob::Flush);
        while self.flushed_seq() < unlogged {
            if self.flush_one()? {
                continue;
            }
            // A thread of ours has failed just before.
            self.health.check()?;
            let error = self.retries.lock().error_after(BackgroundJob::Flush, failures).cloned();
            return error.map_or(Ok(()), Err);
        }
        Ok(())
    }

    /// Waits for jobs in callers' threads, makes the log durable, notes how far that is, and
    /// unlocks the folder.
    pub(crate) fn finish_close(&self) -> Result<()> {
        let _lock = self.folder_lock.lock().take();
        drop(self.caller_jobs.write());
        self.tables.close();
        if self.read_only {
            return Ok(());
        }
        self.health.check()?;
        let end = {
            let commit = self.commit.lock();
            self.published.wait_for(commit.last_seq);
            commit.log.as_ref().map(Log::end)
        };
        let end = end.expect("a writable database has a log");
        self.syncer().sync_through(end)?;
        let edit = Edit { log_closed: Some(end), ..Edit::default() };
        self.set.apply(edit, |_| {})?;
        self.remove_before_close();
        Ok(())
    }
}

#[cfg(test)]
#[path = "admin_test.rs"]
mod tests;
