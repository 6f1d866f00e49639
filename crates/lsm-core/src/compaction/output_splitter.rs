//! Where a merge ends one output table and begins the next. Pure.
//!
//! A table is ended when it is full; or, once half full, where a table of the level below the
//! output (a grandparent of the inputs) ends, so that borders line up and a later merge of
//! the table touches few others; or where the table would come to overlap too much of that
//! level. Never between versions of one user key: below level 0 a key has one table.
//!
//! The two keys that bound a table are in memory and in the manifest for as long as it is there.
//! They are whole keys, since tables of a run may share any prefix; so where keys are long, tables
//! are made longer, and what is kept of all of them stays a small share of the data.

use std::sync::Arc;

use crate::version::TableFile;

/// How many times its own size limit a table may overlap of the level below it, in bytes,
/// which bounds the later merge that pushes the table down.
pub(super) const GRANDPARENT_TABLES_MAX: u64 = 10;

/// Bytes of bounding keys that every table may have.
const BOUNDS_BYTES_FREE: u64 = 256;
/// How many times as long as its bounding keys a table must be, beyond those.
const BYTES_PER_BOUNDS_BYTE: u64 = 256;

/// Says where to cut. Asked before each version is added, in the internal order.
#[derive(Debug)]
pub(crate) struct OutputSplitter<'a> {
    table_bytes: u64,
    /// In key order. All before `at` end before the last key asked about.
    grandparents: &'a [Arc<TableFile>],
    at: usize,
    /// Bytes of the grandparents that ended within the table being written.
    overlap: u64,
    /// Lengths of the first key of the table being written, and of the last so far.
    bounds: [u64; 2],
}

impl<'a> OutputSplitter<'a> {
    pub(crate) fn new(table_bytes: u64, grandparents: &'a [Arc<TableFile>]) -> Self {
        Self { table_bytes, grandparents, at: 0, overlap: 0, bounds: [0; 2] }
    }

    /// Whether the table being written, now `bytes` long, must end before the version of `key`
    /// that comes next. `key_is_new` says that the version before was one of another user key.
    #[inline]
    pub(crate) fn should_cut(&mut self, bytes: u64, key_is_new: bool, key: &[u8]) -> bool {
        if !key_is_new {
            return false;
        }
        let crossed = self.advance(key);
        let table_bytes = self.table_bytes.max(self.least_bytes());
        let full = bytes >= table_bytes;
        // The overlap is looked at only where the key enters another grandparent: one huge
        // grandparent must not end a table at each of its keys.
        let lines_up = crossed
            && (bytes >= table_bytes / 2
                || self.overlap_with(key) > GRANDPARENT_TABLES_MAX * table_bytes);
        let cut = bytes > 0 && (full || lines_up);
        if cut || bytes == 0 {
            self.overlap = 0;
            self.bounds[0] = key.len() as u64;
        }
        self.bounds[1] = key.len() as u64;
        cut
    }

    /// How long the table being written must be for the keys that bound it.
    fn least_bytes(&self) -> u64 {
        let bounds: u64 = self.bounds.iter().sum();
        bounds.saturating_sub(BOUNDS_BYTES_FREE) * BYTES_PER_BOUNDS_BYTE
    }

    /// Moves on to the grandparent that ends at or behind `key`; whether that was a step.
    #[inline]
    fn advance(&mut self, key: &[u8]) -> bool {
        let before = self.at;
        while let Some(table) = self.grandparents.get(self.at)
            && table.meta.largest.as_slice() < key
        {
            self.overlap += table.meta.bytes;
            self.at += 1;
        }
        self.at > before
    }

    /// What the table would overlap with `key` in it.
    fn overlap_with(&self, key: &[u8]) -> u64 {
        let entered = self.grandparents.get(self.at).filter(|t| t.meta.smallest.as_slice() <= key);
        self.overlap + entered.map_or(0, |table| table.meta.bytes)
    }
}

#[cfg(test)]
#[path = "output_splitter_test.rs"]
mod tests;
