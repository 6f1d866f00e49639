//! A folder for one measurement: on the disk that holds the build, removed at the end.

use std::env;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A new, empty folder that lives as long as this.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Folder {
    /// In `LSM_BENCH_DIR`, or else beside the running program: the system's folder for temporary
    /// files may be in memory, where syncs cost nothing.
    pub fn new() -> Self {
        let parent = match env::var_os("LSM_BENCH_DIR") {
            Some(dir) => PathBuf::from(dir),
            None => env::current_exe().unwrap().parent().unwrap().to_owned(),
        };
        Self(tempfile::Builder::new().prefix("bench-").tempdir_in(parent).unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}
