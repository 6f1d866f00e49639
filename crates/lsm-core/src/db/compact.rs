//! Compactions: those that are due, and those that are asked for.
//!
//! Until its edit a compaction has changed nothing: see `background` for what a failure means.

use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use lsm_log::error::{ErrorKind, Result};
use lsm_log::fs::open_folder;

use super::engine::Engine;
use super::retry::{Ended, Failure, is_given_up};
use super::tree::Tree;
use super::work::{Jobs, PutOffPlan};
use crate::compaction::{self, ManualCompaction, ManualStep, Plan, PlanKind};
use crate::event::BackgroundJob;
use crate::key::KeyRange;
use crate::options::Background;
use crate::version::{Edit, KeyspaceEdit, TableMeta};

impl Engine {
    pub(crate) fn compact_range(&self, tree: &Arc<Tree>, range: KeyRange) -> Result<()> {
        let _job = self.begin_job()?;
        tree.check_not_dropped()?;
        self.flush_all()?;
        let mut sweep = ManualCompaction::new(&tree.super_version().version, range);
        loop {
            self.lifecycle.check_writable()?;
            tree.check_not_dropped()?;
            let (step, announced) = self.next_step(tree, &mut sweep);
            match step {
                ManualStep::Run(plan) => {
                    self.run_plan(tree, &plan)?;
                }
                ManualStep::Wait => {
                    self.wait_until(|engine| engine.work.announced() != announced)?;
                }
                ManualStep::Done => return Ok(()),
            }
        }
    }

    /// The next step of a sweep, whose tables are taken, and what was announced before it was looked
    /// for. A compaction that failed and was put off is not waited for: what it holds is given back
    /// to the sweep, which tries it again and tells why it fails.
    fn next_step(&self, tree: &Tree, sweep: &mut ManualCompaction) -> (ManualStep, u64) {
        let mut jobs = self.work.lock();
        let view = tree.super_version();
        let mut next =
            |jobs: &mut Jobs| sweep.next(&view.version, jobs.busy(tree.id), &view.options);
        let mut step = next(&mut jobs);
        if matches!(step, ManualStep::Wait) {
            let put_off = jobs.take_put_off(|plan| plan.tree == tree.id);
            step = next(&mut jobs);
            if matches!(step, ManualStep::Wait) {
                put_off.iter().for_each(|put_off| jobs.busy(tree.id).start(&put_off.plan));
                jobs.put_off.extend(put_off);
            }
        }
        if let ManualStep::Run(plan) = &step {
            jobs.busy(tree.id).start(plan);
        }
        (step, self.work.announced())
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
        self.work.lock().put_off.push(PutOffPlan { tree: tree.id, plan, until });
        // Whoever waits for the tables may have looked before.
        self.work.announce();
        ended
    }

    /// Gives the tables back of compactions that were put off for long enough.
    fn retry_put_off(&self) {
        let now = self.options.clock.now();
        self.release_put_off(|plan| plan.until <= now);
    }

    /// Gives the tables back of those compactions that were put off of which `ends` says so.
    pub(crate) fn release_put_off(&self, ends: impl Fn(&PutOffPlan) -> bool) {
        if !self.work.lock().take_put_off(ends).is_empty() {
            self.work.announce();
        }
    }

    fn next_plan(&self) -> Option<(Arc<Tree>, Plan)> {
        let oldest = self.snapshots.list(&self.published)[0];
        let mut jobs = self.work.lock();
        let jobs = &mut *jobs;
        let last = jobs.last_tree;
        let turns = jobs.due.range((Excluded(last), Unbounded)).chain(jobs.due.range(..=last));
        let urgency = |tree: &Arc<Tree>| {
            let view = tree.super_version();
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
            let (view, busy) = (tree.super_version(), jobs.busy(tree.id));
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
        self.work.lock().finish(tree.id, plan);
        self.plan_ended(tree, done)
    }

    fn plan_ended(&self, tree: &Tree, done: Ended) -> Result<bool> {
        let ended = match done {
            Ok(()) => {
                if self.work.lock().put_off.is_empty() {
                    self.job_done(BackgroundJob::Compaction);
                }
                Ok(true)
            }
            // What it was for has gone.
            Err(Failure::Harmless(_)) if tree.is_dropped() => Ok(true),
            Err(failure) => self.ended(BackgroundJob::Compaction, failure),
        };
        self.update_pressure();
        self.work.announce();
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
                let fs = &*self.options.fs;
                let folder = open_folder(fs, &self.dir).map_err(Failure::Harmless)?;
                let snapshots = self.snapshots.list(&self.published);
                let job = self.job(&view.options, &snapshots);
                let merged = compaction::merge(&job, &view.version, plan);
                let tables = merged.map_err(Failure::Harmless)?;
                if !tables.is_empty() {
                    compaction::sync_names(&*folder, &self.dir).map_err(Failure::Fatal)?;
                }
                self.metrics.count_compaction(plan, &tables);
                tables
            }
        };
        let keyspace = KeyspaceEdit {
            id: tree.id,
            removed,
            added: added.iter().map(|meta| (plan.output_level as u8, meta.clone())).collect(),
            ..KeyspaceEdit::default()
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
}

#[cfg(test)]
#[path = "compact_test.rs"]
mod tests;
