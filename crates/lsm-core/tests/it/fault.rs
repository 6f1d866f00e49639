//! Disks that refuse: one error of each kind at many places, and no room.
//!
//! Whatever fails, nothing hangs or panics, no answer is wrong, and after reopening everything
//! that was acknowledged is there. A failure that leaves unknown what the disk holds (of a
//! write or sync of the log or the manifest) makes the database refuse writes until then; any
//! other costs the call, or the attempt of a background job, and nothing else.

use std::io;
use std::path::Path;
use std::sync::Arc;

use lsm_core::fs::{CrashFs, CrashImage, Fault, FaultFs, Op as FsOp};
use lsm_core::testkit::disk::Disk;
use lsm_core::testkit::generate::{Mix, Op, operations};
use lsm_core::testkit::model::Death;
use lsm_core::testkit::runner::Runner;
use lsm_core::{Error, ErrorKind, Result};

use crate::model::{tiny, tiny_logs};
use crate::seeds::{self, Told};

const STEPS: usize = 150;
/// How many places of each kind of operation fail, by default.
const PLACES: u64 = 12;

const OPS: [FsOp; 18] = [
    FsOp::CreateDir,
    FsOp::List,
    FsOp::Create,
    FsOp::OpenWrite,
    FsOp::OpenRead,
    FsOp::Len,
    FsOp::Rename,
    FsOp::Remove,
    FsOp::HardLink,
    FsOp::OpenDir,
    FsOp::SyncDir,
    FsOp::Lock,
    FsOp::Read,
    FsOp::Map,
    FsOp::Write,
    FsOp::Copy,
    FsOp::Allocate,
    FsOp::Sync,
];

/// A database on a disk that can fail, over one that can crash.
struct Failing {
    disk: CrashFs,
    faults: FaultFs,
    runner: Runner,
}

impl Failing {
    fn new(seed: u64) -> Self {
        let disk = CrashFs::new();
        let faults = FaultFs::new(Arc::new(disk.clone()));
        let seen = Disk::Crash { disk: disk.clone(), seen: Arc::new(faults.clone()) };
        let runner = Runner::new(tiny_logs().stepped(seed), tiny(), seen, &seeds::dir());
        Self { disk, faults, runner }
    }

    /// Runs operations until one fails.
    fn run(&mut self, ops: &[Op]) -> Result<()> {
        if !self.runner.is_open() {
            self.runner.recover(Death::Machine)?;
            for keyspace in 1..4 {
                self.runner.apply(&Op::CreateKeyspace(keyspace))?;
            }
        }
        for (at, op) in ops.iter().enumerate() {
            let _told = Told::new(format_args!("operation {at}, {:.200}", format!("{op:?}")));
            self.runner.apply(op)?;
        }
        Ok(())
    }

    /// The database holds what it acknowledged: opened on the same disk, on one that lost
    /// power, and on both it syncs, loses power and goes on. `unsynced` is a file whose sync failed.
    fn check(&mut self, seed: u64, unsynced: Option<&Path>) {
        let again = Disk::crash(self.disk.clone());
        let lost = Disk::crash(self.disk.image(CrashImage::Lost));
        let torn = Disk::crash(self.disk.image(CrashImage::Torn { seed }));
        if let Some(path) = unsynced {
            // A table in the making was removed.
            let _ = self.disk.lose_unsynced(path);
        }
        self.runner.abandon();
        for (disk, death) in
            [(lost, Death::Machine), (torn, Death::Machine), (again, Death::Process)]
        {
            let _told = Told::new(format_args!("reopened after {death:?}"));
            let mut runner = self.runner.over(disk);
            runner.recover(death).unwrap();
            runner.db().verify().unwrap();
            // What came back is safe once a sync says so, before any of it is in tables.
            runner.apply(&Op::Sync).unwrap();
            runner.crash(CrashImage::Lost).unwrap();
            for op in operations(seed, 12, Mix::Writes) {
                runner.apply(&op).unwrap();
            }
            runner.reopen().unwrap();
            runner.close().unwrap();
        }
    }
}

/// A failure of this operation may leave unknown what the disk holds: it is not passed over.
fn matters(op: FsOp) -> bool {
    matches!(op, FsOp::Write | FsOp::Copy | FsOp::Sync | FsOp::SyncDir)
}

/// After this error it is unknown: all but tables and log segments in the making, which nothing
/// depends on yet.
fn is_fatal(error: &Error) -> bool {
    let file = error.file().and_then(Path::file_name).unwrap_or_default();
    let is_table = file.to_string_lossy().ends_with(".table");
    !is_table && !error.to_string().contains("reserve the log segment")
}

fn fail_once(seed: u64, ops: &[Op], op: FsOp, place: u64, short: usize, matters: bool) {
    let mut failing = Failing::new(seed);
    let kind = io::ErrorKind::Other;
    failing.faults.inject(Fault::error(op, kind).after(place).short(short));
    let done = failing.run(ops);
    let struck = failing.faults.count(op) > place;
    if let Err(error) = &done {
        assert!(struck, "failed without a fault: {error}");
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.file().is_some() && error.io_error().is_some(), "{error}");
    }
    assert!(!(struck && matters && done.is_ok()), "an error was passed over");
    if failing.runner.is_open() {
        let fatal = matters && done.as_ref().is_err_and(is_fatal);
        after_the_error(&mut failing, fatal);
    }
    failing.faults.clear();
    let unsynced = done.as_ref().err().filter(|_| op == FsOp::Sync).and_then(Error::file);
    failing.check(seed, unsynced);
}

fn after_the_error(failing: &mut Failing, fatal: bool) {
    let db = failing.runner.db();
    let probe = db.sync();
    if fatal {
        for refused in [db.put("k", "v"), db.delete("k"), db.flush(), db.step().map(drop)] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Failed);
        }
        assert_eq!(
            db.put_with("k", "v", lsm_core::Durability::None).unwrap_err().kind(),
            ErrorKind::Failed
        );
    } else if probe.is_ok() {
        // Whatever was put off is done now.
        db.flush().unwrap();
        while db.step().unwrap() {}
        assert_eq!(db.stats().job_error, None);
    }
    if let Err(error) = &probe {
        assert_eq!(error.kind(), ErrorKind::Failed, "{error}");
    }
    // Reads go on.
    failing.runner.check().unwrap();
    if fatal {
        assert!(failing.runner.close().is_err(), "what was not synced is not known to be safe");
    }
}

#[test]
fn one_error_of_each_kind() {
    seeds::each("one_error_of_each_kind", 1, STEPS, |seed, steps| {
        let mut ops = operations(seed, steps, Mix::Writes);
        let mut whole = Failing::new(seed);
        whole.run(&ops).unwrap();
        // What fails in a copy leaves the database itself as it was.
        let own = OPS.map(|op| whole.faults.count(op));
        ops.push(Op::Checkpoint);
        whole.run(&ops[steps..]).unwrap();
        let places_max = seeds::number("LSM_TEST_PLACES").unwrap_or(PLACES);
        for (op, own) in OPS.into_iter().zip(own) {
            let places = whole.faults.count(op);
            let stride = (places / places_max).max(1);
            println!("{op:?}: {places} places, every {stride}");
            for place in (seed % stride..places).step_by(stride as usize) {
                let _told = Told::new(format_args!("{op:?} fails at {place} of {places}"));
                let matters = place < own && matters(op);
                fail_once(seed, &ops, op, place, 0, matters);
                if matches!(op, FsOp::Write | FsOp::Copy) {
                    let _told = Told::new("after a part was written");
                    fail_once(seed, &ops, op, place, 20, matters);
                }
            }
        }
    });
}

#[test]
fn a_full_disk() {
    seeds::each("a_full_disk", 1, STEPS, |seed, steps| {
        let ops = operations(seed, steps, Mix::Writes);
        for free_bytes in (0..40).map(|n| n * 25_000 + seed) {
            let _told = Told::new(format_args!("{free_bytes} bytes free"));
            let mut failing = Failing::new(seed);
            failing.faults.set_free_bytes(Some(free_bytes));
            let done = failing.run(&ops);
            if let Err(error) = done {
                let source = error.io_error().map(io::Error::kind);
                assert_eq!(source, Some(io::ErrorKind::StorageFull), "{error}");
                if failing.runner.is_open() {
                    failing.runner.check().unwrap();
                }
                // Opening while there is no room loses nothing either.
                failing.runner.abandon();
                let _ = failing.runner.recover(Death::Process);
            }
            failing.runner.abandon();
            failing.faults.set_free_bytes(None);
            failing.check(seed, None);
        }
    });
}
