//! The one checksum: CRC-32C (Castagnoli), salted; of bytes, and of any range in them at once.
//!
//! The salt stands for where the bytes belong (a table and an offset, a log and a record), so
//! that intact bytes in the wrong place fail too.

use std::iter;
use std::ops::Range;

/// The checksum of `bytes` at the place that `salt` stands for.
pub(crate) fn checksum(salt: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(salt_state(salt), bytes)
}

/// Mixes before folding to 32 bits, so that nearby places do not share a state.
fn salt_state(salt: u64) -> u32 {
    let mixed = (salt ^ 0x6c73_6d2d_636f_7265).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32
}

/// Bytes of which the checksum of any range takes the same short time, however long the range is.
///
/// A CRC is the remainder of a polynomial: that of a range follows from those of all bytes up to
/// its start and up to its end. They are kept for every piece of the bytes.
pub(crate) struct Ranges<'a> {
    bytes: &'a [u8],
    /// The CRC of the bytes in front of each piece, and of all whole pieces.
    before: Vec<u32>,
    /// What n zero pieces do to a CRC in front of them, as factors: for n up to [`ZEROS_LEN`], and
    /// for the multiples of that.
    zeros: [Vec<u32>; 2],
}

/// Length of a piece. A range costs two pieces at most, the table of pieces a 64th of the bytes.
const PIECE_LEN: usize = 256;
const ZEROS_LEN: usize = 1 << 12;
/// The longest bytes, and then some: far more than a file that is read as a whole has.
const RANGES_LEN_MAX: usize = ZEROS_LEN * ZEROS_LEN * PIECE_LEN;

/// The polynomial without its highest term. The lowest bit is the highest power, as in the CRC.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The polynomial 1.
const ONE: u32 = 1 << 31;

impl<'a> Ranges<'a> {
    /// Reads the bytes once.
    ///
    /// # Panics
    ///
    /// If there are more than 4 GiB of them.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        assert!(bytes.len() <= RANGES_LEN_MAX);
        let mut before = vec![0];
        for piece in bytes.chunks_exact(PIECE_LEN) {
            before.push(crc32c::crc32c_append(before[before.len() - 1], piece));
        }
        let powers = |step| {
            let powers = iter::successors(Some(ONE), |power| Some(multiply(*power, step)));
            powers.take(ZEROS_LEN + 1).collect::<Vec<u32>>()
        };
        let low = powers(crc32c::crc32c_combine(ONE, 0, PIECE_LEN));
        let high = powers(low[ZEROS_LEN]);
        Self { bytes, before, zeros: [low, high] }
    }

    /// [`checksum`] of a range.
    pub(crate) fn checksum(&self, salt: u64, range: Range<usize>) -> u32 {
        let (first, last) = (range.start.div_ceil(PIECE_LEN), range.end / PIECE_LEN);
        if first >= last {
            return checksum(salt, &self.bytes[range]);
        }
        let head = &self.bytes[range.start..first * PIECE_LEN];
        let crc = crc32c::crc32c_append(salt_state(salt), head);
        // What begins with another CRC ends with another: they differ by what the pieces between,
        // were they zero, make of the difference.
        let mut differs = crc ^ self.before[first];
        differs = multiply(differs, self.zeros[0][(last - first) % ZEROS_LEN]);
        differs = multiply(differs, self.zeros[1][(last - first) / ZEROS_LEN]);
        let crc = differs ^ self.before[last];
        crc32c::crc32c_append(crc, &self.bytes[last * PIECE_LEN..range.end])
    }
}

/// The product of two polynomials, modulo the one of the CRC.
fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    for power in (0..32).rev() {
        product ^= b & ((a >> power) & 1).wrapping_neg();
        b = (b >> 1) ^ (POLYNOMIAL & (b & 1).wrapping_neg());
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_and_bytes_both_count() {
        assert_ne!(checksum(1, b"abc"), checksum(2, b"abc"));
        assert_ne!(checksum(1, b"abc"), checksum(1, b"abd"));
    }

    #[test]
    fn the_polynomial_is_castagnoli() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_range_has_the_checksum_of_its_bytes() {
        let mut rng = fastrand::Rng::with_seed(1);
        // Long enough for both tables of factors.
        let long = (ZEROS_LEN + 3) * PIECE_LEN + 7;
        for len in [0, 1, PIECE_LEN - 1, PIECE_LEN, PIECE_LEN + 1, 5 * PIECE_LEN, long] {
            let bytes: Vec<u8> = iter::repeat_with(|| rng.u8(..)).take(len).collect();
            let ranges = Ranges::new(&bytes);
            for _ in 0..200 {
                let start = rng.usize(0..=len);
                let range = start..rng.usize(start..=len);
                let salt = rng.u64(..);
                let expected = checksum(salt, &bytes[range.clone()]);
                assert_eq!(ranges.checksum(salt, range.clone()), expected, "{range:?} of {len}");
            }
            assert_eq!(ranges.checksum(7, 0..len), checksum(7, &bytes), "all of {len}");
        }
    }
}
