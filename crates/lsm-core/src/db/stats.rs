//! What a database has done since it was opened: counted here, read by the user.

use std::time::Duration;

use super::stall::StallReason;
use crate::batch::WriteBatch;
use crate::compaction::Plan;
use crate::metrics::Counter;
use crate::sstable::Touched;
use crate::sync::Mutex;
use crate::version::TableMeta;

/// The counters of one open database.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    batches: Counter,
    operations: Counter,
    written_bytes: Counter,
    gets: Counter,
    gets_found: Counter,
    tables_touched: Counter,
    filter_hits: Counter,
    filter_misses: Counter,
    false_positives: Counter,
    blocks: Counter,
    cache_hits: Counter,
    cache_misses: Counter,
    pub(crate) flushes: Counter,
    pub(crate) flush_bytes: Counter,
    pub(crate) moves: Counter,
    compactions: Counter,
    compaction_read_bytes: Counter,
    compaction_written_bytes: Counter,
    stall_nanos: Counter,
    stops: Counter,
    /// The last reason.
    stall_reason: Mutex<StallReason>,
}

/// What a database has done since it was opened. Times are of the database's clock.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Batches written; a single put or delete counts as one.
    pub batches: u64,
    /// Puts and deletes.
    pub operations: u64,
    /// Bytes of batches as callers wrote them, in their encoded form.
    pub written_bytes: u64,
    /// Bytes appended to the log, its framing included.
    pub log_bytes: u64,
    /// Times the log was synced to the disk.
    pub log_syncs: u64,
    /// Memtable groups turned into tables, and the bytes of those tables.
    pub flushes: u64,
    /// See [`flushes`](Self::flushes).
    pub flush_bytes: u64,
    /// Compactions that merged tables.
    pub compactions: u64,
    /// Compactions that only moved a table a level down.
    pub moves: u64,
    /// Bytes of tables that compactions read.
    pub compaction_read_bytes: u64,
    /// Bytes of tables that compactions wrote.
    pub compaction_written_bytes: u64,
    /// Point lookups, and how many found a value.
    pub gets: u64,
    /// See [`gets`](Self::gets).
    pub gets_found: u64,
    /// Tables whose key range a lookup fell into.
    pub tables_touched: u64,
    /// Lookups of a table that its filter answered with "not here".
    pub filter_hits: u64,
    /// Lookups of a table that its filter let through.
    pub filter_misses: u64,
    /// Lookups that a filter let through for nothing.
    pub false_positives: u64,
    /// Data blocks that lookups searched.
    pub blocks: u64,
    /// Blocks found in the block cache; those found in a mapping need none.
    pub cache_hits: u64,
    /// Blocks that were decompressed or read because the block cache did not hold them.
    pub cache_misses: u64,
    /// Time that writers were held back.
    pub stall_time: Duration,
    /// Times that a writer had to wait for background work to finish.
    pub stops: u64,
    /// Why writers were held back last.
    pub stall_reason: StallReason,
    /// Memory of all memtables, in bytes.
    pub memtable_bytes: u64,
    /// Bytes of all tables.
    pub table_bytes: u64,
    /// Bytes that compaction has yet to move until every level is within its size.
    pub debt_bytes: u64,
    /// Bytes in the block cache.
    pub cache_bytes: u64,
    /// Snapshots that are held.
    pub snapshots: u64,
    /// Files that nothing needs any more and that are still to be removed.
    pub obsolete_files: u64,
    /// Background jobs that failed without harm: each was, or will be, tried again.
    pub job_failures: u64,
    /// Why the last of them failed, until it is done: writers that have to wait for it are told
    /// the same.
    pub job_error: Option<String>,
}

impl Stats {
    /// Bytes written to disk (log, flushes, compactions) for each byte written by callers; 0
    /// before the first write.
    pub fn write_amplification(&self) -> f64 {
        let disk = self.log_bytes + self.flush_bytes + self.compaction_written_bytes;
        ratio(disk, self.written_bytes)
    }

    /// Data blocks searched for each lookup; 0 before the first. What filters and memtables
    /// answer costs no block.
    pub fn read_amplification(&self) -> f64 {
        ratio(self.blocks, self.gets)
    }

    /// Tables whose key range a lookup fell into, for each lookup.
    pub fn tables_touched_per_get(&self) -> f64 {
        ratio(self.tables_touched, self.gets)
    }
}

fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

impl Metrics {
    #[inline]
    pub(crate) fn count_get(&self, touched: &Touched, found: bool) {
        // Each counter is a locked instruction: those that stay at zero are left alone.
        let raise = |counter: &Counter, n: u64| {
            if n > 0 {
                counter.add(n);
            }
        };
        self.gets.add(1);
        raise(&self.gets_found, u64::from(found));
        raise(&self.tables_touched, touched.tables);
        raise(&self.filter_hits, touched.filter_hits);
        raise(&self.filter_misses, touched.filter_misses);
        raise(&self.false_positives, touched.false_positives);
        raise(&self.blocks, touched.blocks);
        raise(&self.cache_hits, touched.cache_hits);
        raise(&self.cache_misses, touched.cache_misses);
    }

    #[inline]
    pub(crate) fn count_write(&self, batch: &WriteBatch) {
        self.batches.add(1);
        self.operations.add(batch.len() as u64);
        self.written_bytes.add(batch.bytes() as u64);
    }

    pub(crate) fn count_compaction(&self, plan: &Plan, written: &[TableMeta]) {
        let read = plan.inputs.iter().chain(&plan.below).map(|table| table.meta.bytes).sum();
        self.compactions.add(1);
        self.compaction_read_bytes.add(read);
        self.compaction_written_bytes.add(written.iter().map(|meta| meta.bytes).sum());
    }

    pub(crate) fn count_pause(&self, reason: StallReason, time: Duration) {
        *self.stall_reason.lock() = reason;
        self.stall_nanos.add(time.as_nanos() as u64);
    }

    pub(crate) fn count_stop(&self, reason: StallReason, time: Duration) {
        self.stops.add(1);
        self.count_pause(reason, time);
    }

    /// The counters; what is measured elsewhere stays at zero.
    pub(crate) fn read(&self) -> Stats {
        Stats {
            batches: self.batches.get(),
            operations: self.operations.get(),
            written_bytes: self.written_bytes.get(),
            flushes: self.flushes.get(),
            flush_bytes: self.flush_bytes.get(),
            compactions: self.compactions.get(),
            moves: self.moves.get(),
            compaction_read_bytes: self.compaction_read_bytes.get(),
            compaction_written_bytes: self.compaction_written_bytes.get(),
            gets: self.gets.get(),
            gets_found: self.gets_found.get(),
            tables_touched: self.tables_touched.get(),
            filter_hits: self.filter_hits.get(),
            filter_misses: self.filter_misses.get(),
            false_positives: self.false_positives.get(),
            blocks: self.blocks.get(),
            cache_hits: self.cache_hits.get(),
            cache_misses: self.cache_misses.get(),
            stall_time: Duration::from_nanos(self.stall_nanos.get()),
            stops: self.stops.get(),
            stall_reason: *self.stall_reason.lock(),
            ..Stats::default()
        }
    }
}
