//! Walking over the entries of a table, forwards and backwards.
//!
//! [`Walk`] knows blocks and entries; where blocks come from is up to its [`Blocks`]: an open
//! reader here ([`TableCursor`], for users' scans), or a file read from front to back (`scan`).
//!
//! Invariants: while the walk is valid, `shape` and `entry` belong to the loaded block, and
//! `key` is the entry's whole key.
//!
//! Threads: one a cursor.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use lsm_log::error::{Error, Result};

use super::block::{Block, BlockShape, Entry};
use super::format::{Damage, TRAILER_LEN};
use super::index::Index;
use super::read_ahead::ReadAhead;
use super::reader::{BlockBytes, ReadStats, TableReader};
use crate::iter::Cursor;
use crate::key::Tag;
use crate::value::Value;

/// Where the blocks of one table come from. Holds one at a time.
pub(crate) trait Blocks {
    fn index(&self) -> Index<'_>;

    /// Makes block `at` the one that is held: checked and unpacked.
    fn load(&mut self, at: usize) -> Result<()>;

    /// The bytes of the block that is held; empty if none is.
    fn bytes(&self) -> &[u8];

    /// A range of the block that is held, to keep.
    fn value(&self, range: Range<usize>) -> Value {
        Value::from(Bytes::copy_from_slice(self.bytes().get(range).unwrap_or_default()))
    }

    /// The error for damage in block `at`.
    fn error(&self, at: usize, damage: Damage) -> Error;
}

/// A position in a table.
#[derive(Debug)]
pub(crate) struct Walk<B> {
    blocks: B,
    /// The block that is held, and its shape.
    loaded: Option<usize>,
    shape: BlockShape,
    entry: Entry,
    key: Vec<u8>,
    valid: bool,
    /// Of the loaded block, what was decoded to go back over it; made by the first step back.
    run: Option<Box<Run>>,
}

/// The front of a run of entries, from its restart on. An entry can be decoded only behind the one
/// in front of it: going back entry by entry from the restart would decode each run of eight
/// more than four times over.
#[derive(Debug, Default)]
struct Run {
    entries: Vec<Entry>,
    /// The whole keys of the entries, one behind the other, and where each ends.
    keys: Vec<u8>,
    ends: Vec<usize>,
}

impl Run {
    fn clear(&mut self) {
        self.entries.clear();
        self.keys.clear();
        self.ends.clear();
    }

    /// The entry with so many before it in its block, and its key.
    fn get(&self, at: usize) -> Option<(Entry, &[u8])> {
        let nth = at.checked_sub(self.entries.first()?.at)?;
        let entry = *self.entries.get(nth)?;
        let start = nth.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some((entry, &self.keys[start..self.ends[nth]]))
    }

    /// Decodes the run of entry `at` up to there.
    fn decode(&mut self, block: &Block<'_>, at: usize) -> std::result::Result<(), Damage> {
        self.clear();
        let (mut entry, mut start) = (block.restart_of(at)?, 0);
        self.keys.extend_from_slice(block.prefix());
        let prefix_len = self.keys.len();
        loop {
            self.keys.extend_from_slice(block.bytes(entry.suffix()));
            self.entries.push(entry);
            self.ends.push(self.keys.len());
            if entry.at >= at {
                return Ok(());
            }
            let Some(next) = block.after(&entry)? else { return Ok(()) };
            let shared = start..start + prefix_len.saturating_add(next.shared);
            if shared.end > self.keys.len() {
                return Err(Damage::new(SHARES_TOO_MUCH, 0));
            }
            start = self.keys.len();
            self.keys.extend_from_within(shared);
            entry = next;
        }
    }
}

const SHARES_TOO_MUCH: &str = "entry shares more than there is";

impl<B: Blocks> Walk<B> {
    pub(super) fn new(blocks: B) -> Self {
        let (shape, entry) = (BlockShape::default(), Entry::NOWHERE);
        let (key, run) = (Vec::new(), None);
        Self { blocks, loaded: None, shape, entry, key, valid: false, run }
    }

    pub(super) fn blocks(&self) -> &B {
        &self.blocks
    }

    /// The block that the walk stands in.
    pub(super) fn block_at(&self) -> usize {
        self.loaded.unwrap_or_default()
    }

    #[inline]
    fn block(&self) -> Block<'_> {
        Block::new(self.blocks.bytes(), self.shape)
    }

    #[inline]
    fn damaged(&self, damage: Damage) -> Error {
        self.blocks.error(self.block_at(), damage)
    }

    /// Holds block `at`; the walk stands nowhere until it is told where.
    fn load(&mut self, at: usize) -> Result<()> {
        if self.loaded == Some(at) {
            return Ok(());
        }
        self.loaded = None;
        if let Some(run) = &mut self.run {
            run.clear();
        }
        self.blocks.load(at)?;
        let shape = BlockShape::parse(self.blocks.bytes()).map_err(|d| self.blocks.error(at, d))?;
        self.shape = shape;
        self.loaded = Some(at);
        Ok(())
    }

    /// To an entry whose key starts like `key_start` behind the common prefix.
    fn stand_on(&mut self, entry: Entry, key_start: &[u8]) -> Result<()> {
        let block = Block::new(self.blocks.bytes(), self.shape);
        let Some(shared) = key_start.get(..entry.shared) else {
            return Err(self.damaged(Damage::new(SHARES_TOO_MUCH, 0)));
        };
        self.key.clear();
        self.key.extend_from_slice(block.prefix());
        self.key.extend_from_slice(shared);
        self.key.extend_from_slice(block.bytes(entry.suffix()));
        self.entry = entry;
        self.valid = true;
        Ok(())
    }

    /// From an entry to the one behind it in the same block; `false` if there is none.
    #[inline]
    fn step(&mut self) -> Result<bool> {
        let block = Block::new(self.blocks.bytes(), self.shape);
        let next = match block.after(&self.entry) {
            Ok(Some(next)) => next,
            Ok(None) => return Ok(false),
            Err(damage) => return Err(self.damaged(damage)),
        };
        let keep = self.shape.prefix_len().saturating_add(next.shared);
        if keep > self.key.len() {
            return Err(self.damaged(Damage::new(SHARES_TOO_MUCH, 0)));
        }
        self.key.truncate(keep);
        self.key.extend_from_slice(block.bytes(next.suffix()));
        self.entry = next;
        Ok(true)
    }

    /// To the first entry of block `at`; nowhere if there is no such block.
    fn first_of(&mut self, at: usize) -> Result<()> {
        if at >= self.blocks.index().blocks() {
            return Ok(());
        }
        self.load(at)?;
        let first = self.block().first().map_err(|d| self.damaged(d))?;
        self.stand_on(first, &[])
    }

    /// To the last entry of block `at`.
    fn last_of(&mut self, at: usize) -> Result<()> {
        self.load(at)?;
        self.entry_of(self.shape.count() - 1)
    }

    /// To the entry of the loaded block that has so many before it.
    fn entry_of(&mut self, at: usize) -> Result<()> {
        let run = self.run.get_or_insert_default();
        if run.get(at).is_none() {
            let block = Block::new(self.blocks.bytes(), self.shape);
            if let Err(damage) = run.decode(&block, at) {
                run.clear();
                return Err(self.damaged(damage));
            }
        }
        let (entry, key) = run.get(at).expect("the run was decoded up to there");
        self.key.clear();
        self.key.extend_from_slice(key);
        self.entry = entry;
        self.valid = true;
        Ok(())
    }

    fn seek_inner(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        let mut at = self.blocks.index().find(key);
        while at < self.blocks.index().blocks() {
            self.load(at)?;
            if let Some(found) = self.block().seek(key, tag).map_err(|d| self.damaged(d))? {
                let prefix_len = self.shape.prefix_len();
                return self.stand_on(found.entry, key.get(prefix_len..).unwrap_or_default());
            }
            // Only the versions of one key can make this more than one step.
            at += 1;
        }
        Ok(())
    }

    fn prev_inner(&mut self) -> Result<()> {
        match (self.entry.at.checked_sub(1), self.block_at().checked_sub(1)) {
            (Some(before), _) => self.entry_of(before),
            (None, Some(block)) => self.last_of(block),
            (None, None) => Ok(()),
        }
    }

    /// Runs `step`, which makes the walk valid if it leads somewhere.
    #[inline]
    fn moved(&mut self, step: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.valid = false;
        let done = step(self);
        self.valid &= done.is_ok();
        done
    }
}

impl<B: Blocks> Cursor for Walk<B> {
    #[inline]
    fn is_valid(&self) -> bool {
        self.valid
    }

    fn seek(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        self.moved(|walk| walk.seek_inner(key, tag))
    }

    fn seek_back(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        self.moved(|walk| {
            walk.seek_inner(key, tag)?;
            if !walk.valid {
                return walk.last_of(walk.blocks.index().blocks() - 1);
            }
            if walk.entry.tag == tag && walk.key == key {
                return Ok(());
            }
            walk.valid = false;
            walk.prev_inner()
        })
    }

    fn seek_first(&mut self) -> Result<()> {
        self.moved(|walk| walk.first_of(0))
    }

    fn seek_last(&mut self) -> Result<()> {
        self.moved(|walk| walk.last_of(walk.blocks.index().blocks() - 1))
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        debug_assert!(self.valid, "next needs an entry to stand on");
        match self.step() {
            Ok(true) => Ok(()),
            Ok(false) => self.moved(|walk| walk.first_of(walk.block_at() + 1)),
            Err(error) => {
                self.valid = false;
                Err(error)
            }
        }
    }

    fn prev(&mut self) -> Result<()> {
        debug_assert!(self.valid, "prev needs an entry to stand on");
        self.moved(Self::prev_inner)
    }

    #[inline]
    fn key(&self) -> &[u8] {
        &self.key
    }

    #[inline]
    fn tag(&self) -> Tag {
        self.entry.tag
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.block().bytes(self.entry.value())
    }

    fn value_to_keep(&self) -> Value {
        self.blocks.value(self.entry.value())
    }
}

/// The blocks of an open reader, through its mapping or the block cache.
#[derive(Debug)]
pub(crate) struct ReaderBlocks {
    reader: Arc<TableReader>,
    held: Option<BlockBytes>,
    ahead: ReadAhead,
}

/// A cursor over an open table, which it keeps open.
pub(crate) type TableCursor = Walk<ReaderBlocks>;

impl TableReader {
    pub(crate) fn cursor(self: &Arc<Self>) -> TableCursor {
        let (reader, ahead) = (Arc::clone(self), ReadAhead::default());
        Walk::new(ReaderBlocks { reader, held: None, ahead })
    }
}

impl Blocks for ReaderBlocks {
    #[inline]
    fn index(&self) -> Index<'_> {
        self.reader.index()
    }

    fn load(&mut self, at: usize) -> Result<()> {
        self.held = None;
        let Some(place) = self.reader.index().block(at) else {
            return Err(self.error(at, Damage::new("block outside the table", 0)));
        };
        let mut touched = ReadStats::default();
        self.held = Some(self.reader.block(at, place, &mut touched)?);
        // What the block cache has is not read.
        if touched.cache_hits == 0 {
            let block_end = place.offset + (place.len + TRAILER_LEN) as u64;
            if let Some(range) = self.ahead.visit(at, block_end) {
                self.reader.will_need(range);
            }
        }
        Ok(())
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match &self.held {
            Some(held) => self.reader.bytes_of(held),
            None => &[],
        }
    }

    fn value(&self, range: Range<usize>) -> Value {
        match &self.held {
            Some(held) => self.reader.value(held, range),
            None => Value::from(Bytes::new()),
        }
    }

    #[cold]
    fn error(&self, at: usize, damage: Damage) -> Error {
        self.reader.block_error(at, damage)
    }
}

#[cfg(test)]
mod tests {
    use super::super::table_test::{OPTIONS, build, put, readers};
    use super::*;
    use crate::sstable::TableOptions;

    fn decoded_by(cursor: &TableCursor) -> usize {
        cursor.run.as_ref().map_or(0, |run| run.entries.len())
    }

    #[test]
    fn a_run_is_decoded_once_to_go_back_over_it() {
        let mut model = Default::default();
        for i in 0..20u8 {
            put(&mut model, &[b'k', i], 1, b"v");
        }
        let options = TableOptions { block_bytes: 4096, ..OPTIONS };
        let mut cursor = readers(&build(&model, options))[0].cursor();
        cursor.seek_last().unwrap();
        for (at, decoded) in [(19, 4), (18, 4), (17, 4), (16, 4), (15, 8), (14, 8), (8, 8), (7, 8)]
        {
            while cursor.key()[1] > at {
                cursor.prev().unwrap();
            }
            assert_eq!(decoded_by(&cursor), decoded, "entry {at}");
        }
        // From the middle of a run, as far as it is needed.
        cursor.seek(&[b'k', 13], Tag(u64::MAX)).unwrap();
        cursor.prev().unwrap();
        assert_eq!((cursor.key(), decoded_by(&cursor)), (&[b'k', 12][..], 5));
    }
}
