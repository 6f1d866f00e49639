//! A store with its data, on which the rows of a scene are measured one after the other.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::data::Data;
use crate::measured::Measured;
use crate::process::{Usage, anon_bytes, disk_bytes};
use crate::store::{Change, Store, settle};
use crate::threads::{Split, split};
use crate::zipf::Zipf;

/// How much each row does, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub gets: u64,
    pub scans: u64,
    pub syncs: u64,
    /// Entries of a queue.
    pub queue: u64,
    /// No row begins an operation after that.
    pub row: Duration,
    /// A store is at rest once nothing has happened for so long.
    pub rest: Duration,
}

impl Sizes {
    /// Enough for stable figures, no more than the data set.
    pub fn of(entries: u64) -> Self {
        Self {
            gets: entries.min(1_000_000),
            scans: (entries / 10).min(200_000),
            syncs: (entries / 50).min(5_000),
            queue: 100_000,
            row: Duration::from_secs(10),
            rest: Duration::from_secs(2),
        }
    }
}

/// How often, and by how many threads, an operation is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) threads: u64,
    pub(crate) calls: u64,
    /// Operations of one call.
    pub(crate) each: u64,
}

impl Load {
    pub(crate) const fn calls(calls: u64) -> Self {
        Self { threads: 1, calls, each: 1 }
    }

    pub(crate) const fn threads(self, threads: u64) -> Self {
        Self { threads, ..self }
    }

    pub(crate) const fn each(self, each: u64) -> Self {
        Self { each, ..self }
    }
}

pub(crate) struct Stage<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) data: Data,
    pub(crate) sizes: Sizes,
    pub(crate) folder: &'a Path,
    zipf: OnceLock<Zipf>,
    /// Entries there are beyond those of the data set.
    pub(crate) inserted: AtomicU64,
    pub(crate) deleted: AtomicU64,
    before: Usage,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(store: &'a dyn Store, folder: &'a Path, data: Data, sizes: Sizes) -> Self {
        let (inserted, deleted) = (AtomicU64::new(0), AtomicU64::new(0));
        let (zipf, before) = (OnceLock::new(), Usage::now());
        Self { store, data, sizes, folder, zipf, inserted, deleted, before }
    }

    /// Measures a closed loop. `work` gets the numbers from 0 on.
    pub(crate) fn measure(&self, load: Load, work: impl Fn(u64) + Sync) -> Measured {
        let before = Usage::now();
        let Split { time, longest, latencies } =
            split(load.threads, load.calls, self.sizes.row, work);
        let used = Usage::now().since(before);
        let longest_nanos = longest.as_nanos() as u64;
        // A place of the histogram has room for times a little longer than those it was given.
        let nanos = |quantile| latencies.value_at_quantile(quantile).min(longest_nanos);
        Measured {
            operations: latencies.len() * load.each,
            seconds: time.as_secs_f64(),
            p50_nanos: nanos(0.5),
            p99_nanos: nanos(0.99),
            p999_nanos: nanos(0.999),
            longest_nanos,
            processor_seconds: used.processor.as_secs_f64(),
            written_bytes: used.written_bytes,
            anon_bytes: anon_bytes(),
            ..Measured::default()
        }
    }

    /// Brings the store to rest, and tells what it takes there.
    pub(crate) fn settle(&self) -> Measured {
        let rested = self.measure(Load::calls(1), |_| settle(self.store, self.sizes.rest));
        Measured {
            written_bytes: Usage::now().since(self.before).written_bytes,
            disk_bytes: Some(disk_bytes(self.folder)),
            live_bytes: Some(self.live() * self.data.entry_bytes()),
            ..rested
        }
    }

    /// Changes the numbers from `first` up to `end` in batches, not measured.
    pub(crate) fn load<'b>(&'b self, first: u64, end: u64, change: impl Fn(u64) -> Change<'b>) {
        load(self.store, first, end, change);
    }

    /// The skew over the data set; takes a while the first time.
    #[inline]
    pub(crate) fn zipf(&self) -> &Zipf {
        self.zipf.get_or_init(|| Zipf::new(self.data.entries))
    }

    /// How many entries there are.
    pub(crate) fn live(&self) -> u64 {
        self.data.entries + self.inserted.load(Ordering::Relaxed)
            - self.deleted.load(Ordering::Relaxed)
    }
}

/// Writes the whole data set in random order, in batches.
pub fn fill(store: &dyn Store, data: &Data) {
    load(store, 0, data.entries, |n| (data.key(n), Some(data.value(n))));
}

fn load<'a>(store: &dyn Store, first: u64, end: u64, change: impl Fn(u64) -> Change<'a>) {
    const BATCH: u64 = 1000;
    for first in (first..end).step_by(BATCH as usize) {
        let batch: Vec<_> = (first..end.min(first + BATCH)).map(&change).collect();
        store.write(&batch);
    }
}
