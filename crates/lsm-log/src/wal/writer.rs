//! Appends records, and goes on from one segment to the next.
//!
//! Leaves to others: making segments ([`prepare`](super::prepare)) and making them durable
//! ([`Syncer`]).
//!
//! Invariants:
//! * One call to the file system a record, and never one that grows the file.
//! * Sequences do not decrease, over all segments.
//!
//! Threads: one at a time, under the caller's lock.

use std::sync::Arc;

use super::record::{
    self, HEADER_LEN, Header, LOG, Lsn, NONCE_AT, PAYLOAD_LEN_MAX, RecordPlace, record_len,
};
use super::segment::Segment;
use super::syncer::Syncer;
use crate::error::{Error, Result};

/// The record buffer is kept between appends up to this capacity.
const BUFFER_KEEP_MAX: usize = 1 << 20;

/// How a record reaches its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// Copied into a mapping where the file system has one: cheapest if nobody waits for a
    /// sync.
    Mmap,
    /// Written by a call: makes the sync that follows cheaper.
    Pwrite,
}

/// The end of a log.
#[derive(Debug)]
pub(super) struct Writer {
    owner: u64,
    segment: Segment,
    base: Lsn,
    /// Where the next record goes.
    offset: usize,
    last_sequence: u64,
    buffer: Vec<u8>,
    shared: Arc<Syncer>,
}

impl Writer {
    /// Starts `segment` of `owner`'s log at `base`, its end so far. The last record has
    /// `last_sequence`; zero for none.
    ///
    /// # Errors
    ///
    /// `Io` if the header cannot be written, `Failed` if anything failed before.
    ///
    /// # Panics
    ///
    /// If `shared` stands elsewhere.
    pub(super) fn start(
        owner: u64,
        segment: Segment,
        base: Lsn,
        last_sequence: u64,
        shared: Arc<Syncer>,
    ) -> Result<Self> {
        assert_eq!(base, shared.appended(), "a log continues where it ended");
        shared.check()?;
        write_header(owner, &segment, base, &shared)?;
        Ok(Self {
            owner,
            segment,
            base,
            offset: HEADER_LEN,
            last_sequence,
            buffer: Vec::new(),
            shared,
        })
    }

    /// Whether a payload of this length fits into the segment.
    #[inline]
    pub(super) fn has_room(&self, payload_len: usize) -> bool {
        payload_len <= PAYLOAD_LEN_MAX
            && (self.offset + record_len(payload_len)) as u64 <= self.segment.bytes
    }

    /// The one that is written to.
    pub(super) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Position of the segment's first byte.
    pub(super) fn base(&self) -> Lsn {
        self.base
    }

    /// Position behind the last record.
    #[inline]
    pub(super) fn end(&self) -> Lsn {
        self.base.plus(self.offset)
    }

    /// Appends one record and returns the position behind it.
    #[cfg(test)]
    pub(super) fn append(&mut self, sequence: u64, payload: &[u8], mode: WriteMode) -> Result<Lsn> {
        self.append_with(sequence, mode, payload.len(), |out| out.extend_from_slice(payload))
    }

    /// See [`Log::append_with`](super::Log::append_with).
    #[inline]
    pub(super) fn append_with(
        &mut self,
        sequence: u64,
        mode: WriteMode,
        payload_len: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Lsn> {
        assert!(payload_len > 0 && self.has_room(payload_len), "the caller rotates first");
        assert!(sequence >= self.last_sequence, "sequences do not decrease");
        self.shared.check()?;
        self.buffer.clear();
        let (number, nonce) = (self.segment.number, self.segment.nonce);
        let place = RecordPlace { number, nonce, offset: self.offset };
        let synced = self.shared.synced();
        record::encode_with(&mut self.buffer, place, sequence, synced, payload_len, fill);
        self.write(sequence, mode)
    }

    /// Writes the record in the buffer.
    fn write(&mut self, sequence: u64, mode: WriteMode) -> Result<Lsn> {
        let (file, offset) = (&self.segment.file, self.offset as u64);
        let written = match mode {
            WriteMode::Mmap => file.copy_at(offset, &self.buffer),
            WriteMode::Pwrite => file.write_at(offset, &self.buffer),
        };
        if let Err(error) = written {
            let error = Error::io("append to the log", &self.segment.path, error).at(offset);
            self.shared.fail(&error);
            return Err(error);
        }
        self.offset += self.buffer.len();
        self.last_sequence = sequence;
        if self.buffer.capacity() > BUFFER_KEEP_MAX {
            self.buffer = Vec::new();
        }
        let end = self.end();
        self.shared.set_appended(end);
        Ok(end)
    }

    /// See [`Log::enter`](super::Log::enter).
    pub(super) fn rotate(&mut self, next: Segment) -> Result<()> {
        self.shared.check()?;
        let base = self.end();
        write_header(self.owner, &next, base, &self.shared)?;
        self.segment = next;
        self.base = base;
        self.offset = HEADER_LEN;
        Ok(())
    }
}

/// From here on the log's end lies in `segment`.
fn write_header(owner: u64, segment: &Segment, base: Lsn, shared: &Syncer) -> Result<()> {
    let mut bytes = Vec::with_capacity(NONCE_AT);
    let (number, synced) = (segment.number, shared.synced());
    Header { number, base, synced, owner }.encode(&LOG, &mut bytes);
    if let Err(error) = segment.file.write_at(0, &bytes) {
        let error = Error::io("start the log segment", &segment.path, error).at(0);
        shared.fail(&error);
        return Err(error);
    }
    // Listed before the first position inside it is published: see `sync_through`.
    shared.started(segment.number, segment.path.clone(), base, segment.file.clone());
    shared.set_appended(base.plus(HEADER_LEN));
    Ok(())
}

#[cfg(test)]
#[path = "writer_test.rs"]
mod tests;
