//! The catalog in force, the manifest behind it, and the numbers of files to come.
//!
//! Invariants:
//! * An edit is synced to the manifest before anyone sees its effect.
//! * Effects become visible in the order of the manifest: they are handed out under the lock.
//! * A manifest that failed once takes no further edit: what reached the disk is unknown.
//!
//! Threads: any; one edit at a time. The lock is held over the manifest's sync.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::catalog::Catalog;
use super::edit::Edit;
use super::manifest::Manifest;
use super::obsolete::ObsoleteFiles;
use crate::error::{Error, Result};
use crate::file_name::{FileName, FileNumber};
use crate::fs::Fs;
use crate::sync::Mutex;

/// A manifest longer than this, and than twice its own snapshot, is replaced by a new one.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug)]
pub(crate) struct VersionSet {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    database_id: u64,
    next_file: AtomicU64,
    obsolete_files: Arc<ObsoleteFiles>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    catalog: Catalog,
    /// `None` while the set only reads.
    manifest: Option<Writing>,
    /// Why no edit is taken any more: which manifest is in force is unknown.
    failed: Option<Error>,
}

#[derive(Debug)]
struct Writing {
    manifest: Manifest,
    number: FileNumber,
    snapshot_bytes: u64,
}

impl VersionSet {
    /// A set that only reads, until it [starts writing](Self::start_writing).
    pub(crate) fn read_only(fs: Arc<dyn Fs>, dir: &Path, catalog: Catalog) -> Self {
        Self {
            fs,
            dir: dir.to_owned(),
            database_id: catalog.database_id,
            next_file: AtomicU64::new(catalog.next_file.0),
            obsolete_files: Arc::clone(catalog.obsolete_files()),
            state: Mutex::new(State { catalog, manifest: None, failed: None }),
        }
    }

    /// Begins a new manifest, which holds all of the catalog: from here on there may be edits.
    pub(crate) fn start_writing(&self) -> Result<()> {
        self.switch_manifest(&mut self.state.lock())
    }

    /// Tells this database from every other, for good.
    pub(crate) fn database_id(&self) -> u64 {
        self.database_id
    }

    pub(crate) fn new_file_number(&self) -> FileNumber {
        FileNumber(self.next_file.fetch_add(1, Ordering::Relaxed))
    }

    /// The manifest in force; none if the set only reads.
    pub(crate) fn manifest_number(&self) -> Option<FileNumber> {
        self.state.lock().manifest.as_ref().map(|writing| writing.number)
    }

    pub(crate) fn obsolete_files(&self) -> &ObsoleteFiles {
        &self.obsolete_files
    }

    /// Looks at the catalog in force.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&Catalog) -> T) -> T {
        look(&self.state.lock().catalog)
    }

    /// Makes an edit durable, then hands the new catalog to `install`, in the order of edits.
    pub(crate) fn apply(&self, edit: Edit, install: impl FnOnce(&Catalog)) -> Result<()> {
        self.apply_with(|_| edit, install)
    }

    /// Like [`apply`](Self::apply), for an edit that depends on the catalog it changes.
    pub(crate) fn apply_with(
        &self,
        make: impl FnOnce(&Catalog) -> Edit,
        install: impl FnOnce(&Catalog),
    ) -> Result<()> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if let Some(first) = &state.failed {
            return Err(Error::failed(first));
        }
        let mut edit = make(&state.catalog);
        edit.next_file = Some(FileNumber(self.next_file.load(Ordering::Relaxed)));
        // Checked before it is written: the manifest never holds what cannot be applied.
        let mut part = state.catalog.part(&edit);
        part.apply(&edit)?;
        let Some(writing) = &mut state.manifest else {
            unreachable!("a set that only reads is not changed");
        };
        writing.manifest.append(&edit)?;
        let limit = MANIFEST_BYTES_MAX.max(2 * writing.snapshot_bytes);
        let full = writing.manifest.bytes() > limit;
        state.catalog.retire(&part, &edit);
        state.catalog.replace(&edit, part);
        install(&state.catalog);
        if full {
            let switched = self.switch_manifest(state);
            switched.inspect_err(|error| state.failed = Some(error.clone()))?;
        }
        Ok(())
    }

    fn switch_manifest(&self, state: &mut State) -> Result<()> {
        let number = self.new_file_number();
        state.catalog.next_file = FileNumber(self.next_file.load(Ordering::Relaxed));
        let manifest = Manifest::create(&*self.fs, &self.dir, number, &state.catalog.snapshot())?;
        let snapshot_bytes = manifest.bytes();
        let old = state.manifest.replace(Writing { manifest, number, snapshot_bytes });
        if let Some(old) = old {
            self.obsolete_files.push(FileName::Manifest(old.number));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "set_test.rs"]
mod tests;
