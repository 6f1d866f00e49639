//! Which tables are open: at most so many, opened when they are first asked for.
//!
//! Each table has a [`TableHandle`] for as long as any version names it. An open table's reader
//! stands in the handle itself, so that a lookup finds it with one atomic load: no lock, no hash
//! map, no count to raise. The set only decides whose turn it is to be closed, by giving a
//! second chance to those used since it last came by. A reader that is closed while it is in
//! use lives until its last user lets go.
//!
//! Invariants:
//! * A handle holds a reader exactly while it is in the ring (both change under the ring's
//!   lock); of handles that are gone, a weak reference may stay behind until the hand comes by.
//! * The ring never holds more than its limit.
//!
//! Threads: any number. The lock of a handle is held while its table is opened, so that it is
//! opened once; it is taken before the ring's, which is never held over I/O.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwapOption, Guard};
use lsm_log::error::{Error, Result};
use lsm_log::file_name::{FileName, FileNumber};
use lsm_log::fs::{Fs, ProcessMark, ReadFile};
use parking_lot::Mutex;

use super::properties::Properties;
use super::reader::{ReadOptions, TableReader};
use super::scan::TableScan;
use super::verify::verify;

/// A table as versions name it, open or not.
#[derive(Debug)]
pub(crate) struct TableHandle(Arc<TableSlot>);

#[derive(Debug)]
struct TableSlot {
    number: FileNumber,
    bytes: u64,
    salt: u64,
    reader: ArcSwapOption<TableReader>,
    /// Whether the table was used since the hand came by.
    used: AtomicBool,
    /// Held while the table is opened.
    opening: Mutex<()>,
}

impl TableHandle {
    /// A handle on a table that should be `bytes` long and carry `salt`. Touches no file.
    pub(crate) fn new(number: FileNumber, bytes: u64, salt: u64) -> Self {
        Self(Arc::new(TableSlot {
            number,
            bytes,
            salt,
            reader: ArcSwapOption::empty(),
            used: AtomicBool::new(false),
            opening: Mutex::new(()),
        }))
    }
}

/// An open table, for a short while: cheaper than a clone of the `Arc` that it stands for.
pub(crate) struct OpenTable(Guard<Option<Arc<TableReader>>>);

impl OpenTable {
    #[inline]
    fn new(guard: Guard<Option<Arc<TableReader>>>) -> Option<Self> {
        guard.is_some().then_some(Self(guard))
    }
}

impl std::ops::Deref for OpenTable {
    type Target = Arc<TableReader>;

    #[inline]
    fn deref(&self) -> &Arc<TableReader> {
        // Checked when it was made, and it cannot be changed.
        self.0.as_ref().expect("an open table has a reader")
    }
}

/// The open tables of one database.
#[derive(Debug)]
pub(crate) struct OpenTables {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    options: ReadOptions,
    ring: Mutex<Ring>,
    /// Others may remove the files.
    closed: AtomicBool,
    process: Arc<ProcessMark>,
}

/// Those that hold a reader, and the hand that goes round.
#[derive(Debug)]
struct Ring {
    slots: Vec<Weak<TableSlot>>,
    hand: usize,
    open_max: usize,
}

impl OpenTables {
    /// The tables in folder `dir`, of which at most `open_max` are open at a time.
    pub(crate) fn new(
        fs: Arc<dyn Fs>,
        dir: PathBuf,
        open_max: usize,
        options: ReadOptions,
    ) -> Self {
        let ring = Ring { slots: Vec::new(), hand: 0, open_max: open_max.max(1) };
        let (ring, closed) = (Mutex::new(ring), AtomicBool::new(false));
        Self { fs, dir, options, ring, closed, process: Arc::new(ProcessMark::here()) }
    }

    /// The process that opened the database: no other may use it, not even to read.
    pub(crate) fn process(&self) -> &Arc<ProcessMark> {
        &self.process
    }

    /// From here on nothing is read: the folder is about to be somebody else's.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Fails with `Closed` once the tables were closed, and in a forked process.
    #[inline]
    pub(crate) fn check_open(&self) -> Result<()> {
        self.process.check()?;
        match self.closed.load(Ordering::Acquire) {
            false => Ok(()),
            true => Err(Error::closed()),
        }
    }

    /// The table's reader; opens it if need be.
    #[inline]
    pub(crate) fn reader(&self, handle: &TableHandle) -> Result<OpenTable> {
        let slot = &handle.0;
        if let Some(open) = OpenTable::new(slot.reader.load()) {
            // Looking first keeps the line shared between cores while nothing changes.
            if !slot.used.load(Ordering::Relaxed) {
                slot.used.store(true, Ordering::Relaxed);
            }
            return Ok(open);
        }
        self.open(slot)
    }

    /// A scan of the table, over a file handle of its own.
    pub(crate) fn scan(&self, handle: &TableHandle) -> Result<TableScan> {
        let (file, path) = self.open_file(&handle.0)?;
        TableScan::open(file, path, handle.0.bytes, handle.0.salt)
    }

    /// Reads and checks the whole table, over a file handle of its own.
    pub(crate) fn verify(&self, handle: &TableHandle) -> Result<Properties> {
        let (file, path) = self.open_file(&handle.0)?;
        verify(file, &path, handle.0.bytes, handle.0.salt)
    }

    /// How many tables are open.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        let ring = self.ring.lock();
        let open = ring.slots.iter().filter_map(Weak::upgrade);
        open.filter(|slot| slot.reader.load().is_some()).count()
    }

    fn open_file(&self, slot: &TableSlot) -> Result<(Arc<dyn ReadFile>, PathBuf)> {
        let path = FileName::Table(slot.number).in_dir(&self.dir);
        let opened = self.fs.open_read(&path);
        // Only now: whoever opens the folder next may have removed the file, or made another.
        self.check_open()?;
        match opened {
            Ok(file) => Ok((file, path)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::corrupt("a table that the database needs is missing").in_file(&path))
            }
            Err(e) => Err(Error::io("open the table", &path, e)),
        }
    }

    #[cold]
    fn open(&self, slot: &Arc<TableSlot>) -> Result<OpenTable> {
        let _opening = slot.opening.lock();
        if let Some(open) = OpenTable::new(slot.reader.load()) {
            return Ok(open);
        }
        let (file, path) = self.open_file(slot)?;
        let reader =
            TableReader::open(file, path, slot.number, slot.bytes, slot.salt, &self.options)?;
        slot.used.store(true, Ordering::Relaxed);
        let evicted = self.ring.lock().admit(slot, &reader);
        // Closing is I/O of a kind: not under the ring's lock.
        drop(evicted);
        Ok(OpenTable(Guard::from_inner(Some(reader))))
    }
}

impl Ring {
    /// Takes in a table that was opened, and returns the reader that had to go for it.
    fn admit(
        &mut self,
        slot: &Arc<TableSlot>,
        reader: &Arc<TableReader>,
    ) -> Option<Arc<TableReader>> {
        slot.reader.store(Some(Arc::clone(reader)));
        let weak = Arc::downgrade(slot);
        if self.slots.len() < self.open_max {
            self.slots.push(weak);
            return None;
        }
        let (at, evicted) = self.choose();
        self.slots[at] = weak;
        self.hand = at + 1;
        evicted
    }

    /// The place that is given up, and the reader that was there.
    fn choose(&self) -> (usize, Option<Arc<TableReader>>) {
        // The first round clears the marks of those in use, so the second finds one, but for
        // marks set meanwhile: then the last one looked at goes.
        let places = self.slots.len();
        let mut at = self.hand % places;
        for turn in 0..2 * places {
            at = (self.hand + turn) % places;
            let Some(slot) = self.slots[at].upgrade() else {
                return (at, None);
            };
            if !slot.used.swap(false, Ordering::Relaxed) {
                return (at, slot.reader.swap(None));
            }
        }
        let last = self.slots[at].upgrade();
        (at, last.and_then(|slot| slot.reader.swap(None)))
    }
}

#[cfg(test)]
#[path = "open_tables_test.rs"]
mod tests;
