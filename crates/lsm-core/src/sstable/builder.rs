//! Sorted entries -> a table file, written from front to back.
//!
//! Leaves naming the file, choosing where tables end and syncing the folder to its caller.
//!
//! Invariants:
//! * Entries come in strictly increasing internal order; anything else is a bug and panics
//!   before it can become a wrong answer.
//! * A file without its footer is not a table: whatever fails before is noticed at open.
//!
//! Threads: one a builder.

use std::cmp::Ordering;
use std::path::PathBuf;
use std::sync::Arc;

use lsm_log::error::{Error, Result};
use lsm_log::fs::WriteFile;

use super::block_builder::BlockBuilder;
use super::compress::{Codec, pack};
use super::filter;
use super::format::{Footer, LINE_LEN, PAGE_LEN, Section, TRAILER_LEN, common_len, seal};
use super::index::{BlockPlace, IndexBuilder, separator};
use super::properties::{Properties, Shadowed};
use crate::key::{KeyHash, Kind, SEQ_MAX, SeqNo, Tag};

/// Bytes collected before the file is written to.
const WRITE_BYTES: usize = 256 << 10;
/// What may be left unused at the end of a page, so that the next block starts with the next.
const PAGE_WASTE_MAX: usize = 256;

/// How a table is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableOptions {
    /// Length of a data block in the file, about, before it is packed.
    pub(crate) block_bytes: usize,
    /// 0 for no filter.
    pub(crate) filter_bits_per_key: u32,
    pub(crate) codec: Codec,
    /// Goes into every checksum: stands for this file of this database.
    pub(crate) salt: u64,
}

/// What became of a builder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BuiltTable {
    /// Length of the file.
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
    pub(crate) tombstones: u64,
    /// Length of all keys and values.
    pub(crate) raw_bytes: u64,
    pub(crate) smallest: Vec<u8>,
    pub(crate) largest: Vec<u8>,
    pub(crate) seq_min: SeqNo,
    pub(crate) seq_max: SeqNo,
    pub(crate) shadowed: Shadowed,
}

/// A table in the making.
#[derive(Debug)]
pub(crate) struct TableBuilder {
    file: Arc<dyn WriteFile>,
    path: PathBuf,
    options: TableOptions,
    /// What was added last, for the order and for what the next shares.
    last: Option<Tag>,
    last_key: Vec<u8>,
    block: BlockBuilder,
    /// How long the block may become.
    block_len_max: usize,
    /// The last block written, whose separator is known once the next key is.
    waiting: Option<BlockPlace>,
    index: IndexBuilder,
    hashes: Vec<KeyHash>,
    properties: Properties,
    /// Bytes on their way to the file, which so far is `written` long.
    out: Vec<u8>,
    written: u64,
    /// For its memory only.
    scratch: Vec<u8>,
}

impl TableBuilder {
    /// A builder that writes `file`, which is empty. `path` names it in errors.
    pub(crate) fn new(file: Arc<dyn WriteFile>, path: PathBuf, options: TableOptions) -> Self {
        let properties =
            Properties { seq_min: SEQ_MAX, codec: options.codec, ..Properties::default() };
        let mut builder = Self {
            file,
            path,
            options,
            last: None,
            last_key: Vec::new(),
            block: BlockBuilder::default(),
            block_len_max: 0,
            waiting: None,
            index: IndexBuilder::default(),
            hashes: Vec::new(),
            properties,
            out: Vec::with_capacity(WRITE_BYTES * 2),
            written: 0,
            scratch: Vec::new(),
        };
        builder.block_len_max = builder.next_block_len_max();
        builder
    }

    /// Adds an entry behind all others.
    ///
    /// # Panics
    ///
    /// If the entry is not behind the last one in the internal order.
    pub(crate) fn add(&mut self, key: &[u8], tag: Tag, value: &[u8]) -> Result<()> {
        let shared = self.check_order(key, tag);
        if !self.block.is_empty()
            && self.block.len_with(key, shared, tag, value.len()) > self.block_len_max
        {
            self.finish_block()?;
        }
        if let Some(place) = self.waiting.take() {
            separator(&self.last_key, key, &mut self.scratch);
            self.index.add(place, &self.scratch);
        }
        self.count(key, shared, tag, value);
        self.block.add(key, shared, tag, value);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(&key[shared..]);
        self.last = Some(tag);
        Ok(())
    }

    /// Bytes of the file if it were finished now, about.
    pub(crate) fn bytes(&self) -> u64 {
        let filter_bits = self.hashes.len() * self.options.filter_bits_per_key as usize;
        let pending = self.block.len() + self.index.len_estimate() + filter_bits / 8;
        self.position() + pending as u64
    }

    /// Writes what is left and makes the file durable; its name is up to the caller.
    ///
    /// # Panics
    ///
    /// If nothing was added: there are no empty tables.
    pub(crate) fn finish(mut self) -> Result<BuiltTable> {
        assert!(self.last.is_some(), "a table holds at least one entry");
        self.finish_block()?;
        if let Some(place) = self.waiting.take() {
            self.index.add(place, &self.last_key);
        }
        self.properties.largest.clone_from(&self.last_key);
        let filter = (self.options.filter_bits_per_key > 0).then(|| self.write_filter());
        let index = self.write_index()?;
        let properties = self.section(|builder| builder.properties.encode(&mut builder.out));
        let salt = self.options.salt;
        let footer_at = self.position();
        Footer { filter, index, properties, salt }.encode(footer_at, &mut self.out);
        self.write_out()?;
        self.file.sync().map_err(|e| Error::io("sync the table", &self.path, e))?;

        let properties = self.properties;
        Ok(BuiltTable {
            bytes: self.written,
            entries: properties.entries,
            tombstones: properties.tombstones,
            raw_bytes: properties.key_bytes + properties.value_bytes,
            smallest: properties.smallest,
            largest: properties.largest,
            seq_min: properties.seq_min,
            seq_max: properties.seq_max,
            shadowed: properties.shadowed,
        })
    }

    /// How many bytes `key` shares with the last one.
    fn check_order(&self, key: &[u8], tag: Tag) -> usize {
        let Some(last) = self.last else {
            return 0;
        };
        let shared = common_len(&self.last_key, key);
        let order = self.last_key[shared..].cmp(&key[shared..]);
        let in_order = match order {
            Ordering::Less => true,
            Ordering::Equal => last > tag,
            Ordering::Greater => false,
        };
        assert!(in_order, "table entries must come in order: {tag:?} behind {last:?}");
        shared
    }

    fn count(&mut self, key: &[u8], shared: usize, tag: Tag, value: &[u8]) {
        let first = self.last.is_none();
        // Versions of one key count once.
        let same_key = !first && shared == key.len() && shared == self.last_key.len();
        if self.options.filter_bits_per_key > 0 && !same_key {
            self.hashes.push(KeyHash::of(key));
        }
        let properties = &mut self.properties;
        if same_key && let Some(newer) = self.last {
            properties.shadowed.count(newer, tag, key.len() + value.len());
        }
        if first {
            properties.smallest = key.to_vec();
        }
        properties.entries += 1;
        properties.tombstones += u64::from(tag.kind() == Some(Kind::Delete));
        properties.key_bytes += key.len() as u64;
        properties.value_bytes += value.len() as u64;
        properties.seq_min = properties.seq_min.min(tag.seq());
        properties.seq_max = properties.seq_max.max(tag.seq());
    }

    /// Where the next byte goes.
    fn position(&self) -> u64 {
        self.written + self.out.len() as u64
    }

    /// Blocks that stay as they are end at page boundaries where that is near enough: then a
    /// lookup touches one page, in memory (one translation) and on disk (one read).
    fn next_block_len_max(&self) -> usize {
        let asked = self.options.block_bytes;
        let mut len = asked;
        if self.options.codec == Codec::None {
            let from = (self.position() % PAGE_LEN as u64) as usize;
            let boundary = (from + asked + PAGE_LEN / 2) / PAGE_LEN * PAGE_LEN;
            if boundary.abs_diff(from + asked) <= asked / 2 {
                len = boundary - from;
            }
        }
        len.saturating_sub(TRAILER_LEN)
    }

    fn finish_block(&mut self) -> Result<()> {
        let offset = self.position();
        let start = self.out.len();
        let codec = match self.options.codec {
            Codec::None => {
                self.block.finish(&mut self.out);
                Codec::None
            }
            codec => {
                self.scratch.clear();
                self.block.finish(&mut self.scratch);
                pack(codec, &self.scratch, &mut self.out)
            }
        };
        let len = self.out.len() - start;
        seal(&mut self.out, start, codec as u8, self.options.salt, offset);
        self.waiting = Some(BlockPlace { offset, len, codec });
        if self.options.codec == Codec::None {
            self.pad(PAGE_LEN, PAGE_WASTE_MAX);
        }
        if self.out.len() >= WRITE_BYTES {
            self.write_out()?;
        }
        self.block_len_max = self.next_block_len_max();
        Ok(())
    }

    /// Fills up with zeros to a multiple of `unit`, unless that takes more than `most`.
    fn pad(&mut self, unit: usize, most: usize) {
        let position = self.position();
        let padding = (position.next_multiple_of(unit as u64) - position) as usize;
        if padding <= most {
            self.out.resize(self.out.len() + padding, 0);
        }
    }

    fn write_filter(&mut self) -> Section {
        self.pad(LINE_LEN, LINE_LEN);
        let bits = self.options.filter_bits_per_key;
        self.section(|builder| filter::encode(&builder.hashes, bits, &mut builder.out))
    }

    fn write_index(&mut self) -> Result<Section> {
        self.pad(LINE_LEN, LINE_LEN);
        let mut fits = None;
        let section = self.section(|builder| fits = builder.index.encode(&mut builder.out));
        let too_large = || Error::invalid("the table's index is too large").in_file(&self.path);
        fits.map(|()| section).ok_or_else(too_large)
    }

    /// Appends what `encode` appends, and its trailer.
    fn section(&mut self, encode: impl FnOnce(&mut Self)) -> Section {
        let (offset, start) = (self.position(), self.out.len());
        encode(self);
        let len = (self.out.len() - start) as u64;
        seal(&mut self.out, start, Codec::None as u8, self.options.salt, offset);
        Section { offset, len }
    }

    fn write_out(&mut self) -> Result<()> {
        let written = self.file.write_at(self.written, &self.out);
        written.map_err(|e| Error::io("write the table", &self.path, e))?;
        self.written += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }
}
