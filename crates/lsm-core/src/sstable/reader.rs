//! Point lookups in one table, and the blocks that cursors walk over.
//!
//! A table is read in one of two ways. Mapped: blocks are slices of the mapping, and packed
//! ones are unpacked into the block cache. With `pread`: filter and index are held on the heap,
//! and blocks come through the block cache.
//!
//! Invariants:
//! * Filter, index and properties are checked when the table is opened, all of them.
//! * A block is checked before it is used: one used where it is mapped when it is first touched
//!   (or at each touch), one read or unpacked each time that it is.
//!
//! Threads: any number. A reader changes nothing but the bits that say which blocks were
//! checked; two threads may check one block both.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use lsm_log::error::{Error, Result};
use lsm_log::file_name::FileNumber;
use lsm_log::fs::{Access, Mapping, ReadFile};

use super::block::{Block, touch_front};
use super::compress::{Codec, unpack_lz4};
use super::filter::{self, FilterLine};
use super::format::{Damage, FOOTER_LEN, Footer, LINE_LEN, Section, TRAILER_LEN, unseal};
use super::index::{self, BlockPlace, Index};
use super::properties::Properties;
use crate::cache::BlockCache;
use crate::key::{KeyHash, SeqNo, Tag};
use crate::options::{TableAccess, Verification};
use crate::value::Value;

/// How tables are read.
#[derive(Clone, Debug)]
pub(crate) struct ReadOptions {
    pub(crate) access: TableAccess,
    pub(crate) verification: Verification,
    pub(crate) cache: Arc<BlockCache>,
}

/// What lookups cost. Plain numbers: each thread counts for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadStats {
    /// Tables that were asked.
    pub(crate) tables: u64,
    /// Filters that said no: nothing else was touched.
    pub(crate) filter_hits: u64,
    /// Filters that let a lookup through.
    pub(crate) filter_misses: u64,
    /// Lookups that a filter let through and that found no visible version.
    pub(crate) false_positives: u64,
    /// Blocks searched.
    pub(crate) blocks: u64,
    pub(crate) cache_hits: u64,
    pub(crate) cache_misses: u64,
    /// Bytes of blocks that were read with `pread` or unpacked.
    pub(crate) bytes_read: u64,
}

/// An open table.
#[derive(Debug)]
pub(crate) struct TableReader {
    bytes: TableBytes,
    index: index::IndexShape,
    index_at: Section,
    filter: Option<(filter::FilterShape, Section)>,
    verification: Verification,
    salt: u64,
    /// A bit a block: whether its checksum was compared.
    checked: Vec<AtomicU64>,
    number: FileNumber,
    cache: Arc<BlockCache>,
    path: PathBuf,
}

/// Where the bytes of a table come from.
#[derive(Debug)]
enum TableBytes {
    Mapped(Arc<Mapping>),
    /// The file, and the two sections that every lookup needs.
    Pread {
        file: Arc<dyn ReadFile>,
        index: Bytes,
        filter: Bytes,
    },
}

/// A block in memory.
#[derive(Clone, Debug)]
pub(super) enum BlockBytes {
    /// A range of the mapping.
    Mapped {
        start: usize,
        end: usize,
    },
    Held(Bytes),
}

/// Where in a table a key is to be looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoundBlock {
    at: usize,
    /// None behind the last block.
    place: Option<BlockPlace>,
}

/// What one block said about a key.
enum BlockAnswer {
    Found(Tag, Value),
    Missing,
    /// All of its entries are before the key.
    Behind,
}

impl TableReader {
    /// Opens a table that should be `bytes` long and carry `salt`. `path` names it in errors.
    pub(crate) fn open(
        file: Arc<dyn ReadFile>,
        path: PathBuf,
        number: FileNumber,
        bytes: u64,
        salt: u64,
        options: &ReadOptions,
    ) -> Result<Arc<Self>> {
        let opened = match options.access {
            TableAccess::Mapped => {
                let map = file.map().map_err(|e| Error::io("map the table", &path, e))?;
                map.advise(Access::Random);
                Parts::open_mapped(&map, bytes, salt)
                    .map(|parts| (parts, TableBytes::Mapped(Arc::new(map))))
            }
            TableAccess::Pread => {
                file.advise(Access::Random);
                Parts::open_pread(&*file, &path, bytes, salt, true).map(|(parts, index, filter)| {
                    (parts, TableBytes::Pread { file, index, filter })
                })
            }
        };
        let (parts, bytes) = opened.map_err(|e| e.in_file(&path))?;
        let words = parts.index.on(&[]).blocks().div_ceil(64);
        Ok(Arc::new(Self {
            bytes,
            index: parts.index,
            index_at: parts.footer.index,
            filter: parts.filter.zip(parts.footer.filter),
            verification: options.verification,
            salt,
            checked: (0..words).map(|_| AtomicU64::new(0)).collect(),
            number,
            cache: Arc::clone(&options.cache),
            path,
        }))
    }

    /// The line of the table's filter that says whether it may hold a key of this hash; none
    /// if it has no filter.
    #[inline]
    pub(crate) fn filter_line(&self, hash: KeyHash) -> Option<FilterLine> {
        let (filter, at) = self.filter.as_ref()?;
        filter.line(self.filter_bytes(*at), hash)
    }

    /// The newest version of `key` that a reader at `seq` may see. `line` is what
    /// [`filter_line`](Self::filter_line) returned for the key's `hash`.
    #[inline]
    pub(crate) fn get(
        &self,
        key: &[u8],
        hash: KeyHash,
        line: Option<&FilterLine>,
        seq: SeqNo,
        touched: &mut ReadStats,
    ) -> Result<Option<(Tag, Value)>> {
        if !self.admits(hash, line, touched) {
            return Ok(None);
        }
        let index = self.index();
        self.get_at(index, index.find(key), key, seq, line.is_some(), touched)
    }

    /// Whether the table may hold a key of this hash, of which `line` is the filter's line.
    #[inline]
    pub(crate) fn admits(
        &self,
        hash: KeyHash,
        line: Option<&FilterLine>,
        touched: &mut ReadStats,
    ) -> bool {
        touched.tables += 1;
        let Some(line) = line else { return true };
        let admits = line.may_contain(hash);
        match admits {
            true => touched.filter_misses += 1,
            false => touched.filter_hits += 1,
        }
        admits
    }

    /// The block that holds the newest version of `key`, if the table has any.
    pub(crate) fn find_block(&self, key: &[u8]) -> FoundBlock {
        let index = self.index();
        let at = index.find(key);
        FoundBlock { at, place: index.block(at) }
    }

    /// The newest version of `key` that a reader at `seq` may see, from its
    /// [block](Self::find_block) on. `filtered`: a filter has let it through.
    pub(crate) fn get_from(
        &self,
        block: &FoundBlock,
        key: &[u8],
        seq: SeqNo,
        filtered: bool,
        touched: &mut ReadStats,
    ) -> Result<Option<(Tag, Value)>> {
        self.get_at(self.index(), block.at, key, seq, filtered, touched)
    }

    // A call of its own would be one twentieth of a lookup's instructions.
    #[inline(always)]
    fn get_at(
        &self,
        index: Index<'_>,
        mut at: usize,
        key: &[u8],
        seq: SeqNo,
        filtered: bool,
        touched: &mut ReadStats,
    ) -> Result<Option<(Tag, Value)>> {
        while let Some(place) = index.block(at) {
            touched.blocks += 1;
            match self.get_in_block(at, place, key, Tag::seek(seq), touched)? {
                BlockAnswer::Found(tag, value) => return Ok(Some((tag, value))),
                // Older versions may be in the next block, if this one ends with the key.
                BlockAnswer::Behind if index.separator_is(at, key) => at += 1,
                BlockAnswer::Missing | BlockAnswer::Behind => break,
            }
        }
        touched.false_positives += u64::from(filtered);
        Ok(None)
    }

    /// Loads the front of a block that will be searched, where it lies in memory as it is.
    #[inline]
    pub(crate) fn touch(&self, block: &FoundBlock) {
        if let (Some(place), TableBytes::Mapped(map)) = (block.place, &self.bytes)
            && place.codec == Codec::None
        {
            let start = place.offset as usize;
            touch_front(map.get(start..start + place.len).unwrap_or_default());
        }
    }

    /// Tells the system that a block will be read.
    pub(crate) fn announce(&self, block: &FoundBlock) {
        if let Some(place) = block.place {
            self.will_need(place.offset..place.end());
        }
    }

    #[inline]
    fn get_in_block(
        &self,
        at: usize,
        place: BlockPlace,
        key: &[u8],
        tag: Tag,
        touched: &mut ReadStats,
    ) -> Result<BlockAnswer> {
        let block = self.block(at, place, touched)?;
        let bytes = self.bytes_of(&block);
        let found = Block::parse(bytes).and_then(|parsed| parsed.seek(key, tag));
        let found = match found {
            Ok(Some(found)) if found.same_key => found.entry,
            Ok(Some(_)) => return Ok(BlockAnswer::Missing),
            Ok(None) => return Ok(BlockAnswer::Behind),
            Err(damage) => return Err(self.block_error(at, damage)),
        };
        let value = self.value(&block, found.value());
        Ok(BlockAnswer::Found(found.tag, value))
    }

    #[inline]
    pub(super) fn index(&self) -> Index<'_> {
        self.index.on(match &self.bytes {
            TableBytes::Mapped(map) => slice(map, self.index_at),
            TableBytes::Pread { index, .. } => index,
        })
    }

    #[inline]
    fn filter_bytes(&self, at: Section) -> &[u8] {
        match &self.bytes {
            TableBytes::Mapped(map) => slice(map, at),
            TableBytes::Pread { filter, .. } => filter,
        }
    }

    /// A value within a block that this reader returned.
    #[inline]
    pub(super) fn value(&self, block: &BlockBytes, range: Range<usize>) -> Value {
        match (block, &self.bytes) {
            (BlockBytes::Mapped { start, .. }, TableBytes::Mapped(map)) => {
                Value::mapped(Arc::clone(map), start + range.start, start + range.end)
            }
            (BlockBytes::Held(bytes), _) => Value::from(bytes.slice(range)),
            // Only mapped tables have mapped blocks.
            (BlockBytes::Mapped { .. }, TableBytes::Pread { .. }) => Value::from(Bytes::new()),
        }
    }

    /// The bytes of a block that this reader returned.
    #[inline]
    pub(super) fn bytes_of<'a>(&'a self, block: &'a BlockBytes) -> &'a [u8] {
        match (block, &self.bytes) {
            (BlockBytes::Held(bytes), _) => bytes,
            (BlockBytes::Mapped { start, end }, TableBytes::Mapped(map)) => {
                map.get(*start..*end).unwrap_or_default()
            }
            (BlockBytes::Mapped { .. }, TableBytes::Pread { .. }) => &[],
        }
    }

    /// Has the system read what a cursor will need.
    pub(super) fn will_need(&self, range: Range<u64>) {
        match &self.bytes {
            TableBytes::Mapped(map) => map.will_need(range),
            TableBytes::Pread { file, .. } => file.will_need(range),
        }
    }

    /// Block `at`, which lies at `place`: checked, and unpacked if need be.
    #[inline]
    pub(super) fn block(
        &self,
        at: usize,
        place: BlockPlace,
        touched: &mut ReadStats,
    ) -> Result<BlockBytes> {
        if let TableBytes::Mapped(map) = &self.bytes
            && place.codec == Codec::None
        {
            self.check_mapped(map, at, place)?;
            let start = place.offset as usize;
            return Ok(BlockBytes::Mapped { start, end: start + place.len });
        }
        self.held_block(place, touched).map(BlockBytes::Held)
    }

    /// A block that does not lie in memory as it is.
    fn held_block(&self, place: BlockPlace, touched: &mut ReadStats) -> Result<Bytes> {
        if let Some(bytes) = self.cache.get(self.number.0, place.offset) {
            touched.cache_hits += 1;
            return Ok(bytes);
        }
        touched.cache_misses += 1;
        touched.bytes_read += (place.len + TRAILER_LEN) as u64;
        let block = Bytes::from(self.fetch(place)?);
        self.cache.insert(self.number.0, place.offset, block.clone());
        Ok(block)
    }

    /// Reads a block, checks it and unpacks it.
    fn fetch(&self, place: BlockPlace) -> Result<Vec<u8>> {
        match &self.bytes {
            TableBytes::Mapped(map) => {
                // Each time: since the last one the page may have been read from disk anew, and
                // unpacking costs more than checking.
                let sealed = slice(map, with_trailer(place));
                self.check_block(sealed, place)?;
                self.unpack(sealed, place)
            }
            TableBytes::Pread { file, .. } => {
                let mut sealed = vec![0; place.len + TRAILER_LEN];
                file.read_at(place.offset, &mut sealed)
                    .map_err(|e| Error::io("read the table", &self.path, e).at(place.offset))?;
                self.check_block(&sealed, place)?;
                if place.codec == Codec::None {
                    sealed.truncate(place.len);
                    return Ok(sealed);
                }
                self.unpack(&sealed, place)
            }
        }
    }

    fn unpack(&self, sealed: &[u8], place: BlockPlace) -> Result<Vec<u8>> {
        let mut block = Vec::new();
        unpack_lz4(sealed.get(..place.len).unwrap_or_default(), &mut block)
            .map_err(|damage| damage.error(place.offset, &self.path))?;
        Ok(block)
    }

    #[inline]
    fn check_mapped(&self, map: &Mapping, at: usize, place: BlockPlace) -> Result<()> {
        let Some(word) = self.checked.get(at / 64) else {
            return Err(self.block_error(at, Damage::new("block outside its place", 0)));
        };
        let bit = 1 << (at % 64);
        // Relaxed: the bytes never change, and what the bit says of them is true on any thread.
        let known = word.load(Ordering::Relaxed) & bit != 0;
        if known && self.verification == Verification::FirstTouch {
            return Ok(());
        }
        self.check_mapped_now(map, place)?;
        if !known {
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(())
    }

    #[cold]
    fn check_mapped_now(&self, map: &Mapping, place: BlockPlace) -> Result<()> {
        self.check_block(slice(map, with_trailer(place)), place)
    }

    fn check_block(&self, sealed: &[u8], place: BlockPlace) -> Result<()> {
        check_block(sealed, place, self.salt).map_err(|e| e.in_file(&self.path))
    }

    #[cold]
    pub(super) fn block_error(&self, at: usize, damage: Damage) -> Error {
        block_error(self.index().block(at), damage, &self.path)
    }
}

/// Checks a block with its trailer against what the index says of it.
pub(super) fn check_block(sealed: &[u8], place: BlockPlace, salt: u64) -> Result<()> {
    let (_, codec) = unseal(sealed, salt, place.offset, "block")?;
    if codec != place.codec as u8 {
        return Err(Error::mismatch("block codec", place.codec as u8, codec).at(place.offset));
    }
    Ok(())
}

/// The error for damage in an unpacked block, which has offsets in the file only if it was
/// not packed.
#[cold]
pub(super) fn block_error(place: Option<BlockPlace>, damage: Damage, path: &Path) -> Error {
    match place {
        Some(BlockPlace { offset, codec: Codec::None, .. }) => damage.error(offset, path),
        Some(BlockPlace { offset, .. }) => damage.moved_to(0).error(offset, path),
        None => damage.error(0, path),
    }
}

fn with_trailer(place: BlockPlace) -> Section {
    Section { offset: place.offset, len: (place.len + TRAILER_LEN) as u64 }
}

/// A section of the mapping. Sections were checked at open to lie within it.
#[inline]
fn slice(map: &Mapping, section: Section) -> &[u8] {
    let start = section.offset as usize;
    map.get(start..start.wrapping_add(section.len as usize)).unwrap_or_default()
}

/// What is read and checked when a table is opened.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) footer: Footer,
    pub(super) index: index::IndexShape,
    pub(super) filter: Option<filter::FilterShape>,
    pub(super) properties: Properties,
}

impl Parts {
    fn open_mapped(map: &Mapping, bytes: u64, salt: u64) -> Result<Self> {
        let footer_at = footer_offset(map.len() as u64, bytes)?;
        let footer = map.last_chunk::<FOOTER_LEN>().ok_or_else(|| no_room(bytes))?;
        let footer = Footer::decode(footer, footer_at, salt)?;
        let section = |section: Section, what| {
            let sealed = Section { len: section.len + TRAILER_LEN as u64, ..section };
            plain(unseal(slice(map, sealed), salt, section.offset, what)?, section, what)
        };
        let index = section(footer.index, "index")?;
        let filter = footer.filter.map(|at| section(at, "filter")).transpose()?;
        let properties = section(footer.properties, "properties")?;
        Self::parse(footer, index, filter, properties)
    }

    /// Also returns the bytes of index and filter, aligned to cache lines; of the filter only if
    /// it is wanted.
    pub(super) fn open_pread(
        file: &dyn ReadFile,
        path: &Path,
        bytes: u64,
        salt: u64,
        want_filter: bool,
    ) -> Result<(Self, Bytes, Bytes)> {
        let footer_at = footer_offset(file.len(), bytes)?;
        let io = |e| Error::io("read the table", path, e);
        let mut footer = [0; FOOTER_LEN];
        file.read_at(footer_at, &mut footer).map_err(|e| io(e).at(footer_at))?;
        let footer = Footer::decode(&footer, footer_at, salt)?;
        let section = |section: Section, what| {
            let sealed = read_aligned(file, section).map_err(|e| io(e).at(section.offset))?;
            plain(unseal(&sealed, salt, section.offset, what)?, section, what)?;
            Ok(sealed.slice(..section.len as usize))
        };
        let index = section(footer.index, "index")?;
        let filter = footer.filter.filter(|_| want_filter);
        let filter = filter.map(|at| section(at, "filter")).transpose()?;
        let properties = section(footer.properties, "properties")?;
        let parts = Self::parse(footer, &index, filter.as_deref(), &properties)?;
        Ok((parts, index, filter.unwrap_or_default()))
    }

    fn parse(
        footer: Footer,
        index: &[u8],
        filter: Option<&[u8]>,
        properties: &[u8],
    ) -> Result<Self> {
        let at = |section: Section| move |damage: Damage| damage.error_at(section.offset);
        let data_end = footer.filter.unwrap_or(footer.index).offset;
        let index = index::IndexShape::parse(index, data_end).map_err(at(footer.index))?;
        let filter_at = at(footer.filter.unwrap_or_default());
        let filter = filter.map(filter::FilterShape::parse).transpose().map_err(filter_at)?;
        let properties = Properties::decode(properties).map_err(at(footer.properties))?;
        Ok(Self { footer, index, filter, properties })
    }
}

fn footer_offset(found: u64, expected: u64) -> Result<u64> {
    if found != expected {
        return Err(Error::mismatch("table length", expected, found).at(found.min(expected)));
    }
    found.checked_sub(FOOTER_LEN as u64).ok_or_else(|| no_room(found))
}

fn no_room(bytes: u64) -> Error {
    Error::corrupt(format!("a table of {bytes} bytes has no room for a footer")).at(0)
}

/// Sections other than blocks are never packed.
fn plain<'a>((payload, codec): (&'a [u8], u8), section: Section, what: &str) -> Result<&'a [u8]> {
    if codec == Codec::None as u8 {
        return Ok(payload);
    }
    Err(Error::mismatch(&format!("{what} codec"), 0, codec).at(section.offset + section.len))
}

/// A section with its trailer, which was checked to lie within the file.
fn read_aligned(file: &dyn ReadFile, section: Section) -> std::io::Result<Bytes> {
    let len = section.len as usize + TRAILER_LEN;
    let mut buffer = vec![0; len + LINE_LEN];
    let start = buffer.as_ptr().align_offset(LINE_LEN).min(LINE_LEN);
    file.read_at(section.offset, &mut buffer[start..start + len])?;
    Ok(Bytes::from(buffer).slice(start..start + len))
}
