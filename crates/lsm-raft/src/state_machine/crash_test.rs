//! Power loss at every change of the disk.

use lsm_log::fs::{CrashFs, CrashImage, Fs};

use super::machine::StateMachine;
use super::test_log::{Log, founders};
use super::test_state::{DIR, Picture, founder, in_memory, open, picture, try_open};
use crate::error::Result;
use crate::snapshot::{Header, Piece};

/// What a crash may leave of one moment.
fn images(fs: &CrashFs, seed: u64) -> [CrashFs; 4] {
    let torn = |part| CrashImage::Torn { seed: seed * 2 + part };
    [CrashImage::Lost, CrashImage::Kept, torn(0), torn(1)].map(|choice| fs.image(choice))
}

/// What is promised at some moment of a run.
#[derive(Debug, Default)]
struct Promise {
    /// Nothing up to here may be missing.
    flushed: u64,
    /// Nothing behind here may be there.
    applied: u64,
    /// But for this state, if it is there instead.
    received: Option<u64>,
}

impl Promise {
    fn check(&self, applied: u64) {
        let own = (self.flushed..=self.applied).contains(&applied);
        assert!(own || self.received == Some(applied), "{applied} breaks {self:?}");
    }
}

/// Goes on with the log behind what a crash left, and compares what comes of it.
fn recover(image: &CrashFs, log: &Log, promise: &Promise, expected: &Picture) {
    let mut machine = open(image, 1);
    let folders = image.list_dirs(DIR.as_ref()).unwrap();
    assert_eq!(folders.len(), 1, "strays are left: {folders:?}");
    let applied = machine.applied().0;
    promise.check(applied);
    assert_eq!(machine.flushed_index(), applied);
    if applied == 0 {
        machine.bootstrap(founders()).unwrap();
    }
    machine.apply(log.behind(applied), &log.conf).unwrap();
    assert_eq!(picture(&machine), *expected, "from {applied} on");
}

/// Runs `run` with a crash at every change, and recovers from each.
fn crash_everywhere(
    log: &Log,
    expected: &Picture,
    from: impl Fn() -> (CrashFs, Promise),
    run: impl Fn(&CrashFs, &mut Promise) -> Result<()>,
) {
    let (fs, mut promise) = from();
    run(&fs, &mut promise).unwrap();
    let count = fs.events();
    assert!(count > 50, "only {count} changes");
    for events in 0..=count {
        let (fs, mut promise) = from();
        fs.crash_after(events);
        let done = run(&fs, &mut promise);
        assert!(fs.crashed(), "after {events} of {count} changes: {done:?}");
        for image in images(&fs, events) {
            recover(&image, log, &promise, expected);
        }
    }
}

/// Applies a log in pieces of `count` entries, some of them flushed.
fn apply(
    machine: &mut StateMachine,
    log: &Log,
    through: u64,
    count: usize,
    promise: &mut Promise,
) -> Result<()> {
    let mut flush = false;
    while machine.applied().0 < through {
        let entries = log.behind(machine.applied().0);
        let left = (through - machine.applied().0) as usize;
        let entries = &entries[..count.min(left)];
        promise.applied = entries[entries.len() - 1].index;
        machine.apply(entries, &log.conf)?;
        flush = !flush;
        if flush {
            machine.flush()?;
        }
        promise.flushed = machine.flushed_index();
        // Its errors come back with the next call that needs the disk.
        let _ = machine.reader().db().step();
    }
    Ok(())
}

fn expected(log: &Log) -> Picture {
    let mut machine = founder(&in_memory(), 0);
    machine.apply(&log.entries, &log.conf).unwrap();
    picture(&machine)
}

#[test]
fn any_crash_leaves_a_prefix_that_can_be_gone_on_from() {
    let log = Log::random(7, 40, 3000);
    crash_everywhere(
        &log,
        &expected(&log),
        || (CrashFs::new(), Promise::default()),
        |fs, promise| {
            let mut machine = try_open(fs, 1)?;
            promise.applied = 1;
            machine.bootstrap(founders())?;
            promise.flushed = 1;
            apply(&mut machine, &log, log.last(), 8, promise)?;
            machine.close()?;
            promise.flushed = log.last();
            Ok(())
        },
    );
}

/// A snapshot of a state that has applied a log up to an index.
fn snapshot(log: &Log, index: u64) -> (Header, Vec<Piece>) {
    let mut machine = founder(&in_memory(), 5);
    apply(&mut machine, log, index, 7, &mut Promise::default()).unwrap();
    let outgoing = std::sync::Arc::new(machine.checkpoint().unwrap());
    let pieces: Result<Vec<_>> = outgoing.pieces().collect();
    (outgoing.header().clone(), pieces.unwrap())
}

#[test]
fn any_crash_in_a_restore_leaves_the_old_state_or_the_new() {
    let log = Log::random(8, 60, 3000);
    let (old, new) = (20, 50);
    let (header, pieces) = snapshot(&log, new);
    assert_eq!(header.index, new);
    // Some of it flushed, some only in memory, as it may be when a snapshot comes.
    let start = || {
        let fs = CrashFs::new();
        let mut machine = founder(&fs, 1);
        let mut promise = Promise::default();
        apply(&mut machine, &log, old, 19, &mut promise).unwrap();
        machine.close().unwrap();
        let promise = Promise { flushed: old, applied: old, received: None };
        (fs.image(CrashImage::Lost), promise)
    };
    crash_everywhere(&log, &expected(&log), start, |fs, promise| {
        let mut machine = try_open(fs, 1)?;
        apply(&mut machine, &log, old + 3, 3, promise)?;
        promise.applied = old + 3;
        let mut incoming = machine.reader().receive(header.clone())?;
        for piece in &pieces {
            incoming.write(piece)?;
        }
        let staged = incoming.finish()?;
        promise.received = Some(new);
        machine.restore(machine.reader().check(staged)?)?;
        *promise = Promise { flushed: new, applied: new, received: None };
        apply(&mut machine, &log, new + 5, 3, promise)?;
        machine.close()
    });
}
