//! A table file that is kept alive by whoever names it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::table_meta::TableMeta;
use crate::file_name::FileNumber;
use crate::sstable::TableHandle;
use crate::sync::Mutex;

/// A table file that some version names. Once it is marked obsolete, its number goes to the
/// [`Removable`] list when the last version, cursor or job that holds it lets go.
#[derive(Debug)]
pub(crate) struct TableFile {
    pub(crate) meta: TableMeta,
    pub(crate) handle: TableHandle,
    obsolete: AtomicBool,
    removable: Arc<Removable>,
}

/// Table files that nothing names any more. Whoever drops the last name may be a reader, and
/// readers should not wait for a file system to free a large file: so the numbers are
/// collected here, and background work removes the files.
#[derive(Debug, Default)]
pub(crate) struct Removable {
    numbers: Mutex<Vec<FileNumber>>,
}

impl TableFile {
    pub(crate) fn new(meta: TableMeta, salt: u64, removable: Arc<Removable>) -> Self {
        let handle = TableHandle::new(meta.number, meta.bytes, salt);
        Self { meta, handle, obsolete: AtomicBool::new(false), removable }
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
            self.removable.numbers.lock().push(self.meta.number);
        }
    }
}

impl Removable {
    pub(crate) fn take(&self) -> Vec<FileNumber> {
        std::mem::take(&mut self.numbers.lock())
    }

    /// For later: these files could not be removed.
    pub(crate) fn put_back(&self, numbers: &[FileNumber]) {
        self.numbers.lock().extend_from_slice(numbers);
    }
}
