//! The one checksum: CRC-32C (Castagnoli), salted.
//!
//! The salt stands for where the bytes belong (a table and an offset, a log and a record), so
//! that intact bytes in the wrong place fail too.

/// The checksum of `bytes` at the place that `salt` stands for.
pub fn checksum(salt: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(salt_state(salt), bytes)
}

/// Mixes before folding to 32 bits, so that nearby places do not share a state.
fn salt_state(salt: u64) -> u32 {
    let mixed = (salt ^ 0x6c73_6d2d_636f_7265).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32
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
}
