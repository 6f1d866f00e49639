//! The closed-loop workloads: each operation starts when the one before it has returned.

use std::time::{Duration, Instant};

use crate::data::Data;
use crate::store::Store;
use crate::threads;

/// How many operations each workload does.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub gets: u64,
    pub scans: u64,
    pub syncs: u64,
}

impl Sizes {
    /// Enough for stable figures, no more than the data set.
    pub fn of(entries: u64) -> Self {
        Self { gets: entries.min(1_000_000), scans: (entries / 10).min(200_000), syncs: 5_000 }
    }
}

/// What one workload took in one round.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub name: &'static str,
    pub operations: u64,
    pub time: Duration,
    /// The longest single operation.
    pub longest: Duration,
    /// Processor time of the calling threads: what a busy machine does not add to.
    pub processor: Duration,
}

impl Measured {
    pub fn per_second(&self) -> f64 {
        self.operations as f64 / self.time.as_secs_f64()
    }
}

/// One round over an empty store. Tells `done` each result as it comes.
pub fn run_round(store: &impl Store, data: &Data, sizes: Sizes, mut done: impl FnMut(Measured)) {
    let entries = data.entries;
    done(closed_loop("put", entries, |n| store.put(&data.key(n), data.value(n))));
    done(closed_loop("settle", 1, |_| store.settle()));
    read_workloads(store, data, sizes, &mut done);
    let over = |n| store.put(&data.key(n), data.value(n + 1));
    done(on_threads("put over, 1 thread", 1, entries, over));
    done(on_threads("put over, 2 threads", 2, entries, over));
    done(on_threads("put over, 4 threads", 4, entries, over));
    done(on_threads("put over, 16 threads", 16, entries, over));
    let sync = |n| store.sync_put(&data.key(n), data.value(n + 1));
    done(on_threads("synced put, 1 thread", 1, sizes.syncs, sync));
    let sync = |n| store.sync_put(&data.key(n + sizes.syncs), data.value(n + 1));
    done(on_threads("synced put, 16 threads", 16, 4 * sizes.syncs, sync));
}

/// The reads of a settled store.
fn read_workloads(store: &impl Store, data: &Data, sizes: Sizes, mut done: impl FnMut(Measured)) {
    let found = |n| assert_eq!(store.get(&data.key(n)), Some(data.value_len), "entry {n}");
    done(closed_loop("get", sizes.gets, |n| found(data.pick(n))));
    let missing = |n| assert_eq!(store.get(&data.key(data.entries + n)), None, "entry {n}");
    done(closed_loop("get of a missing key", sizes.gets, missing));
    let seek = |n, count| {
        let bytes = store.scan(&data.key(data.pick(n)), count);
        assert!(bytes as u64 >= data.entry_bytes(), "the key at {n} is there");
    };
    done(closed_loop("seek, then 1 entry", sizes.scans, |n| seek(n, 1)));
    done(closed_loop("seek, then 50 entries", sizes.scans, |n| seek(n + sizes.scans, 50)));
    let mut bytes = 0;
    let mut scanned = closed_loop("full scan", 1, |_| bytes = store.scan(&[], usize::MAX));
    assert!(bytes as u64 == data.entries * data.entry_bytes(), "the scan saw all");
    scanned.operations = data.entries;
    done(scanned);
}

fn closed_loop(name: &'static str, count: u64, mut operation: impl FnMut(u64)) -> Measured {
    let processor = threads::processor_time();
    let start = Instant::now();
    let (mut before, mut longest) = (start, Duration::ZERO);
    for n in 0..count {
        operation(n);
        let now = Instant::now();
        longest = longest.max(now - before);
        before = now;
    }
    let processor = threads::processor_time() - processor;
    Measured { name, operations: count, time: before - start, longest, processor }
}

fn on_threads(
    name: &'static str,
    threads: u64,
    count: u64,
    operation: impl Fn(u64) + Sync,
) -> Measured {
    let split = threads::split(threads, count, operation);
    let threads::Split { time, longest, processor } = split;
    Measured { name, operations: count, time, longest, processor }
}
