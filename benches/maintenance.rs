//! What happens behind the calls: opening, replaying the log, flushing, compacting.
//!
//! Bytes are those of keys and values for flush and compaction, and those of the log for replay.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the real clock and files")]
#![allow(missing_docs, reason = "a program")]

use std::time::{Duration, Instant};

use common::{Data, Folder, Lsm, bench_entries, fill};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lsm_core::{Db, WriteBatch};

/// Entries of 16 + 100 bytes that stay in one memtable of the default size.
const MEMTABLE_ENTRIES: u64 = 200_000;

fn open(c: &mut Criterion) {
    let data = Data::new(bench_entries(), 100);
    let folder = Folder::new();
    let lsm = Lsm::open(folder.path());
    fill(&lsm, &data);
    lsm.settle();
    lsm.db.close().unwrap();
    let mut group = c.benchmark_group("open");
    group.sample_size(10);
    group.bench_function("empty log", |b| {
        b.iter_custom(|count| (0..count).map(|_| timed_open(&folder)).sum());
    });

    let lsm = Lsm::open(folder.path());
    write(&lsm.db, &data);
    let log_bytes = lsm.db.stats().log_bytes;
    assert_eq!(lsm.db.stats().flushes, 0, "the log is still needed");
    lsm.db.close().unwrap();
    group.throughput(Throughput::Bytes(log_bytes));
    group.bench_function("replay", |b| {
        b.iter_custom(|count| (0..count).map(|_| timed_open(&folder)).sum());
    });
    group.finish();
}

fn flush(c: &mut Criterion) {
    let data = Data::new(bench_entries(), 100);
    let mut group = c.benchmark_group("maintenance");
    group.sample_size(10).throughput(Throughput::Bytes(MEMTABLE_ENTRIES * data.entry_bytes()));
    group.bench_function("flush", |b| {
        b.iter_custom(|count| {
            let mut time = Duration::ZERO;
            for _ in 0..count {
                let folder = Folder::new();
                let lsm = Lsm::open(folder.path());
                write(&lsm.db, &data);
                let start = Instant::now();
                lsm.db.flush().unwrap();
                time += start.elapsed();
                lsm.db.close().unwrap();
            }
            time
        });
    });

    let runs = 2;
    group.throughput(Throughput::Bytes(runs * MEMTABLE_ENTRIES * data.entry_bytes()));
    group.bench_function("compaction", |b| {
        b.iter_custom(|count| {
            let mut time = Duration::ZERO;
            for _ in 0..count {
                let folder = Folder::new();
                let lsm = Lsm::open(folder.path());
                for _ in 0..runs {
                    write(&lsm.db, &data);
                    lsm.db.flush().unwrap();
                }
                lsm.settle();
                let start = Instant::now();
                lsm.db.compact_range::<&[u8]>(..).unwrap();
                time += start.elapsed();
                lsm.db.close().unwrap();
            }
            time
        });
    });
    group.finish();
}

fn timed_open(folder: &Folder) -> Duration {
    let start = Instant::now();
    let lsm = Lsm::open(folder.path());
    let time = start.elapsed();
    lsm.db.close().unwrap();
    time
}

/// Fills the active memtable.
fn write(db: &Db, data: &Data) {
    for first in (0..MEMTABLE_ENTRIES).step_by(100) {
        let mut batch = WriteBatch::new();
        for n in first..first + 100 {
            batch.put(data.key(n), data.value(n));
        }
        db.write(&batch).unwrap();
    }
}

fn config() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(5))
}

criterion_group! { name = benches; config = config(); targets = open, flush }
criterion_main!(benches);
