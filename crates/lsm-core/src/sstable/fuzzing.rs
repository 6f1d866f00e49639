//! Ways in for fuzzers and tests: whole tables and single blocks from bytes in memory.
//!
//! Nothing here may panic, loop or allocate without bound, whatever the bytes are. Inputs that
//! a fuzzer has changed rarely pass a checksum; [`mend_checksums`] makes them, so that what is
//! behind the checksums gets its share.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use lsm_log::coding::u64_at;
use lsm_log::error::Result;
use lsm_log::file_name::FileNumber;
use lsm_log::fs::{Access, Mapping, ReadFile};

use super::block::Block;
use super::cursor::{TableCursor, Walk};
use super::format::{FOOTER_LEN, Footer, Section, TRAILER_LEN, reseal};
use super::index;
use super::reader::{ReadOptions, ReadStats, TableReader};
use super::scan::TableScan;
use super::verify::verify;
use super::{cursor, properties};
use crate::cache::BlockCache;
use crate::iter::Cursor;
use crate::key::{KeyHash, SEQ_MAX, Tag};
use crate::options::{TableAccess, Verification};

/// Steps of one walk: bounds the time that an input may take.
const STEPS_MAX: usize = 4096;

/// A file in memory, only for reading.
#[derive(Debug)]
pub(crate) struct MemoryTable(pub(crate) Bytes);

impl ReadFile for MemoryTable {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = start.checked_add(buf.len()).and_then(|end| self.0.get(start..end));
        let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn map(&self) -> io::Result<Mapping> {
        Ok(Mapping::Memory(self.0.clone()))
    }

    fn advise(&self, _: Access) {}
}

/// Opens `bytes` as a table that carries `salt`.
pub(crate) fn open_table(
    bytes: &Bytes,
    salt: u64,
    access: TableAccess,
    cache_bytes: usize,
) -> Result<Arc<TableReader>> {
    let options = ReadOptions {
        access,
        verification: Verification::FirstTouch,
        cache: Arc::new(BlockCache::new(cache_bytes)),
    };
    let file = Arc::new(MemoryTable(bytes.clone()));
    TableReader::open(file, PathBuf::from(NAME), FileNumber(1), bytes.len() as u64, salt, &options)
}

/// What errors call the table.
pub(crate) const NAME: &str = "memory.table";

/// Opens whatever `bytes` are as a table, walks both ways, looks keys up and verifies.
pub(crate) fn check_table(bytes: &[u8]) {
    let salt = stated_salt(bytes).unwrap_or(0);
    let bytes = Bytes::copy_from_slice(bytes);
    for access in [TableAccess::Mapped, TableAccess::Pread] {
        // Errors are what damaged bytes should end in.
        let _ = check_reader(&bytes, salt, access);
    }
    let file = || Arc::new(MemoryTable(bytes.clone()));
    let scan = TableScan::open(file(), PathBuf::from(NAME), bytes.len() as u64, salt);
    let _ = scan.and_then(|mut scan| walk(&mut scan));
    let _ = verify(file(), Path::new(NAME), bytes.len() as u64, salt);
}

fn check_reader(bytes: &Bytes, salt: u64, access: TableAccess) -> Result<()> {
    let reader = open_table(bytes, salt, access, 1 << 16)?;
    let mut touched = ReadStats::default();
    let mut cursor = reader.cursor();
    let mut keys = vec![Vec::new(), b"key".to_vec(), vec![0xff; 20]];
    for seek in [TableCursor::seek_first, TableCursor::seek_last] {
        if seek(&mut cursor).is_ok() && cursor.is_valid() {
            keys.push(cursor.key().to_vec());
        }
    }
    for key in &keys {
        let hash = KeyHash::of(key);
        let line = reader.filter_line(hash);
        let _ = reader.get(key, hash, line.as_ref(), SEQ_MAX, &mut touched);
    }
    let walked = walk(&mut cursor);
    for key in &keys {
        let _ = cursor.seek(key, Tag::seek(SEQ_MAX));
        let _ = cursor.seek_back(key, Tag(0));
    }
    walked
}

fn walk<B: cursor::Blocks>(cursor: &mut Walk<B>) -> Result<()> {
    let mut keys = Vec::new();
    cursor.seek_first()?;
    for step in 0..STEPS_MAX {
        if !cursor.is_valid() {
            break;
        }
        if step % 64 == 0 {
            keys.push((cursor.key().to_vec(), cursor.tag()));
        }
        let _ = cursor.value().len();
        cursor.next()?;
    }
    cursor.seek_last()?;
    for _ in 0..STEPS_MAX {
        if !cursor.is_valid() {
            break;
        }
        cursor.prev()?;
    }
    for (key, tag) in keys {
        cursor.seek(&key, tag)?;
        cursor.seek_back(&key, tag)?;
    }
    Ok(())
}

/// Takes `bytes` for a data block, walks over it and looks for a few keys; and for each of the
/// other parts of a table.
pub(crate) fn check_block(bytes: &[u8]) {
    check_parts(bytes);
    let Ok(block) = Block::parse(bytes) else {
        return;
    };
    let mut next = block.first().map(Some);
    for _ in 0..STEPS_MAX {
        let Ok(Some(entry)) = next else {
            break;
        };
        let _ = block.bytes(entry.value()).len();
        let key = [block.prefix(), block.bytes(entry.suffix())].concat();
        let _ = block.seek(&key, entry.tag);
        next = block.after(&entry);
    }
    let _ = block.seek(bytes.get(..16).unwrap_or_default(), Tag(0));
    let _ = block.seek(block.prefix(), Tag(u64::MAX));
}

fn check_parts(bytes: &[u8]) {
    if let Ok(shape) = index::IndexShape::parse(bytes, u64::MAX) {
        let index = shape.on(bytes);
        let at = index.find(bytes);
        let _ = (index.block(at), index.separator_is(at, bytes), index.check_words());
    }
    if let Ok(filter) = super::filter::FilterShape::parse(bytes) {
        let _ = filter.may_contain(bytes, KeyHash::of(bytes));
    }
    let _ = properties::Properties::decode(bytes);
    if let Some(footer) = bytes.last_chunk::<FOOTER_LEN>() {
        let _ = Footer::decode(footer, 1 << 20, 0);
    }
}

/// The data blocks of a table, unpacked, up to the first that is damaged.
pub(crate) fn blocks(bytes: &[u8]) -> Vec<Vec<u8>> {
    let salt = stated_salt(bytes).unwrap_or(0);
    let bytes = Bytes::copy_from_slice(bytes);
    let Ok(reader) = open_table(&bytes, salt, TableAccess::Mapped, 0) else {
        return Vec::new();
    };
    let index = reader.index();
    let places = (0..index.blocks()).map_while(|at| Some((at, index.block(at)?)));
    let block = |(at, place)| reader.block(at, place, &mut ReadStats::default()).ok();
    places.map_while(block).map(|block| reader.bytes_of(&block).to_vec()).collect()
}

/// The salt that the footer of a table names.
pub(crate) fn stated_salt(bytes: &[u8]) -> Option<u64> {
    u64_at(bytes.last_chunk::<FOOTER_LEN>()?, 48)
}

/// Makes every checksum of a table right, as far as its footer and index can be followed.
pub(crate) fn mend_checksums(bytes: &mut [u8]) {
    let (Some(salt), Some(footer_at)) = (stated_salt(bytes), bytes.len().checked_sub(FOOTER_LEN))
    else {
        return;
    };
    let mut footer = [0; FOOTER_LEN];
    footer.copy_from_slice(&bytes[footer_at..]);
    Footer::mend(&mut footer, footer_at as u64);
    bytes[footer_at..].copy_from_slice(&footer);
    let Ok(footer) = Footer::decode(&footer, footer_at as u64, salt) else {
        return;
    };
    for section in footer.filter.into_iter().chain([footer.index, footer.properties]) {
        mend(bytes, section, 0, salt);
    }
    let (start, end) =
        (footer.index.offset as usize, (footer.index.offset + footer.index.len) as usize);
    let index_bytes = bytes.get(start..end).unwrap_or_default().to_vec();
    let Ok(shape) = index::IndexShape::parse(&index_bytes, footer.index.offset) else {
        return;
    };
    let index = shape.on(&index_bytes);
    for place in (0..index.blocks()).filter_map(|at| index.block(at)) {
        let section = Section { offset: place.offset, len: place.len as u64 };
        mend(bytes, section, place.codec as u8, salt);
    }
}

fn mend(bytes: &mut [u8], section: Section, codec: u8, salt: u64) {
    let start = section.offset as usize;
    let end = start.saturating_add(section.len as usize).saturating_add(TRAILER_LEN);
    if let Some(sealed) = bytes.get_mut(start..end) {
        reseal(sealed, codec, salt, section.offset);
    }
}
