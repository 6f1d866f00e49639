//! Gives the space of obsolete files back, one file at a time, on a thread of its own.
//!
//! A file system may take long to free a file, and a compaction or a dropped keyspace leaves
//! hundreds: no writer, flush or reader waits for any of them. Files go while other work comes
//! in, as fast as the file system frees them, but the thread pauses after each file for as long
//! as it took, so that half of the file system's time is left to the others.
//!
//! Threads: one removes; any may add to the list ([`ObsoleteFiles`]).
//!
//! [`ObsoleteFiles`]: crate::version

use std::time::Duration;

use super::engine::Engine;

/// A call gives up after so many files that cannot be removed.
const REFUSED_MAX: usize = 16;
/// No pause is longer.
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// How long a close goes on removing files; the others go at the next open.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(1);

impl Engine {
    /// Removes the file that has waited longest; false if none could be. One that the file
    /// system keeps costs space and nothing else: it is tried again after the others, and at
    /// the next open.
    pub(crate) fn remove_one(&self) -> bool {
        let files = self.set.obsolete_files();
        for _ in 0..files.len().min(REFUSED_MAX) {
            if self.lifecycle.is_failed() {
                // What the manifest on disk names is unknown: the next open finds out.
                return false;
            }
            let Some(name) = files.pop() else { return false };
            match self.options.fs.remove(&name.in_dir(&self.dir)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => files.push(name),
                _ => return true,
            }
        }
        false
    }

    /// As [`remove_one`](Self::remove_one), and a pause.
    pub(crate) fn remove_gently(&self) -> bool {
        let start = self.options.clock.now();
        let removed = self.remove_one();
        let end = self.options.clock.now();
        let until = end + end.saturating_sub(start).min(PAUSE_MAX);
        self.work.sleep(|| until.saturating_sub(self.options.clock.now()));
        removed
    }

    /// Removes what there is to remove, for a while.
    pub(crate) fn remove_before_close(&self) {
        let until = self.options.clock.now() + CLOSE_TIME_MAX;
        while self.options.clock.now() < until && self.remove_one() {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use crate::db::open::open;
    use crate::options::Options;
    use lsm_log::error::Error;
    use lsm_log::file_name::{FileName, FileNumber};
    use lsm_log::fs::{Fs, MemFs};

    /// Its last edit may have been written or not: what it took out may be in force still.
    #[test]
    fn a_failed_database_removes_nothing() {
        let (disk, dir) = (MemFs::new(), Path::new("/db"));
        let options = Options::default().fs(Arc::new(disk.clone())).stepped(1);
        let engine = open(options, dir).unwrap();
        for number in [77, 78] {
            let name = FileName::Table(FileNumber(number));
            disk.create(&name.in_dir(dir)).unwrap();
            engine.set.obsolete_files().push(name);
        }
        assert!(engine.remove_one());
        engine.fail(Error::corrupt("on purpose"));
        assert!(!engine.remove_one());
        assert!(disk.len(&FileName::Table(FileNumber(78)).in_dir(dir)).is_ok());
    }
}
