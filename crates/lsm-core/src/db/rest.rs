//! Brings keyspaces to rest that nobody writes to, or whose readers have paid for it (see
//! `read_charge`): a flush or a compaction at a time, when nothing else is due.
//!
//! At most one such job runs at a time. Together they take a bounded share of the time (see `idle`),
//! but for those that readers have paid for, which take no more time than these have lost. Where steps
//! are made by hand, it is those that find nothing due that let time pass.
//!
//! Threads: any; one at a time looks, the others find nothing to do.

use std::sync::Arc;
use std::time::Duration;

use lsm_log::error::Result;

use super::engine::Engine;
use super::idle::{ChoreKind, IdleFound};
use super::tree::Tree;
use crate::compaction::{self, BusyTables};
use crate::key::SeqNo;
use crate::options::Background;

impl Engine {
    /// Does one piece of work that brings a keyspace nearer to rest, if one is due. Where steps
    /// are made by hand, also `true` if one will be.
    pub(crate) fn rest_one(&self) -> Result<bool> {
        let Some(mut idle) = self.idle.try_lock() else { return Ok(false) };
        let stepped = self.options.background == Background::Stepped;
        let now = match stepped {
            true => idle.pass(),
            false => self.options.clock.now(),
        };
        if !stepped && !idle.may_look(now) {
            return Ok(false);
        }
        let oldest = self.snapshots.list(&self.published)[0];
        self.await_snapshots(oldest);
        let trees = self.live_trees();
        let (paid, unspent) = self.bought(&trees, oldest);
        let is_paid = paid.is_some();
        let found = match paid {
            Some((tree, kind)) => IdleFound::Due(tree, kind),
            None if stepped || idle.may_begin(now) => {
                let found = idle.find(&trees, oldest, now)?;
                if !matches!(found, IdleFound::Busy) && self.shrink_log()? {
                    return Ok(true);
                }
                found
            }
            None => IdleFound::Later,
        };
        let IdleFound::Due(tree, kind) = found else {
            idle.has_looked(now, unspent);
            return Ok(stepped && !matches!(found, IdleFound::Nothing));
        };
        let begun = self.options.clock.now();
        let worked = match kind {
            ChoreKind::Flush => {
                self.seal_idle(&tree);
                idle.was_flushed(&tree);
                true
            }
            ChoreKind::Compact => self.compact_idle(&tree, oldest)?,
        };
        if !is_paid {
            idle.has_run(begun, self.options.clock.now());
        }
        Ok(worked)
    }

    /// What readers have paid for, though somebody may still be writing; and how much is not spent
    /// yet. What another compaction holds up stays paid for.
    fn bought(&self, trees: &[Arc<Tree>], oldest: SeqNo) -> (Option<(Arc<Tree>, ChoreKind)>, u64) {
        let mut unspent = 0;
        for tree in trees {
            let view = tree.pinned();
            let charge = &view.charge;
            unspent += charge.unspent();
            if charge.has_paid_for_memtables() && charge.buys_flush(view.filling_bytes() as u64) {
                return (Some((Arc::clone(tree), ChoreKind::Flush)), unspent);
            }
            if !charge.has_paid_for_tables() {
                continue;
            }
            let free = BusyTables::default();
            let rest = compaction::rest(&view.version, &free, &view.options, oldest);
            let Some((plan, effort)) = rest else { continue };
            let is_admitted = self.work.lock().busy(tree.id).admits(&plan);
            if is_admitted && charge.buys_merge(effort.cost) {
                return (Some((Arc::clone(tree), ChoreKind::Compact)), unspent);
            }
        }
        (None, unspent)
    }

    /// How soon to look again although nothing is announced, if readers lose time.
    pub(crate) fn rest_soon(&self) -> Option<Duration> {
        // Who holds it is at it.
        self.idle.try_lock()?.soon(self.options.clock.now())
    }

    /// Has whoever lets go of the oldest snapshot tell, if something waits for it.
    fn await_snapshots(&self, oldest: SeqNo) {
        if oldest == self.published.get() {
            return;
        }
        let trees = self.live_trees();
        let views = trees.iter().map(|tree| tree.super_version());
        let held = views.filter_map(|view| compaction::held_until(&view.version, oldest)).min();
        self.snapshots.await_oldest(held);
    }

    /// Queues a flush of what the keyspace's memtables hold.
    fn seal_idle(&self, tree: &Arc<Tree>) {
        let commit = self.commit.lock();
        if !tree.is_dropped() {
            self.seal_now(&commit, std::slice::from_ref(tree));
        }
    }

    /// False if there is nothing to do, or running compactions hold it.
    fn compact_idle(&self, tree: &Arc<Tree>, oldest: SeqNo) -> Result<bool> {
        let view = tree.pinned();
        let free = BusyTables::default();
        let rest = compaction::rest(&view.version, &free, &view.options, oldest);
        let Some((plan, _)) = rest else { return Ok(false) };
        {
            let mut jobs = self.work.lock();
            let busy = jobs.busy(tree.id);
            // A compaction installs its version before it gives its tables back.
            let is_current = Arc::ptr_eq(&view.version, &tree.super_version().version);
            if !is_current || !busy.admits(&plan) {
                return Ok(false);
            }
            busy.start(&plan);
        }
        drop(view);
        self.compact_planned(tree, plan)
    }
}

#[cfg(test)]
#[path = "rest_test.rs"]
mod tests;
