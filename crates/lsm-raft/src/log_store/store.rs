//! The log as raft reads it.
//!
//! Threads: any. One lock over the index, never held over I/O: a read notes under the lock where
//! its entries stand, reads the files without it, and looks again if that fails, because a
//! segment may be recycled meanwhile.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lsm_log::file_name::FileNumber;
use lsm_log::fs::Fs;
use lsm_log::wal::RecordReader;
use parking_lot::Mutex;
use raft::StorageError;
use raft::eraftpb::{Entry, HardState};

use super::index::{Index, Missing, Piece, ReadPlan};
use super::record::{Hard, LogId, StoredEntry};

/// Most segments that are kept open for reading.
const OPEN_FILES_MAX: usize = 16;
/// How often a read looks again after the log changed under it.
const READ_ATTEMPTS_MAX: usize = 8;

/// The log, in memory and on disk; clones share it.
#[derive(Clone, Debug)]
pub struct LogStore {
    pub(super) shared: Arc<StoreShared>,
}

/// What store and writer share.
#[derive(Debug)]
pub(super) struct StoreShared {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) dir: PathBuf,
    pub(super) state: Mutex<StoreState>,
    /// Length of all segment files.
    pub(super) disk_bytes: AtomicU64,
    /// Entries through this one were durable, but not found when the log was opened; zero if all
    /// were.
    pub(super) lost_through: u64,
}

#[derive(Debug)]
pub(super) struct StoreState {
    pub(super) hard: Hard,
    pub(super) index: Index,
    /// Segments open for reading; the one opened last stands last.
    files: VecDeque<(FileNumber, Arc<RecordReader>)>,
}

impl StoreState {
    pub(super) fn new(hard: Hard, index: Index) -> Self {
        Self { hard, index, files: VecDeque::new() }
    }

    fn file(&self, number: FileNumber) -> Option<Arc<RecordReader>> {
        let open = self.files.iter().find(|(open, _)| *open == number);
        open.map(|(_, file)| Arc::clone(file))
    }

    fn keep_open(&mut self, number: FileNumber, file: Arc<RecordReader>) {
        if self.files.len() == OPEN_FILES_MAX {
            self.files.pop_front();
        }
        self.files.push_back((number, file));
    }

    /// Closes segments below `number`.
    pub(super) fn close_below(&mut self, number: FileNumber) {
        self.files.retain(|&(open, _)| open >= number);
    }
}

impl LogStore {
    /// The hard state that was written last. Its commit index is not below where the log begins.
    pub fn hard_state(&self) -> HardState {
        self.shared.state.lock().hard.to_raft()
    }

    /// Entries through this one were durable, and were lost to damage when the log was opened; zero
    /// if nothing was. They count as lost until the log has come that far again.
    pub fn lost_through(&self) -> u64 {
        self.shared.lost_through
    }

    /// Puts entries at the end of the log, in memory; they take the place of all that stand there
    /// from the first one's index on. To be written by [`LogWriter::write`](super::LogWriter::write)
    /// later, in the order of the appends; until then they are held in memory.
    ///
    /// # Panics
    ///
    /// If the entries have gaps, or do not follow an entry of the log.
    pub fn append(&self, entries: &[Entry]) {
        self.shared.state.lock().index.append(entries);
    }

    /// Empties the log in memory; it goes on behind this entry. To be followed by
    /// [`LogWriter::reset`](super::LogWriter::reset) with the same place; entries appended until
    /// then stay in memory.
    pub fn reset_to(&self, index: u64, term: u64) {
        self.shared.state.lock().index.reset(LogId { index, term });
    }

    /// Gives up the entries up to `index`, in memory. To be followed by
    /// [`LogWriter::truncate`](super::LogWriter::truncate) with the same place. Nothing happens
    /// if `index` is not in the log.
    ///
    /// For the thread that appends: whoever looks at the log in several steps must not find it cut
    /// between two of them.
    pub fn truncate(&self, index: u64) {
        self.shared.state.lock().index.truncate(index);
    }

    /// Index of the first entry: one behind the last that was truncated.
    pub fn first_index(&self) -> u64 {
        self.shared.state.lock().index.first()
    }

    /// Index of the last entry; the one before the first if the log is empty.
    pub fn last_index(&self) -> u64 {
        self.shared.state.lock().index.last()
    }

    /// The term of an entry, or of the one before the first.
    ///
    /// # Errors
    ///
    /// `Compacted` if it was truncated, `Unavailable` if the log does not reach that far.
    pub fn term(&self, index: u64) -> raft::Result<u64> {
        self.shared.state.lock().index.term(index).map_err(missing)
    }

    /// The entries `low..high`, or as many of them as have `max_bytes` encoded bytes together, but
    /// at least one.
    ///
    /// # Errors
    ///
    /// As [`term`](Self::term); `Other` with the engine's error if a file cannot be read or is
    /// damaged.
    pub fn entries(&self, low: u64, high: u64, max_bytes: Option<u64>) -> raft::Result<Vec<Entry>> {
        let plan = || {
            let state = self.shared.state.lock();
            state.index.plan(low, high, max_bytes.unwrap_or(u64::MAX)).map_err(missing)
        };
        let mut next = plan()?;
        for _ in 0..READ_ATTEMPTS_MAX {
            let ReadPlan { from_files, cached } = next;
            if from_files.is_empty() {
                return Ok(cached);
            }
            let error = match self.read(&from_files) {
                Ok(mut entries) => {
                    entries.extend(cached);
                    return Ok(entries);
                }
                Err(error) => error,
            };
            next = plan()?;
            if next.from_files == from_files {
                return Err(other(error));
            }
        }
        Err(other(lsm_core::Error::corrupt("the log changed too often while it was read")))
    }

    /// Encoded bytes of the entries from the first to `index`.
    pub fn bytes_behind(&self, index: u64) -> u64 {
        self.shared.state.lock().index.bytes_through(index)
    }

    /// Length of all segment files, in bytes, those kept to be recycled included.
    pub fn disk_bytes(&self) -> u64 {
        self.shared.disk_bytes.load(Ordering::Relaxed)
    }

    fn read(&self, pieces: &[Piece]) -> lsm_core::Result<Vec<Entry>> {
        let mut entries = Vec::with_capacity(pieces.iter().map(|piece| piece.entries.len()).sum());
        for piece in pieces {
            self.read_piece(piece, &mut entries)?;
        }
        Ok(entries)
    }

    fn read_piece(&self, piece: &Piece, entries: &mut Vec<Entry>) -> lsm_core::Result<()> {
        let record = &piece.record;
        let (number, offset) = (record.segment, record.offset);
        let file = self.segment(number)?;
        let damaged = |message: String| {
            Err(lsm_core::Error::corrupt(message).in_file(file.path()).at(offset))
        };
        let Some(payload) = file.read(offset, record.payload_len)? else {
            return damaged("log record is damaged: its checksum does not hold".into());
        };
        for (index, &(term, at, len)) in (piece.first..).zip(&piece.entries) {
            let bytes = at.checked_add(len).and_then(|end| payload.get(at..end));
            match bytes.and_then(StoredEntry::decode).filter(|entry| entry.term == term) {
                Some(entry) => entries.push(entry.to_entry(index, &payload)),
                None => return damaged(format!("entry {index} is not where it was written")),
            }
        }
        Ok(())
    }

    fn segment(&self, number: FileNumber) -> lsm_core::Result<Arc<RecordReader>> {
        if let Some(file) = self.shared.state.lock().file(number) {
            return Ok(file);
        }
        let file = Arc::new(RecordReader::open(&*self.shared.fs, &self.shared.dir, number)?);
        self.shared.state.lock().keep_open(number, Arc::clone(&file));
        Ok(file)
    }
}

fn missing(missing: Missing) -> raft::Error {
    raft::Error::Store(match missing {
        Missing::Truncated => StorageError::Compacted,
        Missing::Unavailable => StorageError::Unavailable,
    })
}

fn other(error: lsm_core::Error) -> raft::Error {
    raft::Error::Store(StorageError::Other(Box::new(error)))
}
