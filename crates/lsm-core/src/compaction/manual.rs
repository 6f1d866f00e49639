//! Compacts a range on request, step by step. Pure.
//!
//! The levels are swept once each, from the top down. From a level with data of the range
//! below it, tables are pushed to the next; in the last, those that still hold tombstones or
//! sequence numbers are written anew, so that deleted and overwritten space is given back.
//!
//! ```text
//! level 0 -> base     once, all that was there when the sweep began
//! level n -> n + 1    left to right, while some deeper level holds keys of the range
//! last level          left to right, in place
//! ```
//!
//! Why it ends beside writers: tables flushed later are left alone at level 0, and in each
//! deeper level the sweep only moves to the right, up to the last key the level held when the
//! sweep reached it. Tables made by the sweep itself are not written anew: their versions went
//! through the drop policy already.

use lsm_log::file_name::FileNumber;

use super::busy::BusyTables;
use super::levels::Targets;
use super::picker::Picker;
use super::plan::{Plan, PlanKind, Reason, group};
use crate::key::{KeyRange, SEQ_MAX};
use crate::options::KeyspaceOptions;
use crate::version::{LEVELS, TableFile, Version};

/// How many tables' worth of bytes one step takes from its level.
const STEP_TABLES_MAX: u64 = 25;

/// What to do next for a range.
#[derive(Debug)]
pub(crate) enum ManualStep {
    /// Run this, install its edit, and ask again.
    Run(Plan),
    /// Running compactions hold what is needed next: ask again when one has finished.
    Wait,
    /// Nothing is left to do.
    Done,
}

/// The state of one request to compact a range.
#[derive(Debug)]
pub(crate) struct ManualCompaction {
    range: KeyRange,
    /// Tables with greater numbers came after the request.
    newest: FileNumber,
    level: usize,
    /// Within the level: the last key that was dealt with, and the last there is to deal with.
    done: Option<Vec<u8>>,
    end: Option<Vec<u8>>,
}

impl ManualCompaction {
    /// A sweep of what `version` holds of `range`; flush first what memtables hold of it.
    pub(crate) fn new(version: &Version, range: KeyRange) -> Self {
        let newest = version.tables().map(|(_, table)| table.meta.number).max();
        Self { range, newest: newest.unwrap_or_default(), level: 0, done: None, end: None }
    }

    /// The next step. A plan must be run to its end before the next call.
    pub(crate) fn next(
        &mut self,
        version: &Version,
        busy: &BusyTables,
        options: &KeyspaceOptions,
    ) -> ManualStep {
        // Tombstones that a snapshot holds up do not matter here: each table is taken once.
        let picker = Picker { version, busy, options, oldest_snapshot: SEQ_MAX };
        while self.level < LEVELS {
            let step = match self.level {
                0 => self.level_zero(&picker),
                _ => self.sorted_level(&picker),
            };
            if let Some(step) = step {
                return step;
            }
            self.level += 1;
            (self.done, self.end) = (None, None);
        }
        ManualStep::Done
    }

    /// Merges level 0 from its oldest table up to the newest that matters; `None` if none does.
    fn level_zero(&self, picker: &Picker<'_>) -> Option<ManualStep> {
        let tables = &picker.version.levels[0];
        let newest = tables.iter().position(|table| self.wants(table) && self.is_old(table))?;
        let base = Targets::of(picker.version, picker.options).base();
        let plan = picker.merge_oldest(tables.len() - newest, base, Reason::Manual);
        Some(plan.map_or(ManualStep::Wait, ManualStep::Run))
    }

    /// The next step in a sorted level; `None` once the level is swept.
    fn sorted_level(&mut self, picker: &Picker<'_>) -> Option<ManualStep> {
        let (version, level) = (picker.version, self.level);
        let tables = &version.levels[level];
        if self.end.is_none() {
            let last = tables.iter().rfind(|table| self.wants(table))?;
            self.end = Some(last.meta.largest.clone());
        }
        let deeper = level + 1..LEVELS;
        let is_last = deeper.into_iter().all(|l| version.in_range(l, &self.range).next().is_none());
        let open = |table: &TableFile| {
            let done = self.done.as_ref().is_some_and(|done| table.meta.smallest <= *done);
            let ahead = !done && self.end.as_ref().is_some_and(|end| table.meta.smallest <= *end);
            ahead && self.wants(table) && (!is_last || self.is_old(table) && may_shrink(table))
        };
        let first = tables.iter().position(|table| open(table))?;
        let output_level = if is_last { level } else { level + 1 };

        let lone = vec![tables[first].clone()];
        let mut plan = picker.push(level, lone, output_level, Reason::Manual);
        if plan.as_ref().is_some_and(|plan| plan.kind == PlanKind::Merge) {
            let inputs =
                group(&tables[first..], open, STEP_TABLES_MAX * picker.options.table_bytes);
            plan = picker.push(level, inputs, output_level, Reason::Manual).or(plan);
        }
        let Some(plan) = plan else {
            return Some(ManualStep::Wait);
        };
        self.done = plan.inputs.last().map(|table| table.meta.largest.clone());
        Some(ManualStep::Run(plan))
    }

    fn wants(&self, table: &TableFile) -> bool {
        self.range.overlaps(&table.meta.smallest, &table.meta.largest)
    }

    /// Whether the table was there when the sweep began.
    fn is_old(&self, table: &TableFile) -> bool {
        table.meta.number <= self.newest
    }
}

/// Whether a table may come out smaller when it is written anew over nothing: it holds
/// tombstones, or versions that were not alone when they were last merged.
fn may_shrink(table: &TableFile) -> bool {
    table.meta.tombstones > 0 || table.meta.seq_max.0 > 0
}
