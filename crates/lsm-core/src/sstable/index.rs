//! The index of a table, searched where it lies, without decoding.
//!
//! ```text
//! header (one line) | levels of words, the smallest first | records | common prefix | separators
//! ```
//!
//! Each block has a separator: a key not below the last of the block and below the first of the
//! next (or equal to both, where the versions of one key span the two). The block for a key is
//! the first whose separator is not below it.
//!
//! What all separators start with is stored once. Of the rest, the first eight bytes (their
//! word) stand in a static B-tree of cache lines, eight words each: a line of an upper level
//! holds the greatest word of each of eight lines below. So a search counts, in one line a
//! level and without branching, how many words are below its own. Only if a separator has the
//! very same word are whole separators compared.
//!
//! Invariants: what [`IndexShape::parse`] accepted is in bounds and in order; nothing else is, and
//! other bytes give wrong answers but neither panics nor endless loops.

use std::cmp::Ordering;
use std::ops::Range;

use lsm_log::coding::{put_u32, u32_at};

use super::compress::Codec;
use super::format::{Damage, LINE_LEN, TRAILER_LEN, common_len, word};

/// Words in a line.
const LINE_WORDS: usize = LINE_LEN / 8;
/// Lines of eight reach over any `u32` count of blocks in so many levels.
pub(super) const LEVELS_MAX: usize = 11;
const HEADER_LEN: usize = LINE_LEN;
/// Offset (seven bytes) and codec (one) of a block, its length, and the offset of its
/// separator.
pub(super) const RECORD_LEN: usize = 16;
/// Fills up a line: not below any word.
const PADDING: u64 = u64::MAX;

const _: () = assert!(LINE_WORDS.pow(LEVELS_MAX as u32) as u64 >= u32::MAX as u64);

/// One level of words.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    offset: usize,
    lines: usize,
}

/// Where the parts of an index are. Belongs to the bytes it was parsed from.
#[derive(Clone, Copy, Debug)]
pub(super) struct IndexShape {
    blocks: usize,
    depth: usize,
    levels: [Level; LEVELS_MAX],
    records: usize,
    prefix: usize,
    separators: usize,
}

/// Where a data block lies, without its trailer, and how it is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockPlace {
    pub(super) offset: u64,
    pub(super) len: usize,
    pub(super) codec: Codec,
}

impl BlockPlace {
    /// The block with its trailer, as a section of the file.
    pub(super) fn end(self) -> u64 {
        self.offset + (self.len + TRAILER_LEN) as u64
    }
}

impl IndexShape {
    /// Lays out an index of so many blocks.
    fn new(blocks: u32, prefix_len: u32) -> Option<Self> {
        let blocks = blocks as usize;
        let mut counts = [0; LEVELS_MAX];
        let mut depth = 0;
        let mut below = blocks;
        while below > 1 || depth == 0 {
            below = below.div_ceil(LINE_WORDS);
            *counts.get_mut(depth)? = below;
            depth += 1;
        }
        let mut levels = [Level::default(); LEVELS_MAX];
        let mut offset = HEADER_LEN;
        for (level, &lines) in levels.iter_mut().zip(counts[..depth].iter().rev()) {
            *level = Level { offset, lines };
            offset = offset.checked_add(lines.checked_mul(LINE_LEN)?)?;
        }
        let records = offset;
        let prefix = records.checked_add(blocks.checked_mul(RECORD_LEN)?)?;
        let separators = prefix.checked_add(prefix_len as usize)?;
        Some(Self { blocks, depth, levels, records, prefix, separators })
    }

    /// Parses and checks an index whose blocks lie in front of `data_end`.
    pub(super) fn parse(bytes: &[u8], data_end: u64) -> Result<Self, Damage> {
        let field = |at| u32_at(bytes, at).ok_or(Damage::new("index is cut short", at));
        let (blocks, prefix_len, heap_len) = (field(0)?, field(4)?, field(8)?);
        let shape = Self::new(blocks, prefix_len).filter(|_| blocks > 0);
        let shape = shape.ok_or(Damage::new("index of an impossible size", 0))?;
        if shape.separators.checked_add(heap_len as usize) != Some(bytes.len()) {
            return Err(Damage::new("index whose counts are not its length", 0));
        }
        shape.on(bytes).check(data_end).map(|()| shape)
    }

    /// With the bytes that it was parsed from.
    #[inline]
    pub(super) fn on<'a>(&'a self, bytes: &'a [u8]) -> Index<'a> {
        Index { bytes, shape: self }
    }

    fn record(&self, at: usize) -> usize {
        self.records + at * RECORD_LEN
    }
}

/// An index and its shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Index<'a> {
    bytes: &'a [u8],
    shape: &'a IndexShape,
}

impl<'a> Index<'a> {
    /// How many blocks the table has; never zero.
    #[inline]
    pub(super) fn blocks(&self) -> usize {
        self.shape.blocks
    }

    /// The first block whose separator is not below `key`; the count of blocks if all are.
    #[inline(always)]
    pub(super) fn find(&self, key: &[u8]) -> usize {
        let prefix = self.bytes(self.shape.prefix..self.shape.separators);
        let Some(rest) = key.strip_prefix(prefix) else {
            return if key > prefix { self.shape.blocks } else { 0 };
        };
        let probe = word(rest);
        let (at, tie) = self.words_below(probe);
        if tie { self.find_among_ties(at, probe, rest) } else { at }
    }

    /// How many words are below `probe`, and whether the next one equals it.
    #[inline(always)]
    fn words_below(&self, probe: u64) -> (usize, bool) {
        let mut at = 0;
        for level in &self.shape.levels[..self.shape.depth] {
            if at >= level.lines {
                return (self.shape.blocks, false);
            }
            at = at * LINE_WORDS + count_below(self.line(level.offset + at * LINE_LEN), probe);
        }
        // Counting never stops at the end of a leaf that has a next one: the level above
        // would have led there.
        (at.min(self.shape.blocks), self.leaf_word(at) == Some(probe))
    }

    #[cold]
    fn find_among_ties(&self, first: usize, probe: u64, rest: &[u8]) -> usize {
        let end = match probe.checked_add(1) {
            Some(above) => self.words_below(above).0,
            None => self.shape.blocks,
        };
        let (mut low, mut high) = (first, end);
        while low < high {
            let middle = low.midpoint(high);
            if self.own_bytes(middle) < rest {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    #[inline]
    fn line(&self, offset: usize) -> &'a [u8; LINE_LEN] {
        const NOTHING: [u8; LINE_LEN] = [0xff; LINE_LEN];
        self.bytes.get(offset..).and_then(<[u8]>::first_chunk).unwrap_or(&NOTHING)
    }

    #[inline]
    fn leaf_word(&self, at: usize) -> Option<u64> {
        let leaf = self.shape.levels[self.shape.depth - 1];
        (at < self.shape.blocks).then(|| self.word_at(leaf.offset + at * 8))
    }

    #[inline]
    fn word_at(&self, offset: usize) -> u64 {
        let word = self.bytes.get(offset..).and_then(<[u8]>::first_chunk);
        word.map_or(PADDING, |word| u64::from_le_bytes(*word))
    }

    /// Where a block lies; `None` behind the last.
    #[inline]
    pub(super) fn block(&self, at: usize) -> Option<BlockPlace> {
        if at >= self.shape.blocks {
            return None;
        }
        let record = self.bytes.get(self.shape.record(at)..)?.first_chunk::<RECORD_LEN>()?;
        let [o0, o1, o2, o3, o4, o5, o6, codec, l0, l1, l2, l3, ..] = *record;
        Some(BlockPlace {
            offset: u64::from_le_bytes([o0, o1, o2, o3, o4, o5, o6, 0]),
            len: u32::from_le_bytes([l0, l1, l2, l3]) as usize,
            codec: Codec::from_u8(codec)?,
        })
    }

    /// Whether `key` is the separator of a block.
    #[inline]
    pub(super) fn separator_is(&self, at: usize, key: &[u8]) -> bool {
        let prefix = self.bytes(self.shape.prefix..self.shape.separators);
        key.strip_prefix(prefix) == Some(self.own_bytes(at))
    }

    /// Compares the separator of a block with `key`.
    pub(super) fn compare_separator(&self, at: usize, key: &[u8]) -> Ordering {
        let prefix = self.bytes(self.shape.prefix..self.shape.separators);
        match key.strip_prefix(prefix) {
            Some(rest) => self.own_bytes(at).cmp(rest),
            None => prefix.cmp(key),
        }
    }

    /// A separator without the common prefix.
    #[inline]
    fn own_bytes(&self, at: usize) -> &'a [u8] {
        let offset = |at| u32_at(self.bytes, self.shape.record(at) + 12).map(|at| at as usize);
        let heap = self.bytes(self.shape.separators..self.bytes.len());
        let end = if at + 1 < self.shape.blocks { offset(at + 1) } else { Some(heap.len()) };
        match (offset(at), end) {
            (Some(start), Some(end)) => heap.get(start..end).unwrap_or_default(),
            _ => &[],
        }
    }

    #[inline]
    fn bytes(&self, range: Range<usize>) -> &'a [u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// What searches rely on: blocks one behind the other within the file, separators in
    /// order.
    fn check(&self, data_end: u64) -> Result<(), Damage> {
        let heap_len = self.bytes.len() - self.shape.separators;
        let mut block_end = 0;
        let mut separator_start = 0;
        let mut before: &[u8] = &[];
        for at in 0..self.shape.blocks {
            let record = self.shape.record(at);
            let place = self.block(at);
            let place = place.ok_or(Damage::new("block of an unknown codec", record))?;
            if place.offset < block_end || place.end() > data_end {
                return Err(Damage::new("block outside its place", record));
            }
            block_end = place.end();
            let start = u32_at(self.bytes, record + 12).unwrap_or(u32::MAX) as usize;
            if start < separator_start || start > heap_len || (at == 0 && start != 0) {
                return Err(Damage::new("separator outside its place", record));
            }
            separator_start = start;
        }
        for at in 0..self.shape.blocks {
            let separator = self.own_bytes(at);
            if separator < before {
                return Err(Damage::new("separators out of order", self.shape.record(at)));
            }
            before = separator;
        }
        Ok(())
    }

    /// Whether every word of every level is what the separators say. Reads all of them.
    pub(super) fn check_words(&self) -> Result<(), Damage> {
        let mut expected: Vec<u64> =
            (0..self.shape.blocks).map(|at| word(self.own_bytes(at))).collect();
        for level in self.shape.levels[..self.shape.depth].iter().rev() {
            for at in 0..level.lines * LINE_WORDS {
                let offset = level.offset + at * 8;
                if self.word_at(offset) != expected.get(at).copied().unwrap_or(PADDING) {
                    return Err(Damage::new("index word that is not its separator's", offset));
                }
            }
            expected = greatest_of_lines(&expected);
        }
        Ok(())
    }
}

#[inline]
fn count_below(line: &[u8; LINE_LEN], probe: u64) -> usize {
    let words = line.as_chunks::<8>().0;
    words.iter().map(|word| usize::from(u64::from_le_bytes(*word) < probe)).sum()
}

fn greatest_of_lines(words: &[u64]) -> Vec<u64> {
    words.chunks(LINE_WORDS).filter_map(|line| line.last().copied()).collect()
}

/// Collects the index of a table while its blocks are written.
#[derive(Debug, Default)]
pub(super) struct IndexBuilder {
    places: Vec<BlockPlace>,
    /// End of each separator in `separators`, where they stand whole.
    ends: Vec<usize>,
    separators: Vec<u8>,
}

impl IndexBuilder {
    pub(super) fn add(&mut self, place: BlockPlace, separator: &[u8]) {
        debug_assert!(place.offset < 1 << 56);
        self.places.push(place);
        self.separators.extend_from_slice(separator);
        self.ends.push(self.separators.len());
    }

    /// About how long the index would be now.
    pub(super) fn len_estimate(&self) -> usize {
        HEADER_LEN + self.places.len() * (RECORD_LEN + 10) + self.separators.len()
    }

    fn separator(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.separators[start..self.ends[at]]
    }

    /// Appends the index to `out`. `None` if a count or length does not fit into 32 bits.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Option<()> {
        let blocks = self.places.len();
        let last = self.separator(blocks.checked_sub(1)?);
        // They are in order: what the outermost have in common, all have.
        let prefix_len = common_len(self.separator(0), last);
        let heap_len = self.separators.len() - blocks * prefix_len;
        let shape = IndexShape::new(u32::try_from(blocks).ok()?, u32::try_from(prefix_len).ok()?)?;

        let start = out.len();
        put_u32(out, u32::try_from(blocks).ok()?);
        put_u32(out, u32::try_from(prefix_len).ok()?);
        put_u32(out, u32::try_from(heap_len).ok()?);
        out.resize(start + HEADER_LEN, 0);
        self.encode_levels(&shape, prefix_len, out);
        let mut separator_start = 0u32;
        for (at, place) in self.places.iter().enumerate() {
            out.extend_from_slice(&place.offset.to_le_bytes()[..7]);
            out.push(place.codec as u8);
            put_u32(out, u32::try_from(place.len).ok()?);
            put_u32(out, separator_start);
            separator_start += (self.separator(at).len() - prefix_len) as u32;
        }
        out.extend_from_slice(&last[..prefix_len]);
        for at in 0..blocks {
            out.extend_from_slice(&self.separator(at)[prefix_len..]);
        }
        debug_assert_eq!(out.len() - start, shape.separators + heap_len);
        Some(())
    }

    fn encode_levels(&self, shape: &IndexShape, prefix_len: usize, out: &mut Vec<u8>) {
        let leaf = (0..self.places.len()).map(|at| word(&self.separator(at)[prefix_len..]));
        let mut levels = vec![leaf.collect::<Vec<u64>>()];
        while levels.len() < shape.depth {
            levels.push(greatest_of_lines(&levels[levels.len() - 1]));
        }
        for words in levels.iter().rev() {
            let padding = words.len().next_multiple_of(LINE_WORDS) - words.len();
            out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            out.extend(std::iter::repeat_n(PADDING, padding).flat_map(u64::to_le_bytes));
        }
    }
}

/// Writes into `out` a short key that is not below `last` and below `next`, or `last` if they
/// are equal.
pub(super) fn separator(last: &[u8], next: &[u8], out: &mut Vec<u8>) {
    debug_assert!(last <= next);
    out.clear();
    let common = common_len(last, next);
    let (Some(&from), Some(&to)) = (last.get(common), next.get(common)) else {
        // `next` goes on where `last` ends.
        out.extend_from_slice(last);
        return;
    };
    if next.len() > common + 1 {
        // The start of `next`: above `last`, and below what goes on behind it.
        out.extend_from_slice(&next[..=common]);
        return;
    }
    if from + 1 < to {
        out.extend_from_slice(&last[..common]);
        out.push(from + 1);
        return;
    }
    // Nothing fits between the two bytes: keep the first and raise one behind it.
    let raised = last[common + 1..].iter().position(|&byte| byte != 0xff);
    match raised.map(|behind| common + 1 + behind) {
        Some(at) => {
            out.extend_from_slice(&last[..=at]);
            out[at] += 1;
        }
        None => out.extend_from_slice(last),
    }
}

#[cfg(test)]
#[path = "index_test.rs"]
mod tests;
