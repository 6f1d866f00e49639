//! Files that nothing names any more, on their way to being removed.
//!
//! Whoever drops the last name of a file may be a reader, a writer or a flush, and none of them
//! should wait for a file system to free a large file: names are collected here, and background
//! work of its own removes the files, one at a time.
//!
//! A name that is here is never given to a new file: numbers are not used again.
//!
//! Threads: any. The lock is a leaf, and is not held over I/O.

use std::collections::VecDeque;

use lsm_log::file_name::FileName;
use parking_lot::Mutex;

/// The names, oldest first.
#[derive(Debug, Default)]
pub(crate) struct ObsoleteFiles {
    names: Mutex<VecDeque<FileName>>,
}

impl ObsoleteFiles {
    /// Takes in a file that no later version, manifest or reader will ask for.
    pub(crate) fn push(&self, name: FileName) {
        self.names.lock().push_back(name);
    }

    /// The file to be removed next.
    pub(crate) fn pop(&self) -> Option<FileName> {
        self.names.lock().pop_front()
    }

    /// How many files wait to be removed.
    pub(crate) fn len(&self) -> usize {
        self.names.lock().len()
    }
}
