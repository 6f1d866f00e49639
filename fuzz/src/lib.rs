//! The mutator that the targets with checksums share, and the parts of the server that targets
//! reach.
//!
//! A plain mutator changes a byte, the checksum over it fails, and nothing behind the checksum
//! is ever reached. So most mutants are mended before they run. Every eighth is not: what
//! damaged checksums lead to has to be tried as well.
//!
//! Files whose parts name each other by offset are lost once bytes are inserted in front of
//! what is named. So half of the mutants keep their length: only a short window changes.

// The server is a program without a library: what it does with bytes of strangers is included.
#[allow(dead_code, reason = "the server uses the rest")]
#[path = "."]
mod front {
    #[path = "../../crates/lsm-server/src/front/fields.rs"]
    pub(crate) mod fields;
    #[path = "../../crates/lsm-server/src/front/framing.rs"]
    pub(crate) mod framing;
}
pub mod peer;

/// Bytes that one mutation in place may change.
const WINDOW_LEN_MAX: usize = 64;
/// One mutant in so many keeps its broken checksums.
const BROKEN_ONE_IN: u64 = 8;

/// Mutates the first `size` bytes of `data` and mends them, most of the time; returns their
/// new length.
pub fn mutate(
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    mend: impl Fn(&mut [u8]),
) -> usize {
    let mut dice = Dice(seed.into());
    let size = if size > 0 && dice.roll(2) == 0 {
        let start = dice.roll(size as u64) as usize;
        let most = (size - start).min(WINDOW_LEN_MAX);
        let len = 1 + dice.roll(most as u64) as usize;
        libfuzzer_sys::fuzzer_mutate(&mut data[start..start + len], len, len);
        size
    } else {
        libfuzzer_sys::fuzzer_mutate(data, size, max_size)
    };
    if dice.roll(BROKEN_ONE_IN) != 0 {
        mend(&mut data[..size]);
    }
    size
}

/// Random numbers from a seed (SplitMix64): the fuzzer replays a mutation from its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides.max(1)
    }
}
