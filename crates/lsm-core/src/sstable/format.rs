//! What all parts of a table file share: constants, the trailer behind every block and
//! section, and the footer. Described in `docs/format.md`, section "Table".
//!
//! Invariants:
//! * No bytes are used before the checksum behind them was compared.
//! * Every checksum is salted with the table and the offset, so that intact bytes in the wrong
//!   place or from another table fail like damaged ones.

use std::path::Path;

use lsm_log::checksum::checksum;
use lsm_log::coding::{Decoder, put_u32, put_u64, u32_at};
use lsm_log::error::{Error, Result};

/// The last eight bytes of every table.
const MAGIC: [u8; 8] = *b"lsmtable";
/// The newest format that is understood, and the one that is written.
pub(super) const VERSION: u32 = 1;

pub(super) const FOOTER_LEN: usize = 72;
/// Place of the version in the footer. It, the checksum and the magic behind it, and the
/// length of the footer stay where they are in all versions.
const VERSION_AT: usize = 56;
const CHECKSUM_AT: usize = 60;
const MAGIC_AT: usize = 64;

/// Codec (one byte) and checksum (four) behind every block and section.
pub(super) const TRAILER_LEN: usize = 5;
/// A cache line: filter and index start at a multiple of it within the file, and so within a
/// mapping.
pub(super) const LINE_LEN: usize = 64;
/// Blocks are placed so that few of them cross a multiple of this.
pub(super) const PAGE_LEN: usize = 4096;

/// Keeps tables whose salts differ by little apart at all offsets.
pub(super) const PLACE_FACTOR: u64 = 0xd6e8_feb8_6659_fd93;

const _: () = assert!(MAGIC_AT + MAGIC.len() == FOOTER_LEN);
const _: () = assert!(PAGE_LEN.is_multiple_of(LINE_LEN));

/// Bytes that cannot be what was written. A word for decoders, which know neither the file nor
/// where in it their bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    what: &'static str,
    at: usize,
}

impl Damage {
    #[cold]
    pub(super) fn new(what: &'static str, at: usize) -> Self {
        Self { what, at }
    }

    /// The same damage, found elsewhere.
    pub(super) fn moved_to(self, at: usize) -> Self {
        Self { at, ..self }
    }

    /// For bytes that lie in the file as they are, from `base` on.
    #[cold]
    pub(super) fn error_at(self, base: u64) -> Error {
        Error::corrupt(self.what).at(base.saturating_add(self.at as u64))
    }

    #[cold]
    pub(super) fn error(self, base: u64, path: &Path) -> Error {
        self.error_at(base).in_file(path)
    }
}

/// Where a section lies: offset and length without the trailer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Section {
    /// Offset of the first byte behind the trailer.
    pub(super) fn end(self) -> Option<u64> {
        self.offset.checked_add(self.len)?.checked_add(TRAILER_LEN as u64)
    }
}

/// The fixed end of a table: where the other parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    /// `None` in a table without a filter.
    pub(super) filter: Option<Section>,
    pub(super) index: Section,
    pub(super) properties: Section,
    pub(super) salt: u64,
}

impl Footer {
    /// Appends the footer, which will lie at `offset`.
    pub(super) fn encode(&self, offset: u64, out: &mut Vec<u8>) {
        let start = out.len();
        for section in [self.filter.unwrap_or_default(), self.index, self.properties] {
            put_u64(out, section.offset);
            put_u64(out, section.len);
        }
        put_u64(out, self.salt);
        put_u32(out, VERSION);
        let sum = checksum(place(self.salt, offset), &out[start..]);
        put_u32(out, sum);
        out.extend_from_slice(&MAGIC);
        debug_assert_eq!(out.len() - start, FOOTER_LEN);
    }

    /// Decodes the footer that lies at `offset` of a table that should carry `salt`. The
    /// sections it names lie one behind the other, in front of it.
    pub(super) fn decode(bytes: &[u8; FOOTER_LEN], offset: u64, salt: u64) -> Result<Self> {
        if bytes[MAGIC_AT..] != MAGIC {
            return Err(Error::corrupt("not a table: the magic at its end is missing")
                .at(offset + MAGIC_AT as u64));
        }
        let short = || Error::corrupt("table footer is cut short").at(offset);
        let mut decoder = Decoder::new(bytes);
        let mut section = || {
            let (offset, len) = (decoder.u64()?, decoder.u64()?);
            Some(Section { offset, len })
        };
        let mut sections = || Some([section()?, section()?, section()?]);
        let [filter, index, properties] = sections().ok_or_else(short)?;
        let found_salt = decoder.u64().ok_or_else(short)?;
        let version = decoder.u32().ok_or_else(short)?;
        let found = decoder.u32().ok_or_else(short)?;
        let expected = checksum(place(found_salt, offset), &bytes[..CHECKSUM_AT]);
        if found != expected {
            return Err(Error::mismatch("footer checksum", expected, found).at(offset));
        }
        if version != VERSION {
            return Err(Error::unsupported(format!(
                "table format {version}: this program knows only {VERSION}"
            ))
            .at(offset + VERSION_AT as u64));
        }
        if found_salt != salt {
            return Err(Error::mismatch(
                "table salt (is the file another table?)",
                salt,
                found_salt,
            )
            .at(offset + (VERSION_AT - 8) as u64));
        }
        let filter = (filter != Section::default()).then_some(filter);
        let footer = Self { filter, index, properties, salt };
        footer.check_order(offset).map(|()| footer)
    }

    /// Makes what the footer says of itself right: version, checksum and magic.
    #[cfg(any(test, feature = "testkit"))]
    pub(super) fn mend(bytes: &mut [u8; FOOTER_LEN], offset: u64) {
        let salt = lsm_log::coding::u64_at(bytes, VERSION_AT - 8).unwrap_or(0);
        bytes[VERSION_AT..CHECKSUM_AT].copy_from_slice(&VERSION.to_le_bytes());
        let sum = checksum(place(salt, offset), &bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..MAGIC_AT].copy_from_slice(&sum.to_le_bytes());
        bytes[MAGIC_AT..].copy_from_slice(&MAGIC);
    }

    fn check_order(&self, footer_offset: u64) -> Result<()> {
        let mut least = 0;
        let mut in_order = true;
        for section in self.filter.into_iter().chain([self.index, self.properties]) {
            let end = section.end().filter(|end| *end <= footer_offset);
            in_order &= section.offset >= least && end.is_some();
            least = end.unwrap_or(u64::MAX);
        }
        if in_order && least == footer_offset {
            return Ok(());
        }
        Err(Error::corrupt("table footer names impossible sections").at(footer_offset))
    }
}

/// The salt of the checksum of what lies at `offset` of a table.
#[inline]
pub(super) fn place(salt: u64, offset: u64) -> u64 {
    salt ^ offset.wrapping_mul(PLACE_FACTOR)
}

/// Appends the trailer of what stands in `out` from `start` on and will lie at `offset`.
pub(super) fn seal(out: &mut Vec<u8>, start: usize, codec: u8, salt: u64, offset: u64) {
    out.push(codec);
    let sum = checksum(place(salt, offset), &out[start..]);
    put_u32(out, sum);
}

/// Splits `bytes`, which lie at `offset` and end with their trailer, into payload and codec,
/// once the checksum has proved right. `what` names them in the error.
pub(super) fn unseal<'a>(
    bytes: &'a [u8],
    salt: u64,
    offset: u64,
    what: &str,
) -> Result<(&'a [u8], u8)> {
    let too_short = || Error::corrupt(format!("{what} is cut short")).at(offset);
    let covered = bytes.len().checked_sub(4).ok_or_else(too_short)?;
    let len = covered.checked_sub(1).ok_or_else(too_short)?;
    let found = u32_at(bytes, covered).ok_or_else(too_short)?;
    let expected = checksum(place(salt, offset), &bytes[..covered]);
    if found != expected {
        return Err(Error::mismatch(&format!("{what} checksum"), expected, found).at(offset));
    }
    Ok((&bytes[..len], bytes[len]))
}

/// Makes the trailer at the end of `sealed`, which lies at `offset`, right.
#[cfg(any(test, feature = "testkit"))]
pub(super) fn reseal(sealed: &mut [u8], codec: u8, salt: u64, offset: u64) {
    let Some(covered) = sealed.len().checked_sub(4).filter(|covered| *covered > 0) else {
        return;
    };
    sealed[covered - 1] = codec;
    let sum = checksum(place(salt, offset), &sealed[..covered]);
    sealed[covered..].copy_from_slice(&sum.to_le_bytes());
}

/// Length of the longest common prefix.
#[inline]
pub(super) fn common_len(a: &[u8], b: &[u8]) -> usize {
    let (a_words, _) = a.as_chunks::<8>();
    let (b_words, _) = b.as_chunks::<8>();
    let mut len = 0;
    for (x, y) in a_words.iter().zip(b_words) {
        let differing = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differing != 0 {
            return len + (differing.trailing_zeros() / 8) as usize;
        }
        len += 8;
    }
    len + a[len..].iter().zip(&b[len..]).take_while(|(x, y)| x == y).count()
}

/// The first eight bytes as a number that orders like them; missing bytes count as zero.
///
/// `a < b` follows from `word(a) < word(b)`; equal words say nothing.
#[inline]
pub(super) fn word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            u64::from_be_bytes(padded)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lsm_log::error::ErrorKind;

    fn footer() -> Footer {
        Footer {
            filter: None,
            index: Section { offset: 64, len: 100 },
            properties: Section { offset: 169, len: 26 },
            salt: 7,
        }
    }

    fn encoded() -> [u8; FOOTER_LEN] {
        let mut out = Vec::new();
        footer().encode(200, &mut out);
        out.try_into().unwrap()
    }

    #[test]
    fn footers_come_back_only_in_their_place() {
        let bytes = encoded();
        assert_eq!(Footer::decode(&bytes, 200, 7).unwrap(), footer());
        assert_eq!(Footer::decode(&bytes, 201, 7).unwrap_err().kind(), ErrorKind::Corrupt);
        let foreign = Footer::decode(&bytes, 200, 8).unwrap_err();
        assert_eq!(foreign.kind(), ErrorKind::Corrupt);
        assert!(foreign.to_string().contains("salt"), "{foreign}");
    }

    #[test]
    fn every_flipped_bit_of_a_footer_is_damage() {
        for bit in 0..FOOTER_LEN * 8 {
            let mut bytes = encoded();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = Footer::decode(&bytes, 200, 7).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "bit {bit}: {error}");
            assert!(error.offset().is_some(), "bit {bit}: {error}");
        }
    }

    #[test]
    fn newer_formats_are_not_damage() {
        let mut bytes = encoded();
        bytes[VERSION_AT] = 2;
        let sum = checksum(place(7, 200), &bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..MAGIC_AT].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Footer::decode(&bytes, 200, 7).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn a_seal_holds_bytes_place_and_codec() {
        let mut out = b"block".to_vec();
        seal(&mut out, 0, 1, 7, 4096);
        assert_eq!(unseal(&out, 7, 4096, "block").unwrap(), (&b"block"[..], 1));
        assert!(unseal(&out, 7, 8192, "block").is_err(), "moved");
        assert!(unseal(&out, 8, 4096, "block").is_err(), "of another table");
        for len in 0..out.len() {
            assert!(unseal(&out[..len], 7, 4096, "block").is_err(), "cut to {len}");
        }
        out[5] = 0;
        assert!(unseal(&out, 7, 4096, "block").is_err(), "another codec");
    }

    #[test]
    fn words_order_like_their_bytes() {
        let keys: [&[u8]; 6] = [b"", b"a", b"a\x01", b"abcdefgh", b"abcdefgi", b"\xff"];
        assert!(keys.windows(2).all(|pair| word(pair[0]) < word(pair[1])));
        assert_eq!(word(b"a"), word(b"a\0"));
        assert_eq!(word(b"abcdefgh"), word(b"abcdefghi"));
    }

    #[test]
    fn common_lengths_at_all_lengths() {
        let long = [5u8; 40];
        for len in 0..=40 {
            assert_eq!(common_len(&long[..len], &long), len);
            if len < 40 {
                let mut other = long;
                other[len] = 6;
                assert_eq!(common_len(&long, &other), len);
            }
        }
    }
}
