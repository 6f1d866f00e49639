//! Framing: file headers and records, encoded and decoded. No I/O.
//!
//! The layouts are stated once, in `docs/format.md`; a test compares the bytes. Decoders take
//! any bytes and neither panic nor allocate.

use std::fmt;

use crate::checksum::{Ranges, checksum};
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
    pub(crate) fn plus(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Bytes before the first record of a file: its header.
pub const HEADER_LEN: usize = 48;
/// Place of the version in the header. It and the checksum behind it stay where they are in all
/// versions.
const VERSION_AT: usize = 40;
pub(super) const CHECKSUM_AT: usize = VERSION_AT + 4;
/// Bytes of a record before its payload.
pub(super) const RECORD_HEADER_LEN: usize = 24;
/// Records start at multiples of this.
pub(super) const ALIGN: usize = 8;
/// The longest payload, in bytes. The shortest is one byte: a run of zeros is no record.
pub const PAYLOAD_LEN_MAX: usize = 1 << 30;
/// The shortest record.
pub(super) const RECORD_LEN_MIN: usize = record_len(1);

const _: () = assert!(HEADER_LEN == CHECKSUM_AT + 4);
const _: () = assert!(HEADER_LEN.is_multiple_of(ALIGN) && RECORD_HEADER_LEN.is_multiple_of(ALIGN));
const _: () = assert!(PAYLOAD_LEN_MAX <= u32::MAX as usize);

/// Length of a record in the file: header, payload and padding.
#[inline]
pub(super) const fn record_len(payload_len: usize) -> usize {
    (RECORD_HEADER_LEN + payload_len).next_multiple_of(ALIGN)
}

/// A kind of file that is framed this way.
#[derive(Debug)]
pub(crate) struct Format {
    pub(crate) magic: [u8; 8],
    /// The newest version that this program reads, and the one that it writes.
    pub(crate) version: u32,
    /// What to call the file in messages.
    pub(crate) name: &'static str,
}

/// Segments of a log.
pub(super) const LOG: Format = Format { magic: *b"lsm-log\n", version: 1, name: "log segment" };

/// What stands at the front of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: FileNumber,
    /// Position of the file's byte 0.
    pub(crate) base: Lsn,
    /// What was known durable when the header was written.
    pub(crate) synced: Lsn,
    /// Whose file it is: the id of the database, so that intact files of another are noticed.
    pub(crate) owner: u64,
}

impl Header {
    pub(crate) fn encode(&self, format: &Format, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&format.magic);
        put_u64(out, self.number.0);
        put_u64(out, self.base.0);
        put_u64(out, self.synced.0);
        put_u64(out, self.owner);
        put_u32(out, format.version);
        let crc = checksum(0, &out[start..]);
        put_u32(out, crc);
        debug_assert_eq!(out.len() - start, HEADER_LEN);
    }

    /// The header carries this number and belongs to `owner`, or says at which offset it does
    /// not.
    pub(crate) fn check(&self, number: FileNumber, owner: u64, format: &Format) -> Result<()> {
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
    pub(crate) fn decode(bytes: &[u8], format: &Format) -> Result<Option<Self>> {
        let Some(bytes) = bytes.get(..HEADER_LEN) else {
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

/// One record as it stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) sequence: u64,
    /// What was known durable when the record was written.
    pub(crate) synced: Lsn,
    pub(crate) payload: &'a [u8],
    /// Where the record starts in its file.
    pub(crate) offset: usize,
}

impl Frame<'_> {
    /// Where the payload starts in the file.
    pub(crate) fn payload_offset(&self) -> usize {
        self.offset + RECORD_HEADER_LEN
    }
}

/// Appends a record that will stand at `offset` of file `number`.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    number: FileNumber,
    offset: usize,
    sequence: u64,
    synced: Lsn,
    payload: &[u8],
) {
    debug_assert!((1..=PAYLOAD_LEN_MAX).contains(&payload.len()) && offset.is_multiple_of(ALIGN));
    let start = out.len();
    out.reserve(record_len(payload.len()));
    put_u32(out, 0);
    put_u32(out, payload.len() as u32);
    put_u64(out, sequence);
    put_u64(out, synced.0);
    out.extend_from_slice(payload);
    out.resize(start + record_len(payload.len()), 0);
    let crc = checksum(salt(number, offset), &out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

/// The fields of a record's header, before anything vouches for them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) crc: u32,
    /// Payload length; the whole record lies within the bytes that it was read from.
    pub(super) payload_len: usize,
    pub(super) sequence: u64,
    pub(super) synced: Lsn,
}

impl Claim {
    /// `None` if no record can be here: the length is zero or reaches beyond `bytes`.
    #[inline]
    pub(super) fn read(bytes: &[u8], offset: usize) -> Option<Self> {
        let rest = bytes.get(offset..)?;
        let header = rest.first_chunk::<RECORD_HEADER_LEN>()?;
        let payload_len = u32_at(header, 4)? as usize;
        if payload_len == 0 || payload_len > PAYLOAD_LEN_MAX || record_len(payload_len) > rest.len()
        {
            return None;
        }
        let (sequence, synced) = (u64_at(header, 8)?, Lsn(u64_at(header, 16)?));
        Some(Self { crc: u32_at(header, 0)?, payload_len, sequence, synced })
    }

    pub(super) fn record_len(&self) -> usize {
        record_len(self.payload_len)
    }

    /// The record, if the checksum vouches for it.
    #[inline]
    pub(super) fn verify<'a>(
        &self,
        bytes: &'a [u8],
        number: FileNumber,
        offset: usize,
    ) -> Option<Frame<'a>> {
        let record = bytes.get(offset..offset.checked_add(self.record_len())?)?;
        if checksum(salt(number, offset), &record[4..]) != self.crc {
            return None;
        }
        let payload = &record[RECORD_HEADER_LEN..RECORD_HEADER_LEN + self.payload_len];
        Some(Frame { sequence: self.sequence, synced: self.synced, payload, offset })
    }

    /// The same question about the bytes of `sums`, at a price that does not depend on the length.
    pub(super) fn is_true(&self, sums: &Ranges<'_>, number: FileNumber, offset: usize) -> bool {
        let covered = offset + 4..offset + self.record_len();
        sums.checksum(salt(number, offset), covered) == self.crc
    }
}

/// Stands for one place in one file: a record of an earlier life of a recycled file fails its
/// checksum, and so does a copy of a record inside another record's payload.
#[inline]
pub(super) fn salt(number: FileNumber, offset: usize) -> u64 {
    number.0.rotate_left(40) ^ offset as u64
}

#[cfg(test)]
#[path = "record_test.rs"]
mod tests;
