//! What nobody who writes into a file can know of it, so that no value reads as a record of ours.
//!
//! A recycled segment is full of values, and everything else that a record's checksum covers can be
//! known or guessed by whoever wrote them: the file's number, the offset, lengths, sequences. So
//! each file gets a random number of its own, which goes into the checksum of each record and masks
//! one of its fields.
//!
//! Invariants:
//! * A nonce is as old as its file's number: a file that is recycled gets a new one with its name.
//! * It is durable before a record may be written, and stands apart from the header, which is
//!   written later: a damaged header takes no proof with it.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::checksum::checksum;
use crate::coding::{put_u32, put_u64, u32_at, u64_at};
use crate::file_name::FileNumber;

/// Bytes of a nonce in its file.
pub(super) const NONCE_LEN: usize = 16;

/// A random number that belongs to one file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce(pub u64);

/// Not for logs and messages: a value is written by whoever reads those.
impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(..)")
    }
}

/// Where nonces come from.
#[derive(Clone)]
pub struct Nonces(NonceSource);

#[derive(Clone)]
enum NonceSource {
    Random(RandomState),
    Seeded(u64),
}

/// Nothing of the secret behind them.
impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces(..)")
    }
}

impl Nonces {
    /// Nonces that nobody can foretell. With a seed, which is for simulations, those that follow
    /// from it.
    pub fn new(seed: Option<u64>) -> Self {
        // The keys that std draws for its hash maps, of 128 bits: one nonce says nothing of others.
        Self(seed.map_or_else(|| NonceSource::Random(RandomState::new()), NonceSource::Seeded))
    }

    /// The nonce of a file that is about to be made. No two files that were written to had the same
    /// number, so they have different nonces also if their seeds are the same.
    pub fn draw(&self, number: FileNumber) -> Nonce {
        Nonce(match &self.0 {
            NonceSource::Random(keys) => keys.hash_one(number.0),
            NonceSource::Seeded(seed) => xxh3_64_with_seed(&number.0.to_le_bytes(), *seed),
        })
    }
}

/// What stands where a file's nonce should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundNonce {
    /// That of this file.
    Nonce(Nonce),
    /// That of an earlier life of the file, under another number.
    Earlier,
    /// None.
    Nothing,
}

impl Nonce {
    /// Appends the bytes that stand behind the header of file `number`.
    pub fn encode(self, number: FileNumber, out: &mut Vec<u8>) {
        let start = out.len();
        put_u64(out, self.0);
        for salt in [0, number.0] {
            let crc = checksum(salt, &out[start..]);
            put_u32(out, crc);
        }
        debug_assert_eq!(out.len() - start, NONCE_LEN);
    }

    /// What [`encode`](Self::encode) wrote, if it was for file `number`.
    pub(super) fn decode(bytes: &[u8], number: FileNumber) -> FoundNonce {
        // The first checksum is of the nonce, the second of both and of the number.
        let holds = |salt, len: usize| {
            bytes.get(..len).is_some_and(|b| u32_at(bytes, len) == Some(checksum(salt, b)))
        };
        match u64_at(bytes, 0) {
            Some(nonce) if holds(0, 8) && holds(number.0, 12) => FoundNonce::Nonce(Self(nonce)),
            Some(_) if holds(0, 8) => FoundNonce::Earlier,
            _ => FoundNonce::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: FileNumber = FileNumber(7);

    fn encoded(nonce: Nonce) -> Vec<u8> {
        let mut bytes = Vec::new();
        nonce.encode(NUMBER, &mut bytes);
        bytes
    }

    #[test]
    fn a_nonce_comes_back_for_its_own_file_only() {
        let nonce = Nonce(0x0123_4567_89ab_cdef);
        let bytes = encoded(nonce);
        assert_eq!(Nonce::decode(&bytes, NUMBER), FoundNonce::Nonce(nonce));
        for other in [0, 1, 6, 8, 1 << 40].map(FileNumber) {
            assert_eq!(Nonce::decode(&bytes, other), FoundNonce::Earlier);
        }
        for len in 0..NONCE_LEN {
            let found = Nonce::decode(&bytes[..len], NUMBER);
            assert!(!matches!(found, FoundNonce::Nonce(_)), "{len}");
        }
        assert_eq!(Nonce::decode(&[0; NONCE_LEN], NUMBER), FoundNonce::Nothing);
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let intact = encoded(Nonce(77));
        for bit in 0..intact.len() * 8 {
            let mut bytes = intact.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(Nonce::decode(&bytes, NUMBER), FoundNonce::Nonce(_)), "bit {bit}");
        }
    }

    #[test]
    fn nonces_differ_between_files_and_sources_and_follow_a_seed() {
        let (one, other) = (Nonces::new(None), Nonces::new(None));
        assert_ne!(one.draw(NUMBER), other.draw(NUMBER), "two opens of one folder");
        assert_ne!(one.draw(NUMBER), one.draw(FileNumber(8)));
        let seeded = |seed| Nonces::new(Some(seed)).draw(NUMBER);
        assert_eq!(seeded(1), seeded(1));
        assert_ne!(seeded(1), seeded(2));
        assert_ne!(Nonces::new(Some(1)).draw(FileNumber(8)), seeded(1));
    }

    #[test]
    fn messages_do_not_hold_it() {
        let nonces = Nonces::new(Some(9));
        let shown = format!("{nonces:?} {:?}", nonces.draw(NUMBER));
        assert_eq!(shown, "Nonces(..) Nonce(..)");
    }
}
