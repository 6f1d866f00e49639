//! What is known of a table without opening it, and its file, kept alive by whoever names it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lsm_log::file_name::{FileName, FileNumber};

use super::obsolete::ObsoleteFiles;
use crate::key::SeqNo;
use crate::sstable::{Shadowed, TableHandle};

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

/// A table file that some version names. Once it is marked obsolete, its name goes to the
/// [`ObsoleteFiles`] when the last version, cursor or job that holds it lets go.
#[derive(Debug)]
pub(crate) struct TableFile {
    pub(crate) meta: TableMeta,
    pub(crate) handle: TableHandle,
    obsolete: AtomicBool,
    obsolete_files: Arc<ObsoleteFiles>,
}

impl TableFile {
    pub(crate) fn new(meta: TableMeta, salt: u64, obsolete_files: Arc<ObsoleteFiles>) -> Self {
        let handle = TableHandle::new(meta.number, meta.bytes, salt);
        Self { meta, handle, obsolete: AtomicBool::new(false), obsolete_files }
    }

    /// No later version names the file.
    pub(super) fn mark_obsolete(&self) {
        // Relaxed: dropping the last `Arc` orders this before the drop.
        self.obsolete.store(true, Ordering::Relaxed);
    }
}

impl Drop for TableFile {
    fn drop(&mut self) {
        if self.obsolete.load(Ordering::Relaxed) {
            self.obsolete_files.push(FileName::Table(self.meta.number));
        }
    }
}
