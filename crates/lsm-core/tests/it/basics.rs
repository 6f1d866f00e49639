//! Each call does what its documentation says, on the real file system.

use std::io;
use std::path::Path;
use std::sync::Arc;

use lsm_core::fs::{CrashFs, CrashImage, Fault, FaultFs, Fs, MemFs, Op};
use lsm_core::{Db, Durability, ErrorKind, KeyspaceOptions, Options, WriteBatch};

use crate::folder::DIR;

fn small() -> Options {
    let keyspace = KeyspaceOptions::default()
        .write_buffer_bytes(64 << 10)
        .table_bytes(64 << 10)
        .level_bytes_base(256 << 10);
    Options::default().default_keyspace(keyspace).log_segment_bytes(64 << 10).log_bytes_max(1 << 20)
}

#[test]
fn what_was_put_is_got_after_flush_compaction_and_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let db = small().open(dir.path()).unwrap();
    let key = |i: u32| format!("key{:06}", i * 7919 % 20_000);
    for i in 0..20_000 {
        db.put(key(i), format!("value {i}")).unwrap();
    }
    for i in (0..20_000).step_by(3) {
        db.delete(key(i)).unwrap();
    }
    let check = |db: &Db| {
        for i in 0..20_000 {
            let expected = (i % 3 != 0).then(|| format!("value {i}").into_bytes());
            let found = db.get(key(i)).unwrap().map(|value| value.to_vec());
            assert_eq!(found, expected, "{i}");
        }
        assert_eq!(db.iter().count(), 20_000 - 6667);
        assert_eq!(db.iter().rev().count(), 20_000 - 6667);
    };
    check(&db);
    db.flush().unwrap();
    check(&db);
    db.compact_range::<&str>(..).unwrap();
    check(&db);
    db.verify().unwrap();
    db.close().unwrap();
    let db = small().open(dir.path()).unwrap();
    check(&db);
    db.close().unwrap();
    let db = small().open_read_only(dir.path()).unwrap();
    check(&db);
    assert_eq!(db.put("a", "b").unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn batches_span_keyspaces_and_snapshots_stand_still() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    let users = db.keyspace("users", KeyspaceOptions::default()).unwrap();
    let mut batch = WriteBatch::new();
    batch.put("count", "1");
    batch.put_in(&users, "ada", "countess");
    let last = db.write_with(&batch, Durability::Sync).unwrap();
    assert_eq!(last, db.last_sequence());
    let snapshot = db.snapshot();
    users.delete("ada").unwrap();
    db.put("count", "0").unwrap();
    db.flush().unwrap();
    assert_eq!(db.flushed_sequence(), db.last_sequence());
    db.compact_range::<&str>(..).unwrap();
    assert_eq!(snapshot.get("count").unwrap().unwrap(), "1");
    assert_eq!(snapshot.keyspace(&users).unwrap().get("ada").unwrap().unwrap(), "countess");
    assert!(users.get("ada").unwrap().is_none());
}

#[test]
fn a_second_open_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    assert_eq!(Db::open(dir.path()).unwrap_err().kind(), ErrorKind::Locked);
    assert_eq!(Db::open_read_only(dir.path()).unwrap_err().kind(), ErrorKind::Locked);
    let other = db.clone();
    db.close().unwrap();
    assert_eq!(other.get("k").unwrap_err().kind(), ErrorKind::Closed);
    Db::open(dir.path()).unwrap();
}

#[test]
fn a_checkpoint_is_a_database_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path().join("one")).unwrap();
    db.put("k", "then").unwrap();
    db.checkpoint(dir.path().join("two")).unwrap();
    db.put("k", "now").unwrap();
    let copy = Db::open(dir.path().join("two")).unwrap();
    assert_eq!(copy.get("k").unwrap().unwrap(), "then");
    copy.put("k", "elsewhere").unwrap();
    assert_eq!(db.get("k").unwrap().unwrap(), "now");
}

#[test]
fn unlogged_writes_are_kept_by_a_flush_and_mix_with_logged_ones() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    db.put_with("a", "1", Durability::None).unwrap();
    db.put_with("b", "2", Durability::Sync).unwrap();
    db.put_with("c", "3", Durability::None).unwrap();
    db.put_with("d", "4", Durability::Buffered).unwrap();
    std::mem::forget(db.clone());
    assert_eq!(db.iter().count(), 4);
    db.close().unwrap();
    let db = Db::open(dir.path()).unwrap();
    assert_eq!(db.iter().count(), 4);
}

/// Headers of log records but for their checksums: long ones, of any sequence, that show each that
/// the log was durable up to some position from `from` on.
fn false_records(rng: &mut fastrand::Rng, from: u64, len: usize) -> Vec<u8> {
    // Now and then they are where records can be, at a multiple of 8.
    let mut bytes = vec![0; rng.usize(0..8)];
    while bytes.len() < len {
        bytes.extend_from_slice(&rng.u32(..).to_le_bytes());
        bytes.extend_from_slice(&rng.u32(1..250_000).to_le_bytes());
        bytes.extend_from_slice(&u64::MAX.to_le_bytes());
        bytes.extend_from_slice(&(from + rng.u64(0..4 << 20)).to_le_bytes());
    }
    bytes
}

/// Segments are recycled, so that what a user wrote once lies behind the log's end, and in the
/// segment made ahead.
#[test]
fn values_that_look_like_log_records_do_no_harm() {
    let fs = CrashFs::new();
    let options = || small().log_segment_bytes(1 << 20).log_bytes_max(4 << 20).stepped(1);
    let on = |fs: &CrashFs| options().fs(Arc::new(fs.clone())).open("/db");
    let mut rng = fastrand::Rng::with_seed(1);
    let (db, mut written) = (on(&fs).unwrap(), 0);
    for i in 0..2000u32 {
        let value = false_records(&mut rng, written, 8 << 10);
        db.put(i.to_be_bytes(), &value).unwrap();
        written += value.len() as u64;
        while db.step().unwrap() {}
        if i > 1000 && i % 61 == 0 {
            // Killed here, between two flushes.
            let copy = on(&fs.image(CrashImage::Kept)).unwrap();
            assert_eq!(copy.iter().count(), i as usize + 1);
            copy.close().unwrap();
        }
    }
}

#[test]
fn a_close_in_the_middle_of_a_flush_is_a_clean_close() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options::default().write_buffer_bytes(16 << 20);
    let mut written = 0u64;
    for round in 0..4 {
        let db = options().open(dir.path()).unwrap();
        assert_eq!(db.iter().count() as u64, written, "round {round}");
        // Until a flush was queued: the next call then meets it at work.
        while db.stats().memtable_bytes < 17 << 20 {
            for _ in 0..1000 {
                db.put(written.to_be_bytes(), [7; 100]).unwrap();
                written += 1;
            }
        }
        db.close().unwrap();
    }
}

#[test]
fn a_checkpoint_copies_what_it_cannot_link() {
    for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::TooManyLinks] {
        let faults = FaultFs::new(Arc::new(MemFs::new()));
        let open = |dir| Options::default().fs(Arc::new(faults.clone())).open(dir);
        let db = open("/one").unwrap();
        db.put("k", "v").unwrap();
        // As a file system without hard links does, and a file that has all it can have.
        faults.inject(Fault::error(Op::HardLink, kind));
        db.checkpoint("/two").unwrap();
        assert_eq!(open("/two").unwrap().get("k").unwrap().unwrap(), "v");
    }
}

#[test]
fn a_flush_of_many_keyspaces_syncs_the_folder_once() {
    let faults = FaultFs::new(Arc::new(MemFs::new()));
    let db = Options::default().fs(Arc::new(faults.clone())).stepped(1).open("/db").unwrap();
    let mut batch = WriteBatch::new();
    for i in 0..20 {
        let keyspace = db.keyspace(&format!("{i}"), KeyspaceOptions::default()).unwrap();
        batch.put_in(&keyspace, "k", "v");
    }
    db.write(&batch).unwrap();
    while db.step().unwrap() {}
    let before = faults.count(Op::SyncDir);
    db.flush().unwrap();
    assert_eq!(faults.count(Op::SyncDir) - before, 1);
}

/// As the processes of many systems may have 1024 files open and no more.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore)]
fn a_log_that_nobody_syncs_keeps_few_files_open() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::default().log_segment_bytes(64 << 10).log_bytes_max(1 << 30);
    let db = options.open(dir.path()).unwrap();
    for i in 0..6000u32 {
        db.put(i.to_be_bytes(), [7; 2000]).unwrap();
    }
    let open = (0..4096).filter(|handle| {
        let file = Path::new("/proc/self/fd").join(handle.to_string()).read_link();
        file.is_ok_and(|file| file.starts_with(dir.path()))
    });
    assert!(open.count() < 60);
}

#[test]
fn a_cursor_goes_back_over_many_versions_it_does_not_see() {
    let db = Options::default().fs(Arc::new(MemFs::new())).open("/db").unwrap();
    for key in ["a", "b", "c"] {
        db.put(key, "old").unwrap();
    }
    let snapshot = db.snapshot();
    for i in 0..100 {
        db.put("b", format!("{i}")).unwrap();
        db.put("c", format!("{i}")).unwrap();
    }
    let mut cursor = snapshot.cursor();
    for key in ["c", "b"] {
        assert!(cursor.seek(key).unwrap());
        assert_eq!(cursor.entry(), Some((key.as_bytes(), &b"old"[..])));
        assert!(cursor.prev().unwrap());
        let before = if key == "c" { &b"b"[..] } else { b"a" };
        assert_eq!(cursor.entry(), Some((before, &b"old"[..])));
    }
    assert!(cursor.seek("a").unwrap());
    assert!(!cursor.prev().unwrap());
}

#[test]
fn logs_of_short_runs_do_not_pile_up() {
    let fs = MemFs::new();
    let open = || Options::default().fs(Arc::new(fs.clone())).open(DIR).unwrap();
    let files = |ending: &str| {
        let names = fs.list(Path::new(DIR)).unwrap();
        let lens = names.iter().filter(|name| name.ends_with(ending));
        lens.map(|name| fs.len(&Path::new(DIR).join(name)).unwrap()).collect::<Vec<_>>()
    };
    for run in 0..100 {
        let db = open();
        db.put(format!("run{run}"), "value").unwrap();
        db.close().unwrap();
        let logs = files(".log");
        assert!(logs.len() <= 18, "{} logs after {run} runs", logs.len());
        assert!(logs.iter().all(|bytes| *bytes <= 1 << 20), "a short run needs no second segment");
    }
    assert!((1..=10).contains(&files(".table").len()), "{}", files(".table").len());
    assert_eq!(open().iter().count(), 100);
}
