//! One compaction as decided: which tables, to which level, and why.

use std::sync::Arc;

use super::output_splitter::OutputSplitter;
use crate::options::KeyspaceOptions;
use crate::version::{LEVELS, TableFile, Version};

/// How a plan is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlanKind {
    /// Inputs and tables below are merged into new tables at the output level.
    Merge,
    /// The one input gets a new place in the next version; its file stays as it is.
    Move,
}

/// Why a compaction was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Level 0 has too many tables.
    LevelZero,
    /// A deeper level holds more than its share.
    LevelSize,
    /// A table is mostly tombstones.
    Tombstones,
    /// A table holds much that was kept for snapshots which are gone.
    Released,
    /// Nobody writes: what is dead is given back.
    Rest,
    /// Somebody asked for the range to be compacted.
    Manual,
}

/// One compaction.
///
/// Invariants:
/// * Inputs are of one level and contiguous there; at level 0 they are the oldest tables of
///   the level. So whatever is older than an input, and of the same key, lies in `below` or
///   deeper than the output level.
/// * `below` holds every table of the output level that the inputs' range meets, so that the
///   outputs can take its place without meeting a neighbour. It is empty where a level is
///   rewritten in place (`output_level == level`).
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The level of the inputs.
    pub(crate) level: usize,
    /// In the order of their level: newest first at level 0, by key elsewhere.
    pub(crate) inputs: Vec<Arc<TableFile>>,
    pub(crate) output_level: usize,
    /// Inputs of the output level, by key.
    pub(crate) below: Vec<Arc<TableFile>>,
    /// Tables of the level below the output that the outputs may overlap, by key.
    pub(crate) grandparents: Vec<Arc<TableFile>>,
    pub(crate) kind: PlanKind,
    pub(crate) reason: Reason,
}

impl Plan {
    /// A merge of `inputs` with what lies in their range at the output level.
    pub(super) fn merge(
        version: &Version,
        level: usize,
        inputs: Vec<Arc<TableFile>>,
        output_level: usize,
        reason: Reason,
    ) -> Self {
        let (smallest, largest) = span(&inputs).expect("a plan has inputs");
        let below = match output_level == level {
            true => Vec::new(),
            false => version.overlapping(output_level, smallest, largest).cloned().collect(),
        };
        let kind = PlanKind::Merge;
        let grandparents = Vec::new();
        let mut plan = Self { level, inputs, output_level, below, grandparents, kind, reason };
        plan.find_grandparents(version);
        plan
    }

    /// Brings `grandparents` up to date with the plan's range.
    pub(super) fn find_grandparents(&mut self, version: &Version) {
        let level = self.output_level + 1;
        if level < LEVELS {
            let (smallest, largest) = self.span();
            self.grandparents = version.overlapping(level, smallest, largest).cloned().collect();
        }
    }

    /// All tables that the plan reads and that its outputs replace.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<TableFile>> {
        self.inputs.iter().chain(&self.below)
    }

    /// Bytes of all tables the plan reads.
    pub(crate) fn bytes(&self) -> u64 {
        bytes(&self.inputs) + bytes(&self.below)
    }

    /// First and last user key that the outputs may hold.
    pub(crate) fn span(&self) -> (&[u8], &[u8]) {
        span(self.tables()).expect("a plan has inputs")
    }

    /// Where to cut the outputs.
    pub(crate) fn cut(&self, options: &KeyspaceOptions) -> OutputSplitter<'_> {
        OutputSplitter::new(options.table_bytes, &self.grandparents)
    }

    /// What lies under the outputs, in the version that the plan was picked from or a later
    /// one.
    pub(crate) fn deeper<'a>(&self, version: &'a Version) -> Deeper<'a> {
        debug_assert!(self.output_level > 0, "older level 0 tables may hold any key");
        Deeper { levels: version.levels[self.output_level + 1..].iter().map(|l| &l[..]).collect() }
    }
}

/// The levels under a job's outputs, searched for keys in ascending order: each table is
/// passed once, so that a key costs a comparison or two a level.
///
/// A version from the start of the job will do: while it runs, others move data of its keys
/// only from one level under the outputs to another.
#[derive(Debug)]
pub(crate) struct Deeper<'a> {
    /// A level each: the tables that do not end before the last key asked for.
    levels: Vec<&'a [Arc<TableFile>]>,
}

impl Deeper<'_> {
    /// Whether some deeper table may hold `key`; ask in ascending order of keys.
    #[inline]
    pub(crate) fn may_hold(&mut self, key: &[u8]) -> bool {
        self.levels.iter_mut().any(|tables| {
            while let Some((first, rest)) = tables.split_first()
                && first.meta.largest.as_slice() < key
            {
                *tables = rest;
            }
            tables.first().is_some_and(|table| table.meta.smallest.as_slice() <= key)
        })
    }
}

/// First and last user key of `tables`; `None` if there are none.
pub(super) fn span<'a>(
    tables: impl IntoIterator<Item = &'a Arc<TableFile>>,
) -> Option<(&'a [u8], &'a [u8])> {
    let spans = tables.into_iter().map(|t| (t.meta.smallest.as_slice(), t.meta.largest.as_slice()));
    spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

pub(super) fn bytes<'a>(tables: impl IntoIterator<Item = &'a Arc<TableFile>>) -> u64 {
    tables.into_iter().map(|table| table.meta.bytes).sum()
}

/// The first of `tables`, and those right behind it that are open too, up to `bytes_max`.
pub(super) fn group(
    tables: &[Arc<TableFile>],
    open: impl Fn(&TableFile) -> bool,
    bytes_max: u64,
) -> Vec<Arc<TableFile>> {
    let mut bytes = 0;
    let fits = |table: &&Arc<TableFile>| {
        bytes += table.meta.bytes;
        open(table) && (bytes == table.meta.bytes || bytes <= bytes_max)
    };
    tables.iter().take_while(fits).cloned().collect()
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
