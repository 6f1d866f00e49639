//! Which keys a memtable does not hold, for readers of keys that lie deeper.
//!
//! A Bloom filter whose unit is one machine word (Putze, Sanders, Singler: "Cache-, Hash- and
//! Space-Efficient Bloom Filters", 2007): all bits of a key lie in one word, so adding is one
//! atomic instruction and asking one load. About one absent key in twenty-five gets through;
//! the others save a search of the skip list, which costs a cache miss for each node visited.
//!
//! It grows with its table, in a few large steps: of thousands of keyspaces, most hold next to
//! nothing in their memtable, where a search costs little. Each step is a *generation*: it is
//! begun when the table has outgrown the one before, from then on takes the keys of all inserts,
//! is filled with the keys that the table holds already, and only then is asked.
//!
//! Why no key is missed: an insert adds to every generation that it finds begun, from the one that
//! is asked on, puts the key into the table, passes the table's *gate*, and looks for generations
//! begun since. Whoever grows begins a generation, passes the gate, and then reads the table. The
//! gate is one atomic counter that both raise, so one of them comes second, and sees what the
//! other has done before.
//!
//! Threads: any number that add and ask; one at a time that grows.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::key::KeyHash;

/// Memory of a memtable for each word of its filter. An entry takes at least
/// a hundred bytes, so a full table has at most eight or so keys a word.
const BYTES_PER_WORD: usize = 800;
/// Each generation is for so many times as much as the one before, and begun when the table has
/// outgrown that: it never takes more memory than the entries, about.
const GROWTH: usize = 64;
/// No generation but the last is for a table of less than this.
const GENERATION_BYTES_MIN: usize = 64 << 10;
/// Enough for memtables of 16 GiB.
const GENERATIONS_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct Filter {
    /// What the table will hold, about.
    bytes_max: usize,
    generations: [OnceLock<Box<[AtomicU64]>>; GENERATIONS_MAX],
    /// How many generations take keys.
    begun: AtomicUsize,
    /// How many of them hold all keys: the last of those is asked.
    complete: AtomicUsize,
}

impl Filter {
    /// A filter for a table of `bytes_max`.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            generations: [const { OnceLock::new() }; GENERATIONS_MAX],
            begun: AtomicUsize::new(0),
            complete: AtomicUsize::new(0),
        }
    }

    /// What the table may hold before the next generation is due; `None` after the last.
    pub(super) fn grows_at(&self) -> Option<usize> {
        self.capacity(self.begun.load(Ordering::Relaxed)).map(|capacity| capacity / GROWTH)
    }

    /// What a table holds at most that a generation is for; `None` after the last.
    fn capacity(&self, generation: usize) -> Option<usize> {
        let smaller = |power: u32| self.bytes_max / GROWTH.pow(power);
        let is_made = |power: &u32| smaller(*power) >= GENERATION_BYTES_MIN;
        let before_last = (1..GENERATIONS_MAX as u32).take_while(is_made).count();
        before_last.checked_sub(generation).map(|power| smaller(power as u32))
    }

    /// Begins the next generation, which must be due; returns its number, and the memory it takes.
    pub(super) fn begin(&self) -> (usize, usize) {
        let generation = self.begun.load(Ordering::Relaxed);
        let capacity = self.capacity(generation).expect("another generation is due");
        let len = (capacity / BYTES_PER_WORD).max(8);
        self.generations[generation].get_or_init(|| (0..len).map(|_| AtomicU64::new(0)).collect());
        self.begun.store(generation + 1, Ordering::Release);
        (generation, len * size_of::<AtomicU64>())
    }

    /// From now on `generation`, which holds all keys, is the one that is asked.
    pub(super) fn complete(&self, generation: usize) {
        self.complete.store(generation + 1, Ordering::Release);
    }

    /// The generations that an insert adds its keys to: from the one that is asked on.
    #[inline]
    pub(super) fn taking(&self) -> Taking<'_> {
        let asked = self.complete.load(Ordering::Acquire).saturating_sub(1);
        self.generations(asked..self.begun.load(Ordering::Acquire))
    }

    /// Those that were begun since `taking` was asked for.
    #[inline]
    pub(super) fn begun_since(&self, taking: &Taking<'_>) -> Option<Taking<'_>> {
        let begun = self.begun.load(Ordering::Acquire);
        (begun > taking.end).then(|| self.generations(taking.end..begun))
    }

    /// Those with these numbers.
    #[inline]
    pub(super) fn generations(&self, numbers: Range<usize>) -> Taking<'_> {
        let newest = numbers.end.checked_sub(1).and_then(|newest| self.generations[newest].get());
        let older = &self.generations[numbers.start..numbers.end.max(numbers.start + 1) - 1];
        Taking { newest: newest.map(|words| &**words), older, end: numbers.end }
    }

    /// False only if the key was never added; `None` if there is nothing to ask yet.
    #[inline]
    pub(super) fn may_contain(&self, hash: KeyHash) -> Option<bool> {
        let asked = self.complete.load(Ordering::Acquire).checked_sub(1)?;
        let (word, bits) = place(self.generations[asked].get()?, hash);
        Some(word.load(Ordering::Relaxed) & bits == bits)
    }
}

/// Generations that take keys.
pub(super) struct Taking<'a> {
    newest: Option<&'a [AtomicU64]>,
    /// None, most of the time.
    older: &'a [OnceLock<Box<[AtomicU64]>>],
    /// How many were begun.
    end: usize,
}

impl Taking<'_> {
    /// Adds a key. Readers learn of it when its write is published, which orders this before:
    /// relaxed.
    #[inline]
    pub(super) fn add(&self, key: &[u8]) {
        let Some(newest) = self.newest else { return };
        let hash = KeyHash::of(key);
        for words in self.older.iter().filter_map(|words| words.get().map(|words| &**words)) {
            add(words, hash);
        }
        add(newest, hash);
    }
}

#[inline]
fn add(words: &[AtomicU64], hash: KeyHash) {
    let (word, bits) = place(words, hash);
    word.fetch_or(bits, Ordering::Relaxed);
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
        assert_eq!(filter.may_contain(key(0)), None);
        while filter.grows_at().is_some() {
            filter.begin();
        }
        filter.complete(filter.taking().end - 1);
        let count = (16u64 << 20) / 200;
        (0..count).for_each(|i| filter.taking().add(&i.to_le_bytes()));
        let may_contain = |i: &u64| filter.may_contain(key(*i)).unwrap();
        assert!((0..count).all(|i| may_contain(&i)));
        let passed = (count..2 * count).filter(may_contain).count();
        assert!(passed < count as usize / 25, "{passed} of {count}");
    }

    #[test]
    fn a_filter_takes_no_more_than_its_table_by_much() {
        for shift in 14..=34 {
            let filter = Filter::new(1 << shift);
            let (mut taken, mut last) = (0, 0);
            while let Some(due) = filter.grows_at() {
                taken += filter.begin().1;
                assert!(due > last && taken <= due, "{taken} bytes for a table of {due}");
                last = due;
            }
            let full = (1 << shift) / BYTES_PER_WORD * size_of::<AtomicU64>();
            assert!((full..full + full / 8 + 128).contains(&taken));
        }
    }
}
