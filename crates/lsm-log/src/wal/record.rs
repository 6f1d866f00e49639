//! Framing: file headers and records, encoded and decoded. No I/O.
//!
//! The layouts are stated once, in `docs/format.md`; a test compares the bytes. Decoders take
//! any bytes and neither panic nor allocate.

use std::fmt;

use super::nonce::{FoundNonce, NONCE_LEN, Nonce};
use crate::checksum::checksum;
use crate::coding::{put_u32, put_u64, u32_at, u64_at};
use crate::error::{Error, Result};
use crate::file_name::FileNumber;

/// A position in a log: bytes since the log's first, over all segments that it ever had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Far beyond what a disk can write, and small enough that adding to it cannot overflow.
    pub const MAX: Self = Self(1 << 62);

    #[inline]
    /// So many bytes further.
    pub fn plus(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Bytes before the first record of a file: its header, and behind that its nonce.
pub const HEADER_LEN: usize = NONCE_AT + NONCE_LEN;
/// Where the version stands in the header. It and the checksum behind it stay where they are in all
/// versions.
const VERSION_AT: usize = 40;
/// Where the checksum stands in the header, which covers all before it.
pub const CHECKSUM_AT: usize = VERSION_AT + 4;
/// Where the header ends and the [`Nonce`] stands.
pub const NONCE_AT: usize = CHECKSUM_AT + 4;
/// Bytes of a record before its payload.
pub const RECORD_HEADER_LEN: usize = 24;
/// Records start at multiples of this.
pub const ALIGN: usize = 8;
/// The longest payload, in bytes. The shortest is one byte: a run of zeros is no record.
pub const PAYLOAD_LEN_MAX: usize = 1 << 30;
/// The shortest record.
pub(super) const RECORD_LEN_MIN: usize = record_len(1);

const _: () = assert!(HEADER_LEN.is_multiple_of(ALIGN) && RECORD_HEADER_LEN.is_multiple_of(ALIGN));
const _: () = assert!(PAYLOAD_LEN_MAX <= u32::MAX as usize);

/// Length of a record in the file: header, payload and padding.
#[inline]
pub const fn record_len(payload_len: usize) -> usize {
    (RECORD_HEADER_LEN + payload_len).next_multiple_of(ALIGN)
}

/// A kind of file that is framed this way.
#[derive(Debug)]
pub struct Format {
    /// Its first bytes.
    pub magic: [u8; 8],
    /// The version that this program reads, and the one that it writes.
    pub version: u32,
    /// What to call the file in messages.
    pub name: &'static str,
}

/// Segments of a log.
pub const LOG: Format = Format { magic: *b"lsm-log\n", version: 2, name: "log segment" };

/// What stands at the front of a file, but for its nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The number in the file's name.
    pub number: FileNumber,
    /// Position of the file's byte 0.
    pub base: Lsn,
    /// What was known durable when the header was written.
    pub synced: Lsn,
    /// Whose file it is: the id of the database, so that intact files of another are noticed.
    pub owner: u64,
}

impl Header {
    /// Appends the header.
    pub fn encode(&self, format: &Format, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&format.magic);
        put_u64(out, self.number.0);
        put_u64(out, self.base.0);
        put_u64(out, self.synced.0);
        put_u64(out, self.owner);
        put_u32(out, format.version);
        let crc = checksum(0, &out[start..]);
        put_u32(out, crc);
        debug_assert_eq!(out.len() - start, NONCE_AT);
    }

    /// The header carries this number and belongs to `owner`, or says at which offset it does
    /// not.
    pub fn check(&self, number: FileNumber, owner: u64, format: &Format) -> Result<()> {
        let name = format.name;
        if self.number != number {
            let what = format!("number in the {name}");
            return Err(Error::mismatch(&what, number, self.number).at(8));
        }
        if self.owner != owner {
            let what = format!("database that the {name} belongs to");
            let hex = |id: u64| format!("{id:016x}");
            return Err(Error::mismatch(&what, hex(owner), hex(self.owner)).at(32));
        }
        Ok(())
    }

    /// `None` if the bytes are no header: zeros, cut short, or damaged.
    ///
    /// The layout and its checksum stay the same in every version of a format, so that a file
    /// of a newer program is told from a damaged one.
    pub fn decode(bytes: &[u8], format: &Format) -> Result<Option<Self>> {
        let Some(bytes) = bytes.get(..NONCE_AT) else {
            return Ok(None);
        };
        if u32_at(bytes, CHECKSUM_AT) != Some(checksum(0, &bytes[..CHECKSUM_AT])) {
            return Ok(None);
        }
        if bytes[..8] != format.magic {
            return Err(Error::corrupt(format!("this is not a {}", format.name)).at(0));
        }
        let field = |offset| u64_at(bytes, offset).unwrap_or(u64::MAX);
        let version = u32_at(bytes, VERSION_AT).unwrap_or(0);
        if version != format.version {
            let (name, ours) = (format.name, format.version);
            let message = format!("{name} has format version {version}; this program reads {ours}");
            return Err(Error::unsupported(message).at(VERSION_AT as u64));
        }
        let (number, base, synced) = (FileNumber(field(8)), Lsn(field(16)), Lsn(field(24)));
        if base > Lsn::MAX || !base.0.is_multiple_of(ALIGN as u64) || synced > base {
            let message = format!("{} header has impossible positions", format.name);
            return Err(Error::corrupt(message).at(16));
        }
        Ok(Some(Self { number, base, synced, owner: field(32) }))
    }
}

/// The nonce in the first bytes of file `number`.
pub fn find_nonce(bytes: &[u8], number: FileNumber) -> FoundNonce {
    Nonce::decode(bytes.get(NONCE_AT..HEADER_LEN).unwrap_or_default(), number)
}

/// One record as it stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What the writer numbered it with.
    pub sequence: u64,
    /// What was known durable when the record was written.
    pub synced: Lsn,
    /// The bytes that were appended.
    pub payload: &'a [u8],
    /// Where the record starts in its file.
    pub offset: usize,
}

impl Frame<'_> {
    /// Where the payload starts in the file.
    pub fn payload_offset(&self) -> usize {
        self.offset + RECORD_HEADER_LEN
    }
}

/// A place where a record may stand. Whoever does not know the file's nonce cannot make bytes
/// that are a record here: neither their checksum nor their `synced` would be right, which is one
/// chance in 2^32 for the one and, in a log of a TiB, one in 2^24 for the other.
#[derive(Clone, Copy, Debug)]
pub struct RecordPlace {
    /// The number in the file's name.
    pub number: FileNumber,
    /// That of the file.
    pub nonce: Nonce,
    /// Distance from the file's first byte.
    pub offset: usize,
}

impl RecordPlace {
    /// Another one in the same file.
    #[inline]
    pub fn at(self, offset: usize) -> Self {
        Self { offset, ..self }
    }

    /// What the checksum of a record here begins with: one of an earlier life of a recycled file
    /// fails, and so does a copy of a record inside another record's payload.
    #[inline]
    pub fn salt(self) -> u64 {
        self.number.0.rotate_left(40) ^ self.offset as u64 ^ self.nonce.0
    }

    /// The position `synced` as it is written, or what was written as a position.
    #[inline]
    fn mask(self, synced: u64) -> u64 {
        synced ^ self.nonce.0
    }
}

/// Appends a record that will stand at `place`.
pub fn encode(out: &mut Vec<u8>, place: RecordPlace, sequence: u64, synced: Lsn, payload: &[u8]) {
    let fill = |out: &mut Vec<u8>| out.extend_from_slice(payload);
    encode_with(out, place, sequence, synced, payload.len(), fill);
}

/// As [`encode`]; `fill` appends the payload, which has `payload_len` bytes.
#[inline]
pub(super) fn encode_with(
    out: &mut Vec<u8>,
    place: RecordPlace,
    sequence: u64,
    synced: Lsn,
    payload_len: usize,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    debug_assert!((1..=PAYLOAD_LEN_MAX).contains(&payload_len));
    debug_assert!(place.offset.is_multiple_of(ALIGN) && synced.0.is_multiple_of(ALIGN as u64));
    let start = out.len();
    out.reserve(record_len(payload_len));
    put_u32(out, 0);
    put_u32(out, payload_len as u32);
    put_u64(out, sequence);
    put_u64(out, place.mask(synced.0));
    fill(out);
    assert_eq!(out.len() - start, RECORD_HEADER_LEN + payload_len, "the payload has its length");
    out.resize(start + record_len(payload_len), 0);
    let crc = checksum(place.salt(), &out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

/// The fields of a record's header, before anything vouches for them.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnverifiedHeader {
    pub(super) crc: u32,
    /// Payload length; the whole record lies within the bytes that it was read from.
    pub(super) payload_len: usize,
    pub(super) sequence: u64,
    pub(super) synced: Lsn,
}

impl UnverifiedHeader {
    /// Reads the record at `place` of a file, where `rest` begins. `None` if no record can be here:
    /// the length is zero or reaches beyond `rest`, or what is said to be durable lies beyond
    /// `highest`, or where no record ends.
    #[inline]
    pub(super) fn read(rest: &[u8], place: RecordPlace, highest: Lsn) -> Option<Self> {
        let header = rest.first_chunk::<RECORD_HEADER_LEN>()?;
        let payload_len = u32_at(header, 4)? as usize;
        if payload_len == 0 || payload_len > PAYLOAD_LEN_MAX || record_len(payload_len) > rest.len()
        {
            return None;
        }
        let synced = place.mask(u64_at(header, 16)?);
        if synced > highest.0 || !synced.is_multiple_of(ALIGN as u64) {
            return None;
        }
        let (crc, sequence, synced) = (u32_at(header, 0)?, u64_at(header, 8)?, Lsn(synced));
        Some(Self { crc, payload_len, sequence, synced })
    }

    pub(super) fn record_len(&self) -> usize {
        record_len(self.payload_len)
    }

    /// The record, if the checksum vouches for it.
    #[inline]
    pub(super) fn verify<'a>(&self, rest: &'a [u8], place: RecordPlace) -> Option<Frame<'a>> {
        let record = rest.get(..self.record_len())?;
        if checksum(place.salt(), &record[4..]) != self.crc {
            return None;
        }
        let payload = &record[RECORD_HEADER_LEN..RECORD_HEADER_LEN + self.payload_len];
        Some(Frame { sequence: self.sequence, synced: self.synced, payload, offset: place.offset })
    }
}

#[cfg(test)]
#[path = "record_test.rs"]
mod tests;
