//! The filter: says of most missing keys that they are missing, at the price of one cache
//! line.
//!
//! A Bloom filter cut into blocks of one cache line each: Putze, Sanders and Singler, "Cache-,
//! Hash- and Space-Efficient Bloom Filters" (2007). The upper half of a key's hash picks the
//! line by Lemire's "Fast Random Integer Generation in an Interval" (2019) instead of by a
//! division; the lower half is multiplied on to give the bits within the line.
//!
//! [`line_of`] and [`Probes`] are all there is to it, and know nothing of files: a filter in
//! memory that many threads set bits in can use the same two.
//!
//! Decoders here take any bytes.

use lsm_log::coding::{put_u32, u32_at};

use super::format::{Damage, LINE_LEN};
use crate::key::KeyHash;

/// Words of 64 bits in a line.
const LINE_WORDS: usize = LINE_LEN / 8;
/// Line count and probe count, behind the lines.
const TAIL_LEN: usize = 8;
/// More probes than this pay for no filter of 32 bits a key.
pub(super) const PROBES_MAX: u32 = 24;

/// The line of a filter of `lines` lines that holds the bits of `hash`.
#[inline]
pub(crate) fn line_of(hash: KeyHash, lines: u32) -> usize {
    let upper = hash.0 >> 32;
    ((upper * u64::from(lines)) >> 32) as usize
}

/// The bits of a hash within its line: word (below eight) and mask, `count` of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probes {
    state: u32,
    left: u32,
}

impl Probes {
    #[inline]
    pub(crate) fn new(hash: KeyHash, count: u32) -> Self {
        Self { state: hash.0 as u32, left: count }
    }
}

impl Iterator for Probes {
    type Item = (usize, u64);

    #[inline]
    fn next(&mut self) -> Option<(usize, u64)> {
        self.left = self.left.checked_sub(1)?;
        // The golden ratio: successive multiples spread evenly over the upper bits, of which
        // nine are taken.
        self.state = self.state.wrapping_mul(0x9e37_79b9);
        let bit = self.state >> 23;
        Some(((bit >> 6) as usize, 1 << (bit & 63)))
    }
}

/// How many probes suit so many bits a key. Lines fill unevenly, which moves the optimum a
/// little below the `ln 2` of an ideal Bloom filter.
pub(crate) fn probes_for(bits_per_key: u32) -> u32 {
    (bits_per_key * 3 / 5).clamp(1, PROBES_MAX)
}

/// Lines for so many keys; at least one.
pub(crate) fn lines_for(keys: usize, bits_per_key: u32) -> u32 {
    let bits = keys as u64 * u64::from(bits_per_key);
    u32::try_from(bits.div_ceil(8 * LINE_LEN as u64)).unwrap_or(u32::MAX).max(1)
}

/// Appends the filter of all `hashes` to `out`.
pub(super) fn encode(hashes: &[KeyHash], bits_per_key: u32, out: &mut Vec<u8>) {
    let (lines, probes) = (lines_for(hashes.len(), bits_per_key), probes_for(bits_per_key));
    let mut words = vec![[0u64; LINE_WORDS]; lines as usize];
    for &hash in hashes {
        let line = &mut words[line_of(hash, lines)];
        for (word, mask) in Probes::new(hash, probes) {
            line[word] |= mask;
        }
    }
    out.reserve(words.len() * LINE_LEN + TAIL_LEN);
    out.extend(words.iter().flatten().flat_map(|word| word.to_le_bytes()));
    put_u32(out, lines);
    put_u32(out, probes);
}

/// The numbers of a filter. Belongs to the bytes it was parsed from.
#[derive(Clone, Copy, Debug)]
pub(super) struct FilterShape {
    lines: u32,
    probes: u32,
}

impl FilterShape {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Damage> {
        let tail = bytes.len().checked_sub(TAIL_LEN);
        let tail = tail.ok_or(Damage::new("filter is cut short", 0))?;
        let field = |at| u32_at(bytes, at).unwrap_or(0);
        let shape = Self { lines: field(tail), probes: field(tail + 4) };
        if shape.lines == 0 || tail as u64 != u64::from(shape.lines) * LINE_LEN as u64 {
            return Err(Damage::new("filter whose line count is not its length", tail));
        }
        if shape.probes == 0 || shape.probes > PROBES_MAX {
            return Err(Damage::new("filter of an impossible probe count", tail + 4));
        }
        Ok(shape)
    }

    /// The line of the filter in `bytes` that holds all bits of this hash.
    #[inline]
    pub(super) fn line(self, bytes: &[u8], hash: KeyHash) -> Option<FilterLine> {
        let lines = bytes.as_chunks::<LINE_LEN>().0;
        let line = lines.get(line_of(hash, self.lines))?;
        Some(FilterLine { line: *line, probes: self.probes })
    }

    /// Whether the filter in `bytes` was told of a key with this hash. "No" is certain.
    #[inline]
    pub(super) fn may_contain(self, bytes: &[u8], hash: KeyHash) -> bool {
        self.line(bytes, hash).is_none_or(|line| line.may_contain(hash))
    }
}

/// A copy of one line of a filter: so that a lookup can load the lines of many filters, each a
/// cache miss, before it looks at the first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilterLine {
    line: [u8; LINE_LEN],
    probes: u32,
}

impl FilterLine {
    /// Whether the filter was told of a key with this hash. "No" is certain.
    #[inline]
    pub(crate) fn may_contain(&self, hash: KeyHash) -> bool {
        let words = self.line.as_chunks::<8>().0;
        Probes::new(hash, self.probes)
            .all(|(word, mask)| u64::from_le_bytes(words[word]) & mask != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(keys: std::ops::Range<u64>) -> Vec<KeyHash> {
        keys.map(|key| KeyHash::of(&key.to_be_bytes())).collect()
    }

    fn false_positives(keys: u64, bits: u32) -> f64 {
        let mut bytes = Vec::new();
        let inside = hashes(0..keys);
        encode(&inside, bits, &mut bytes);
        let shape = FilterShape::parse(&bytes).unwrap();
        assert!(inside.iter().all(|&hash| shape.may_contain(&bytes, hash)), "never a false no");
        let asked = 200_000;
        let outside = hashes(keys..keys + asked);
        let wrong = outside.iter().filter(|&&hash| shape.may_contain(&bytes, hash)).count();
        wrong as f64 / asked as f64
    }

    #[test]
    fn few_false_positives() {
        for (bits, most) in [(4, 0.17), (8, 0.03), (10, 0.0125), (16, 0.0016), (32, 0.0001)] {
            let rate = false_positives(100_000, bits);
            println!("{bits} bits a key: {:.4} % false positives", rate * 100.0);
            assert!(rate <= most, "{bits} bits a key: {rate}");
        }
    }

    #[test]
    fn few_keys_still_fit() {
        for keys in [0, 1, 2, 60] {
            assert!(false_positives(keys, 10) < 0.05);
        }
    }

    #[test]
    fn impossible_filters_are_damage() {
        let mut bytes = Vec::new();
        encode(&hashes(0..1000), 10, &mut bytes);
        for len in 0..bytes.len() {
            assert!(FilterShape::parse(&bytes[..len]).is_err(), "{len}");
        }
        let end = bytes.len();
        for probes in [0u32, 25, u32::MAX] {
            bytes[end - 4..].copy_from_slice(&probes.to_le_bytes());
            assert!(FilterShape::parse(&bytes).is_err(), "{probes} probes");
        }
    }
}
