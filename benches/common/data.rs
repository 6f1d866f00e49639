//! Keys and values, all decided by a seed.
//!
//! A key is 16 bytes: a mixed number, then another, so that keys spread evenly and share no
//! prefix. Numbers below `entries` are in the data set; those above are missing keys, which lie
//! between the others. A value is half random bytes and half their repetition, so that it
//! compresses to about half.

use std::env;

/// Length of every key, in bytes.
pub const KEY_LEN: usize = 16;

/// The prefix of the keys of a queue.
pub(crate) const QUEUE: &[u8] = b"queue";

/// Distinct values; more than a block holds, so that blocks do not compress by repetition.
const VALUES: u64 = 4096;

/// Entries of the data sets of `cargo bench`: `LSM_BENCH_ENTRIES`, or else 500,000.
pub fn bench_entries() -> u64 {
    let given = env::var("LSM_BENCH_ENTRIES").ok();
    given.map_or(500_000, |count| count.parse().expect("LSM_BENCH_ENTRIES is a number"))
}

/// A key in the place it was made.
pub type Key = [u8; KEY_LEN];

/// A data set: `entries` keys with values of `value_len` bytes.
#[derive(Clone, Debug)]
pub struct Data {
    pub entries: u64,
    pub value_len: usize,
    seed: u64,
    values: Vec<u8>,
}

impl Data {
    pub fn new(entries: u64, value_len: usize) -> Self {
        let seed: u64 = 0x6c73_6d20_6265_6e63;
        let mut values = Vec::with_capacity(VALUES as usize * value_len);
        let mut state = seed;
        for _ in 0..VALUES {
            let start = values.len();
            while values.len() < start + value_len / 2 {
                state = state.wrapping_add(1);
                values.extend_from_slice(&mix(state).to_le_bytes());
            }
            values.truncate(start + value_len / 2);
            values.extend_from_within(start..);
            values.resize(start + value_len, 0);
        }
        Self { entries, value_len, seed, values }
    }

    /// The key of a number, in no order: from `entries` on, one that is missing.
    #[inline]
    pub fn key(&self, number: u64) -> Key {
        let head = mix(number ^ self.seed);
        let mut key = [0; KEY_LEN];
        key[..8].copy_from_slice(&head.to_be_bytes());
        key[8..].copy_from_slice(&mix(head).to_be_bytes());
        key
    }

    /// The key of a number, in the order of the numbers.
    #[inline]
    pub fn key_in_order(&self, number: u64) -> Key {
        let mut key = [0; KEY_LEN];
        key[8..].copy_from_slice(&number.to_be_bytes());
        key
    }

    /// The value of a number.
    #[inline]
    pub fn value(&self, number: u64) -> &[u8] {
        let start = (number % VALUES) as usize * self.value_len;
        &self.values[start..start + self.value_len]
    }

    /// The key of a number in a queue, which lies between the others.
    #[inline]
    pub fn key_in_queue(&self, number: u64) -> Key {
        let mut key = self.key_in_order(number);
        key[..QUEUE.len()].copy_from_slice(QUEUE);
        key
    }

    /// The `n`-th of a random walk over the numbers of the data set.
    #[inline]
    pub fn pick(&self, n: u64) -> u64 {
        self.pick_below(self.entries, n)
    }

    /// The `n`-th of a random walk over the numbers below `bound`.
    #[inline]
    pub fn pick_below(&self, bound: u64, n: u64) -> u64 {
        ((u128::from(self.random(n)) * u128::from(bound)) >> 64) as u64
    }

    /// The `n`-th of a row of random numbers.
    #[inline]
    pub fn random(&self, n: u64) -> u64 {
        mix(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ !self.seed)
    }

    /// Bytes of keys and values of one entry.
    pub fn entry_bytes(&self) -> u64 {
        (KEY_LEN + self.value_len) as u64
    }
}

/// A bijection of the 64-bit numbers that leaves no visible order (splitmix64).
#[inline]
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
