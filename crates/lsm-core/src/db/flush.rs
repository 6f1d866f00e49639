//! Memtables are sealed, and become tables of level 0.
//!
//! All of one group, in one edit of the manifest: what they hold is then in tables, and a log
//! that holds nothing else is given up. Each memtable, and each keyspace, has a table of its own.
//!
//! Until the edit nothing has changed: see `background` for what a failure means.

use std::collections::HashSet;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, scope};

use lsm_log::error::{Error, Result};
use lsm_log::fs::open_folder;
use lsm_log::wal::Log;
use parking_lot::Mutex;

use super::engine::Engine;
use super::retry::{Ended, Failure};
use super::tree::{MEMTABLES_A_BUFFER, Tree};
use super::work::{FlushGroup, FlushPart};
use super::write_queue::Commit;
use crate::compaction;
use crate::event::BackgroundJob;
use crate::key::SeqNo;
use crate::memtable::Memtable;
use crate::options::Background;
use crate::version::{Catalog, Edit, KeyspaceEdit, TableMeta};

/// Memtables of up to so many bytes become tables beside one another: nearly all of their time
/// goes into the sync, and a file system makes many files durable in about the time of one.
const SMALL_BYTES: usize = 1 << 20;
/// How many small tables are made at a time.
const SMALL_AT_A_TIME: usize = 16;

/// When the memory of all memtables is half full, one part in so many of it is flushed.
const SEALED_PART: usize = 8;

impl Engine {
    pub(crate) fn flush_all(&self) -> Result<()> {
        self.lifecycle.check_writable()?;
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
        self.lifecycle.check_writable()?;
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

    /// Flushes the writes that are in no log, which closing would lose. After
    /// [`begin_close`](Self::begin_close): there are no more to come.
    pub(crate) fn flush_unlogged(&self) -> Result<()> {
        if self.lifecycle.read_only || self.lifecycle.is_failed() {
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
            self.lifecycle.check_healthy()?;
            let error = self.retries.lock().error_after(BackgroundJob::Flush, failures).cloned();
            return error.map_or(Ok(()), Err);
        }
        Ok(())
    }

    /// Asks for flushes of the keyspaces that hold most, full or not, when all memtables together
    /// have filled half of what they may: the other half is for those that are being flushed.
    pub(super) fn bound_memory(&self, commit: &Commit) {
        let most = self.options.write_buffers_bytes_max;
        if self.memory.filling() > most / 2 {
            self.seal_largest(commit, most / SEALED_PART);
        }
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
        let is_full = |tree: &&Arc<Tree>| tree.super_version().unqueued >= MEMTABLES_A_BUFFER;
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
            if !tree.super_version().active.is_empty() {
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
        self.work.lock().flushes.push_back(group);
        self.work.announce();
        self.update_pressure();
    }

    /// Seals and queues the largest write buffers, in one flush, until that is `bytes` of them:
    /// many at once, as they are found by a walk over all keyspaces.
    #[cold]
    fn seal_largest(&self, commit: &Commit, bytes: usize) {
        let sized = |tree: Arc<Tree>| (tree.super_version().filling_bytes(), tree);
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

    /// Turns the oldest group of sealed memtables into tables of level 0.
    pub(crate) fn flush_one(&self) -> Result<bool> {
        let _one_at_a_time = self.flushing.lock();
        if !self.may_start(BackgroundJob::Flush) {
            return Ok(false);
        }
        let Some(group) = self.work.lock().flushes.front().cloned() else { return Ok(false) };
        match self.flush(&group) {
            Ok(()) => self.job_done(BackgroundJob::Flush),
            Err(failure) => return self.ended(BackgroundJob::Flush, failure),
        }
        self.work.lock().flushes.pop_front();
        self.update_pressure();
        self.work.announce();
        Ok(true)
    }

    fn flush(&self, group: &FlushGroup) -> Ended {
        let folder = open_folder(&*self.options.fs, &self.dir).map_err(Failure::Harmless)?;
        let tables = self.build_tables(&group.parts).map_err(Failure::Harmless)?;
        if tables.iter().any(Option::is_some) {
            compaction::sync_names(&*folder, &self.dir).map_err(Failure::Fatal)?;
        }
        if let Some(end) = group.log_end
            && self.trees.len() > 1
        {
            self.syncer().sync_through(end).map_err(Failure::Fatal)?;
        }
        self.install_flush(group, &tables).map_err(|error| {
            let built: Vec<_> = tables.into_iter().flatten().collect();
            self.edit_refused(error, &built)
        })
    }

    /// Makes the table of each part that needs one; all of them or none.
    fn build_tables(&self, parts: &[FlushPart]) -> Result<Vec<Option<TableMeta>>> {
        let snapshots = self.snapshots.list(&self.published);
        let is_small = |part: &FlushPart| {
            part.memtables.iter().map(|memtable| memtable.bytes()).sum::<usize>() <= SMALL_BYTES
        };
        let (small, large): (Vec<_>, Vec<_>) =
            parts.iter().enumerate().partition(|(_, part)| is_small(part));
        // Who steps by hand gets the same order in each run.
        let at_a_time = match self.options.background {
            Background::Stepped => 1,
            _ => SMALL_AT_A_TIME.min(small.len()),
        };
        let failed = AtomicBool::new(false);
        let build = |(i, part): (usize, &FlushPart)| {
            let built = self.build_table(part, &snapshots);
            failed.fetch_or(built.is_err(), Ordering::Relaxed);
            (i, built)
        };
        let small = Mutex::new(small.into_iter());
        let next_small = || small.lock().next().filter(|_| !failed.load(Ordering::Relaxed));
        let build_small = || std::iter::from_fn(next_small).map(build).collect::<Vec<_>>();
        let mut built = scope(|threads| {
            let start = |_| {
                let name = "lsm-flush-small".to_owned();
                // Those that cannot be had are done without.
                Builder::new().name(name).spawn_scoped(threads, build_small).ok()
            };
            let others: Vec<_> = (1..at_a_time).map_while(start).collect();
            let mut built: Vec<_> = large
                .into_iter()
                .take_while(|_| !failed.load(Ordering::Relaxed))
                .map(build)
                .collect();
            built.extend(build_small());
            for other in others {
                built.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            built
        });
        built.sort_by_key(|(i, _)| *i);
        let (done, errors): (Vec<_>, Vec<_>) =
            built.into_iter().map(|(_, built)| built).partition(Result::is_ok);
        let done = done.into_iter().flatten();
        match errors.into_iter().find_map(Result::err) {
            None => Ok(done.collect()),
            Some(error) => {
                // The next attempt makes all of them anew.
                self.remove_unnamed(&done.flatten().collect::<Vec<_>>());
                Err(error)
            }
        }
    }

    fn build_table(&self, part: &FlushPart, snapshots: &[SeqNo]) -> Result<Option<TableMeta>> {
        if part.tree.is_dropped() {
            return Ok(None);
        }
        let view = part.tree.pinned();
        compaction::flush(&self.job(&view.options, snapshots), &part.memtables)
    }

    pub(super) fn install_flush(
        &self,
        group: &FlushGroup,
        tables: &[Option<TableMeta>],
    ) -> Result<()> {
        let bytes: u64 = tables.iter().flatten().map(|meta| meta.bytes).sum();
        let flushed = self.flushed_through(group);
        let (drop_logs, log_start) = self.useless_logs(flushed);
        let given_up = drop_logs.clone();
        let mut unnamed = Vec::new();
        let edit = |catalog: &Catalog| {
            let parts = group.parts.iter().zip(tables);
            let (named, dropped): (Vec<_>, Vec<_>) =
                parts.partition(|(part, _)| catalog.keyspaces.contains_key(&part.tree.id));
            unnamed.extend(dropped.iter().filter_map(|(_, meta)| meta.as_ref()).cloned());
            let keyspace = |(part, meta): (&FlushPart, &Option<TableMeta>)| KeyspaceEdit {
                id: part.tree.id,
                flushed_seq: Some(group.sealed_at),
                added: meta.iter().map(|meta| (0, meta.clone())).collect(),
                ..KeyspaceEdit::default()
            };
            let keyspaces = named.into_iter().map(keyspace).collect();
            Edit { flushed_seq: Some(flushed), drop_logs, log_start, keyspaces, ..Edit::default() }
        };
        self.set.apply_with(edit, |catalog| {
            for part in &group.parts {
                self.install(catalog, &part.tree, &part.memtables);
            }
            if let Some(capture) = &group.capture {
                *capture.lock() = Some(catalog.clone());
            }
        })?;
        self.flushed.store(flushed.0, Ordering::Release);
        self.metrics.flushes.add(1);
        self.metrics.flush_bytes.add(bytes);
        self.give_up_logs(&given_up);
        self.remove_unnamed(&unnamed);
        Ok(())
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
            let view = tree.super_version();
            let waiting = view.memtables().filter(|memtable| !is_done(memtable));
            waiting.filter_map(|memtable| memtable.first_seq()).min()
        };
        match self.live_trees().iter().filter_map(first).min() {
            Some(first) => published.min(SeqNo(first.0 - 1)),
            None => published,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;
    use crate::batch::WriteBatch;
    use crate::clock::{Clock, SystemClock};
    use crate::db::open::open;
    use crate::key::Kind;
    use crate::options::{Durability, KeyspaceOptions, Options};
    use lsm_log::fs::{Fault, FaultFs, MemFs, Op};

    #[test]
    fn small_tables_are_made_durable_beside_one_another() {
        let faults = FaultFs::new(Arc::new(MemFs::new()));
        let options = Options::default().fs(Arc::new(faults.clone()));
        let engine = open(options, Path::new("/db")).unwrap();
        let mut batch = WriteBatch::new();
        let new = |i: usize| engine.keyspace(&i.to_string(), KeyspaceOptions::default()).unwrap();
        let trees: Vec<_> = (0..2 * SMALL_AT_A_TIME).map(new).collect();
        for tree in &trees {
            batch.push(Kind::Put, tree.id, tree.name.as_bytes(), b"value");
        }
        engine.write(&batch, Durability::Buffered).unwrap();
        engine.seal_all(&engine.commit.lock(), None);
        // None of them goes on before there are as many, or a while has passed.
        let arrived = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&arrived);
        let meet = move || {
            seen.fetch_add(1, Ordering::Relaxed);
            let clock = SystemClock::new();
            while seen.load(Ordering::Relaxed) < SMALL_AT_A_TIME && clock.now().as_secs() < 5 {
                clock.sleep(Duration::from_millis(1));
            }
        };
        faults.inject(Fault::run(Op::Sync, meet).on(".table").times(SMALL_AT_A_TIME as u64));
        let clock = SystemClock::new();
        assert!(engine.flush_one().unwrap());
        assert!(clock.now().as_secs() < 5, "they waited for one another");
        assert_eq!(arrived.load(Ordering::Relaxed), SMALL_AT_A_TIME);
        for tree in &trees {
            let view = tree.super_version();
            let keys = view.version.levels[0].iter().map(|table| &table.meta.smallest[..]);
            assert_eq!(keys.collect::<Vec<_>>(), [tree.name.as_bytes()], "each got its own");
        }
    }
}
