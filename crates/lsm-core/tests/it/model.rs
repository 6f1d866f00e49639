//! One random operation list under many settings, against the model.

use std::io;
use std::path::Path;
use std::sync::Arc;

use lsm_core::fs::{CrashFs, Fs, MemFs, OsFs};
use lsm_core::testkit::disk::{Disk, Links};
use lsm_core::testkit::generate::{Mix, Op, operations};
use lsm_core::testkit::model::Death;
use lsm_core::testkit::runner::Runner;
use lsm_core::{Compression, KeyspaceOptions, ManualClock, Options, TableAccess, Verification};

use crate::seeds::{self, Told};

const SEEDS: u64 = 5;
const STEPS: usize = 2500;

/// Everything as small as it may be, so that a short run has many tables and levels.
pub(crate) fn tiny() -> KeyspaceOptions {
    KeyspaceOptions::default()
        .write_buffer_bytes(64 << 10)
        .write_buffers_max(2)
        .block_bytes(256)
        .table_bytes(64 << 10)
        .l0_tables_compact(2)
        .level_bytes_base(64 << 10)
}

/// Small logs, and a clock that waits for nobody.
pub(crate) fn tiny_logs() -> Options {
    Options::default()
        .log_segment_bytes(64 << 10)
        .log_bytes_max(128 << 10)
        .clock(Arc::new(ManualClock::default()))
}

fn run(seed: u64, steps: usize, options: Options, keyspace: KeyspaceOptions, disk: Disk) {
    let runner = Runner::new(options, keyspace, disk, &seeds::dir());
    run_on(runner, &operations(seed, steps, Mix::Everything));
}

fn run_in(
    seed: u64,
    steps: usize,
    options: Options,
    keyspace: KeyspaceOptions,
    disk: Disk,
    dir: &Path,
) {
    let runner = Runner::new(options, keyspace, disk, dir);
    run_on(runner, &operations(seed, steps, Mix::Everything));
}

/// Returns how often a write had to wait.
fn run_on(mut runner: Runner, ops: &[Op]) -> u64 {
    runner.recover(Death::Machine).unwrap();
    for (at, op) in ops.iter().enumerate() {
        let _told = Told::new(format_args!("operation {at}, {:.200}", format!("{op:?}")));
        runner.apply(op).unwrap();
    }
    runner.check().unwrap();
    runner.db().verify().unwrap();
    runner.close().unwrap();
    runner.stops()
}

fn in_memory() -> Disk {
    Disk::crash(CrashFs::new())
}

#[test]
fn mapped_tables() {
    seeds::each("mapped_tables", SEEDS, STEPS, |seed, steps| {
        run(seed, steps, tiny_logs().stepped(seed), tiny(), in_memory());
    });
}

#[test]
fn read_tables_without_cache_or_filter() {
    seeds::each("read_tables_without_cache_or_filter", SEEDS, STEPS, |seed, steps| {
        let options = tiny_logs()
            .stepped(seed)
            .table_access(TableAccess::Pread)
            .verification(Verification::Always)
            .block_cache_bytes(0)
            .tables_open_max(16);
        let keyspace = tiny().filter_bits_per_key(0).compression(Compression::None);
        run(seed, steps, options, keyspace, in_memory());
    });
}

#[test]
fn read_tables_with_a_small_cache() {
    seeds::each("read_tables_with_a_small_cache", SEEDS, STEPS, |seed, steps| {
        let options = tiny_logs()
            .stepped(seed)
            .table_access(TableAccess::Pread)
            .block_cache_bytes(64 << 10)
            .tables_open_max(16);
        run(seed, steps, options, tiny().block_bytes(1024), in_memory());
    });
}

#[test]
fn mapped_tables_always_verified() {
    seeds::each("mapped_tables_always_verified", SEEDS, STEPS, |seed, steps| {
        let options =
            tiny_logs().stepped(seed).verification(Verification::Always).tables_open_max(16);
        let keyspace = tiny()
            .compression(Compression::None)
            .write_buffers_max(4)
            .l0_tables_compact(6)
            .filter_bits_per_key(1);
        run(seed, steps, options, keyspace, in_memory());
    });
}

#[test]
fn large_buffers() {
    seeds::each("large_buffers", SEEDS, STEPS, |seed, steps| {
        let options = tiny_logs().stepped(seed).log_segment_bytes(1 << 20).log_bytes_max(4 << 20);
        let keyspace = KeyspaceOptions::default().write_buffer_bytes(1 << 20).table_bytes(1 << 20);
        run(seed, steps, options, keyspace, in_memory());
    });
}

#[test]
fn writes_in_no_log() {
    seeds::each("writes_in_no_log", SEEDS, STEPS, |seed, steps| {
        let options = tiny_logs().stepped(seed);
        let runner = Runner::new(options, tiny(), in_memory(), &seeds::dir());
        run_on(runner, &operations(seed, steps, Mix::Unlogged));
    });
}

#[test]
fn every_limit_is_near() {
    seeds::each("every_limit_is_near", SEEDS, STEPS, |seed, steps| {
        let options = tiny_logs().stepped(seed).tables_open_max(16).block_cache_bytes(8 << 10);
        let keyspace = tiny().l0_tables_compact(1);
        let runner = Runner::new(options, keyspace, in_memory(), &seeds::dir());
        let mut ops = operations(seed, steps, Mix::Everything);
        // Background work is left to those who have to wait for it.
        ops.retain(|op| !matches!(op, Op::Step(_) | Op::Compact(..)));
        let stops = run_on(runner, &ops);
        assert!(stops > 10 || steps < STEPS, "{stops} writes had to wait");
    });
}

/// Copies are made while the tables they are made of are let go.
fn copies_meanwhile(name: &str, links: Links) {
    seeds::each(name, 2, STEPS / 2, |seed, steps| {
        let options = tiny_logs().stepped(seed);
        let runner = Runner::new(options, tiny(), in_memory(), &seeds::dir());
        let mix = if seed.is_multiple_of(2) { Mix::Unlogged } else { Mix::Everything };
        let mut ops = operations(seed, steps, mix);
        for at in (10..ops.len()).step_by(40) {
            ops.insert(at, Op::Checkpoint);
        }
        run_on(runner.with_links(links), &ops);
    });
}

#[test]
fn copies_by_slow_links() {
    copies_meanwhile("copies_by_slow_links", Links::Slow);
}

#[test]
fn copies_without_links() {
    let kind = io::ErrorKind::PermissionDenied;
    copies_meanwhile("copies_without_links", Links::Refused(kind));
}

#[test]
fn copies_to_another_file_system() {
    let kind = io::ErrorKind::CrossesDevices;
    copies_meanwhile("copies_to_another_file_system", Links::Refused(kind));
}

#[test]
fn on_the_real_file_system() {
    seeds::each("on_the_real_file_system", 2, STEPS / 2, |seed, steps| {
        let dir = tempfile::tempdir().unwrap();
        let (options, disk) = (tiny_logs().stepped(seed), Disk::Plain(Arc::new(OsFs)));
        run_in(seed, steps, options, tiny(), disk, &dir.path().join("db"));
    });
}

#[test]
fn threads_that_crash() {
    seeds::each("threads_that_crash", SEEDS, STEPS, |seed, steps| {
        run(seed, steps, tiny_logs().compaction_threads(2), tiny(), in_memory());
    });
}

#[test]
fn threads_that_crash_without_a_log() {
    seeds::each("threads_that_crash_without_a_log", 2, STEPS, |seed, steps| {
        let runner = Runner::new(tiny_logs(), tiny(), in_memory(), &seeds::dir());
        run_on(runner, &operations(seed, steps, Mix::Unlogged));
    });
}

#[test]
fn threads_in_memory() {
    seeds::each("threads_in_memory", SEEDS, STEPS, |seed, steps| {
        let options = tiny_logs().table_access(TableAccess::Pread).tables_open_max(16);
        run(seed, steps, options, tiny(), Disk::Plain(Arc::new(MemFs::new())));
    });
}

#[test]
fn threads_on_the_real_file_system() {
    seeds::each("threads_on_the_real_file_system", 2, STEPS / 2, |seed, steps| {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::Plain(Arc::new(OsFs) as Arc<dyn Fs>);
        run_in(seed, steps, tiny_logs(), tiny(), disk, &dir.path().join("db"));
    });
}
