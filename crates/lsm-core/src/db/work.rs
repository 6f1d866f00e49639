//! The background work, a piece at a time: flush a group, make a log segment, compact, remove.
//!
//! Each function does one piece and tells whether there was one. Threads call them in a loop,
//! a simulation calls them by hand: the order is then the caller's, and one seed replays one
//! run. Jobs read versions and write new files without a lock; their edits are installed by
//! the version set, in the order of the manifest.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::state::{Engine, FlushGroup, FlushPart};
use super::tree::Tree;
use crate::compaction::{self, Job, Plan, PlanKind};
use crate::error::{Error, ErrorKind, Result};
use crate::file_name::{FileName, FileNumber};
use crate::key::SeqNo;
use crate::options::{Background, KeyspaceOptions};
use crate::version::{Catalog, Edit, KeyspaceEdit, TableMeta};
use crate::wal::{self, Lsn, Writer};

/// Logs kept to be used again; more are removed.
const SPARE_LOGS_MAX: usize = 4;

impl Engine {
    /// Does one piece of background work; false if there was none. The most urgent first:
    /// writers wait for the log and for memtables, readers for compaction, nobody for space.
    pub(crate) fn step(&self) -> Result<bool> {
        let _job = self.begin_job()?;
        Ok(self.make_segment()?
            || self.flush_one()?
            || self.compact_one()?
            || self.remove_obsolete())
    }

    /// Waits until `done`, doing the work itself if no threads do. Fails when the database
    /// does, and when it is closed. `done` runs under the lock of the jobs and takes no other.
    pub(crate) fn wait_until(&self, done: impl Fn(&Self) -> bool) -> Result<()> {
        while !done(self) {
            self.health.check()?;
            self.check_open()?;
            if self.options.background == Background::Stepped {
                let worked = self.step()?;
                assert!(worked || done(self), "waiting for work that nobody has queued");
                continue;
            }
            let mut jobs = self.jobs.lock();
            if !done(self) && !self.health.is_failed() && !self.closed.load(Ordering::Acquire) {
                self.progress.wait(&mut jobs);
            }
        }
        Ok(())
    }

    fn job<'a>(&'a self, options: &'a KeyspaceOptions, snapshots: &'a [SeqNo]) -> Job<'a> {
        Job {
            fs: &self.options.fs,
            dir: &self.dir,
            tables: &self.tables,
            set: &self.set,
            options,
            snapshots,
            stop: &self.stopping,
        }
    }

    /// Turns the oldest group of sealed memtables into tables of level 0.
    pub(crate) fn flush_one(&self) -> Result<bool> {
        let _one_at_a_time = self.flushing.lock();
        let Some(group) = self.jobs.lock().flushes.front().cloned() else { return Ok(false) };
        let snapshots = self.snapshots.list(&self.published);
        let flush = |part: &FlushPart| {
            if part.tree.is_dropped() {
                return Ok(None);
            }
            let view = part.tree.pinned();
            compaction::flush(&self.job(&view.options, &snapshots), &part.memtables)
        };
        let built: Result<Vec<_>> = group.parts.iter().map(flush).collect();
        let installed = built.and_then(|tables| {
            if tables.iter().any(Option::is_some) {
                compaction::sync_names(&*self.options.fs, &self.dir)?;
            }
            if let Some(end) = group.log_end
                && self.live_trees().len() > 1
            {
                self.syncer().sync_through(end)?;
            }
            self.install_flush(&group, &tables)
        });
        match installed {
            Ok(()) => {}
            Err(error) if is_given_up(&error) => return Ok(false),
            Err(error) => return Err(self.fail(error)),
        }
        self.jobs.lock().flushes.pop_front();
        self.update_pressure();
        self.announce();
        Ok(true)
    }

    fn install_flush(&self, group: &FlushGroup, tables: &[Option<TableMeta>]) -> Result<()> {
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
                removed: Vec::new(),
                added: meta.iter().map(|meta| (0, meta.clone())).collect(),
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

    /// Full logs that hold nothing but flushed operations, and where the log begins without
    /// them.
    fn useless_logs(&self, flushed: SeqNo) -> (Vec<FileNumber>, Option<Lsn>) {
        let commit = self.commit.lock();
        let useless = commit.full_logs.iter().take_while(|log| log.last_seq <= flushed);
        let useless: Vec<FileNumber> = useless.map(|log| log.number).collect();
        let next = commit.full_logs.get(useless.len()).map(|log| log.base);
        (useless, next.or(commit.log.as_ref().map(Writer::base)))
    }

    /// Keeps logs that the manifest no longer names to be used again, or removes them.
    fn give_up_logs(&self, numbers: &[FileNumber]) {
        // Removed without a lock: a file system may take long to free a large file.
        for number in self.unlist_logs(numbers) {
            // A log that stays behind is removed at the next open.
            let _ = self.options.fs.remove(&FileName::Log(number).in_dir(&self.dir));
        }
    }

    /// Forgets the full logs with these numbers; returns those that are of no use.
    fn unlist_logs(&self, numbers: &[FileNumber]) -> Vec<FileNumber> {
        let mut commit = self.commit.lock();
        if let Some(last) = numbers.last() {
            self.syncer().forget_below(FileNumber(last.0 + 1));
        }
        let mut jobs = self.jobs.lock();
        let mut useless = Vec::new();
        commit.full_logs.retain(|log| {
            let is_given_up = numbers.contains(&log.number);
            let usual = log.bytes == self.options.log_segment_bytes;
            if is_given_up && usual && jobs.spare_logs.len() < SPARE_LOGS_MAX {
                jobs.spare_logs.push(log.number);
            } else if is_given_up {
                useless.push(log.number);
            }
            !is_given_up
        });
        useless
    }

    /// Makes the segment that the log will go on in.
    pub(crate) fn make_segment(&self) -> Result<bool> {
        let mut ahead = self.next_segment.lock();
        let recycle = {
            let mut jobs = self.jobs.lock();
            if !std::mem::take(&mut jobs.segment_wanted) || ahead.is_some() {
                return Ok(false);
            }
            jobs.spare_logs.pop()
        };
        // Zeros make later syncs four times as cheap, but whoever never syncs need not wait for
        // them.
        let zero = self.syncer().syncs() > 0;
        let made = self.new_segment(self.options.log_segment_bytes, recycle, zero);
        *ahead = Some(made.map_err(|error| self.fail(error))?);
        Ok(true)
    }

    /// Makes a segment and has the manifest name it: only then may it be written to.
    pub(crate) fn new_segment(
        &self,
        bytes: u64,
        recycle: Option<FileNumber>,
        zero: bool,
    ) -> Result<wal::Segment> {
        self.syncer().sync_if_many()?;
        let number = self.set.new_file_number();
        let fs = &self.options.fs;
        let segment = wal::prepare(&**fs, &self.dir, number, bytes, recycle, zero)?;
        let edit = Edit { add_logs: vec![(number, segment.bytes)], ..Edit::default() };
        self.set.apply(edit, |_| {})?;
        Ok(segment)
    }

    /// Runs the most urgent compaction of the keyspace that needs one most: writers to all of
    /// them are held back by the worst.
    pub(crate) fn compact_one(&self) -> Result<bool> {
        let Some((tree, plan)) = self.next_plan() else { return Ok(false) };
        self.run_plan(&tree, &plan)?;
        Ok(true)
    }

    fn next_plan(&self) -> Option<(Arc<Tree>, Plan)> {
        let mut trees = self.live_trees();
        trees.retain(|tree| tree.view().named);
        let oldest = self.snapshots.list(&self.published)[0];
        let mut jobs = self.jobs.lock();
        let start = jobs.next_tree;
        let urgency = |i: usize| {
            let at = (start + i) % trees.len();
            let (view, busy) = (trees[at].view(), jobs.busy(trees[at].id));
            (compaction::urgency(&view.version, busy, &view.options), at)
        };
        let mut order: Vec<(f64, usize)> = (0..trees.len()).map(urgency).collect();
        // Stable: those that are as urgent as each other take turns.
        order.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (_, at) in order {
            let tree = &trees[at];
            let (view, busy) = (tree.view(), jobs.busy(tree.id));
            if let Some(plan) = compaction::pick(&view.version, busy, &view.options, oldest) {
                busy.start(&plan);
                jobs.next_tree = (at + 1) % trees.len();
                return Some((Arc::clone(tree), plan));
            }
        }
        None
    }

    /// Runs a plan whose tables were taken, installs its edit and gives the tables back.
    pub(crate) fn run_plan(&self, tree: &Tree, plan: &Plan) -> Result<()> {
        let done = self.compact(tree, plan);
        self.jobs.lock().finish(tree.id, plan);
        self.update_pressure();
        self.announce();
        match done {
            Err(error) if is_given_up(&error) || tree.is_dropped() => Ok(()),
            Err(error) => Err(self.fail(error)),
            Ok(()) => Ok(()),
        }
    }

    fn compact(&self, tree: &Tree, plan: &Plan) -> Result<()> {
        let removed = plan.inputs.iter().map(|table| (plan.level, table));
        let removed = removed.chain(plan.below.iter().map(|table| (plan.output_level, table)));
        let removed = removed.map(|(level, table)| (level as u8, table.meta.number)).collect();
        let added: Vec<TableMeta> = match plan.kind {
            PlanKind::Move => {
                self.metrics.moves.add(1);
                plan.inputs.iter().map(|table| table.meta.clone()).collect()
            }
            PlanKind::Merge => {
                let view = tree.pinned();
                let snapshots = self.snapshots.list(&self.published);
                let job = self.job(&view.options, &snapshots);
                let tables = compaction::merge(&job, &view.version, plan)?;
                if !tables.is_empty() {
                    compaction::sync_names(&*self.options.fs, &self.dir)?;
                }
                self.metrics.count_compaction(plan, &tables);
                tables
            }
        };
        let keyspace = KeyspaceEdit {
            id: tree.id,
            flushed_seq: None,
            removed,
            added: added.iter().map(|meta| (plan.output_level as u8, meta.clone())).collect(),
        };
        let edit = Edit { keyspaces: vec![keyspace], ..Edit::default() };
        let applied = self.set.apply(edit, |catalog| self.install(catalog, tree, &[]));
        // Refused before it was written. After any other error the manifest may name them.
        if applied.is_err() && tree.is_dropped() && plan.kind == PlanKind::Merge {
            self.remove_unnamed(&added);
        }
        applied
    }

    /// Removes tables that were written for a keyspace that was dropped meanwhile: no edit names
    /// them.
    fn remove_unnamed(&self, tables: &[TableMeta]) {
        for meta in tables {
            // A table that stays behind is removed at the next open.
            let _ = self.options.fs.remove(&FileName::Table(meta.number).in_dir(&self.dir));
        }
    }

    /// Removes table files that nothing names any more; false if there was none to remove. One
    /// that the file system keeps costs space and nothing else: it is tried again with the next
    /// ones, and at the next open.
    pub(crate) fn remove_obsolete(&self) -> bool {
        if self.health.is_failed() {
            // What the manifest on disk names is unknown: the next open finds out.
            return false;
        }
        let numbers = self.set.removable().take();
        let (kept, removed): (Vec<_>, Vec<_>) = numbers.into_iter().partition(|number| {
            let removed = self.options.fs.remove(&FileName::Table(*number).in_dir(&self.dir));
            removed.is_err_and(|error| error.kind() != std::io::ErrorKind::NotFound)
        });
        self.set.removable().put_back(&kept);
        !removed.is_empty()
    }
}

/// Whether a job ended because the database is being closed, which is no failure: what it
/// was to make into tables is in the log still, and its inputs are in force.
fn is_given_up(error: &Error) -> bool {
    error.kind() == ErrorKind::Closed
}

#[cfg(test)]
#[path = "work_test.rs"]
mod tests;
