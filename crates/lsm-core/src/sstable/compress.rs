//! How the bytes of one block are packed. No I/O, no checksums.

use lsm_log::coding::{put_u32, u32_at};

use super::format::Damage;
use crate::options::Compression;

/// The longest block before it is packed: a bound for what unpacking may allocate. Above the
/// largest block, which holds one key and one value of the greatest length.
pub(super) const BLOCK_LEN_MAX: usize = 512 << 20;
/// LZ4 cannot shrink a block by more than this factor: each byte of a length adds up to 255.
pub(super) const LZ4_RATIO_MAX: usize = 255;
/// The length before packing, in front of the LZ4 block.
const LZ4_HEADER_LEN: usize = 4;

/// The packing of a block. The numbers are part of the file format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Codec {
    /// As it is.
    #[default]
    None = 0,
    /// The length before packing (u32), then one LZ4 block.
    Lz4 = 1,
}

impl Codec {
    pub(super) fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::None),
            1 => Some(Self::Lz4),
            _ => None,
        }
    }
}

impl From<Compression> for Codec {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Lz4 => Self::Lz4,
        }
    }
}

/// Appends `block` to `out`, packed with `codec` if that makes it smaller by an eighth, and
/// says how it is packed.
pub(super) fn pack(codec: Codec, block: &[u8], out: &mut Vec<u8>) -> Codec {
    let start = out.len();
    if codec == Codec::Lz4
        && let Ok(len) = u32::try_from(block.len())
    {
        put_u32(out, len);
        let packed_at = out.len();
        out.resize(packed_at + lz4_flex::block::get_maximum_output_size(block.len()), 0);
        let worth_it = block.len() - block.len() / 8;
        match lz4_flex::block::compress_into(block, &mut out[packed_at..]) {
            Ok(packed_len) if packed_len + LZ4_HEADER_LEN <= worth_it => {
                out.truncate(packed_at + packed_len);
                return Codec::Lz4;
            }
            _ => out.truncate(start),
        }
    }
    out.extend_from_slice(block);
    Codec::None
}

/// Unpacks an LZ4 block into `out`, replacing what is there.
pub(super) fn unpack_lz4(packed: &[u8], out: &mut Vec<u8>) -> Result<(), Damage> {
    let cut = Damage::new("packed block is cut short", 0);
    let len = u32_at(packed, 0).ok_or(cut)? as usize;
    let body = packed.get(LZ4_HEADER_LEN..).ok_or(cut)?;
    if len > BLOCK_LEN_MAX || len / LZ4_RATIO_MAX > body.len() {
        return Err(Damage::new("packed block claims an impossible length", 0));
    }
    // Only growth is zeroed: a buffer in use again keeps its bytes until they are replaced.
    out.resize(len, 0);
    match lz4_flex::block::decompress_into(body, out) {
        Ok(found) if found == len => Ok(()),
        _ => Err(Damage::new("packed block cannot be unpacked", LZ4_HEADER_LEN)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back() {
        let block = b"abcdefgh".repeat(500);
        let mut packed = Vec::new();
        assert_eq!(pack(Codec::Lz4, &block, &mut packed), Codec::Lz4);
        assert!(packed.len() < block.len() / 4);
        let mut out = vec![9; 10_000];
        unpack_lz4(&packed, &mut out).unwrap();
        assert_eq!(out, block);
    }

    #[test]
    fn what_does_not_shrink_stays() {
        let mut random = fastrand::Rng::with_seed(1);
        let block: Vec<u8> = (0..4096).map(|_| random.u8(..)).collect();
        let mut packed = b"before".to_vec();
        assert_eq!(pack(Codec::Lz4, &block, &mut packed), Codec::None);
        assert_eq!(packed[..6], *b"before");
        assert_eq!(packed[6..], block);
    }

    #[test]
    fn impossible_lengths_allocate_nothing() {
        let mut out = Vec::new();
        for len in [u32::MAX, 600 << 20, 100_000] {
            let mut packed = Vec::new();
            put_u32(&mut packed, len);
            packed.extend_from_slice(&[0; 100]);
            assert!(unpack_lz4(&packed, &mut out).is_err());
            assert_eq!(out.capacity(), 0, "{len}");
        }
    }

    #[test]
    fn another_length_than_the_stated_one_is_damage() {
        let block = b"abcdefgh".repeat(500);
        let mut packed = Vec::new();
        pack(Codec::Lz4, &block, &mut packed);
        for len in [block.len() - 1, block.len() + 1] {
            packed[..4].copy_from_slice(&(len as u32).to_le_bytes());
            assert!(unpack_lz4(&packed, &mut Vec::new()).is_err(), "{len}");
        }
    }

    #[test]
    fn every_cut_is_damage() {
        let block = b"abcdefgh-abcdefgh-ijklmnop".repeat(20);
        let mut packed = Vec::new();
        pack(Codec::Lz4, &block, &mut packed);
        let mut out = Vec::new();
        for len in 0..packed.len() {
            assert!(unpack_lz4(&packed[..len], &mut out).is_err(), "{len}");
        }
    }
}
