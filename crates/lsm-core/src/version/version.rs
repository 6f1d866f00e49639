//! The tables of one keyspace at one moment: immutable levels and their search.
//!
//! Level 0 holds flushed memtables, newest first, which may overlap. Each deeper level is one
//! sorted run: tables ordered by key, no user key in two of them.

use std::ops::Range;
use std::sync::Arc;

use lsm_log::error::{Error, Result};
use lsm_log::file_name::FileNumber;

use super::table_file::TableFile;
use super::table_file::TableMeta;
use crate::key::KeyRange;

/// Levels of a keyspace, level 0 among them.
pub(crate) const LEVELS: usize = 7;

/// Immutable once it is shared: a change makes a new version.
#[derive(Clone, Debug, Default)]
pub(crate) struct Version {
    pub(crate) levels: [Vec<Arc<TableFile>>; LEVELS],
}

impl Version {
    /// Takes a table out of a level; `None` if it is not there.
    pub(super) fn remove(&mut self, level: usize, number: FileNumber) -> Option<Arc<TableFile>> {
        let tables = &mut self.levels[level];
        let at = tables.iter().position(|table| table.meta.number == number)?;
        Some(tables.remove(at))
    }

    /// Puts a table where it belongs in a level.
    ///
    /// # Errors
    ///
    /// `Corrupt` if it overlaps another one of a level that is one run.
    pub(super) fn insert(&mut self, level: usize, table: Arc<TableFile>) -> Result<()> {
        let tables = &mut self.levels[level];
        let meta = &table.meta;
        if level == 0 {
            // Flushed memtables hold disjoint stretches of the write order: newest first.
            let age = |meta: &TableMeta| (meta.seq_max, meta.number);
            let at = tables.partition_point(|other| age(&other.meta) > age(meta));
            tables.insert(at, table);
            return Ok(());
        }
        // The level was a run before, so only the neighbours can overlap.
        let at = tables.partition_point(|other| other.meta.smallest < meta.smallest);
        let neighbours = &tables[at.saturating_sub(1)..tables.len().min(at + 1)];
        if let Some(other) =
            neighbours.iter().find(|n| n.meta.overlaps(&meta.smallest, &meta.largest))
        {
            return Err(Error::corrupt(format!(
                "tables {} and {} of one level overlap",
                other.meta.number, meta.number
            )));
        }
        tables.insert(at, table);
        Ok(())
    }

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
