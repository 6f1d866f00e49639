//! What is known of one table without opening it.

use crate::key::SeqNo;
use crate::sstable::Shadowed;
use lsm_log::file_name::FileNumber;

/// One table's place in the key space and the write order, as the manifest keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableMeta {
    pub(crate) number: FileNumber,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// First and last user key, both in the table. Below level 0 no user key is in two tables.
    pub(crate) smallest: Vec<u8>,
    pub(crate) largest: Vec<u8>,
    /// Least and greatest sequence number; zero for entries that no snapshot tells apart.
    pub(crate) seq_min: SeqNo,
    pub(crate) seq_max: SeqNo,
    /// Versions in the table, tombstones among them.
    pub(crate) entries: u64,
    pub(crate) tombstones: u64,
    /// Length of all keys and values before prefixes are shared and blocks compressed.
    pub(crate) raw_bytes: u64,
    /// Puts that are kept for snapshots only.
    pub(crate) shadowed: Shadowed,
}

impl TableMeta {
    pub(crate) fn overlaps(&self, smallest: &[u8], largest: &[u8]) -> bool {
        self.smallest.as_slice() <= largest && smallest <= self.largest.as_slice()
    }
}
