//! Chooses the next compaction. Pure: touches no file, lock or clock.
//!
//! Levels are due by their score (see `levels`), the highest first. Of level 0, the oldest
//! tables go down together, so that nothing older stays above what is newer. Of a deeper
//! level goes the table that meets the fewest bytes below for its own, tables that are mostly
//! tombstones before the others; neighbours that meet nothing else below come along.
//!
//! When no level is due, tables that hold much that no reader sees are worked off:
//!
//! * Mostly tombstones: rewritten in place where nothing of their range lies deeper, else pushed
//!   down a level. Only tables that are wholly visible to the oldest snapshot count, so that a
//!   rewrite in place is certain to drop every tombstone.
//! * Many shadowed puts, kept for snapshots that are gone: rewritten in place. Each has a newer
//!   version in front of it that the oldest snapshot sees, so all are certain to go.
//! * One of these in level 0: goes down with all that are older, if what lies below is not too
//!   much to be read for it.
//!
//! What is left of tables that are partly dead waits for a level to be due, or for nobody to
//! write (see `rest`).
//!
//! Why it ends: every plan either moves entries to a deeper level or drops some for certain, no
//! plan adds an entry, and none lifts one up. What a rewrite keeps for snapshots is counted anew,
//! and counts again only once the oldest of them has gone.

use std::cmp::Reverse;
use std::sync::Arc;

use super::busy::BusyTables;
use super::levels::{BOTTOM, Targets, codec_for};
use super::output_splitter::GRANDPARENT_TABLES_MAX;
use super::plan::{Plan, PlanKind, Reason, bytes, group};
use crate::key::SeqNo;
use crate::options::KeyspaceOptions;
use crate::version::{LEVELS, TableFile, Version};

/// A table is mostly tombstones when they are more than one in this many of its entries.
const TOMBSTONES_ONE_IN: u64 = 2;

/// Shadowed puts that no snapshot needs any more are worth a rewrite when they are more than one in
/// this many bytes of a table. An application that overwrites everything under one snapshot has
/// them at one in two.
const RELEASED_ONE_IN: u64 = 4;

/// A table of level 0 that is mostly dead goes down before level 0 is due if no more than so many
/// bytes are written for one that is given back.
const LEVEL_ZERO_TIMES_MAX: u64 = 16;

/// How many tables' worth of bytes a plan may grow to by taking expanded inputs along.
const EXPANDED_TABLES_MAX: u64 = 25;

/// A table of level 0 is moved down only if it has at least one part in so many of a table's
/// size. Smaller ones are merged, or a run of small flushes would end as a run of small tables.
const MOVED_PART_MIN: u64 = 8;

/// A neighbour at the output level is small, and merged along with a plan from level 0, if it
/// is below one part in so many of a table's size ...
const SMALL_PART: u64 = 4;

/// ... and below so many times the bytes of the plan. Sizes of small tables thus grow like a
/// series of powers, and each byte is merged again only a few times.
const SMALL_TIMES_PLAN: u64 = 4;

/// The most urgent compaction of `version` that may start beside those that run.
///
/// `oldest_snapshot` is the oldest point that a reader may stand at: the oldest snapshot, or
/// the newest visible sequence number if there is none.
pub(crate) fn pick(
    version: &Version,
    busy: &BusyTables,
    options: &KeyspaceOptions,
    oldest_snapshot: SeqNo,
) -> Option<Plan> {
    let targets = Targets::of(version, options);
    let scores = targets.scores(version, options, |table| !busy.holds(table));
    let picker = Picker { version, busy, options, oldest_snapshot };
    let mut due: Vec<usize> = (0..BOTTOM).filter(|&level| scores[level] >= 1.0).collect();
    // Stable, so that of two equals the upper level goes first.
    due.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    due.into_iter()
        .find_map(|level| match level {
            0 => picker.level_zero(targets.base()),
            _ => picker.least_overlap(level),
        })
        .or_else(|| picker.dead_in_level_zero(targets.base()))
        .or_else(|| picker.released())
        .or_else(|| picker.tombstones())
}

/// How much a keyspace needs a compaction: the score of the level that is due most, or 0 if none
/// is due.
pub(crate) fn urgency(version: &Version, busy: &BusyTables, options: &KeyspaceOptions) -> f64 {
    let scores = Targets::of(version, options).scores(version, options, |table| !busy.holds(table));
    scores[..BOTTOM].iter().copied().filter(|score| *score >= 1.0).fold(0.0, f64::max)
}

/// What decisions are made from.
pub(super) struct Picker<'a> {
    pub(super) version: &'a Version,
    pub(super) busy: &'a BusyTables,
    pub(super) options: &'a KeyspaceOptions,
    pub(super) oldest_snapshot: SeqNo,
}

impl Picker<'_> {
    /// The oldest tables of level 0, up to the first that is taken, into the base level.
    fn level_zero(&self, base: usize) -> Option<Plan> {
        let tables = &self.version.levels[0];
        let free = self.free_in_level_zero();
        let oldest = tables.last().filter(|_| free > 0)?;
        let meta = &oldest.meta;
        // Tables that come one behind the other, as from a load in key order, are moved.
        if self.version.overlapping(0, &meta.smallest, &meta.largest).count() == 1
            && let Some(plan) = self.push(0, vec![oldest.clone()], base, Reason::LevelZero)
            && plan.kind == PlanKind::Move
        {
            return Some(plan);
        }
        self.merge_oldest(free, base, Reason::LevelZero)
    }

    /// How many of the oldest tables of level 0 may go down now.
    pub(super) fn free_in_level_zero(&self) -> usize {
        self.version.levels[0].iter().rev().take_while(|table| !self.busy.holds(table)).count()
    }

    /// Merges the `count` oldest tables of level 0 into the base level, and with them small
    /// tables beside the outputs.
    pub(super) fn merge_oldest(&self, count: usize, base: usize, reason: Reason) -> Option<Plan> {
        let tables = &self.version.levels[0];
        let inputs = tables[tables.len() - count..].to_vec();
        let mut plan = self.admitted(Plan::merge(self.version, 0, inputs, base, reason))?;
        while let Some(neighbour) = self.small_neighbour(&plan) {
            plan.below.push(neighbour);
            plan.below.sort_by(|a, b| a.meta.smallest.cmp(&b.meta.smallest));
            plan.find_grandparents(self.version);
        }
        Some(plan)
    }

    /// A small, free table next to the plan's range at the output level, if there is one.
    fn small_neighbour(&self, plan: &Plan) -> Option<Arc<TableFile>> {
        let (smallest, largest) = plan.span();
        let tables = &self.version.levels[plan.output_level];
        let left = tables.partition_point(|table| table.meta.largest.as_slice() < smallest);
        let right = tables.partition_point(|table| table.meta.smallest.as_slice() <= largest);
        let small = (self.options.table_bytes / SMALL_PART).min(SMALL_TIMES_PLAN * plan.bytes());
        let beside = [left.checked_sub(1).and_then(|at| tables.get(at)), tables.get(right)];
        let joins = |table: &&Arc<TableFile>| {
            let (first, last) = (table.meta.smallest.as_slice(), table.meta.largest.as_slice());
            let (first, last) = (first.min(smallest), last.max(largest));
            table.meta.bytes < small
                && !self.busy.holds(table)
                && !self.busy.writes_to(plan.output_level, first, last)
        };
        beside.into_iter().flatten().find(joins).cloned()
    }

    /// The table of `level` that is cheapest to push down, and its expanded inputs.
    fn least_overlap(&self, level: usize) -> Option<Plan> {
        let tables = &self.version.levels[level];
        let cost = |at: usize| {
            let meta = &tables[at].meta;
            let below = self.version.overlapping(level + 1, &meta.smallest, &meta.largest);
            bytes(below) as f64 / meta.bytes.max(1) as f64
        };
        let mut order: Vec<_> =
            (0..tables.len()).map(|at| (!self.is_heavy(&tables[at]), cost(at), at)).collect();
        order.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
        order.into_iter().find_map(|(_, _, at)| {
            let plan = self.push(level, vec![tables[at].clone()], level + 1, Reason::LevelSize)?;
            Some(self.expanded(plan, at))
        })
    }

    /// Adds neighbours of the input, which is table `at` of its level, that meet tables below
    /// which the plan reads anyway, and no others.
    ///
    /// A table that meets none is not taken: between it and the input there may be tables below
    /// that the plan would have to read for it, and later it can be moved for nothing.
    fn expanded(&self, plan: Plan, at: usize) -> Plan {
        let tables = &self.version.levels[plan.level];
        let limit = EXPANDED_TABLES_MAX * self.options.table_bytes;
        let mut room = limit.saturating_sub(plan.bytes());
        let mut rides = |table: &Arc<TableFile>| {
            let (smallest, largest) = (&table.meta.smallest, &table.meta.largest);
            let mut met = self.version.overlapping(plan.output_level, smallest, largest).peekable();
            let rides = met.peek().is_some()
                && met.all(|a| plan.below.iter().any(|b| Arc::ptr_eq(a, b)))
                && table.meta.bytes <= room
                && !self.busy.holds(table)
                && !self.busy.writes_to(plan.output_level, smallest, largest);
            room -= if rides { table.meta.bytes } else { 0 };
            rides
        };
        let right = tables[at + 1..].iter().take_while(|table| rides(table)).count();
        let left = tables[..at].iter().rev().take_while(|table| rides(table)).count();
        if left + right == 0 {
            return plan;
        }
        let inputs = tables[at - left..=at + right].to_vec();
        Plan::merge(self.version, plan.level, inputs, plan.output_level, plan.reason)
    }

    /// The oldest tables of level 0, up to the newest that holds much that is dead.
    fn dead_in_level_zero(&self, base: usize) -> Option<Plan> {
        let tables = &self.version.levels[0];
        let tables = &tables[tables.len() - self.free_in_level_zero()..];
        let dead = |table: &Arc<TableFile>| self.is_heavy(table) || self.is_released(table);
        let newest = tables.iter().position(dead)?;
        let reason = match self.is_heavy(&tables[newest]) {
            true => Reason::Tombstones,
            false => Reason::Released,
        };
        let going = &tables[newest..];
        let worth = self.effort_down(0, going).is_worth(LEVEL_ZERO_TIMES_MAX);
        worth.then(|| self.merge_oldest(going.len(), base, reason))?
    }

    /// The table with the most to give back of what was kept for snapshots that are gone, and
    /// those right behind it that have something to give back, too: their rests fit into fewer tables.
    fn released(&self) -> Option<Plan> {
        let mut released: Vec<_> = self.version.tables().filter(|(level, _)| *level > 0).collect();
        released.retain(|(_, table)| self.is_released(table));
        released.sort_by_key(|(_, table)| Reverse(table.meta.shadowed.bytes));
        released.into_iter().find_map(|(level, table)| {
            let tables = &self.version.levels[level];
            let at = tables.iter().position(|other| Arc::ptr_eq(other, table))?;
            let open = |table: &TableFile| self.is_released(table) && !self.busy.holds(table);
            let limit = EXPANDED_TABLES_MAX * self.options.table_bytes;
            let inputs = group(&tables[at..], open, limit);
            let lone = vec![table.clone()];
            let plan = |inputs| self.push(level, inputs, level, Reason::Released);
            (inputs.len() > 1).then(|| plan(inputs)).flatten().or_else(|| plan(lone))
        })
    }

    /// The table with the most tombstones among those that hold little else.
    fn tombstones(&self) -> Option<Plan> {
        let mut heavy: Vec<_> = self.version.tables().filter(|(level, _)| *level > 0).collect();
        heavy.retain(|(_, table)| self.is_heavy(table));
        heavy.sort_by_key(|(_, table)| Reverse(table.meta.tombstones));
        heavy.into_iter().find_map(|(level, table)| {
            let output_level = match self.is_over_data(level, table) {
                true => level + 1,
                false => level,
            };
            self.push(level, vec![table.clone()], output_level, Reason::Tombstones)
        })
    }

    /// A plan for `inputs` if it may start: a move where that does, else a merge.
    pub(super) fn push(
        &self,
        level: usize,
        inputs: Vec<Arc<TableFile>>,
        output_level: usize,
        reason: Reason,
    ) -> Option<Plan> {
        let plan = Plan::merge(self.version, level, inputs, output_level, reason);
        let mut plan = self.admitted(plan)?;
        if self.may_move(&plan) {
            plan.kind = PlanKind::Move;
        }
        Some(plan)
    }

    fn admitted(&self, plan: Plan) -> Option<Plan> {
        self.busy.admits(&plan).then_some(plan)
    }

    /// Whether the plan's one input may change its level as it is.
    fn may_move(&self, plan: &Plan) -> bool {
        let [table] = plan.inputs.as_slice() else {
            return false;
        };
        let meta = &table.meta;
        let packed_alike =
            codec_for(self.options, plan.level) == codec_for(self.options, plan.output_level);
        // Written anew, the table would lose the tombstones that every reader sees, and the
        // puts that none does.
        let sheds = self.is_released(table)
            || meta.tombstones > 0
                && meta.seq_min <= self.oldest_snapshot
                && !self.is_over_data(plan.output_level, table);
        plan.output_level > plan.level
            && plan.below.is_empty()
            && packed_alike
            && !sheds
            && bytes(&plan.grandparents) <= GRANDPARENT_TABLES_MAX * self.options.table_bytes
            && (plan.level > 0 || meta.bytes >= self.options.table_bytes / MOVED_PART_MIN)
    }

    /// Whether the table is mostly tombstones, all of them seen by every reader.
    fn is_heavy(&self, table: &TableFile) -> bool {
        let meta = &table.meta;
        meta.tombstones > meta.entries / TOMBSTONES_ONE_IN && meta.seq_max <= self.oldest_snapshot
    }

    /// Whether much of the table are puts that were kept for snapshots which are gone.
    fn is_released(&self, table: &TableFile) -> bool {
        self.released_bytes(table) > table.meta.raw_bytes / RELEASED_ONE_IN
    }

    /// Bytes of shadowed puts that no snapshot needs any more.
    pub(super) fn released_bytes(&self, table: &TableFile) -> u64 {
        let shadowed = &table.meta.shadowed;
        if shadowed.by <= self.oldest_snapshot { shadowed.bytes } else { 0 }
    }

    /// Whether a level deeper than `level` may hold keys of the table.
    pub(super) fn is_over_data(&self, level: usize, table: &TableFile) -> bool {
        let (smallest, largest) = (&table.meta.smallest, &table.meta.largest);
        (level + 1..LEVELS)
            .any(|deeper| self.version.overlapping(deeper, smallest, largest).next().is_some())
    }
}

#[cfg(test)]
#[path = "picker_test.rs"]
mod tests;
