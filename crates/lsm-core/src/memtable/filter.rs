//! Which keys a memtable does not hold, for readers of keys that lie deeper.
//!
//! A Bloom filter whose unit is one machine word (Putze, Sanders, Singler: "Cache-, Hash- and
//! Space-Efficient Bloom Filters", 2007): all bits of a key lie in one word, so adding is one
//! atomic instruction and asking one load. About one absent key in twenty-five gets through;
//! the others save a search of the skip list, which costs a cache miss for each node visited.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::key::KeyHash;

/// Memory of a memtable for each word of its filter. An entry takes at least
/// a hundred bytes, so a full table has at most eight or so keys a word.
const BYTES_PER_WORD: usize = 800;

#[derive(Debug)]
pub(super) struct Filter {
    /// How many words it has once it has any.
    len: usize,
    /// Made for the first key: of thousands of keyspaces, most have nothing in their memtable.
    words: OnceLock<Box<[AtomicU64]>>,
}

impl Filter {
    /// A filter for a table of `bytes_max`.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { len: (bytes_max / BYTES_PER_WORD).max(8), words: OnceLock::new() }
    }

    /// Memory that it takes once it holds a key.
    pub(super) fn bytes(&self) -> usize {
        self.len * size_of::<AtomicU64>()
    }

    /// Readers learn of a key when its write is published, which orders this before: relaxed.
    #[inline]
    pub(super) fn add(&self, hash: KeyHash) {
        let words = self.words.get_or_init(|| (0..self.len).map(|_| AtomicU64::new(0)).collect());
        let (word, bits) = place(words, hash);
        word.fetch_or(bits, Ordering::Relaxed);
    }

    /// False only if the key was never added.
    #[inline]
    pub(super) fn may_contain(&self, hash: KeyHash) -> bool {
        let Some(words) = self.words.get() else { return false };
        let (word, bits) = place(words, hash);
        word.load(Ordering::Relaxed) & bits == bits
    }
}

#[inline]
fn place(words: &[AtomicU64], hash: KeyHash) -> (&AtomicU64, u64) {
    // The upper half picks the word by multiplication (Lemire), the lower half the bits.
    let word = ((hash.0 >> 32) * words.len() as u64) >> 32;
    let bit = |shift: u32| 1u64 << ((hash.0 >> shift) & 63);
    (&words[word as usize], bit(0) | bit(6) | bit(12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_denied_and_few_strangers_pass() {
        let filter = Filter::new(16 << 20);
        let key = |i: u64| KeyHash::of(&i.to_le_bytes());
        assert!(!filter.may_contain(key(0)) && filter.words.get().is_none());
        let count = (16 << 20) / 200;
        (0..count).for_each(|i| filter.add(key(i)));
        assert!((0..count).all(|i| filter.may_contain(key(i))));
        let passed = (count..2 * count).filter(|&i| filter.may_contain(key(i))).count();
        assert!(passed < count as usize / 25, "{passed} of {count}");
    }
}
