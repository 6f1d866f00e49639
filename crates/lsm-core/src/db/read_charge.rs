//! What seeks pay towards the work that would make them cheaper.
//!
//! A seek looks into every memtable and every run of tables. For each one too many it pays, in
//! bytes: as much as a flush or a merge writes in the time that the seek lost. Once the seeks have
//! paid for the work, it is done, even if nobody has stopped writing. So reads cost at most twice
//! what they would if the future were known (the ski rental problem), and no write is amplified
//! that nobody reads past.
//!
//! LevelDB has this as seek compaction, Pebble as read compaction.
//!
//! Threads: any. A keyspace of one run and small memtables counts nothing, so that its readers
//! share no line of cache.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

/// A merge or a flush is taken to write a byte in 10 ns, which was not measured. A seek in a memtable
/// whose nodes lie beyond the caches takes 3 µs ...
const MEMTABLE_BYTES: u64 = 256;
/// ... and one more run of tables 0.7 µs.
const RUN_BYTES: u64 = 64;
/// A memtable that takes less memory is as good as none: its nodes are cached.
const MEMTABLE_MIN: usize = 2 << 20;

/// What was paid for a keyspace, in bytes that may be written.
#[derive(Debug, Default)]
pub(crate) struct ReadCharge {
    memtables: CachePadded<AtomicU64>,
    tables: CachePadded<AtomicU64>,
}

/// What each seek of a cursor pays.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SeekPrice {
    memtables: u64,
    tables: u64,
}

impl SeekPrice {
    /// Of a cursor over memtables of these bytes, for which no flush was asked yet, and so many runs
    /// of tables.
    pub(crate) fn new(memtables: impl Iterator<Item = usize>, runs: usize) -> Self {
        let large = memtables.filter(|bytes| *bytes >= MEMTABLE_MIN).count();
        Self {
            memtables: large as u64 * MEMTABLE_BYTES,
            tables: runs.saturating_sub(1) as u64 * RUN_BYTES,
        }
    }
}

impl ReadCharge {
    #[inline]
    pub(crate) fn pay(&self, price: SeekPrice) {
        if price.memtables > 0 {
            self.memtables.fetch_add(price.memtables, Ordering::Relaxed);
        }
        if price.tables > 0 {
            self.tables.fetch_add(price.tables, Ordering::Relaxed);
        }
    }

    /// Whether a flush of so many bytes is paid for. It is then, once.
    pub(crate) fn buys_flush(&self, bytes: u64) -> bool {
        buys(&self.memtables, bytes)
    }

    /// As [`buys_flush`](Self::buys_flush), of a merge.
    pub(crate) fn buys_merge(&self, bytes: u64) -> bool {
        buys(&self.tables, bytes)
    }

    /// Whether there is anything that a merge could be paid with.
    pub(crate) fn has_paid_for_tables(&self) -> bool {
        self.tables.load(Ordering::Relaxed) > 0
    }
}

fn buys(paid: &AtomicU64, bytes: u64) -> bool {
    let enough = bytes > 0 && paid.load(Ordering::Relaxed) >= bytes;
    if enough {
        // What was paid beyond it was paid for what goes by it.
        paid.store(0, Ordering::Relaxed);
    }
    enough
}
