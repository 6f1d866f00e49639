//! Writing: single puts, batches, overwrites, synced puts, with the default options.
//!
//! Each sample writes into a database that has been written to before, as users' are; flushes and
//! compactions run beside it and are part of what a write costs.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the real clock and files")]
#![allow(missing_docs, reason = "a program")]

use std::time::Duration;

use common::{Data, Folder, Lsm, Store as _, bench_entries, fill, split};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lsm_core::WriteBatch;

const VALUE_LENS: [usize; 2] = [100, 1024];
const BATCH_LEN: u64 = 100;

fn single(c: &mut Criterion) {
    let mut group = c.benchmark_group("write");
    group.throughput(Throughput::Elements(1));
    for value_len in VALUE_LENS {
        let data = Data::new(bench_entries(), value_len);
        let folder = Folder::new();
        let lsm = Lsm::open(folder.path());
        let mut next = 0..u64::MAX;
        let mut number = move || next.next().unwrap_or_default();
        group.bench_function(format!("put in order/{value_len}"), |b| {
            b.iter(|| {
                let n = number();
                lsm.put(&data.key_in_order(n), data.value(n));
            });
        });

        let folder = Folder::new();
        let lsm = Lsm::open(folder.path());
        let mut n = 0;
        group.bench_function(format!("put/{value_len}"), |b| {
            b.iter(|| {
                lsm.put(&data.key(n), data.value(n));
                n += 1;
            });
        });
    }
    group.finish();
}

fn batches(c: &mut Criterion) {
    let mut group = c.benchmark_group("write");
    group.throughput(Throughput::Elements(BATCH_LEN));
    for value_len in VALUE_LENS {
        let data = Data::new(bench_entries(), value_len);
        let folder = Folder::new();
        let lsm = Lsm::open(folder.path());
        let mut n = 0;
        group.bench_function(format!("batch of {BATCH_LEN}/{value_len}"), |b| {
            b.iter(|| {
                let mut batch = WriteBatch::new();
                for _ in 0..BATCH_LEN {
                    batch.put(data.key(n), data.value(n));
                    n += 1;
                }
                lsm.db.write(&batch).unwrap()
            });
        });
    }
    group.finish();
}

fn overwrite(c: &mut Criterion) {
    let data = Data::new(bench_entries(), 100);
    let folder = Folder::new();
    let lsm = Lsm::open(folder.path());
    fill(&lsm, &data);
    lsm.settle();
    let mut group = c.benchmark_group("write");
    group.throughput(Throughput::Elements(1));
    let mut n = 0;
    group.bench_function("overwrite/100", |b| {
        b.iter(|| {
            lsm.put(&data.key(data.pick(n)), data.value(n));
            n += 1;
        });
    });
    group.finish();
    lsm.settle();
}

fn synced(c: &mut Criterion) {
    let data = Data::new(bench_entries(), 100);
    let folder = Folder::new();
    let lsm = Lsm::open(folder.path());
    let mut group = c.benchmark_group("write");
    group.measurement_time(Duration::from_secs(3));
    let mut first = 0;
    for threads in [1, 16] {
        // One iteration is one put by each thread.
        group.throughput(Throughput::Elements(threads));
        group.bench_function(format!("sync, {threads} threads/100"), |b| {
            b.iter_custom(|count| {
                let put = |n| lsm.sync_put(&data.key(first + n), data.value(n));
                let split = split(threads, count * threads, Duration::MAX, put);
                first += count * threads;
                split.time
            });
        });
    }
    group.finish();
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5))
}

criterion_group! { name = benches; config = config(); targets = single, batches, overwrite, synced }
criterion_main!(benches);
