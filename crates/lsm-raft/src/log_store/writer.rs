//! The log's end on disk: records, rotation, and giving up segments.
//!
//! Invariants:
//! * A segment is removed or recycled only after a state record that does not need it was synced.
//! * The first failure of a write or sync is final.
//!
//! Threads: one owner.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lsm_log::file_name::FileNumber;
use lsm_log::fs::Lock;
use lsm_log::wal::{
    Lsn, Nonces, Segment, SegmentInfo, Syncer, Via, Writer, clear_header, segment_path,
};
use raft::eraftpb::{Entry, HardState};

use super::ahead::{Ahead, SegmentJob, SegmentPromise};
use super::index::Written;
use super::live::Live;
use super::record::{Durable, Hard, Place, State, encode_append, encode_entry, entry_len};
use super::store::Shared;
use crate::error::{Error, Result};

const BEGIN: &str = "begin a segment of the raft log";
const SYNC: &str = "sync the raft log";
/// Entries of one write go into several records once a record is this long, in bytes.
const RECORD_BYTES_MAX: usize = 4 << 20;
/// The buffer of a record is kept between writes up to this capacity, in bytes.
const BUFFER_KEEP_MAX: usize = 1 << 20;
const NOTE_LEN_HINT: usize = 64;
/// Segments kept to be recycled.
pub(super) const SPARES_MAX: usize = 4;
/// Once so many segments' worth of bytes could be given up, a truncation begins a new segment to
/// do so. Fewer wait for the next one.
const FREE_SEGMENTS: u64 = 4;

/// The end of the log: writes what was appended to the store, and makes it durable.
#[derive(Debug)]
pub struct LogWriter {
    pub(super) shared: Arc<Shared>,
    pub(super) segment_bytes: u64,
    pub(super) syncer: Arc<Syncer>,
    pub(super) writer: Writer,
    pub(super) sequence: u64,
    /// All segments of the log, oldest first; the last one is being written.
    pub(super) segments: VecDeque<SegmentInfo>,
    pub(super) next_number: FileNumber,
    pub(super) nonces: Nonces,
    pub(super) live: Live,
    /// What was written.
    pub(super) hard: Hard,
    pub(super) truncated: Place,
    /// The end of what a [`Durable`] record is to vouch for.
    pub(super) unvouched: Option<Lsn>,
    /// Entries through this one were durable once, but are lost; see [`LogStore::lost_through`].
    ///
    /// [`LogStore::lost_through`]: super::LogStore::lost_through
    pub(super) lost_through: u64,
    /// Once the log is durable up to this position, no segment below this one is needed.
    pub(super) claims: VecDeque<(Lsn, FileNumber)>,
    /// Segments that are not needed any more; each is `segment_bytes` long.
    pub(super) spares: Vec<FileNumber>,
    pub(super) buffer: Vec<u8>,
    /// The segment to go on in, once it was asked for.
    pub(super) ahead: Ahead,
    /// Keeps other processes out.
    pub(super) _lock: Box<dyn Lock>,
}

impl LogWriter {
    /// Writes a hard state and entries that were appended to the store, in order; not durable yet.
    /// All of one call is replayed or none, unless the entries are several megabytes long.
    ///
    /// # Errors
    ///
    /// If the file system refuses; then and from then on nothing more is written.
    ///
    /// # Panics
    ///
    /// If the entries do not follow one that was written.
    pub fn write(&mut self, hard_state: Option<&HardState>, entries: &[Entry]) -> Result<()> {
        let hard = hard_state.map(Hard::from);
        if hard.is_none() && entries.is_empty() {
            return Ok(());
        }
        self.syncer.check().map_err(Error::storage("write the raft log"))?;
        let mut rest = entries;
        let mut part = first_part(rest);
        while part < rest.len() {
            // The new term has to come first, the new commit index with the last entry.
            let early = hard.map(|hard| Hard { commit: self.hard.commit, ..hard });
            self.write_record(early, &rest[..part])?;
            rest = &rest[part..];
            part = first_part(rest);
        }
        self.write_record(hard, rest)
    }

    fn write_record(&mut self, hard: Option<Hard>, entries: &[Entry]) -> Result<()> {
        let first = entries.first().map_or(0, |entry| entry.index);
        let follows = self.truncated.index < first && first <= self.live.last() + 1;
        let last = self.live.last();
        assert!(entries.is_empty() || follows, "entries from {first} on do not follow {last}");
        self.buffer.clear();
        encode_append(&mut self.buffer, hard, first, entries.len());
        let at = self.buffer.len();
        for entry in entries {
            encode_entry(&mut self.buffer, entry);
        }
        if !self.writer.has_room(self.buffer.len()) {
            self.rotate(self.buffer.len())?;
        }
        let segment = self.segment();
        let offset = self.writer.end().0 - self.writer.base().0;
        let buffer = std::mem::take(&mut self.buffer);
        self.unvouched = Some(self.append(&buffer, "write the raft log")?);
        let mut state = self.shared.state.lock();
        if let Some(hard) = hard {
            (self.hard, state.hard) = (hard, hard);
        }
        if let Some(last) = entries.last() {
            let written = Written { segment, offset, payload_len: buffer.len(), first };
            state.index.written(written, entries, at);
            self.live.wrote(segment, first, last.index);
        }
        drop(state);
        if buffer.capacity() <= BUFFER_KEEP_MAX {
            self.buffer = buffer;
        }
        Ok(())
    }

    /// Makes all that was written durable, and notes that it was: a record without such a note
    /// behind it may be the torn end of a write that nobody was told of, and one with it was
    /// promised. The note itself is on disk a little later.
    ///
    /// # Errors
    ///
    /// If the file system refuses; then and from then on nothing more is written or synced.
    pub fn sync(&mut self) -> Result<()> {
        self.syncer.check().map_err(Error::storage(SYNC))?;
        let Some(end) = self.unvouched.take() else { return Ok(()) };
        self.syncer.sync_through(end).map_err(Error::storage(SYNC))?;
        if self.lost_through <= self.live.last() {
            self.lost_through = 0;
        }
        let note = self.note();
        if !self.writer.has_room(note.len()) {
            self.rotate(note.len())?;
        }
        self.append(&note, SYNC).map(drop)
    }

    /// That all so far is durable.
    fn note(&self) -> Vec<u8> {
        let through = self.live.last().max(self.lost_through);
        let mut note = Vec::with_capacity(NOTE_LEN_HINT);
        Durable { hard: self.hard, through }.encode(&mut note);
        note
    }

    /// Has the next segment made once half of this one is full: `start` begins that, anywhere, and
    /// returns a promise. To be called now and then; without it the segment is made when it is
    /// needed.
    pub fn make_ahead(&mut self, start: impl FnOnce(SegmentJob) -> SegmentPromise) {
        let used = self.writer.end().0 - self.writer.base().0;
        let bytes = self.segments.back().map_or(0, |segment| segment.bytes);
        if self.ahead.is_promised() || used < bytes / 2 || self.syncer.check().is_err() {
            return;
        }
        let job = self.segment_job(self.segment_bytes);
        self.ahead.put(start(job));
        self.count_bytes();
    }

    /// What makes the next segment. It must be entered before any other.
    fn segment_job(&mut self, bytes: u64) -> SegmentJob {
        let number = self.next_number;
        self.next_number = FileNumber(number.0 + 1);
        let recycled = if bytes == self.segment_bytes { self.spares.pop() } else { None };
        let (fs, dir) = (Arc::clone(&self.shared.fs), self.shared.dir.clone());
        SegmentJob { fs, dir, number, nonce: self.nonces.draw(number), bytes, recycled }
    }

    /// Gives up the entries up to this one on disk, by and by: after a crash some may be there
    /// again. In memory [`LogStore::truncate`](super::LogStore::truncate) does so.
    ///
    /// # Errors
    ///
    /// If the file system refuses; then and from then on nothing more is written.
    ///
    /// # Panics
    ///
    /// If `index` was not written yet.
    pub fn truncate(&mut self, index: u64, term: u64) -> Result<()> {
        if index <= self.truncated.index {
            return Ok(());
        }
        assert!(index <= self.live.last(), "only what was written is truncated");
        self.syncer.check().map_err(Error::storage("truncate the raft log"))?;
        self.truncated = Place { index, term };
        self.live.truncate(index);
        let needed = self.live.oldest().unwrap_or_else(|| self.segment());
        let free = self.segments.iter().take_while(|segment| segment.number < needed);
        if free.map(|segment| segment.bytes).sum::<u64>() >= FREE_SEGMENTS * self.segment_bytes {
            self.rotate(0)?;
            self.sync()?;
        }
        self.give_up_segments();
        Ok(())
    }

    /// Empties the log, durably; it goes on behind this entry. What was appended to the store
    /// since [`LogStore::reset_to`](super::LogStore::reset_to) stays and is written next.
    ///
    /// # Errors
    ///
    /// If the file system refuses; then and from then on nothing more is written.
    pub fn reset(&mut self, index: u64, term: u64) -> Result<()> {
        self.syncer.check().map_err(Error::storage("reset the raft log"))?;
        self.truncated = Place { index, term };
        self.live = Live::behind(index);
        self.hard.commit = self.hard.commit.max(index);
        {
            let mut state = self.shared.state.lock();
            state.hard = self.hard;
            // Memory may have gone on since, even to a later reset.
            if state.index.truncated().index < index {
                state.index.reset(self.truncated);
            }
        }
        self.rotate(0)?;
        self.sync()?;
        self.shared.state.lock().index.reset_done();
        self.give_up_segments();
        Ok(())
    }

    fn segment(&self) -> FileNumber {
        self.segments.back().expect("a log has a segment").number
    }

    fn append(&mut self, payload: &[u8], action: &'static str) -> Result<Lsn> {
        self.sequence += 1;
        self.writer.append(self.sequence, payload, Via::Write).map_err(Error::storage(action))
    }

    /// Goes on in a new segment with room for a payload of this length behind its state record.
    fn rotate(&mut self, payload_len: usize) -> Result<()> {
        self.syncer.check().map_err(Error::storage(BEGIN))?;
        self.give_up_segments();
        if let Some(promise) = self.ahead.take() {
            self.enter(promise())?;
            if self.writer.has_room(payload_len) {
                return Ok(());
            }
        }
        let state_len = self.state_record(self.next_number).len();
        let wanted = Writer::segment_bytes_for(state_len) + Writer::segment_bytes_for(payload_len);
        let job = self.segment_job(self.segment_bytes.max(wanted));
        self.enter(job.run())
    }

    /// Goes on in a segment that was made.
    fn enter(&mut self, segment: lsm_core::Result<Segment>) -> Result<()> {
        let entered = segment.and_then(|segment| {
            let info = SegmentInfo { number: segment.number, bytes: segment.bytes };
            self.writer.rotate(segment)?;
            Ok(info)
        });
        let info = entered.map_err(|error| {
            self.syncer.fail(&error);
            Error::storage(BEGIN)(error)
        })?;
        self.segments.push_back(info);
        let state = self.state_record(info.number);
        self.begin(&state)
    }

    /// The state record of segment `number`, which is about to begin.
    pub(super) fn state_record(&self, number: FileNumber) -> Vec<u8> {
        let first_segment = self.live.oldest().unwrap_or(number);
        let mut out = Vec::new();
        State { hard: self.hard, truncated: self.truncated, first_segment }.encode(&mut out);
        out
    }

    /// Writes the state record of the segment that just began.
    pub(super) fn begin(&mut self, state: &[u8]) -> Result<()> {
        let mut end = self.append(state, BEGIN)?;
        // Older segments, which say so as well, may be given up for this one.
        if self.lost_through > 0 {
            end = self.append(&self.note(), BEGIN)?;
        }
        self.unvouched = Some(end);
        let needed = self.live.oldest().unwrap_or_else(|| self.segment());
        self.claims.push_back((end, needed));
        self.count_bytes();
        Ok(())
    }

    /// Gives up the segments that a durable state record does not need.
    pub(super) fn give_up_segments(&mut self) {
        let synced = self.syncer.synced();
        let mut needed = FileNumber(0);
        while let Some(&(at, number)) = self.claims.front().filter(|(at, _)| *at <= synced) {
            debug_assert!(number >= needed, "what is not needed never is again, at {at}");
            needed = number;
            self.claims.pop_front();
        }
        while let Some(segment) = self.segments.front().filter(|s| s.number < needed).copied() {
            self.segments.pop_front();
            self.give_up(segment);
        }
        self.count_bytes();
    }

    /// Keeps a segment's file to be recycled, or removes it. A failure leaves a file that the next
    /// open removes.
    pub(super) fn give_up(&mut self, segment: SegmentInfo) {
        self.shared.state.lock().close_below(FileNumber(segment.number.0 + 1));
        let path = segment_path(&self.shared.dir, segment.number);
        if segment.bytes == self.segment_bytes && self.spares.len() < SPARES_MAX {
            // Without its header it cannot be taken for a part of the log.
            let file = self.shared.fs.open_write(&path);
            if file.and_then(|file| clear_header(&*file)).is_ok() {
                self.spares.push(segment.number);
                return;
            }
        }
        let _ = self.shared.fs.remove(&path);
    }

    pub(super) fn count_bytes(&self) {
        let used: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        let spares = self.spares.len() as u64 + u64::from(self.ahead.is_promised());
        let spare = spares * self.segment_bytes;
        self.shared.disk_bytes.store(used + spare, Ordering::Relaxed);
    }
}

/// How many entries go into the next record.
fn first_part(entries: &[Entry]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        bytes += entry_len(entry);
        bytes <= RECORD_BYTES_MAX
    };
    entries.iter().take_while(fits).count().max(entries.len().min(1))
}

#[cfg(test)]
#[path = "writer_test.rs"]
mod tests;
