//! Reading a settled tree of `LSM_BENCH_ENTRIES` entries, which is made once a data set.
//!
//! `100` and `1024` are the lengths of values under the default options; `100, uncompressed` is
//! the same data without compression, where reads are slices of the mapped files.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the real clock and files")]
#![allow(missing_docs, reason = "a program")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{Data, Folder, Lsm, Store as _, bench_entries, fill};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use lsm_core::{Compression, Options};

fn reads(c: &mut Criterion) {
    let plain = Options::default().compression(Compression::None);
    let sets = [
        ("100", 100, Options::default()),
        ("1024", 1024, Options::default()),
        ("100, uncompressed", 100, plain),
    ];
    for (name, value_len, options) in sets {
        let data = Data::new(bench_entries(), value_len);
        let folder = Folder::new();
        let lsm = Lsm::open_with(options, folder.path());
        fill(&lsm, &data);
        lsm.settle();
        let mut group = c.benchmark_group("read");
        points(&mut group, name, &lsm, &data);
        scans(&mut group, name, &lsm, &data);
        beside_writes(&mut group, name, &lsm, &data);
        group.finish();
    }
}

fn points(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, lsm: &Lsm, data: &Data) {
    group.throughput(Throughput::Elements(1));
    let mut n = 0;
    group.bench_function(format!("get/{name}"), |b| {
        b.iter(|| {
            n += 1;
            lsm.get(&data.key(data.pick(n))).expect("the key is there")
        });
    });
    group.bench_function(format!("get of a missing key/{name}"), |b| {
        b.iter(|| {
            n += 1;
            assert_eq!(lsm.get(&data.key(data.entries + n)), None);
        });
    });
}

fn scans(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, lsm: &Lsm, data: &Data) {
    let mut n = 0;
    for count in [1, 50] {
        group.throughput(Throughput::Elements(1));
        let entries = if count == 1 { "entry" } else { "entries" };
        group.bench_function(format!("seek, then {count} {entries}/{name}"), |b| {
            b.iter(|| {
                n += 1;
                lsm.scan(&data.key(data.pick(n)), count)
            });
        });
    }
    group.throughput(Throughput::Elements(data.entries)).sample_size(10);
    group.bench_function(format!("full scan/{name}"), |b| {
        b.iter(|| lsm.scan(&[], usize::MAX));
    });
    group.sample_size(20);
}

/// Random gets while another thread overwrites as fast as it may.
fn beside_writes(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, lsm: &Lsm, data: &Data) {
    group.throughput(Throughput::Elements(1));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                lsm.put(&data.key(data.pick(n)), data.value(n));
                n += 1;
            }
        });
        let mut n = 0;
        group.bench_function(format!("get while writing/{name}"), |b| {
            b.iter(|| {
                n += 1;
                lsm.get(&data.key(data.pick(n))).expect("the key is there")
            });
        });
        stop.store(true, Ordering::Relaxed);
    });
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
}

criterion_group! { name = benches; config = config(); targets = reads }
criterion_main!(benches);
