//! What a database has done since it was opened: counted here, read by the user.

use std::time::Duration;

use parking_lot::Mutex;

use super::stall::StallReason;
use crate::batch::WriteBatch;
use crate::compaction::Plan;
use crate::metrics::{Counter, Striped};
use crate::sstable::ReadStats;
use crate::version::TableMeta;

/// The counters of one open database.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Batches, operations, bytes.
    writes: Striped<3>,
    /// Lookups, those that found a value, and what they touched, in the order of
    /// [`count_get`](Self::count_get).
    gets: Striped<9>,
    /// Seeks, steps, entries skipped.
    scans: Striped<3>,
    /// Commits, conflicts.
    transactions: Striped<2>,
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
    /// Seeks of cursors and iterators.
    pub seeks: u64,
    /// Steps of cursors and iterators from one entry to the next.
    pub steps: u64,
    /// Entries that cursors and iterators passed over, as they are deleted, replaced or too new.
    pub entries_skipped: u64,
    /// Transactions with writes that were committed.
    pub commits: u64,
    /// Transactions that were not, because others were faster.
    pub conflicts: u64,
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
    pub(crate) fn count_get(&self, touched: &ReadStats, found: bool) {
        self.count_gets(touched, 1, u64::from(found));
    }

    /// Of so many lookups, those that found a value.
    #[inline]
    pub(crate) fn count_gets(&self, touched: &ReadStats, gets: u64, found: u64) {
        // What a memtable has answered, or nothing has, is most of what some programs ask for.
        if touched.tables == 0 {
            return self.gets.raise([gets, found]);
        }
        self.gets.raise([
            gets,
            found,
            touched.tables,
            touched.filter_hits,
            touched.filter_misses,
            touched.false_positives,
            touched.blocks,
            touched.cache_hits,
            touched.cache_misses,
        ]);
    }

    #[inline]
    pub(crate) fn count_write(&self, batch: &WriteBatch) {
        self.writes.raise([1, batch.len() as u64, batch.bytes() as u64]);
    }

    /// Of cursors.
    #[inline]
    pub(crate) fn count_scan(&self, seeks: u64, steps: u64, skipped: u64) {
        self.scans.raise([seeks, steps, skipped]);
    }

    /// A transaction with writes has ended.
    pub(crate) fn count_commit(&self, conflict: bool) {
        self.transactions.raise([u64::from(!conflict), u64::from(conflict)]);
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
        let [batches, operations, written_bytes] = self.writes.sum();
        let [
            gets,
            gets_found,
            tables_touched,
            filter_hits,
            filter_misses,
            false_positives,
            blocks,
            cache_hits,
            cache_misses,
        ] = self.gets.sum();
        let [seeks, steps, entries_skipped] = self.scans.sum();
        let [commits, conflicts] = self.transactions.sum();
        Stats {
            batches,
            operations,
            written_bytes,
            flushes: self.flushes.get(),
            flush_bytes: self.flush_bytes.get(),
            compactions: self.compactions.get(),
            moves: self.moves.get(),
            compaction_read_bytes: self.compaction_read_bytes.get(),
            compaction_written_bytes: self.compaction_written_bytes.get(),
            gets,
            gets_found,
            tables_touched,
            filter_hits,
            filter_misses,
            false_positives,
            blocks,
            cache_hits,
            cache_misses,
            seeks,
            steps,
            entries_skipped,
            commits,
            conflicts,
            stall_time: Duration::from_nanos(self.stall_nanos.get()),
            stops: self.stops.get(),
            stall_reason: *self.stall_reason.lock(),
            ..Stats::default()
        }
    }
}
