//! A table file that is kept alive by whoever names it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::obsolete::ObsoleteFiles;
use super::table_meta::TableMeta;
use crate::sstable::TableHandle;
use lsm_log::file_name::FileName;

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
