//! An open that is refused leaves every byte as it was: everything is judged before anything is
//! changed. What single damaged bytes do to each kind of file is in `damage`, which checks the same.

use std::io;
use std::path::Path;
use std::sync::Arc;

use lsm_core::fs::{Fault, FaultFs, Fs, MemFs, Op};
use lsm_core::{Db, Durability, ErrorKind, KeyspaceOptions, ManualClock, Options, Result};

use crate::folder::{DIR, Folder};

/// More than a replay holds in memory where the buffers are small.
const LOG_ROWS: u32 = 2400;
const FEW_ROWS: u32 = 60;
const VALUE_BYTES: usize = 16 << 10;

fn options(fs: &Arc<dyn Fs>, write_buffer_bytes: usize) -> Options {
    let keyspace = KeyspaceOptions::default().write_buffer_bytes(write_buffer_bytes);
    Options::default()
        .default_keyspace(keyspace.table_bytes(64 << 10))
        .log_segment_bytes(4 << 20)
        .log_bytes_max(64 << 20)
        .clock(Arc::new(ManualClock::default()))
        .fs(Arc::clone(fs))
        .stepped(1)
}

fn key(row: u32) -> String {
    format!("key{row:05}")
}

/// A database that a dead process left: tables, a log of many segments, and files that nothing
/// names.
fn sample(rows: u32) -> Folder {
    let fs: Arc<dyn Fs> = Arc::new(MemFs::new());
    let db = options(&fs, 64 << 20).open(DIR).unwrap();
    let users = db.keyspace("users", KeyspaceOptions::default()).unwrap();
    for _ in 0..2 {
        for row in 0..100 {
            db.put(key(row), "flushed").unwrap();
            users.put(key(row), "flushed").unwrap();
        }
        db.flush().unwrap();
    }
    for row in 0..rows {
        let durability = if row % 10 == 9 { Durability::Sync } else { Durability::Buffered };
        db.put_with(key(row), [row as u8; VALUE_BYTES], durability).unwrap();
        users.put(key(row), "logged").unwrap();
        while db.step().unwrap() {}
    }
    let mut folder = Folder::take(&*fs, Path::new(DIR));
    for stray in ["000900.table", "000901.manifest", "CURRENT.new"] {
        folder.0.insert(stray.to_owned(), b"a crash left this behind".to_vec());
    }
    folder.0.insert("000902.log".to_owned(), vec![0; 4096]);
    folder
}

fn holds_all(db: &Db, rows: u32) {
    let users = db.keyspace("users", KeyspaceOptions::default()).unwrap();
    for row in 0..rows {
        assert_eq!(db.get(key(row)).unwrap().unwrap(), [row as u8; VALUE_BYTES], "{row}");
        assert_eq!(users.get(key(row)).unwrap().unwrap(), "logged", "{row}");
    }
    db.verify().unwrap();
}

#[track_caller]
fn refused(folder: &Folder, kind: ErrorKind, words: &str) {
    // With buffers that hold the log, and with such as must be flushed on the way.
    for write_buffer_bytes in [64 << 20, 64 << 10] {
        let fs: Arc<dyn Fs> = folder.in_memory();
        let error = options(&fs, write_buffer_bytes).open(DIR).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "no \"{words}\" in: {error}");
        folder.is_in(&*fs, words);
    }
}

#[test]
fn the_samples_open_and_their_strays_go() {
    for (rows, write_buffer_bytes) in
        [(FEW_ROWS, 64 << 20), (LOG_ROWS, 64 << 20), (LOG_ROWS, 64 << 10)]
    {
        let folder = sample(rows);
        let fs: Arc<dyn Fs> = folder.in_memory();
        let db = options(&fs, write_buffer_bytes).open(DIR).unwrap();
        holds_all(&db, rows);
        assert_eq!(db.stats().flushes > 0, write_buffer_bytes == 64 << 10, "flushed on the way");
        while db.step().unwrap() {}
        let names = Folder::take(&*fs, Path::new(DIR)).names("");
        for stray in ["000900.table", "000901.manifest", "000902.log", "CURRENT.new"] {
            assert!(!names.contains(&stray.to_owned()), "{stray}");
        }
    }
}

#[test]
fn what_is_missing_or_damaged_anywhere() {
    let folder = sample(LOG_ROWS);
    let manifest = folder.names(".manifest").remove(0);
    let (tables, mut logs) = (folder.names(".table"), folder.names(".log"));
    // The stray, what was made ahead, and the one whose end may be torn.
    logs.truncate(logs.len() - 3);
    assert!(logs.len() >= 4, "{logs:?}");
    let flip = |name: &str, at: usize| folder.with(name, |bytes| bytes[at] ^= 1);

    refused(&folder.without(&tables[0]), ErrorKind::Corrupt, "table is missing");
    refused(
        &folder.with(&tables[0], |bytes| bytes.push(0)),
        ErrorKind::Corrupt,
        "length of a table",
    );
    refused(&folder.without("CURRENT"), ErrorKind::Corrupt, "CURRENT is missing");
    refused(&flip("CURRENT", 3), ErrorKind::Corrupt, "CURRENT is damaged");
    refused(&folder.without(&manifest), ErrorKind::Corrupt, "manifest that CURRENT names");
    refused(&flip(&manifest, 3), ErrorKind::Corrupt, "manifest header");
    refused(&flip(&manifest, 60), ErrorKind::Corrupt, "manifest");
    let end = folder.with(&manifest, |bytes| bytes.truncate(bytes.len() * 2 / 3));
    refused(&end, ErrorKind::Corrupt, "");
    // At the beginning, in the middle and at the end of what was promised.
    for log in [&logs[0], &logs[logs.len() / 2], &logs[logs.len() - 1]] {
        refused(&folder.without(log), ErrorKind::Corrupt, "log segment is missing");
        refused(&flip(log, 100_000), ErrorKind::Corrupt, "shows that it was durable");
        refused(&flip(log, 3), ErrorKind::Corrupt, log);
        refused(&folder.with(log, |b| b.truncate(5000)), ErrorKind::Corrupt, "truncated");
    }
}

/// The edit that makes a keyspace is gone, and what was written to it is in the log.
#[test]
fn a_keyspace_that_nobody_made() {
    for rows in [FEW_ROWS, LOG_ROWS] {
        let fs: Arc<dyn Fs> = Arc::new(MemFs::new());
        let db = options(&fs, 64 << 20).open(DIR).unwrap();
        for row in 0..rows {
            db.put(key(row), [7; VALUE_BYTES]).unwrap();
        }
        let before = Folder::take(&*fs, Path::new(DIR));
        let users = db.keyspace("users", KeyspaceOptions::default()).unwrap();
        users.put("k", "v").unwrap();
        let manifest = before.names(".manifest").remove(0);
        let after = Folder::take(&*fs, Path::new(DIR));
        let forgotten = after.with(&manifest, |bytes| bytes.clone_from(&before.0[&manifest]));
        refused(&forgotten, ErrorKind::Corrupt, "unknown keyspace 1");
    }
}

/// Every `step`th operation that reads fails, once, the first first. Returns how many opens were
/// refused.
fn with_failing_reads(
    folder: &Folder,
    write_buffer_bytes: usize,
    step: usize,
    check: impl Fn(&FaultFs, u64),
) -> u64 {
    let mut refused = 0;
    for op in [Op::OpenRead, Op::Read, Op::List, Op::Len, Op::Map, Op::OpenWrite] {
        for skip in (0..).step_by(step) {
            let disk = FaultFs::new(folder.in_memory());
            let fs: Arc<dyn Fs> = Arc::new(disk.clone());
            disk.inject(Fault::error(op, io::ErrorKind::Interrupted).after(skip).times(1));
            let struck = |opened: &Result<Db>| opened.is_err() || disk.count(op) > skip;
            let opened = options(&fs, write_buffer_bytes).open(DIR);
            if !struck(&opened) {
                break;
            }
            if let Err(error) = opened {
                assert_eq!(error.kind(), ErrorKind::Io, "{op:?} {skip}: {error}");
                disk.clear();
                check(&disk, skip);
                refused += 1;
            }
        }
    }
    refused
}

#[test]
fn a_disk_that_fails_to_read() {
    let folder = sample(FEW_ROWS);
    let refused = with_failing_reads(&folder, 64 << 20, 1, |disk, skip| {
        folder.is_in(disk, &format!("after {skip}"));
    });
    assert!(refused > 10, "{refused}");
}

/// What was judged to be good may be flushed before the disk fails to read it once more. Nothing
/// is lost by that.
#[test]
fn a_disk_that_fails_to_read_what_it_could_read_before() {
    let folder = sample(LOG_ROWS);
    let refused = with_failing_reads(&folder, 64 << 10, 7, |disk, _| {
        let fs: Arc<dyn Fs> = Arc::new(disk.clone());
        let db = options(&fs, 64 << 20).open_read_only(DIR).unwrap();
        let users = db.keyspace("users", KeyspaceOptions::default()).unwrap();
        for row in (0..LOG_ROWS).step_by(97) {
            assert_eq!(db.get(key(row)).unwrap().unwrap(), [row as u8; VALUE_BYTES], "{row}");
            assert_eq!(users.get(key(row)).unwrap().unwrap(), "logged", "{row}");
        }
    });
    assert!(refused > 5, "{refused}");
}
