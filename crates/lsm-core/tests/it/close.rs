//! A close is the end: whatever runs beside it, nothing is written once it has returned.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lsm_core::fs::{Fault, FaultFs, Fs, MemFs, Op};
use lsm_core::{Db, ErrorKind, Options, Result};

use crate::folder::{DIR, Folder};

const COPY: &str = "/copy";
const SLOW: Duration = Duration::from_millis(300);

fn disk() -> (MemFs, FaultFs) {
    let memory = MemFs::new();
    (memory.clone(), FaultFs::new(Arc::new(memory)))
}

fn open(disk: &FaultFs) -> Db {
    Options::default().fs(Arc::new(disk.clone())).open(DIR).unwrap()
}

fn wait_until(done: impl Fn() -> bool) {
    while !done() {
        std::thread::yield_now();
    }
}

/// Closes a database with two tables while `job` syncs the first file in `dir` that ends like
/// this; `is_there` tells when it has made it.
fn close_beside(
    (dir, ending): (&str, &str),
    is_there: impl Fn(&MemFs) -> bool,
    job: impl FnOnce(&Db) -> Result<()> + Send,
) {
    let (memory, disk) = disk();
    let db = open(&disk);
    for round in ["a", "b"] {
        db.put("key", round).unwrap();
        db.flush().unwrap();
    }
    disk.inject(Fault::delay(Op::Sync, SLOW).on(ending).forever());
    std::thread::scope(|scope| {
        let other = db.clone();
        let job = scope.spawn(move || job(&other));
        wait_until(|| is_there(&memory));
        db.close().unwrap();
        let closed = Folder::take(&memory, Path::new(dir));
        if let Err(error) = job.join().unwrap() {
            assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        }
        let later = Folder::take(&memory, Path::new(dir));
        assert!(later == closed, "from {:?} to {:?}", closed.names(""), later.names(""));
    });
    disk.clear();
    assert_eq!(open(&disk).get("key").unwrap().unwrap(), "b");
}

#[test]
fn a_close_waits_for_a_compaction_in_a_callers_thread() {
    let tables = |disk: &MemFs| {
        let names = disk.list(Path::new(DIR)).unwrap();
        names.iter().filter(|name| name.ends_with(".table")).count()
    };
    close_beside((DIR, ".table"), |disk| tables(disk) == 3, |db| db.compact_range::<&str>(..));
}

#[test]
fn a_close_waits_for_a_checkpoint() {
    let current = Path::new(COPY).join("CURRENT.new");
    close_beside(
        (COPY, "CURRENT.new"),
        |disk| disk.len(&current).is_ok(),
        |db| db.checkpoint(COPY),
    );
}

#[test]
fn every_close_returns_after_the_first_is_done() {
    let (_, disk) = disk();
    let db = open(&disk);
    db.put("key", "value").unwrap();
    disk.inject(Fault::delay(Op::Sync, SLOW).on(".log").forever());
    let synced = disk.count(Op::Sync);
    std::thread::scope(|scope| {
        let first = db.clone();
        scope.spawn(move || first.close().unwrap());
        wait_until(|| disk.count(Op::Sync) > synced);
        db.close().unwrap();
        // Unlocked, and nothing of the first close is still to come.
        let again = open(&disk);
        assert_eq!(again.get("key").unwrap().unwrap(), "value");
        again.close().unwrap();
    });
}

#[test]
fn a_closed_database_begins_no_job() {
    let (_, disk) = disk();
    let db = open(&disk);
    let other = db.clone();
    db.close().unwrap();
    for refused in [other.compact_range::<&str>(..), other.checkpoint(COPY), other.flush()] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Closed);
    }
    assert!(disk.len(Path::new(COPY)).is_err());
}
