//! Walks the records in the bytes of one file, and searches bytes that do not parse for
//! proof that they once did. No I/O.

use super::nonce::Nonce;
use super::record::{ALIGN, Frame, HEADER_LEN, Lsn, RECORD_LEN_MIN, RecordPlace, UnverifiedHeader};
use crate::error::{Error, Result};
use crate::file_name::FileNumber;

/// The records of one file, front to back.
#[derive(Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    /// Of what comes next.
    place: RecordPlace,
    base: Lsn,
    last_sequence: u64,
}

impl<'a> Records<'a> {
    /// `bytes` is a file from its first byte to where its records end at the latest;
    /// `base` is the position of its first byte, from a valid header.
    pub fn new(
        bytes: &'a [u8],
        number: FileNumber,
        nonce: Nonce,
        base: Lsn,
        last_sequence: u64,
    ) -> Self {
        let place = RecordPlace { number, nonce, offset: HEADER_LEN };
        Self { bytes, place, base, last_sequence }
    }

    /// The next record; `None` at the first place that holds no valid one. Bytes whose checksum
    /// holds by chance are none either, if they speak of an impossible position.
    #[inline]
    pub fn read_next(&mut self) -> Result<Option<Frame<'a>>> {
        let rest = self.rest();
        let Some(claim) = UnverifiedHeader::read(rest, self.place, self.position()) else {
            return Ok(None);
        };
        let Some(frame) = claim.verify(rest, self.place) else {
            return Ok(None);
        };
        // So these bytes were written as they are: a writer of ours would not have.
        if frame.sequence < self.last_sequence {
            return Err(Error::mismatch(
                "sequence of a record is out of order: the least that may follow",
                self.last_sequence,
                frame.sequence,
            )
            .at(self.place.offset as u64));
        }
        self.last_sequence = frame.sequence;
        self.place.offset += claim.record_len();
        Ok(Some(frame))
    }

    /// Offset of what comes next, behind the last valid record.
    pub fn offset(&self) -> usize {
        self.place.offset
    }

    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.place.offset.min(self.bytes.len())..]
    }

    /// Position of what comes next.
    pub fn position(&self) -> Lsn {
        self.base.plus(self.place.offset)
    }

    /// Sequence of the last record.
    pub fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    /// Whether what comes next looks like a record whose writing was cut off: a guess, for
    /// reports only.
    pub fn is_cut(&self, last_synced: Lsn) -> bool {
        UnverifiedHeader::read(self.rest(), self.place, self.position()).is_some_and(|claim| {
            claim.sequence >= self.last_sequence && claim.synced >= last_synced
        })
    }
}

/// Where the first byte of a file stands in the log.
#[derive(Clone, Copy, Debug)]
pub enum FileBase {
    /// There, says a valid header.
    Known(Lsn),
    /// Without a header: nothing in the file can speak of a position beyond this one.
    AtMost(Lsn),
}

/// Looks in `bytes`, a file from its first byte, at or after `from`, for a record that shows
/// that the log was durable beyond position `at`. Returns the offset of that witness.
///
/// The cost is a comparison for every place where a record may start, and a checksum for each that
/// claims to be a witness. Values fill a recycled segment, but without its nonce only chance makes
/// such a claim of them: once in a million places or less.
pub fn find_witness(
    bytes: &[u8],
    number: FileNumber,
    nonce: Nonce,
    base: FileBase,
    from: usize,
    at: Lsn,
    last_sequence: u64,
) -> Option<usize> {
    let first = RecordPlace { number, nonce, offset: from };
    let mut offset = from.next_multiple_of(ALIGN);
    while offset.saturating_add(RECORD_LEN_MIN) <= bytes.len() {
        let highest = match base {
            FileBase::Known(base) => base.plus(offset),
            FileBase::AtMost(highest) => highest,
        };
        let place = first.at(offset);
        let claim = UnverifiedHeader::read(&bytes[offset..], place, highest)
            .filter(|claim| claim.synced > at && claim.sequence >= last_sequence);
        if claim.is_some_and(|claim| claim.verify(&bytes[offset..], place).is_some()) {
            return Some(offset);
        }
        offset += ALIGN;
    }
    None
}

/// The payloads of all valid records in `bytes` at or after `first`, whatever lies between them.
/// `base` is the position of the first byte of the file.
pub(super) fn records_behind(
    bytes: &[u8],
    first: RecordPlace,
    base: Lsn,
    last_sequence: u64,
) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut offset = first.offset.next_multiple_of(ALIGN);
    while offset.saturating_add(RECORD_LEN_MIN) <= bytes.len() {
        let (place, rest) = (first.at(offset), &bytes[offset..]);
        let claim = UnverifiedHeader::read(rest, place, base.plus(offset))
            .filter(|claim| claim.sequence >= last_sequence);
        let frame = claim.and_then(|claim| Some((claim.record_len(), claim.verify(rest, place)?)));
        offset += frame.as_ref().map_or(ALIGN, |(len, _)| *len);
        found.extend(frame.map(|(_, frame)| frame.payload.to_vec()));
    }
    found
}

#[cfg(test)]
#[path = "scan_test.rs"]
mod tests;
