//! Search inside one data block, without copying and without allocating.
//!
//! ```text
//! count, values, prefix length | words of the restarts | places of the restarts
//! common prefix | keys ... | values ...
//! ```
//!
//! A search touches the front of the block and the keys of one run, and knows then where the
//! value lies. Every run of [`RUN_LEN`] entries starts with a restart: an entry that shares
//! nothing with the one before it. The first eight bytes of the restarts' keys stand together
//! in front (their words), so that choosing the run touches no key. "Key" means here what
//! remains behind the prefix that all keys of the block have in common.
//!
//! The bytes come from disk: any bytes at all give an answer or [`Damage`], in time bounded by
//! their length. Leaves checksums and compression to its callers.

use std::cmp::Ordering;
use std::ops::Range;

use lsm_log::coding::{u32_at, varint};

use super::format::{Damage, LINE_LEN, common_len, word};
use crate::key::{Tag, compare};

/// Entries from one restart to the next. Sixteen saves 2 % of a table with small values, and
/// costs a sixth of a lookup in hot blocks and half of a step backwards.
pub(super) const RUN_LEN: usize = 8;
/// Entry count, offset of the values, length of the common prefix.
pub(super) const HEADER_LEN: usize = 12;
/// A word, and the offsets of the restart's key and value.
pub(super) const RESTART_LEN: usize = 16;
/// The header and the restarts of a block of usual size.
const FRONT_LEN: usize = 256;
/// The four numbers in front of a key, at their shortest.
const ENTRY_LEN_MIN: usize = 4;

/// Where the parts of a block are. Belongs to the bytes it was parsed from.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BlockShape {
    count: usize,
    restarts: usize,
    /// Offset of the first key, where the common prefix ends.
    keys: usize,
    /// Offset of the first value, where the keys end.
    values: usize,
}

impl BlockShape {
    #[inline]
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Damage> {
        let field = |at| u32_at(bytes, at).map(|field| field as usize);
        let cut = || Damage::new("block is cut short", 0);
        let count = field(0).ok_or_else(cut)?;
        let values = field(4).ok_or_else(cut)?;
        let prefix_len = field(8).ok_or_else(cut)?;
        // A count that passes cannot overflow: its entries would not fit into the block.
        if count == 0 || count > bytes.len() / ENTRY_LEN_MIN || values > bytes.len() {
            return Err(Damage::new("block of impossible size", 0));
        }
        let restarts = count.div_ceil(RUN_LEN);
        let prefix = HEADER_LEN + restarts * RESTART_LEN;
        match values.checked_sub(prefix).and_then(|room| room.checked_sub(prefix_len)) {
            Some(room) if room >= count * ENTRY_LEN_MIN => {
                Ok(Self { count, restarts, keys: prefix + prefix_len, values })
            }
            _ => Err(Damage::new("block whose keys do not fit", 0)),
        }
    }

    /// Entries in the block; never zero.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    #[inline]
    fn prefix(&self) -> Range<usize> {
        HEADER_LEN + self.restarts * RESTART_LEN..self.keys
    }

    #[inline]
    pub(super) fn prefix_len(&self) -> usize {
        self.prefix().len()
    }
}

/// Where one entry of a block is: offsets within the block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// How many entries are in front of it.
    pub(super) at: usize,
    pub(super) tag: Tag,
    /// How many bytes of the key are those of the entry in front of it.
    pub(super) shared: usize,
    suffix: usize,
    /// End of the key's own bytes: the next entry starts here.
    end: usize,
    value: usize,
    value_end: usize,
}

impl Entry {
    /// Of no block.
    pub(super) const NOWHERE: Self =
        Self { at: 0, tag: Tag(0), shared: 0, suffix: 0, end: 0, value: 0, value_end: 0 };

    /// The bytes of the key that it does not share.
    #[inline]
    pub(super) fn suffix(&self) -> Range<usize> {
        self.suffix..self.end
    }

    #[inline]
    pub(super) fn value(&self) -> Range<usize> {
        self.value..self.value_end
    }
}

/// Where a search ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) entry: Entry,
    /// Whether the entry has the very user key that was looked for.
    pub(super) same_key: bool,
}

/// A block and its shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<'a> {
    bytes: &'a [u8],
    shape: BlockShape,
}

impl<'a> Block<'a> {
    /// Parses a block that is about to be searched.
    #[inline]
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Damage> {
        touch_front(bytes);
        Ok(Self { bytes, shape: BlockShape::parse(bytes)? })
    }

    /// `shape` must have been parsed from the same bytes; others give damage or nonsense.
    #[inline]
    pub(super) fn new(bytes: &'a [u8], shape: BlockShape) -> Self {
        Self { bytes, shape }
    }

    /// What all keys of the block start with.
    #[inline]
    pub(super) fn prefix(&self) -> &'a [u8] {
        self.bytes.get(self.shape.prefix()).unwrap_or_default()
    }

    #[inline]
    pub(super) fn bytes(&self, range: Range<usize>) -> &'a [u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// The first entry at or behind `(key, tag)`; `None` if all are before it.
    ///
    /// The entry's key is the common prefix, then its `shared` bytes as in `key` behind the
    /// prefix, then its suffix.
    #[inline]
    pub(super) fn seek(&self, key: &[u8], tag: Tag) -> Result<Option<Found>, Damage> {
        let prefix = self.prefix();
        let Some(target) = key.strip_prefix(prefix) else {
            if key > prefix {
                return Ok(None);
            }
            return Ok(Some(Found { entry: self.first()?, same_key: false }));
        };
        let before = self.restarts_before(target, tag)?;
        self.seek_from(before.saturating_sub(1), target, tag)
    }

    /// How many restarts come before `(target, tag)`.
    #[inline]
    fn restarts_before(&self, target: &[u8], tag: Tag) -> Result<usize, Damage> {
        let words = self.bytes(HEADER_LEN..HEADER_LEN + 8 * self.shape.restarts).as_chunks().0;
        let probe = word(target);
        let before = words_below(words, probe);
        match words.get(before) {
            Some(&tie) if u64::from_le_bytes(tie) == probe => {
                let ties =
                    before..probe.checked_add(1).map_or(words.len(), |p| words_below(words, p));
                self.restarts_before_in(ties, target, tag)
            }
            _ => Ok(before),
        }
    }

    /// The same among restarts whose words equal the target's, by comparing whole keys.
    #[cold]
    fn restarts_before_in(
        &self,
        ties: Range<usize>,
        target: &[u8],
        tag: Tag,
    ) -> Result<usize, Damage> {
        let (mut low, mut high) = (ties.start, ties.end);
        while low < high {
            let middle = low.midpoint(high);
            let entry = self.restart(middle)?;
            if compare((self.bytes(entry.suffix()), entry.tag), (target, tag)).is_lt() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Scans from a restart on, of which everything before is known to be before the target.
    #[inline]
    fn seek_from(&self, run: usize, target: &[u8], tag: Tag) -> Result<Option<Found>, Damage> {
        let mut entry = self.restart(run)?;
        // How far the target agrees with the entry before, which is smaller than the target.
        let mut agreed = 0;
        loop {
            match entry.shared.cmp(&agreed) {
                // Like its predecessor where that parts from the target: also smaller.
                Ordering::Greater => {}
                // Parts from its predecessor, upwards, where that still agrees with the target.
                Ordering::Less => {
                    return Ok(Some(Found { entry, same_key: false }));
                }
                Ordering::Equal => {
                    let suffix = self.bytes(entry.suffix());
                    let rest = target.get(agreed..).unwrap_or_default();
                    let same = common_len(suffix, rest);
                    match (suffix.get(same), rest.get(same)) {
                        (None, None) if entry.tag <= tag => {
                            return Ok(Some(Found { entry, same_key: true }));
                        }
                        (Some(_), None) => {
                            return Ok(Some(Found { entry, same_key: false }));
                        }
                        (Some(a), Some(b)) if a > b => {
                            return Ok(Some(Found { entry, same_key: false }));
                        }
                        _ => agreed += same,
                    }
                }
            }
            match self.after(&entry)? {
                Some(next) => entry = next,
                None => return Ok(None),
            }
            if entry.at.is_multiple_of(RUN_LEN) {
                // A restart states nothing of what it has in common with the entry before.
                agreed = 0;
            }
        }
    }

    #[inline]
    pub(super) fn first(&self) -> Result<Entry, Damage> {
        self.restart(0)
    }

    /// The restart that starts the run of the entry with so many before it.
    #[inline]
    pub(super) fn restart_of(&self, at: usize) -> Result<Entry, Damage> {
        self.restart(at / RUN_LEN)
    }

    #[inline]
    fn restart(&self, run: usize) -> Result<Entry, Damage> {
        let place = HEADER_LEN + 8 * self.shape.restarts + 8 * run;
        let offset = |at| u32_at(self.bytes, at).map(|offset| offset as usize);
        match (offset(place), offset(place + 4)) {
            (Some(key), Some(value)) if key >= self.shape.keys && value >= self.shape.values => {
                let entry = self.entry(run * RUN_LEN, key, value)?;
                if entry.shared == 0 {
                    return Ok(entry);
                }
                Err(Damage::new("restart that shares bytes", key))
            }
            _ => Err(Damage::new("restart out of bounds", place)),
        }
    }

    /// The entry behind `entry`, if the block has one.
    #[inline]
    pub(super) fn after(&self, entry: &Entry) -> Result<Option<Entry>, Damage> {
        if entry.at + 1 >= self.shape.count {
            return Ok(None);
        }
        self.entry(entry.at + 1, entry.end, entry.value_end).map(Some)
    }

    #[inline]
    fn entry(&self, at: usize, offset: usize, value: usize) -> Result<Entry, Damage> {
        let keys = self.bytes(0..self.shape.values);
        let head = Head::read(keys, offset).ok_or(Damage::new("entry is cut short", offset))?;
        let end = head.suffix.checked_add(head.suffix_len).filter(|end| *end <= keys.len());
        let value_end = value.checked_add(head.value_len).filter(|end| *end <= self.bytes.len());
        match (end, value_end) {
            (Some(end), Some(value_end)) => Ok(Entry {
                at,
                tag: Tag(head.tag),
                shared: head.shared,
                suffix: head.suffix,
                end,
                value,
                value_end,
            }),
            _ => Err(Damage::new("entry out of bounds", offset)),
        }
    }
}

/// Loads what every search of a block begins with.
#[inline]
pub(super) fn touch_front(block: &[u8]) {
    // Of a constant length: four loads and no loop.
    touch(block.get(..FRONT_LEN).unwrap_or_default());
}

/// Loads every cache line of `bytes`, all at once: nothing waits for the sum, so that the
/// lines arrive together instead of each when the one before has told that it is needed. Cuts
/// a lookup in a block that is in no cache by a sixth. (Lines of values do not pay.)
#[inline]
fn touch(bytes: &[u8]) {
    let sum = bytes.iter().step_by(LINE_LEN).fold(0, |sum, byte| sum ^ byte);
    std::hint::black_box(sum);
}

/// How many of the ascending `words` are below `probe`.
#[inline]
fn words_below(words: &[[u8; 8]], probe: u64) -> usize {
    let mut first = 0;
    let mut rest = words;
    // Halve while there are many, then count the few without branching on what they are.
    while rest.len() > 16 {
        let half = rest.len() / 2;
        if u64::from_le_bytes(rest[half - 1]) < probe {
            first += half;
            rest = &rest[half..];
        } else {
            rest = &rest[..half];
        }
    }
    first + rest.iter().filter(|word| u64::from_le_bytes(**word) < probe).count()
}

/// The numbers in front of an entry's key.
struct Head {
    shared: usize,
    suffix_len: usize,
    value_len: usize,
    tag: u64,
    /// Offset of the key's own bytes.
    suffix: usize,
}

impl Head {
    #[inline]
    fn read(bytes: &[u8], offset: usize) -> Option<Self> {
        let rest = bytes.get(offset..)?;
        let four = rest.first_chunk::<4>()?;
        // Almost always all four are below 128 and take a byte each.
        if u32::from_le_bytes(*four) & 0x8080_8080 == 0 {
            return Some(Self {
                shared: four[0].into(),
                suffix_len: four[1].into(),
                value_len: four[2].into(),
                tag: four[3].into(),
                suffix: offset + 4,
            });
        }
        Self::read_long(rest, offset)
    }

    #[inline]
    fn read_long(rest: &[u8], offset: usize) -> Option<Self> {
        let mut at = 0;
        let mut number = || {
            let (value, len) = varint(&rest[at..])?;
            at += len;
            Some(value)
        };
        let shared = usize::try_from(number()?).ok()?;
        let suffix_len = usize::try_from(number()?).ok()?;
        let value_len = usize::try_from(number()?).ok()?;
        let tag = number()?;
        Some(Self { shared, suffix_len, value_len, tag, suffix: offset + at })
    }
}

#[cfg(test)]
#[path = "block_test.rs"]
mod tests;
