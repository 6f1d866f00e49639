//! A table read from front to back, for flush, compaction, checkpoint and verify.
//!
//! Reads the file with `pread`, far ahead, and checks every block each time. Never touches a
//! mapping or the block cache: a failing disk is an error here and not a signal, and what users
//! read stays in the caches.
//!
//! Threads: one a scan.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::compress::{Codec, unpack_lz4};
use super::cursor::{Blocks, Walk};
use super::format::{Damage, TRAILER_LEN};
use super::index::Index;
#[cfg(test)]
use super::properties::Properties;
use super::reader::{Parts, block_error, check_block};
use lsm_log::error::{Error, Result};
use lsm_log::fs::{Access, ReadFile};

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// A cursor over a table that is read once, in order; other moves work, slower.
pub(crate) type TableScan = Walk<ScanBlocks>;

impl Walk<ScanBlocks> {
    /// A scan of a table that should be `bytes` long and carry `salt`, over a handle of its own.
    /// `path` names the file in errors.
    pub(crate) fn open(
        file: Arc<dyn ReadFile>,
        path: PathBuf,
        bytes: u64,
        salt: u64,
    ) -> Result<Self> {
        ScanBlocks::open(file, path, bytes, salt, false).map(Walk::new)
    }

    #[cfg(test)]
    pub(crate) fn properties(&self) -> &Properties {
        &self.blocks().parts.properties
    }
}

/// The blocks of a file, through a buffer that reads ahead.
#[derive(Debug)]
pub(crate) struct ScanBlocks {
    file: Arc<dyn ReadFile>,
    path: PathBuf,
    salt: u64,
    parts: Parts,
    index: Bytes,
    /// Empty unless asked for.
    pub(super) filter: Bytes,
    /// Bytes of the file from `ahead_at` on.
    ahead: Vec<u8>,
    ahead_at: u64,
    held: BlockPlace,
    unpacked: Vec<u8>,
}

/// Where the block is.
#[derive(Clone, Debug)]
enum BlockPlace {
    Nothing,
    /// In what was read ahead.
    Ahead(Range<usize>),
    Unpacked,
}

impl ScanBlocks {
    pub(super) fn open(
        file: Arc<dyn ReadFile>,
        path: PathBuf,
        bytes: u64,
        salt: u64,
        want_filter: bool,
    ) -> Result<Self> {
        file.advise(Access::Sequential);
        let opened = Parts::open_pread(&*file, &path, bytes, salt, want_filter);
        let (parts, index, filter) = opened.map_err(|e| e.in_file(&path))?;
        Ok(Self {
            file,
            path,
            salt,
            parts,
            index,
            filter,
            ahead: Vec::new(),
            ahead_at: 0,
            held: BlockPlace::Nothing,
            unpacked: Vec::new(),
        })
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Where the data blocks end: the first byte of what is behind them.
    pub(super) fn data_end(&self) -> u64 {
        let footer = &self.parts.footer;
        footer.filter.unwrap_or(footer.index).offset
    }

    /// The range of `ahead` that holds `len` bytes from `offset` on; reads on if need be.
    pub(super) fn read(&mut self, offset: u64, len: usize) -> Result<Range<usize>> {
        let within = |this: &Self| {
            let start = usize::try_from(offset.checked_sub(this.ahead_at)?).ok()?;
            let end = start.checked_add(len)?;
            (end <= this.ahead.len()).then_some(start..end)
        };
        if let Some(range) = within(self) {
            return Ok(range);
        }
        let left = usize::try_from(self.data_end().saturating_sub(offset)).unwrap_or(usize::MAX);
        let backwards = offset < self.ahead_at;
        let wanted = if backwards { len } else { len.max(READ_BYTES.min(left)) };
        // Not to be trusted if reading fails.
        self.ahead.clear();
        let mut ahead = std::mem::take(&mut self.ahead);
        ahead.resize(wanted, 0);
        let read = self.file.read_at(offset, &mut ahead);
        read.map_err(|e| Error::io("read the table", &self.path, e).at(offset))?;
        (self.ahead, self.ahead_at) = (ahead, offset);
        Ok(0..len)
    }

    pub(super) fn ahead(&self, range: Range<usize>) -> &[u8] {
        self.ahead.get(range).unwrap_or_default()
    }
}

impl Blocks for ScanBlocks {
    fn index(&self) -> Index<'_> {
        self.parts.index.on(&self.index)
    }

    fn load(&mut self, at: usize) -> Result<()> {
        self.held = BlockPlace::Nothing;
        let Some(place) = self.index().block(at) else {
            return Err(self.error(at, Damage::new("block outside the table", 0)));
        };
        let sealed = self.read(place.offset, place.len + TRAILER_LEN)?;
        check_block(&self.ahead[sealed.clone()], place, self.salt)
            .map_err(|e| e.in_file(&self.path))?;
        let payload = sealed.start..sealed.start + place.len;
        self.held = match place.codec {
            Codec::None => BlockPlace::Ahead(payload),
            Codec::Lz4 => {
                unpack_lz4(&self.ahead[payload], &mut self.unpacked)
                    .map_err(|damage| damage.error(place.offset, &self.path))?;
                BlockPlace::Unpacked
            }
        };
        Ok(())
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match &self.held {
            BlockPlace::Nothing => &[],
            BlockPlace::Ahead(range) => &self.ahead[range.clone()],
            BlockPlace::Unpacked => &self.unpacked,
        }
    }

    #[cold]
    fn error(&self, at: usize, damage: Damage) -> Error {
        block_error(self.index().block(at), damage, &self.path)
    }
}

impl Drop for ScanBlocks {
    fn drop(&mut self) {
        self.file.advise(Access::Done);
    }
}
