//! What cursors pay towards the work that would make them cheaper.
//!
//! A seek looks into every memtable and every run of tables, and each step chooses among them. For
//! each one too many a cursor pays the time that it lost. It pays, too, for each entry that it passed
//! over because that is deleted or replaced: before the head of a queue there may be a hundred
//! thousand. Once as much is paid as a flush or a merge takes, it is done, even if nobody has stopped
//! writing. So reads cost at most twice what they would if the future were known (the ski rental
//! problem), and no write is amplified that nobody reads past.
//!
//! LevelDB has this as seek compaction, Pebble as read compaction.
//!
//! Threads: any. A keyspace of one run and small memtables counts nothing, so that its readers
//! share no line of cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use super::stats::Metrics;

/// What a byte takes that a flush or a merge writes. All times here are in nanoseconds, and were
/// measured with entries of 16 + 100 bytes: this one by a merge of 208 MB into 159 MB, 1.0 to 1.3 s.
const WRITTEN_BYTE: u64 = 6;
/// What a seek loses by a memtable whose nodes lie beyond the caches ...
const MEMTABLE_SEEK: u64 = 2500;
/// ... and each step, as long as an eighth of the entries lie in it.
const MEMTABLE_STEP: u64 = 100;
/// The same, by one more run of tables.
const RUN_SEEK: u64 = 700;
const RUN_STEP: u64 = 25;
/// What a hidden entry costs as long as a memtable hides it: 100,000 deleted keys, each hidden by its
/// deletion, took 14 ms.
const MEMTABLE_HIDDEN: u64 = 70;
/// A memtable that takes less memory is as good as none for what shows: its nodes are cached. A flush
/// costs as much as of one of this size at least.
const MEMTABLE_MIN: usize = 2 << 20;

/// What was paid for a keyspace, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct ReadCharge {
    memtables: CachePadded<AtomicU64>,
    tables: CachePadded<AtomicU64>,
    /// Of the database.
    metrics: Arc<Metrics>,
}

/// What a cursor pays for: so many parts of the keyspace too many.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReadPrice {
    memtables: u64,
    runs: u64,
    /// How many entries memtables of whatever size hide at most.
    hidden_max: u64,
}

/// What a cursor did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moves {
    pub(crate) seeks: u64,
    /// To the next entry that shows.
    pub(crate) steps: u64,
    /// Past an entry that does not.
    pub(crate) hidden: u64,
}

impl ReadPrice {
    /// Of a cursor over memtables of so many bytes and entries, for which no flush was asked yet, and so
    /// many runs of tables.
    pub(crate) fn new(memtables: impl Iterator<Item = (usize, u64)>, runs: usize) -> Self {
        let (mut large, mut hidden_max) = (0, 0);
        for (bytes, entries) in memtables {
            large += u64::from(bytes >= MEMTABLE_MIN);
            // A deletion, and what it deletes.
            hidden_max += 2 * entries;
        }
        Self { memtables: large, runs: runs.saturating_sub(1) as u64, hidden_max }
    }
}

impl ReadCharge {
    pub(crate) fn new(metrics: &Arc<Metrics>) -> Self {
        Self { metrics: Arc::clone(metrics), ..Self::default() }
    }

    /// A cursor has moved.
    #[inline]
    pub(crate) fn pay(&self, price: ReadPrice, moves: Moves) {
        let Moves { seeks, steps, hidden } = moves;
        self.metrics.count_scan(seeks, steps, hidden);
        let moved = price.memtables * (seeks * MEMTABLE_SEEK + steps * MEMTABLE_STEP);
        let lost = moved + hidden.min(price.hidden_max) * MEMTABLE_HIDDEN;
        if lost > 0 {
            self.memtables.fetch_add(lost, Ordering::Relaxed);
        }
        if price.runs > 0 {
            let lost = price.runs * (seeks * RUN_SEEK + steps * RUN_STEP) + hidden * RUN_STEP;
            self.tables.fetch_add(lost, Ordering::Relaxed);
        }
    }

    /// Whether a flush of so many bytes is paid for. It is then, once.
    pub(crate) fn buys_flush(&self, bytes: u64) -> bool {
        bytes > 0 && buys(&self.memtables, bytes.max(MEMTABLE_MIN as u64))
    }

    /// As [`buys_flush`](Self::buys_flush), of a merge.
    pub(crate) fn buys_merge(&self, bytes: u64) -> bool {
        buys(&self.tables, bytes)
    }

    /// All that was paid and not spent yet, in nanoseconds.
    pub(crate) fn unspent(&self) -> u64 {
        [&self.memtables, &self.tables].map(|paid| paid.load(Ordering::Relaxed)).iter().sum()
    }

    /// Whether there is anything that a flush could be paid with.
    pub(crate) fn has_paid_for_memtables(&self) -> bool {
        self.memtables.load(Ordering::Relaxed) > 0
    }

    /// As [`has_paid_for_memtables`](Self::has_paid_for_memtables), a merge.
    pub(crate) fn has_paid_for_tables(&self) -> bool {
        self.tables.load(Ordering::Relaxed) > 0
    }
}

fn buys(paid: &AtomicU64, bytes: u64) -> bool {
    let price = bytes.saturating_mul(WRITTEN_BYTE);
    let enough = price > 0 && paid.load(Ordering::Relaxed) >= price;
    if enough {
        // What was paid beyond it was paid for what goes by it.
        paid.store(0, Ordering::Relaxed);
    }
    enough
}
