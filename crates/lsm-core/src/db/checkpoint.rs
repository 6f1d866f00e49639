//! A consistent copy, by hard links to immutable tables.
//!
//! The state copied is the one right after a flush of every memtable, taken under the lock of
//! the version set in the moment of its install: an exact point in the write order, with no
//! log to copy. The captured versions keep their files from being removed meanwhile.

use std::io;
use std::path::Path;
use std::sync::Arc;

use lsm_log::error::{Error, Result};
use lsm_log::file_name::{FileName, FileNumber};
use lsm_log::fs::{Access, Fs};
use lsm_log::wal::{Lsn, Nonces};
use parking_lot::Mutex;

use super::engine::Engine;
use super::open::{folder_error, locate};
use crate::event::BackgroundJob;
use crate::version::{Catalog, Manifest, SNAPSHOT_PIECE_BYTES};

/// Bytes copied at once where a link cannot be made.
const COPY_BYTES: usize = 1 << 20;

impl Engine {
    pub(crate) fn checkpoint(&self, dir: &Path) -> Result<()> {
        self.lifecycle.check_writable()?;
        let _job = self.begin_job()?;
        let fs = &*self.options.fs;
        let dir = &*locate(fs, dir)?;
        fs.create_dir_all(dir).map_err(|error| folder_error("create the folder", dir, error))?;
        let names = fs.list(dir).map_err(|error| Error::io("list the folder", dir, error))?;
        if !names.is_empty() {
            return Err(Error::invalid("a checkpoint needs an empty folder").in_file(dir));
        }
        let mut catalog = self.capture()?;
        // Everything is in tables: the copy starts a log of its own.
        catalog.logs.clear();
        (catalog.log_start, catalog.log_closed) = (Lsn(0), None);
        for (_, table) in catalog.keyspaces.values().flat_map(|state| state.version.tables()) {
            let name = FileName::Table(table.meta.number);
            link(fs, &name.in_dir(&self.dir), &name.in_dir(dir))?;
        }
        let number = catalog.next_file;
        catalog.next_file = FileNumber(number.0 + 1);
        // Another source of nonces: whoever gets the copy shall not know those of this database.
        let nonce = Nonces::new(self.options.seed).draw(number);
        let snapshot = catalog.snapshot(SNAPSHOT_PIECE_BYTES);
        // Syncs the folder, and with it the links, before `CURRENT` is written.
        Manifest::create(fs, dir, (number, nonce), snapshot).map(drop)
    }

    /// Flushes everything and returns the catalog of that moment.
    fn capture(&self) -> Result<Catalog> {
        let slot = Arc::new(Mutex::new(None));
        let failures = self.hurry(BackgroundJob::Flush);
        self.seal_all(&self.commit.lock(), Some(Arc::clone(&slot)));
        self.wait_for(BackgroundJob::Flush, failures, |_| slot.lock().is_some())?;
        let catalog = slot.lock().take();
        Ok(catalog.expect("the wait ends when it is there"))
    }
}

fn link(fs: &dyn Fs, from: &Path, to: &Path) -> Result<()> {
    match fs.hard_link(from, to) {
        Ok(()) => Ok(()),
        // Another file system, or one without hard links (which Linux calls "not permitted"), or a
        // table that has as many as a file can have.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::CrossesDevices
                    | io::ErrorKind::Unsupported
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::TooManyLinks
            ) =>
        {
            copy(fs, from, to)
        }
        Err(error) => Err(Error::io("link a table into the checkpoint", to, error)),
    }
}

fn copy(fs: &dyn Fs, from: &Path, to: &Path) -> Result<()> {
    let read = |error| Error::io("read a table", from, error);
    let write = |error| Error::io("copy a table into the checkpoint", to, error);
    let source = fs.open_read(from).map_err(read)?;
    source.advise(Access::Sequential);
    let target = fs.create(to).map_err(write)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut offset = 0;
    while offset < source.len() {
        let len = COPY_BYTES.min((source.len() - offset) as usize);
        source.read_at(offset, &mut buffer[..len]).map_err(read)?;
        target.write_at(offset, &buffer[..len]).map_err(write)?;
        offset += len as u64;
    }
    target.sync().map_err(write)
}
