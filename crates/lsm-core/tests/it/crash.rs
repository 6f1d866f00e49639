//! A crash at every change of the disk, and what comes back.
//!
//! One workload runs once to count its changes, then once for each of them, up to there. Of
//! each crash several images are opened: all that was synced, all that was written, and torn
//! ones between. Each must hold an exact prefix of the write order with all that was promised
//! to survive, must be whole, and must go on for long: until more is written than was lost. Copies
//! made before the crash must be whole, or no databases.

use lsm_core::fs::{CrashFs, CrashImage};
use lsm_core::testkit::disk::{Disk, Links};
use lsm_core::testkit::generate::{Mix, Op, operations};
use lsm_core::testkit::model::Death;
use lsm_core::testkit::runner::Runner;
use lsm_core::{KeyspaceOptions, Options, Result};

use crate::model::{tiny, tiny_logs};
use crate::seeds::{self, Told};

/// Operations of a workload.
const STEPS: usize = 120;
/// Among so many of them one is a checkpoint.
const CHECKPOINT_EVERY: usize = 40;
/// Every so many changes there is a crash, by default: another start for each seed.
const STRIDE: u64 = 8;
/// Torn images of each crash.
const TORN: u64 = 2;

/// A workload and the database it runs on.
struct Workload {
    options: Options,
    keyspace: KeyspaceOptions,
    mix: Mix,
    ops: Vec<Op>,
}

impl Workload {
    fn new(seed: u64, steps: usize, mix: Mix) -> Self {
        let mut ops = operations(seed, steps, mix);
        for at in (CHECKPOINT_EVERY..steps).step_by(CHECKPOINT_EVERY) {
            ops.insert(at, Op::Checkpoint);
        }
        Self { options: tiny_logs().stepped(seed), keyspace: tiny(), mix, ops }
    }

    fn runner(&self, disk: &CrashFs) -> Runner {
        let (options, keyspace) = (self.options.clone(), self.keyspace.clone());
        let runner = Runner::new(options, keyspace, Disk::crash(disk.clone()), &seeds::dir());
        runner.with_links(Links::Slow)
    }

    /// Runs until the end or until the disk crashes.
    fn run(&self, disk: &CrashFs) -> Runner {
        let mut runner = self.runner(disk);
        let done = self.run_on(&mut runner);
        assert!(done.is_ok() || disk.crashed(), "failed without a crash: {done:?}");
        runner
    }

    fn run_on(&self, runner: &mut Runner) -> Result<()> {
        // Slots that are empty need something to do.
        runner.recover(Death::Machine)?;
        for keyspace in 1..4 {
            runner.apply(&Op::CreateKeyspace(keyspace))?;
        }
        self.ops.iter().try_for_each(|op| runner.apply(op))?;
        runner.close()
    }
}

fn death(image: CrashImage) -> Death {
    match image {
        CrashImage::Kept => Death::Process,
        CrashImage::Lost | CrashImage::Torn { .. } => Death::Machine,
    }
}

fn images(seed: u64) -> impl Iterator<Item = CrashImage> {
    let torn = (0..seeds::number("LSM_TEST_TORN").unwrap_or(TORN))
        .map(move |n| CrashImage::Torn { seed: seed.wrapping_mul(31) + n });
    [CrashImage::Lost, CrashImage::Kept].into_iter().chain(torn)
}

/// Opens what a crash left, and goes on from there.
fn check_image(before: &Runner, disk: &CrashFs, image: CrashImage, mix: Mix, seed: u64) {
    let left = disk.image(image);
    let mut runner = before.over(Disk::crash(left.image(CrashImage::Kept)));
    let recovered = runner.recover(death(image)).unwrap();
    runner.db().verify().unwrap();
    check_crash_in_recovery(before, &left, image, recovered, seed);
    for (image, seed) in [(CrashImage::Lost, seed), (CrashImage::Torn { seed }, seed + 1)] {
        let _told = Told::new(format_args!("going on, then {image:?}"));
        go_on(&mut runner, mix, seed);
        runner.crash(image).unwrap();
    }
    runner.db().verify().unwrap();
    runner.close().unwrap();
}

/// Writes more than was lost, with some background work: the numbers of what was lost are given
/// out again, so that nothing of it can hide behind its number any more.
fn go_on(runner: &mut Runner, mix: Mix, seed: u64) {
    for round in 0.. {
        for op in operations(seed + round, 12, mix) {
            if !matches!(op, Op::Reopen) {
                runner.apply(&op).unwrap();
            }
        }
        if runner.model().last() > runner.model().lost() {
            break;
        }
    }
    runner.check().unwrap();
}

/// Crashes once more while the image is being opened. What is there is durable, so the next
/// open finds exactly what one without a crash did.
fn check_crash_in_recovery(
    before: &Runner,
    left: &CrashFs,
    image: CrashImage,
    recovered: u64,
    seed: u64,
) {
    let whole = left.image(CrashImage::Kept);
    let mut runner = before.over(Disk::crash(whole.clone()));
    runner.recover(death(image)).unwrap();
    let changes = whole.events();
    drop(runner);
    for at in [seed % changes.max(1), seed / 7 % changes.max(1)] {
        let _told = Told::new(format_args!("crash after {at} changes of {changes} of recovery"));
        let disk = left.image(CrashImage::Kept);
        disk.crash_after(at);
        // Fails, unless all that is left undone can be done at the next open as well.
        let mut first = before.over(Disk::crash(disk.clone()));
        if let Ok(found) = first.recover(death(image)) {
            assert_eq!(found, recovered);
        }
        for again in images(seed + at) {
            let _told = Told::new(format_args!("then {again:?}"));
            let mut runner = before.over(Disk::crash(disk.image(again))).after(&first);
            assert_eq!(runner.recover(death(image)).unwrap(), recovered);
        }
    }
}

fn crash_everywhere(workload: &Workload, seed: u64, stride: u64) {
    let disk = CrashFs::new();
    let whole = workload.run(&disk);
    assert!(whole.model().last() > 0);
    let changes = disk.events();
    println!("{changes} changes, {} writes", whole.model().last());
    for at in (seed % stride..=changes).step_by(stride as usize) {
        let _told = Told::new(format_args!("crash after {at} of {changes} changes"));
        let disk = CrashFs::new();
        disk.crash_after(at);
        let mut runner = workload.run(&disk);
        runner.abandon();
        for image in images(seed + at) {
            let _told = Told::new(format_args!("{image:?}"));
            check_image(&runner, &disk, image, workload.mix, seed + at);
        }
    }
}

fn crash_runs(name: &str, mix: Mix) {
    seeds::each(name, 1, STEPS, |seed, steps| {
        let stride = seeds::number("LSM_TEST_STRIDE").unwrap_or(STRIDE);
        crash_everywhere(&Workload::new(seed, steps, mix), seed, stride);
    });
}

#[test]
fn a_crash_after_each_change() {
    crash_runs("a_crash_after_each_change", Mix::Writes);
}

#[test]
fn a_crash_after_each_change_without_a_log() {
    crash_runs("a_crash_after_each_change_without_a_log", Mix::UnloggedWrites);
}

#[test]
fn a_seed_replays_a_run() {
    let run = || {
        let disk = CrashFs::new();
        let runner = Workload::new(5, 400, Mix::Writes).run(&disk);
        (disk.events(), runner.model().last())
    };
    assert_eq!(run(), run());
}
