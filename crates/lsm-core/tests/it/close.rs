//! A close is the end: whatever runs beside it, nothing is written once it has returned.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use lsm_core::fs::{Fault, FaultFs, Fs, MemFs, Op};
use lsm_core::{Db, Durability, ErrorKind, Options, Result};

use crate::folder::{DIR, Folder};
use crate::wait;

const COPY: &str = "/copy";
const SLOW: Duration = Duration::from_millis(300);

fn disk() -> (MemFs, FaultFs) {
    let memory = MemFs::new();
    (memory.clone(), FaultFs::new(Arc::new(memory)))
}

fn open(disk: &FaultFs) -> Db {
    Options::default().fs(Arc::new(disk.clone())).open(DIR).unwrap()
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
        wait::until("it is done", || is_there(&memory));
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
        wait::until("it is done", || disk.count(Op::Sync) > synced);
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

#[test]
fn a_write_beside_a_close_is_in_or_refused() {
    use Durability::{Buffered, None, Sync};
    for durabilities in [&[None][..], &[Buffered], &[None, Buffered, Sync]] {
        write_beside_a_close(durabilities);
    }
}

/// Writers that end with the close, and a look at what they wrote. Tables take their time, so that
/// there are writes while the last of them is made.
fn write_beside_a_close(durabilities: &[Durability]) {
    const WRITERS: u32 = 6;
    let (_, disk) = disk();
    let db = open(&disk);
    disk.inject(Fault::delay(Op::Sync, SLOW / 10).on(".table").forever());
    let (written, go_on) = (AtomicU32::new(0), 500);
    let counts = std::thread::scope(|scope| {
        let write = |writer: u32| {
            let (db, written) = (db.clone(), &written);
            let durability = durabilities[writer as usize % durabilities.len()];
            scope.spawn(move || {
                for i in 0u32.. {
                    let key = [writer.to_be_bytes(), i.to_be_bytes()].concat();
                    match db.put_with(key, "value", durability) {
                        Ok(()) => written.fetch_add(1, Ordering::Relaxed),
                        Err(error) if error.kind() == ErrorKind::Closed => return i,
                        Err(error) => panic!("{error}"),
                    };
                }
                unreachable!("the database is closed before that")
            })
        };
        let writers: Vec<_> = (0..WRITERS).map(write).collect();
        wait::until("it is done", || written.load(Ordering::Relaxed) > go_on);
        db.clone().close().unwrap();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<u32>>()
    });
    let db = open(&disk);
    for (writer, count) in (0u32..).zip(counts) {
        let found = db.prefix(writer.to_be_bytes()).count();
        assert_eq!(found, count as usize, "of writer {writer}, {durabilities:?}");
    }
    db.close().unwrap();
}

#[test]
fn cursors_end_with_the_close_whatever_becomes_of_the_folder() {
    let (_, disk) = disk();
    let db = open(&disk);
    for key in ["a", "b", "c"] {
        db.put(key, "value").unwrap();
        db.flush().unwrap();
    }
    let (mut cursor, mut range, mut untouched) = (db.cursor(), db.iter(), db.iter());
    cursor.seek_first().unwrap();
    let (_, value) = range.next().unwrap().unwrap();
    db.close().unwrap();
    assert_eq!(cursor.entry(), Some((&b"a"[..], &b"value"[..])), "until it moves");
    // The next one to open the folder removes all tables that the cursors read.
    let db = open(&disk);
    db.compact_range::<&str>(..).unwrap();
    wait::until("it is done", || db.stats().obsolete_files == 0);
    for _ in 0..2 {
        assert_eq!(cursor.next().unwrap_err().kind(), ErrorKind::Closed);
    }
    assert_eq!(range.next().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(untouched.next_back().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(value, "value", "what was handed out stays");
    db.close().unwrap();
}

/// Until the database is closed, nobody else can open the folder, whatever the close is doing.
#[test]
fn the_folder_is_locked_until_a_close_has_ended() {
    let (memory, disk) = disk();
    let db = open(&disk);
    // Something to be flushed, something to be synced, and tables to be removed.
    for round in ["a", "b"] {
        db.put("key", round).unwrap();
        db.flush().unwrap();
    }
    db.compact_range::<&str>(..).unwrap();
    db.put("key", "c").unwrap();
    db.put_with("key", "d", Durability::None).unwrap();
    let looks = Arc::new(AtomicU64::new(0));
    let look = {
        let looks = Arc::clone(&looks);
        move || {
            let other = Options::default().fs(Arc::new(memory.clone()));
            assert_eq!(other.clone().open(DIR).unwrap_err().kind(), ErrorKind::Locked);
            assert_eq!(other.open_read_only(DIR).unwrap_err().kind(), ErrorKind::Locked);
            looks.fetch_add(1, Ordering::Relaxed);
        }
    };
    for op in [Op::Write, Op::Copy, Op::Sync, Op::SyncDir, Op::Create, Op::Remove, Op::Rename] {
        disk.inject(Fault::run(op, look.clone()).forever());
    }
    db.close().unwrap();
    disk.clear();
    // The log and the note of its end are synced, whatever else there is to do.
    assert!(looks.load(Ordering::Relaxed) >= 3);
    assert_eq!(open(&disk).get("key").unwrap().unwrap(), "d");
}
