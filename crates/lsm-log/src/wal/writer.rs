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
    self, HEADER_LEN, Header, LOG, Lsn, NONCE_AT, PAYLOAD_LEN_MAX, Place, record_len,
};
use super::segment::Segment;
use super::syncer::Syncer;
use crate::error::{Error, Result};
use crate::file_name::FileNumber;

/// The record buffer is kept between appends up to this capacity.
const BUFFER_KEEP_MAX: usize = 1 << 20;

/// How a record reaches its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Copied into a mapping where the file system has one: cheapest if nobody waits for a
    /// sync.
    Copy,
    /// Written by a call: makes the sync that follows cheaper.
    Write,
}

/// The segment that a rotation left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The number in its name.
    pub number: FileNumber,
    /// Sequence of the log's last record; zero if there is none yet.
    pub last_sequence: u64,
    /// Length of the file in bytes, the unused rest included.
    pub bytes: u64,
    /// Where the segment begins in the log.
    pub base: Lsn,
}

/// The end of a log.
#[derive(Debug)]
pub struct Writer {
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
    pub fn start(
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
    pub fn has_room(&self, payload_len: usize) -> bool {
        payload_len <= PAYLOAD_LEN_MAX
            && (self.offset + record_len(payload_len)) as u64 <= self.segment.bytes
    }

    /// The least size in bytes of a segment that holds a payload of this length.
    pub fn segment_bytes_for(payload_len: usize) -> u64 {
        (HEADER_LEN + record_len(payload_len)) as u64
    }

    /// Position of the segment's first byte.
    pub fn base(&self) -> Lsn {
        self.base
    }

    /// Position behind the last record.
    #[inline]
    pub fn end(&self) -> Lsn {
        self.base.plus(self.offset)
    }

    /// Appends one record and returns the position behind it, which is what
    /// [`Syncer::sync_through`] takes.
    ///
    /// # Errors
    ///
    /// `Io` if the write failed, `Failed` if anything failed before.
    ///
    /// # Panics
    ///
    /// If the payload is empty or there is no [room](Self::has_room), or if `sequence` is
    /// below that of the record before.
    pub fn append(&mut self, sequence: u64, payload: &[u8], via: Via) -> Result<Lsn> {
        assert!(!payload.is_empty() && self.has_room(payload.len()), "the caller rotates first");
        assert!(sequence >= self.last_sequence, "sequences do not decrease");
        self.shared.check()?;
        self.buffer.clear();
        let (number, nonce) = (self.segment.number, self.segment.nonce);
        let place = Place { number, nonce, offset: self.offset };
        record::encode(&mut self.buffer, place, sequence, self.shared.synced(), payload);
        let (file, offset) = (&self.segment.file, self.offset as u64);
        let written = match via {
            Via::Copy => file.copy_at(offset, &self.buffer),
            Via::Write => file.write_at(offset, &self.buffer),
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

    /// Goes on in `next`. The segment so far is synced before, or together with, anything
    /// that is appended from here on.
    ///
    /// # Errors
    ///
    /// `Io` if its header cannot be written, `Failed` if anything failed before.
    pub fn rotate(&mut self, next: Segment) -> Result<Sealed> {
        self.shared.check()?;
        let base = self.end();
        let sealed = Sealed {
            number: self.segment.number,
            last_sequence: self.last_sequence,
            bytes: self.segment.bytes,
            base: self.base,
        };
        write_header(self.owner, &next, base, &self.shared)?;
        self.segment = next;
        self.base = base;
        self.offset = HEADER_LEN;
        Ok(sealed)
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
