//! The background work, a piece at a time: make a log segment, compact; see `flush` for flushes.
//!
//! Each function does one piece and tells whether there was one. Threads call them in a loop,
//! a simulation calls them by hand: the order is then the caller's, and one seed replays one
//! run. Jobs read versions and write new files without a lock; their edits are installed by
//! the version set, in the order of the manifest.
//!
//! A job that fails before its edit is written has changed nothing: it is put off and tried
//! again (see `retry`), and so has one whose edit found no room. Any other failure of the edit, of
//! the log or of the folder's names fails the database.

use std::ops::Bound::{Excluded, Unbounded};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use super::retry::{Ended, Failure};
use super::state::{Engine, PutOffPlan};
use super::tree::Tree;
use crate::compaction::{self, Job, Plan, PlanKind};
use crate::event::{BackgroundJob, Event};
use crate::key::SeqNo;
use crate::options::{Background, KeyspaceOptions};
use crate::version::{Edit, KeyspaceEdit, TableMeta};
use lsm_log::error::{Error, ErrorKind, Result};
use lsm_log::file_name::FileName;
use lsm_log::wal::{Segment, SegmentJob};

impl Engine {
    /// Does one piece of background work; false if there is none left, and none will be before
    /// something else happens.
    pub(crate) fn step(&self) -> Result<bool> {
        let _job = self.begin_job()?;
        Ok(self.step_due()? || self.rest_one()?)
    }

    /// Does one piece of work that is due, and removes a file; false if there was neither. The
    /// most urgent work first: writers wait for the log and for memtables, readers for compaction.
    /// Nobody waits for space, but it has to come back beside the other work, too.
    fn step_due(&self) -> Result<bool> {
        let _job = self.begin_job()?;
        let removed = self.remove_one();
        let worked = self.make_segment()? || self.flush_one()? || self.compact_one()?;
        Ok(worked || removed)
    }

    /// Waits until `done`, doing the work itself if no threads do. Fails when the database
    /// does, and when it is closed. Whatever makes `done` true is [announced](Self::announce)
    /// afterwards. `done` runs under no lock.
    pub(crate) fn wait_until(&self, done: impl Fn(&Self) -> bool) -> Result<()> {
        self.wait_while_no_error(|_| None, done)
    }

    /// As [`wait_until`](Self::wait_until), for something that `job` brings about: fails as well
    /// once that has failed more than `seen` times and is being put off.
    pub(crate) fn wait_for(
        &self,
        job: BackgroundJob,
        seen: u64,
        done: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        let error = |engine: &Self| {
            let retries = engine.retries.lock();
            retries.error_after(job, seen).map(|error| Error::put_off(job, error))
        };
        self.wait_while_no_error(error, done)
    }

    fn wait_while_no_error(
        &self,
        error: impl Fn(&Self) -> Option<Error>,
        done: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        loop {
            // Before looking: what happens after it is not missed.
            let announced = self.announced.load(Ordering::Acquire);
            if done(self) {
                return Ok(());
            }
            self.health.check()?;
            self.check_open()?;
            if self.options.background == Background::Stepped {
                let worked = self.step_due()?;
                assert!(worked || done(self), "waiting for work that nobody has queued");
                continue;
            }
            if let Some(error) = error(self) {
                return Err(error);
            }
            let mut jobs = self.jobs.lock();
            if self.announced.load(Ordering::Relaxed) == announced {
                self.progress.wait(&mut jobs);
            }
        }
    }

    /// Puts a job off that failed without harm, and tells all who wait for it.
    pub(crate) fn put_off(&self, job: BackgroundJob, error: Error) -> Error {
        let now = self.options.clock.now();
        let retry_in = self.retries.lock().failed(job, error.clone(), now);
        self.options.listener.tell(&Event::JobFailed { job, error: error.clone(), retry_in });
        self.announce();
        error
    }

    /// Has a job tried again at once that was put off: somebody asks for it. Returns how often it
    /// has failed so far.
    pub(crate) fn hurry(&self, job: BackgroundJob) -> u64 {
        let mut retries = self.retries.lock();
        retries.hurry(job);
        retries.count(job)
    }

    /// Notes that a job was done.
    pub(crate) fn job_done(&self, job: BackgroundJob) {
        if self.retries.lock().done(job) {
            self.options.listener.tell(&Event::JobRecovered { job });
        }
    }

    /// Whether a job need not be put off any longer. Who steps by hand decides that.
    pub(crate) fn may_start(&self, job: BackgroundJob) -> bool {
        self.options.background == Background::Stepped
            || self.retries.lock().may_start(job, self.options.clock.now())
    }

    /// What a failed job means: nothing, if it was told to stop; else it is put off, or the
    /// database fails.
    pub(crate) fn ended(&self, job: BackgroundJob, failure: Failure) -> Result<bool> {
        match failure {
            Failure::Harmless(error) if is_given_up(&error) => Ok(false),
            Failure::Harmless(error) => Err(self.put_off(job, error)),
            Failure::Fatal(error) => Err(self.fail(error)),
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
            stop: &self.stopping,
        }
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

    /// Makes the segment that the log will go on in.
    pub(crate) fn make_segment(&self) -> Result<bool> {
        let may_start = self.may_start(BackgroundJob::LogSegment);
        if !may_start || !std::mem::take(&mut self.jobs.lock().segment_wanted) {
            return Ok(false);
        }
        // Zeros make later syncs four times as cheap, but whoever never syncs need not wait for
        // them.
        let zero = self.syncer().syncs() > 0;
        let (sender, receiver) = mpsc::sync_channel(1);
        let job = {
            let mut commit = self.commit.lock();
            let Some(log) = commit.log.as_mut().filter(|log| !log.has_ahead()) else {
                return Ok(false);
            };
            let (number, nonce) = self.set.new_framed_file();
            let panicked = |_| Err(Error::panicked("that made a log segment"));
            log.put_ahead(number, Box::new(move || receiver.recv().unwrap_or_else(panicked)));
            log.job(number, nonce, 0, zero)
        };
        let number = job.number;
        match self.new_segment(job) {
            // There is room for one, and its receiver may be gone only with the log.
            Ok(segment) => drop(sender.send(Ok(segment))),
            Err(failure) => {
                // Before the lock, which whoever waits for it holds.
                let (Failure::Harmless(error) | Failure::Fatal(error)) = &failure;
                let _ = sender.send(Err(error.clone()));
                if let Some(log) = &mut self.commit.lock().log {
                    log.cancel_ahead(number);
                }
                self.jobs.lock().segment_wanted = true;
                return self.ended(BackgroundJob::LogSegment, failure);
            }
        }
        Ok(true)
    }

    /// Makes a segment and has the manifest name it: only then may it be written to.
    pub(crate) fn new_segment(&self, job: SegmentJob) -> std::result::Result<Segment, Failure> {
        self.syncer().sync_if_many().map_err(Failure::Fatal)?;
        let (number, recycled) = (job.number, job.recycled);
        let segment = job.run().map_err(|error| {
            // Under whichever name it was left, if at all.
            for left in recycled.into_iter().chain([number]) {
                self.set.obsolete_files().push(FileName::Log(left));
            }
            match error.file() == Some(&self.dir) {
                // Other names in the folder may depend on that sync.
                true => Failure::Fatal(error),
                false => Failure::Harmless(error),
            }
        })?;
        let edit = Edit { add_logs: vec![(number, segment.bytes)], ..Edit::default() };
        self.set.apply(edit, |_| {}).map_err(|error| {
            let failure = self.edit_refused(error, &[]);
            if let Failure::Harmless(_) = &failure {
                self.set.obsolete_files().push(FileName::Log(number));
            }
            failure
        })?;
        self.job_done(BackgroundJob::LogSegment);
        Ok(segment)
    }

    /// Runs the most urgent compaction of the keyspace that needs one most: writers to all of
    /// them are held back by the worst.
    pub(crate) fn compact_one(&self) -> Result<bool> {
        self.retry_put_off();
        let Some((tree, plan)) = self.next_plan() else { return Ok(false) };
        self.compact_planned(&tree, plan)
    }

    /// Runs a plan that background work has decided on, whose tables were taken. False if it was
    /// given up.
    pub(crate) fn compact_planned(&self, tree: &Arc<Tree>, plan: Plan) -> Result<bool> {
        let done = self.compact(tree, &plan);
        let failed = matches!(&done, Err(Failure::Harmless(error)) if !is_given_up(error));
        if !failed || tree.is_dropped() || self.options.background == Background::Stepped {
            return self.finish_plan(tree, &plan, done);
        }
        // Its tables stay taken for a while, so that others get their turn.
        let ended = self.plan_ended(tree, done);
        let until = self.retries.lock().retry_at(BackgroundJob::Compaction);
        self.jobs.lock().put_off.push(PutOffPlan { tree: tree.id, plan, until });
        ended
    }

    /// Gives the tables back of compactions that were put off for long enough.
    fn retry_put_off(&self) {
        let now = self.options.clock.now();
        self.release_put_off(|plan| plan.until <= now);
    }

    /// Gives the tables back of those compactions that were put off of which `ends` says so.
    pub(crate) fn release_put_off(&self, ends: impl Fn(&PutOffPlan) -> bool) {
        let mut jobs = self.jobs.lock();
        let ended: Vec<_> = jobs.put_off.extract_if(.., |plan| ends(plan)).collect();
        ended.iter().for_each(|put_off| jobs.finish(put_off.tree, &put_off.plan));
        drop(jobs);
        if !ended.is_empty() {
            self.announce();
        }
    }

    fn next_plan(&self) -> Option<(Arc<Tree>, Plan)> {
        let oldest = self.snapshots.list(&self.published)[0];
        let mut jobs = self.jobs.lock();
        let jobs = &mut *jobs;
        let last = jobs.last_tree;
        let turns = jobs.due.range((Excluded(last), Unbounded)).chain(jobs.due.range(..=last));
        let urgency = |tree: &Arc<Tree>| {
            let view = tree.view();
            match jobs.busy.get(&tree.id) {
                Some(busy) => compaction::urgency(&view.version, busy, &view.options),
                None => view.facts.urgency,
            }
        };
        let mut order: Vec<(f64, Arc<Tree>)> =
            turns.map(|(_, tree)| (urgency(tree), Arc::clone(tree))).collect();
        // Stable: those that are as urgent as each other take turns.
        order.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (_, tree) in order {
            let (view, busy) = (tree.view(), jobs.busy(tree.id));
            if let Some(plan) = compaction::pick(&view.version, busy, &view.options, oldest) {
                busy.start(&plan);
                jobs.last_tree = tree.id;
                drop(view);
                return Some((tree, plan));
            }
        }
        None
    }

    /// Runs a plan whose tables were taken, installs its edit and gives the tables back. False
    /// if it was given up.
    pub(crate) fn run_plan(&self, tree: &Arc<Tree>, plan: &Plan) -> Result<bool> {
        self.finish_plan(tree, plan, self.compact(tree, plan))
    }

    fn finish_plan(&self, tree: &Arc<Tree>, plan: &Plan, done: Ended) -> Result<bool> {
        self.jobs.lock().finish(tree.id, plan);
        self.plan_ended(tree, done)
    }

    fn plan_ended(&self, tree: &Tree, done: Ended) -> Result<bool> {
        let ended = match done {
            Ok(()) => {
                if self.jobs.lock().put_off.is_empty() {
                    self.job_done(BackgroundJob::Compaction);
                }
                Ok(true)
            }
            // What it was for has gone.
            Err(Failure::Harmless(_)) if tree.is_dropped() => Ok(true),
            Err(failure) => self.ended(BackgroundJob::Compaction, failure),
        };
        self.update_pressure();
        self.announce();
        ended
    }

    fn compact(&self, tree: &Arc<Tree>, plan: &Plan) -> Ended {
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
                let merged = compaction::merge(&job, &view.version, plan);
                let tables = merged.map_err(Failure::Harmless)?;
                if !tables.is_empty() {
                    compaction::sync_names(&*self.options.fs, &self.dir).map_err(Failure::Fatal)?;
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
        applied.map_err(|error| match tree.is_dropped() && error.kind() == ErrorKind::Corrupt {
            // Refused before it was written. After any other error the manifest may name them.
            true => {
                if plan.kind == PlanKind::Merge {
                    self.remove_unnamed(&added);
                }
                Failure::Harmless(error)
            }
            false => {
                let built = if plan.kind == PlanKind::Merge { &*added } else { &[] };
                self.edit_refused(error, built)
            }
        })
    }

    /// Has tables removed that were written for a keyspace that was dropped meanwhile: no edit
    /// names them.
    pub(crate) fn remove_unnamed(&self, tables: &[TableMeta]) {
        for meta in tables {
            self.set.obsolete_files().push(FileName::Table(meta.number));
        }
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
