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
    Log, Lsn, Nonces, SegmentJob, SegmentPromise, Syncer, WriteMode, clear_header, record_len,
    segment_path,
};
use raft::eraftpb::{Entry, HardState};

use super::index::Written;
use super::live::Live;
use super::record::{
    DurableRecord, Hard, LogId, StateRecord, encode_append, encode_entry, entry_len,
};
use super::store::StoreShared;
use crate::error::{Error, Result};

const BEGIN: &str = "begin a segment of the raft log";
const SYNC: &str = "sync the raft log";
/// Entries of one write go into several records once a record is this long, in bytes.
const RECORD_BYTES_MAX: usize = 4 << 20;
const NOTE_LEN_HINT: usize = 64;
const HEAD_LEN_HINT: usize = 64;
/// Once so many segments' worth of bytes could be given up, a truncation begins a new segment to
/// do so. Fewer wait for the next one.
const FREE_SEGMENTS: u64 = 4;

/// The end of the log: writes what was appended to the store, and makes it durable.
#[derive(Debug)]
pub struct LogWriter {
    pub(super) shared: Arc<StoreShared>,
    pub(super) segment_bytes: u64,
    pub(super) log: Log,
    /// Of the last record.
    pub(super) sequence: u64,
    pub(super) next_number: FileNumber,
    pub(super) nonces: Nonces,
    pub(super) live: Live,
    /// What was written.
    pub(super) hard: Hard,
    pub(super) truncated: LogId,
    /// The end of what a [`DurableRecord`] record is to vouch for.
    pub(super) unvouched: Option<Lsn>,
    /// Entries through this one were durable once, but are lost; see [`LogStore::lost_through`].
    ///
    /// [`LogStore::lost_through`]: super::LogStore::lost_through
    pub(super) lost_through: u64,
    /// Once the log is durable up to this position, no segment below this one is needed.
    pub(super) claims: VecDeque<(Lsn, FileNumber)>,
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
        self.syncer().check().map_err(Error::storage("write the raft log"))?;
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
        let mut head = Vec::with_capacity(HEAD_LEN_HINT);
        encode_append(&mut head, hard, first, entries.len());
        let payload_len = head.len() + entries.iter().map(entry_len).sum::<usize>();
        self.make_room(payload_len)?;
        let segment = self.log.number();
        let offset = self.log.end().0 - self.log.base().0;
        let end = self.append_with("write the raft log", payload_len, |out| {
            out.extend_from_slice(&head);
            entries.iter().for_each(|entry| encode_entry(out, entry));
        })?;
        self.unvouched = Some(end);
        let mut state = self.shared.state.lock();
        if let Some(hard) = hard {
            (self.hard, state.hard) = (hard, hard);
        }
        if let Some(last) = entries.last() {
            let written = Written { segment, offset, payload_len, first };
            state.index.written(written, entries, head.len());
            self.live.wrote(segment, first, last.index);
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
        self.syncer().check().map_err(Error::storage(SYNC))?;
        let Some(end) = self.unvouched.take() else { return Ok(()) };
        self.syncer().sync_through(end).map_err(Error::storage(SYNC))?;
        if self.lost_through <= self.live.last() {
            self.lost_through = 0;
        }
        let note = self.note();
        self.make_room(note.len())?;
        self.append(&note, SYNC).map(drop)
    }

    /// That all so far is durable.
    fn note(&self) -> Vec<u8> {
        let through = self.live.last().max(self.lost_through);
        let mut note = Vec::with_capacity(NOTE_LEN_HINT);
        DurableRecord { hard: self.hard, through }.encode(&mut note);
        note
    }

    /// Has the next segment made if it is time: `start` begins that, anywhere, and returns a
    /// promise. To be called now and then; without it the segment is made when it is needed.
    pub fn make_ahead(&mut self, start: impl FnOnce(SegmentJob) -> SegmentPromise) {
        if self.syncer().check().is_err() || !self.log.wants_segment() {
            return;
        }
        let job = self.job(0);
        self.log.put_ahead(job.number, start(job));
        self.count_bytes();
    }

    /// What makes the next segment, with room for these bytes of records. It must be entered before
    /// any other.
    fn job(&mut self, record_bytes: usize) -> SegmentJob {
        let number = self.next_number;
        self.next_number = FileNumber(number.0 + 1);
        self.log.job(number, self.nonces.draw(number), record_bytes, true)
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
        self.syncer().check().map_err(Error::storage("truncate the raft log"))?;
        self.truncated = LogId { index, term };
        self.live.truncate(index);
        let needed = self.needed();
        let free = self.log.full().take_while(|segment| segment.number < needed);
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
        self.syncer().check().map_err(Error::storage("reset the raft log"))?;
        self.truncated = LogId { index, term };
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

    fn syncer(&self) -> &Syncer {
        self.log.syncer()
    }

    /// The oldest segment that is needed.
    fn needed(&self) -> FileNumber {
        self.live.oldest().unwrap_or_else(|| self.log.number())
    }

    fn append(&mut self, payload: &[u8], action: &'static str) -> Result<Lsn> {
        self.append_with(action, payload.len(), |out| out.extend_from_slice(payload))
    }

    fn append_with(
        &mut self,
        action: &'static str,
        payload_len: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Lsn> {
        self.sequence += 1;
        let sequence = self.sequence;
        let appended =
            self.log.append_with(sequence, sequence, WriteMode::Pwrite, payload_len, fill);
        appended.map_err(Error::storage(action))
    }

    fn make_room(&mut self, payload_len: usize) -> Result<()> {
        while !self.log.has_room(payload_len) {
            self.rotate(payload_len)?;
        }
        Ok(())
    }

    /// Goes on in the next segment: the one made ahead, or a new one with room for a payload of
    /// this length behind its state record.
    fn rotate(&mut self, payload_len: usize) -> Result<()> {
        self.syncer().check().map_err(Error::storage(BEGIN))?;
        self.give_up_segments();
        let entered = match self.log.take_ahead() {
            Some(made) => made,
            None => {
                let state_len = self.state_record(self.next_number).len();
                self.job(record_len(state_len) + record_len(payload_len)).run()
            }
        };
        entered.and_then(|segment| self.log.enter(segment)).map_err(|error| {
            self.syncer().fail(&error);
            Error::storage(BEGIN)(error)
        })?;
        let state = self.state_record(self.log.number());
        self.begin(&state)
    }

    /// The state record of segment `number`, which is about to begin.
    pub(super) fn state_record(&self, number: FileNumber) -> Vec<u8> {
        let first_segment = self.live.oldest().unwrap_or(number);
        let mut out = Vec::new();
        let (hard, truncated, last) = (self.hard, self.truncated, self.live.last());
        StateRecord { hard, truncated, first_segment, last }.encode(&mut out);
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
        let needed = self.needed();
        self.claims.push_back((end, needed));
        self.count_bytes();
        Ok(())
    }

    /// Gives up the segments that a durable state record does not need.
    pub(super) fn give_up_segments(&mut self) {
        let synced = self.syncer().synced();
        let mut needed = FileNumber(0);
        while let Some(&(at, number)) = self.claims.front().filter(|(at, _)| *at <= synced) {
            debug_assert!(number >= needed, "what is not needed never is again, at {at}");
            needed = number;
            self.claims.pop_front();
        }
        for segment in self.log.give_up_below(needed) {
            self.give_up(segment.number, segment.bytes);
        }
        self.count_bytes();
    }

    /// Keeps a segment's file to be recycled, or removes it. A failure leaves a file that the next
    /// open removes.
    pub(super) fn give_up(&mut self, number: FileNumber, bytes: u64) {
        self.shared.state.lock().close_below(FileNumber(number.0 + 1));
        let path = segment_path(&self.shared.dir, number);
        if self.log.needs_spare(bytes) {
            // Without its header it cannot be taken for a part of the log.
            let file = self.shared.fs.open_write(&path);
            if file.and_then(|file| clear_header(&*file)).is_ok() {
                self.log.keep_spare(number);
                return;
            }
        }
        let _ = self.shared.fs.remove(&path);
    }

    pub(super) fn count_bytes(&self) {
        self.shared.disk_bytes.store(self.log.disk_bytes(), Ordering::Relaxed);
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
