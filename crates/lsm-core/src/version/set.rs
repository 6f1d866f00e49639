//! The catalog in force, the manifest behind it, and the numbers of files to come.
//!
//! Invariants:
//! * An edit is synced to the manifest before anyone sees its effect.
//! * Effects become visible in the order of the manifest: they are handed out under the lock.
//! * A manifest that failed once takes no further edit: what reached the disk is unknown. One that
//!   has no room for an edit refuses that edit and no other; and one that cannot be replaced when
//!   it is full grows on.
//!
//! Threads: any; one edit at a time. The lock is held over the manifest's sync.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lsm_log::error::{Error, Result};
use lsm_log::file_name::{FileName, FileNumber};
use lsm_log::fs::{Fs, open_folder};
use lsm_log::wal::{Nonce, Nonces};
use parking_lot::Mutex;

use super::catalog::Catalog;
use super::edit::Edit;
use super::manifest::Manifest;
use super::obsolete::ObsoleteFiles;

/// Bytes of the edits that a snapshot is cut into, about.
pub(crate) const SNAPSHOT_PIECE_BYTES: usize = 1 << 20;

/// What a manifest is kept within: constants, but for tests that want to reach them.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// A manifest longer than this, and than twice its own snapshot, is replaced by a new one.
    manifest_bytes: u64,
    piece_bytes: usize,
    /// A longer edit is not written: a new manifest begins, with the state that it leads to.
    edit_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { manifest_bytes: 4 << 20, piece_bytes: SNAPSHOT_PIECE_BYTES, edit_bytes: 16 << 20 }
    }
}

#[derive(Debug)]
pub(crate) struct VersionSet {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    database_id: u64,
    next_file: AtomicU64,
    nonces: Nonces,
    limits: Limits,
    obsolete_files: Arc<ObsoleteFiles>,
    state: Mutex<SetState>,
}

#[derive(Debug)]
struct SetState {
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
    /// Once it is longer than this it is replaced.
    full_at: u64,
}

impl VersionSet {
    /// A set that only reads, until it [starts writing](Self::start_writing).
    pub(crate) fn read_only(fs: Arc<dyn Fs>, dir: &Path, catalog: Catalog, nonces: Nonces) -> Self {
        Self::within(Limits::default(), fs, dir, catalog, nonces)
    }

    fn within(
        limits: Limits,
        fs: Arc<dyn Fs>,
        dir: &Path,
        catalog: Catalog,
        nonces: Nonces,
    ) -> Self {
        Self {
            fs,
            dir: dir.to_owned(),
            database_id: catalog.database_id,
            next_file: AtomicU64::new(catalog.next_file.0),
            nonces,
            limits,
            obsolete_files: Arc::clone(catalog.obsolete_files()),
            state: Mutex::new(SetState { catalog, manifest: None, failed: None }),
        }
    }

    /// Begins a new manifest, which holds all of the catalog: from here on there may be edits.
    pub(crate) fn start_writing(&self) -> Result<()> {
        let SetState { catalog, manifest, failed } = &mut *self.state.lock();
        self.switch_manifest(catalog, manifest, failed)
    }

    /// Tells this database from every other, for good.
    pub(crate) fn database_id(&self) -> u64 {
        self.database_id
    }

    pub(crate) fn new_file_number(&self) -> FileNumber {
        FileNumber(self.next_file.fetch_add(1, Ordering::Relaxed))
    }

    /// The number of a log segment or manifest to come, and its nonce.
    pub(crate) fn new_framed_file(&self) -> (FileNumber, Nonce) {
        let number = self.new_file_number();
        (number, self.nonces.draw(number))
    }

    /// The manifest in force; none if the set only reads.
    pub(crate) fn manifest_number(&self) -> Option<FileNumber> {
        self.state.lock().manifest.as_ref().map(|writing| writing.number)
    }

    pub(crate) fn obsolete_files(&self) -> &ObsoleteFiles {
        &self.obsolete_files
    }

    /// Whether no edit is taken any more.
    pub(crate) fn is_failed(&self) -> bool {
        self.state.lock().failed.is_some()
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
        let mut encoded = Vec::new();
        edit.encode(&mut encoded);
        if encoded.len() <= self.limits.edit_bytes {
            if let Err(error) = writing.manifest.append(&encoded) {
                // Else nothing has changed.
                let is_unknown = writing.manifest.is_failed();
                state.failed = is_unknown.then(|| error.clone());
                return Err(error);
            }
        } else {
            let mut next = state.catalog.clone();
            next.replace(&edit, part.clone());
            self.switch_manifest(&mut next, &mut state.manifest, &mut state.failed)?;
        }
        state.catalog.retire(&part, &edit);
        state.catalog.replace(&edit, part);
        install(&state.catalog);
        self.replace_if_full(state)
    }

    /// Begins a new manifest if that in force is long enough.
    fn replace_if_full(&self, state: &mut SetState) -> Result<()> {
        let SetState { catalog, manifest, failed } = state;
        if manifest.as_ref().is_none_or(|w| w.manifest.bytes() <= w.full_at) {
            return Ok(());
        }
        let switched = self.switch_manifest(catalog, manifest, failed);
        if let (Err(_), None, Some(writing)) = (&switched, failed, manifest) {
            // The edit is durable, and the old one serves. Not with each edit: a snapshot is long.
            writing.full_at = writing.manifest.bytes() + self.limits.manifest_bytes / 4;
            return Ok(());
        }
        switched
    }

    /// Puts a new manifest in force, which begins with all of `catalog`. An error changes nothing,
    /// unless it is unknown which one is in force: then the set has `failed`.
    fn switch_manifest(
        &self,
        catalog: &mut Catalog,
        writing: &mut Option<Writing>,
        failed: &mut Option<Error>,
    ) -> Result<()> {
        let folder = open_folder(&*self.fs, &self.dir)?;
        let (number, nonce) = self.new_framed_file();
        catalog.next_file = FileNumber(self.next_file.load(Ordering::Relaxed));
        let snapshot = catalog.snapshot(self.limits.piece_bytes);
        let prepared = Manifest::prepare(&*self.fs, &self.dir, (number, nonce), snapshot);
        let manifest =
            prepared.inspect_err(|_| self.obsolete_files.push(FileName::Manifest(number)))?;
        let in_force = manifest.put_in_force(&*self.fs, &*folder, &self.dir);
        in_force.inspect_err(|error| *failed = Some(error.clone()))?;
        let full_at = self.limits.manifest_bytes.max(2 * manifest.bytes());
        let old = writing.replace(Writing { manifest, number, full_at });
        if let Some(old) = old {
            self.obsolete_files.push(FileName::Manifest(old.number));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "set_test.rs"]
mod tests;
