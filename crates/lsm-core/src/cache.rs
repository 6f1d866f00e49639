//! The block cache: a kept cache library behind our key type.
//!
//! Holds data blocks that were read with `pread` or unpacked, shared by all tables of a
//! database. Knows nothing of what is in them. Blocks of removed tables are not looked up any
//! more and age out: table numbers are never used twice.
//!
//! Threads: any number; the library locks one shard at a time, never over I/O.

use std::fmt;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// A block among all blocks of a database: number of its table, offset in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct BlockKey {
    table: u64,
    offset: u64,
}

/// What an entry takes beside its bytes, about: the key, the handle, the library's own.
const ENTRY_OVERHEAD: u64 = 96;
/// What the library sizes its tables for, before it knows better.
const BLOCK_LEN_TYPICAL: usize = 4 << 10;

#[derive(Clone)]
struct ByBytes;

impl Weighter<BlockKey, Bytes> for ByBytes {
    fn weight(&self, _: &BlockKey, block: &Bytes) -> u64 {
        block.len() as u64 + ENTRY_OVERHEAD
    }
}

/// Blocks in memory, up to a number of bytes.
pub(crate) struct BlockCache {
    /// `None` if the cache is off.
    blocks: Option<Cache<BlockKey, Bytes, ByBytes>>,
}

impl BlockCache {
    /// A cache of so many bytes; 0 turns it off.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let blocks_estimate = (bytes_max / BLOCK_LEN_TYPICAL).max(16);
        let blocks = (bytes_max > 0)
            .then(|| Cache::with_weighter(blocks_estimate, bytes_max as u64, ByBytes));
        Self { blocks }
    }

    #[inline]
    pub(crate) fn get(&self, table: u64, offset: u64) -> Option<Bytes> {
        self.blocks.as_ref()?.get(&BlockKey { table, offset })
    }

    /// Remembers a block, or not, as the cache sees fit.
    pub(crate) fn insert(&self, table: u64, offset: u64, block: Bytes) {
        if let Some(blocks) = &self.blocks {
            blocks.insert(BlockKey { table, offset }, block);
        }
    }

    /// Bytes held now.
    pub(crate) fn bytes(&self) -> u64 {
        self.blocks.as_ref().map_or(0, Cache::weight)
    }
}

impl fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockCache").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_by_table_and_offset() {
        let cache = BlockCache::new(1 << 20);
        cache.insert(1, 0, Bytes::from_static(b"one"));
        cache.insert(2, 0, Bytes::from_static(b"two"));
        assert_eq!(cache.get(1, 0).unwrap(), "one");
        assert_eq!(cache.get(2, 0).unwrap(), "two");
        assert_eq!(cache.get(1, 4096), None);
    }

    #[test]
    fn never_holds_more_than_it_may() {
        let cache = BlockCache::new(1 << 20);
        for offset in 0..4096 {
            cache.insert(1, offset, Bytes::from(vec![0; 1000]));
            assert!(cache.bytes() <= 1 << 20);
        }
        assert!(cache.bytes() > 1 << 19, "and uses what it may");
    }

    #[test]
    fn off_is_off() {
        let cache = BlockCache::new(0);
        cache.insert(1, 0, Bytes::from_static(b"one"));
        assert_eq!(cache.get(1, 0), None);
        assert_eq!(cache.bytes(), 0);
    }
}
