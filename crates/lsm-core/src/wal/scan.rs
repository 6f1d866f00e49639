//! Walks the records in the bytes of one file, and searches bytes that do not parse for
//! proof that they once did. No I/O.

use super::record::{ALIGN, Claim, Frame, HEADER_LEN, Lsn, RECORD_LEN_MIN};
use crate::checksum::Ranges;
use crate::error::{Error, Result};
use crate::file_name::FileNumber;

/// The records of one file, front to back.
#[derive(Debug)]
pub(crate) struct Records<'a> {
    bytes: &'a [u8],
    number: FileNumber,
    base: Lsn,
    offset: usize,
    last_sequence: u64,
}

impl<'a> Records<'a> {
    /// `bytes` is a file from its first byte to where its records end at the latest;
    /// `base` is the position of its first byte, from a valid header.
    pub(crate) fn new(bytes: &'a [u8], number: FileNumber, base: Lsn, last_sequence: u64) -> Self {
        Self { bytes, number, base, offset: HEADER_LEN, last_sequence }
    }

    /// The next record; `None` at the first place that holds no valid one.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'a>>> {
        let Some(claim) = Claim::read(self.bytes, self.offset) else {
            return Ok(None);
        };
        let Some(frame) = claim.verify(self.bytes, self.number, self.offset) else {
            return Ok(None);
        };
        // The checksum holds, so these bytes were written as they are: a writer of ours
        // would not have.
        if frame.sequence < self.last_sequence {
            return Err(Error::mismatch(
                "sequence of a record is out of order: the least that may follow",
                self.last_sequence,
                frame.sequence,
            )
            .at(self.offset as u64));
        }
        if frame.synced > self.position() {
            let message = "record claims that bytes behind it were durable before it was written";
            return Err(Error::corrupt(message).at(self.offset as u64));
        }
        self.last_sequence = frame.sequence;
        self.offset += claim.record_len();
        Ok(Some(frame))
    }

    /// Offset of what comes next, behind the last valid record.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Position of what comes next.
    pub(crate) fn position(&self) -> Lsn {
        self.base.plus(self.offset)
    }

    pub(crate) fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    /// Whether what comes next looks like a record whose writing was cut off: a guess, for
    /// reports only.
    pub(crate) fn is_cut(&self, last_synced: Lsn) -> bool {
        Claim::read(self.bytes, self.offset).is_some_and(|claim| {
            claim.sequence >= self.last_sequence
                && (last_synced..=self.position()).contains(&claim.synced)
        })
    }
}

/// Where the first byte of a file stands in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Base {
    /// There, says a valid header.
    Known(Lsn),
    /// Without a header: nothing in the file can speak of a position beyond this one. In a
    /// recycled segment, which is full of what once were records, that rules out all but the
    /// few whose bytes happen to read as a position of today.
    AtMost(Lsn),
}

/// Looks in `bytes`, a file from its first byte, at or after `from`, for a record that shows
/// that the log was durable beyond position `at`. Returns the offset of that witness.
///
/// The cost is in proportion to the bytes, whatever they are: a comparison for every place where a
/// record may start, and for those that claim to be a witness a checksum that costs the same for
/// every length. Values of users fill a recycled segment, and may be full of such claims.
pub(crate) fn find_witness(
    bytes: &[u8],
    number: FileNumber,
    base: Base,
    from: usize,
    at: Lsn,
    last_sequence: u64,
) -> Option<usize> {
    // Most logs end without a single claim behind the end.
    let mut sums = None;
    let mut offset = from.next_multiple_of(ALIGN);
    while offset.saturating_add(RECORD_LEN_MIN) <= bytes.len() {
        let highest = match base {
            Base::Known(base) => base.plus(offset),
            Base::AtMost(highest) => highest,
        };
        let claim = Claim::read(bytes, offset).filter(|claim| {
            claim.synced > at && claim.synced <= highest && claim.sequence >= last_sequence
        });
        if let Some(claim) = claim {
            let sums = sums.get_or_insert_with(|| Ranges::new(bytes));
            if claim.is_true(sums, number, offset) {
                return Some(offset);
            }
        }
        offset += ALIGN;
    }
    None
}

#[cfg(test)]
#[path = "scan_test.rs"]
mod tests;
