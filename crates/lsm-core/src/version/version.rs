//! The tables of one keyspace at one moment: immutable levels and their search.
//!
//! Level 0 holds flushed memtables, newest first, which may overlap. Each deeper level is one
//! sorted run: tables ordered by key, no user key in two of them.

use std::ops::Range;
use std::sync::Arc;

use super::table_file::TableFile;
use crate::key::KeyRange;

/// Levels of a keyspace, level 0 among them.
pub(crate) const LEVELS: usize = 7;

/// Immutable: a change makes a new version.
#[derive(Clone, Debug, Default)]
pub(crate) struct Version {
    pub(crate) levels: [Vec<Arc<TableFile>>; LEVELS],
}

impl Version {
    /// The one table of a sorted level that may hold `key`.
    #[inline]
    pub(crate) fn find(&self, level: usize, key: &[u8]) -> Option<&Arc<TableFile>> {
        debug_assert!(level > 0, "level 0 is not one run");
        let tables = &self.levels[level];
        let at = tables.partition_point(|table| table.meta.largest.as_slice() < key);
        tables.get(at).filter(|table| table.meta.smallest.as_slice() <= key)
    }

    /// The tables of `level` that may hold keys from `smallest` to `largest`, both included.
    pub(crate) fn overlapping(
        &self,
        level: usize,
        smallest: &[u8],
        largest: &[u8],
    ) -> impl Iterator<Item = &Arc<TableFile>> {
        let tables = &self.levels[level];
        let skip = match level {
            0 => 0,
            _ => tables.partition_point(|table| table.meta.largest.as_slice() < smallest),
        };
        tables[skip..]
            .iter()
            .take_while(move |table| level == 0 || table.meta.smallest.as_slice() <= largest)
            .filter(move |table| table.meta.overlaps(smallest, largest))
    }

    /// The tables of `level` that may hold keys of `range`.
    pub(crate) fn in_range(
        &self,
        level: usize,
        range: &KeyRange,
    ) -> impl Iterator<Item = &Arc<TableFile>> {
        let tables = &self.levels[level];
        tables.iter().filter(|table| range.overlaps(&table.meta.smallest, &table.meta.largest))
    }

    /// The tables of a sorted `level` that may hold keys of `range`: their places in the level.
    pub(crate) fn run_in_range(&self, level: usize, range: &KeyRange) -> Range<usize> {
        debug_assert!(level > 0, "level 0 is not one run");
        let tables = &self.levels[level];
        let start = tables.partition_point(|table| range.is_before(&table.meta.largest));
        let len = tables[start..].partition_point(|table| !range.is_after(&table.meta.smallest));
        start..start + len
    }

    /// Bytes of the tables in `level`.
    pub(crate) fn level_bytes(&self, level: usize) -> u64 {
        self.levels[level].iter().map(|table| table.meta.bytes).sum()
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = (usize, &Arc<TableFile>)> {
        self.levels
            .iter()
            .enumerate()
            .flat_map(|(level, tables)| tables.iter().map(move |t| (level, t)))
    }

    /// The deepest level that holds a table; 0 if none does.
    pub(crate) fn deepest(&self) -> usize {
        self.levels.iter().rposition(|tables| !tables.is_empty()).unwrap_or(0)
    }
}
