//! Values that want to be read back as records of a log.
//!
//! A value lies in a segment, the segment is recycled, and the log ends somewhere in the middle of
//! it: what follows there is old bytes, which whoever wrote the value has chosen. The forger here
//! knows all that can be known: it has seen a run that did the same with other bytes, so numbers,
//! offsets, positions and sequences are right. What it uses as the file's nonce is the test's choice:
//! with the true one the forgery has to work, or the test proves nothing.
//!
//! Pure: takes the bytes of files, and changes values before they are written.

use crate::coding::u64_at;
use crate::file_name::FileNumber;
use crate::wal::{FoundNonce, HEADER_LEN, Lsn, Nonce, RecordPlace, Records, encode, find_nonce};

/// The upper half of each word of a marked value.
const MARK: u64 = 0xf0f0;
/// Where records can begin.
const ALIGN: usize = 8;

/// A value of `len` bytes that can be found again wherever it lies in a file: value number `index`.
pub fn marked(index: u16, len: usize) -> Vec<u8> {
    let words = (0u32..).map(|at| MARK << 48 | u64::from(index) << 32 | u64::from(at));
    words.flat_map(u64::to_le_bytes).take(len).collect()
}

/// What can be known of the segment that a log ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The number in its name.
    pub number: FileNumber,
    /// The number that nobody should know.
    pub nonce: u64,
    /// Where its records end.
    pub end: usize,
    /// Sequence of its last record.
    pub last_sequence: u64,
    base: u64,
}

impl Target {
    /// Looks at the bytes of a segment; `None` if it holds no record.
    pub fn of(segment: &[u8]) -> Option<Self> {
        let number = FileNumber(u64_at(segment, 8)?);
        let base = u64_at(segment, 16)?;
        let FoundNonce::Nonce(nonce) = find_nonce(segment, number) else { return None };
        let mut records = Records::new(segment, number, nonce, Lsn(base), 0);
        while let Ok(Some(_)) = records.read_next() {}
        let (end, last_sequence) = (records.offset(), records.last_sequence());
        (end > HEADER_LEN).then_some(Self { number, nonce: nonce.0, end, last_sequence, base })
    }

    /// A record for `offset` of this segment, which claims that all before it is durable.
    pub fn record(&self, nonce: u64, offset: usize, sequence: u64, payload: &[u8]) -> Vec<u8> {
        let place = RecordPlace { number: self.number, nonce: Nonce(nonce), offset };
        let mut record = Vec::new();
        encode(&mut record, place, sequence, Lsn(self.base + offset as u64), payload);
        record
    }

    /// Puts `record` where it will lie at `offset` once `values` are written as the marked ones were
    /// that `segment` holds now. False if no one value lies there.
    pub fn plant(
        &self,
        segment: &[u8],
        values: &mut [Vec<u8>],
        offset: usize,
        record: &[u8],
    ) -> bool {
        // A marked word begins at one of the next bytes.
        let word = (0..ALIGN).find_map(|skip| {
            let word = u64_at(segment, offset + skip).filter(|word| word >> 48 == MARK)?;
            let at = (word as u32 as usize * ALIGN).checked_sub(skip)?;
            Some(((word >> 32) as u16, at))
        });
        let Some((index, at)) = word else { return false };
        let value = values.get_mut(usize::from(index));
        let Some(place) = value.and_then(|value| value.get_mut(at..at + record.len())) else {
            return false;
        };
        place.copy_from_slice(record);
        true
    }

    /// The first place for `record_len` bytes in a value, at or behind `from`.
    pub fn place_from(&self, segment: &[u8], from: usize, record_len: usize) -> Option<usize> {
        let is_marked = |at: usize| u64_at(segment, at).is_some_and(|word| word >> 48 == MARK);
        let fits = |offset: &usize| {
            let marked = |at: usize| (at..at + ALIGN).any(is_marked);
            marked(*offset) && (0..=record_len).step_by(ALIGN).all(|more| marked(offset + more))
        };
        (from.next_multiple_of(ALIGN)..segment.len()).step_by(ALIGN).find(fits)
    }
}
