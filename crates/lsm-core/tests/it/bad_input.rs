//! Calls that cannot be met: each fails with the kind its documentation names, says what to
//! do, and changes nothing.

use std::io;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use lsm_core::fs::{Fault, FaultFs, Fs, MemFs, Op, OsFs};
use lsm_core::{
    Db, Durability, Error, ErrorKind, KEY_LEN_MAX, KEYSPACE_NAME_LEN_MAX, KEYSPACES_MAX,
    KeyspaceOptions, Options, Result, SeqNo, VALUE_LEN_MAX, WriteBatch,
};

use crate::folder::{DIR, Folder, write};

/// The error of a call that must be refused; its text holds all of `words`.
#[track_caller]
fn refused<T>(result: Result<T>, kind: ErrorKind, words: &[&str]) -> Error {
    let Err(error) = result else { panic!("this was accepted, not {kind:?}") };
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "no \"{word}\" in: {error}");
    }
    error
}

fn in_memory() -> Options {
    Options::default().fs(Arc::new(MemFs::new())).stepped(1)
}

fn open() -> Db {
    in_memory().open(DIR).unwrap()
}

#[test]
fn the_empty_key_is_a_key_like_any_other() {
    let fs = Arc::new(MemFs::new());
    let options = || Options::default().fs(fs.clone()).stepped(1);
    let db = options().open(DIR).unwrap();
    db.put("", "nothing").unwrap();
    db.put("a", "").unwrap();
    let check = |db: &Db| {
        assert_eq!(db.get("").unwrap().unwrap(), "nothing");
        assert_eq!(db.get("a").unwrap().unwrap(), "");
        let keys: Vec<_> = db.iter().map(|entry| entry.unwrap().0).collect();
        assert_eq!(keys, [b"".to_vec(), b"a".to_vec()]);
        assert_eq!(db.range(""..="").count(), 1);
        assert_eq!(db.prefix("").rev().count(), 2);
    };
    check(&db);
    db.close().unwrap();
    let db = options().open(DIR).unwrap();
    check(&db);
    db.flush().unwrap();
    check(&db);
    db.compact_range::<&str>(..).unwrap();
    db.verify().unwrap();
    check(&db);
    db.delete("").unwrap();
    assert!(db.get("").unwrap().is_none());
}

#[test]
fn keys_and_values_have_limits() {
    let db = open();
    let longest = vec![7; KEY_LEN_MAX];
    let too_long = vec![7; KEY_LEN_MAX + 1];
    db.put(&longest, "v").unwrap();
    let limit = KEY_LEN_MAX.to_string();
    refused(db.put(&too_long, "v"), ErrorKind::Invalid, &["key", &limit]);
    refused(db.delete(&too_long), ErrorKind::Invalid, &["key", &limit]);
    assert!(db.get(&too_long).unwrap().is_none(), "reading it is no error");
    assert_eq!(db.range(&too_long[..]..).count(), 0);
    // Zeros that nobody touches cost nothing.
    let too_large = vec![0; VALUE_LEN_MAX + 1];
    let limit = VALUE_LEN_MAX.to_string();
    refused(db.put("k", &too_large), ErrorKind::Invalid, &["value", &limit]);
    let mut batch = WriteBatch::new();
    batch.put("a", "1");
    batch.put("k", &too_large);
    batch.put("b", "2");
    let words = ["write 1 of the batch, counted from 0", "value", &limit];
    refused(db.write(&batch), ErrorKind::Invalid, &words);
    assert_eq!(db.iter().count(), 1, "nothing of a refused batch is written");
    let error = db.put("k", &too_large).unwrap_err().to_string();
    assert!(!error.contains("batch"), "one write is no batch: {error}");
    // The first that is refused is named, whatever follows.
    let mut batch = WriteBatch::new();
    batch.put(&too_long, "v");
    batch.delete(&too_long);
    refused(db.write(&batch), ErrorKind::Invalid, &["write 0 of", "key"]);
    db.flush().unwrap();
    db.verify().unwrap();
    assert_eq!(db.get(&longest).unwrap().unwrap(), "v");
    db.put("k", "v").unwrap();
}

#[test]
fn reversed_and_empty_ranges_hold_nothing() {
    let db = open();
    for key in ["a", "b", "c"] {
        db.put(key, key).unwrap();
    }
    for flushed in [false, true] {
        if flushed {
            db.flush().unwrap();
        }
        assert_eq!(db.range("c".."a").count(), 0);
        assert_eq!(db.range("c".."a").rev().count(), 0);
        assert_eq!(db.range("b".."b").count(), 0);
        assert_eq!(db.range("x"..).count(), 0);
        assert_eq!(db.range(.."").count(), 0);
        let mut cursor = db.cursor_in("c".."a");
        for seek in ["", "a", "b", "z"] {
            cursor.seek(seek).unwrap();
            assert_eq!(cursor.key(), None);
        }
    }
    db.compact_range("c".."a").unwrap();
    assert_eq!(db.iter().count(), 3);
}

#[test]
fn an_empty_batch_changes_nothing() {
    let db = open();
    db.put("a", "1").unwrap();
    let before = db.last_sequence();
    for durability in [Durability::None, Durability::Buffered, Durability::Sync] {
        assert_eq!(db.write_with(&WriteBatch::new(), durability).unwrap(), before);
    }
    let mut cleared = WriteBatch::new();
    cleared.put("b", "2");
    cleared.clear();
    assert_eq!(db.write(&cleared).unwrap(), before);
    assert_eq!(db.iter().count(), 1);
}

#[test]
fn batches_and_snapshots_belong_to_one_database() {
    let (one, two) = (open(), open());
    let of_one = one.keyspace("users", KeyspaceOptions::default()).unwrap();
    let of_two = two.keyspace("users", KeyspaceOptions::default()).unwrap();
    let mut batch = WriteBatch::new();
    batch.put_in(&of_two, "k", "v");
    refused(one.write(&batch), ErrorKind::Invalid, &["another database"]);
    two.write(&batch).unwrap();
    batch.delete_in(&of_one, "k");
    refused(one.write(&batch), ErrorKind::Invalid, &["two databases"]);
    refused(two.write(&batch), ErrorKind::Invalid, &["two databases"]);
    refused(one.snapshot().keyspace(&of_two), ErrorKind::Invalid, &["another database"]);
    assert!(of_two.get("k").unwrap().is_some());
}

#[test]
fn a_handle_of_an_earlier_opening_is_of_another_database() {
    let fs = Arc::new(MemFs::new());
    let options = || Options::default().fs(fs.clone()).stepped(1);
    let db = options().open(DIR).unwrap();
    let users = db.keyspace("users", KeyspaceOptions::default()).unwrap();
    db.close().unwrap();
    let db = options().open(DIR).unwrap();
    let mut batch = WriteBatch::new();
    batch.put_in(&users, "k", "v");
    refused(db.write(&batch), ErrorKind::Invalid, &["another database"]);
    refused(users.put("k", "v"), ErrorKind::Closed, &[]);
}

#[test]
fn settings_out_of_range_are_named() {
    let keyspace = KeyspaceOptions::default;
    let cases = [
        ("write_buffer_bytes", keyspace().write_buffer_bytes(1)),
        ("write_buffer_bytes", keyspace().write_buffer_bytes(usize::MAX)),
        ("write_buffers_max", keyspace().write_buffers_max(1)),
        ("write_buffers_max", keyspace().write_buffers_max(65)),
        ("block_bytes", keyspace().block_bytes(0)),
        ("block_bytes", keyspace().block_bytes(2 << 20)),
        ("table_bytes", keyspace().table_bytes(1)),
        ("table_bytes", keyspace().table_bytes(u64::MAX)),
        ("filter_bits_per_key", keyspace().filter_bits_per_key(33)),
        ("l0_tables_compact", keyspace().l0_tables_compact(0)),
        ("l0_tables_compact", keyspace().l0_tables_compact(65)),
        ("level_bytes_base", keyspace().level_bytes_base(0)),
        ("level_bytes_base", keyspace().level_bytes_base(u64::MAX)),
        // Each in its range, but not together.
        ("below block_bytes", keyspace().block_bytes(1 << 20).table_bytes(64 << 10)),
    ];
    let db = open();
    for (word, settings) in cases {
        refused(db.keyspace("users", settings.clone()), ErrorKind::Invalid, &[word]);
        let options = in_memory().default_keyspace(settings);
        refused(options.open(DIR), ErrorKind::Invalid, &[word]);
    }
    assert_eq!(db.keyspaces(), ["default"]);
    let cases = [
        ("block_cache_bytes", in_memory().block_cache_bytes(usize::MAX)),
        ("tables_open_max", in_memory().tables_open_max(0)),
        ("tables_open_max", in_memory().tables_open_max(60_001)),
        ("log_segment_bytes", in_memory().log_segment_bytes(0)),
        ("log_segment_bytes", in_memory().log_segment_bytes(u64::MAX)),
        ("log_bytes_max", in_memory().log_bytes_max(u64::MAX)),
        // Less than two segments.
        ("log_bytes_max", in_memory().log_segment_bytes(1 << 20).log_bytes_max(1 << 20)),
        ("compaction_threads", in_memory().compaction_threads(0)),
        ("compaction_threads", in_memory().compaction_threads(65)),
    ];
    for (word, options) in cases {
        refused(options.clone().open(DIR), ErrorKind::Invalid, &[word]);
        refused(options.open_read_only(DIR), ErrorKind::Invalid, &[word]);
    }
}

#[test]
fn a_database_needs_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    write(&OsFs, &file, b"no folder");
    for place in [file.clone(), file.join("below")] {
        let name = place.to_str().unwrap();
        refused(Db::open(&place), ErrorKind::Invalid, &[name]);
        refused(Db::open_read_only(&place), ErrorKind::Invalid, &[name]);
        let existing = Options::default().create_if_missing(false);
        refused(existing.open(&place), ErrorKind::Invalid, &[name]);
    }
    let db = Db::open(dir.path().join("db")).unwrap();
    for place in [file.clone(), file.join("below")] {
        refused(db.checkpoint(&place), ErrorKind::Invalid, &[place.to_str().unwrap()]);
    }
}

#[test]
fn missing_folders_are_made_if_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b/c");
    let name = deep.to_str().unwrap();
    let existing = Options::default().create_if_missing(false);
    refused(existing.clone().open(&deep), ErrorKind::Invalid, &["no database", name]);
    refused(Db::open_read_only(&deep), ErrorKind::Invalid, &["no database", name]);
    assert!(!dir.path().join("a").exists(), "a refused open leaves nothing behind");
    // An empty folder is no database either, and stays empty.
    OsFs.create_dir_all(&deep).unwrap();
    refused(existing.clone().open(&deep), ErrorKind::Invalid, &["no database", name]);
    refused(Db::open_read_only(&deep), ErrorKind::Invalid, &["no database", name]);
    assert!(OsFs.list(&deep).unwrap().is_empty(), "not even a lock file");
    // Nor is one where a first start ended before there was anything.
    write(&OsFs, &deep.join("000001.manifest"), b"half");
    refused(existing.clone().open(&deep), ErrorKind::Invalid, &["no database", name]);
    refused(Db::open_read_only(&deep), ErrorKind::Invalid, &["no database", name]);
    assert_eq!(OsFs.list(&deep).unwrap(), ["000001.manifest"]);
    Db::open(&deep).unwrap().close().unwrap();
    existing.open(&deep).unwrap();
}

#[test]
fn the_folder_of_a_node_is_refused_with_what_runs_it() {
    let fs = Arc::new(MemFs::new());
    let options = || Options::default().fs(fs.clone()).stepped(1);
    let inside = |name: &str| Path::new(DIR).join(name);
    for dir in [inside("log"), inside("state"), inside("state/state-000001"), inside("other")] {
        fs.create_dir_all(&dir).unwrap();
    }
    write(&*fs, &inside("NODE"), b"a node's");
    write(&*fs, &inside("log/000001.log"), b"not a log of ours");
    for dir in [inside(""), inside("log"), inside("state")] {
        let before = fs.list(&dir).unwrap();
        for result in [options().open(&dir), options().open_read_only(&dir)] {
            refused(result, ErrorKind::Invalid, &["node of a cluster", "`lsm-server`", DIR]);
        }
        assert_eq!(fs.list(&dir).unwrap(), before, "not even a lock file");
    }
    // The engine of the node itself, and what somebody put beside.
    for dir in [inside("state/state-000001"), inside("other")] {
        options().open(&dir).unwrap();
    }
}

#[test]
fn other_files_in_the_folder_are_left_alone() {
    let fs = Arc::new(MemFs::new());
    fs.create_dir_all(Path::new(DIR)).unwrap();
    let strangers = ["notes.txt", "1.table", "000001.log.bak", "CURRENT.old", "lock"];
    for name in strangers {
        write(&*fs, &Path::new(DIR).join(name), b"mine");
    }
    let options = || Options::default().fs(fs.clone()).stepped(1);
    let db = options().open(DIR).unwrap();
    db.put("k", "v").unwrap();
    db.flush().unwrap();
    db.close().unwrap();
    options().open(DIR).unwrap().close().unwrap();
    let after = Folder::take(&*fs, Path::new(DIR));
    for name in strangers {
        assert_eq!(after.0[name], b"mine", "{name}");
    }
}

/// Refuses every change, as media that cannot be written do.
fn protect(fs: &FaultFs) {
    let changes = [
        Op::CreateDir,
        Op::Create,
        Op::OpenWrite,
        Op::Rename,
        Op::Remove,
        Op::HardLink,
        Op::Write,
        Op::Copy,
        Op::Allocate,
    ];
    for op in changes {
        fs.inject(Fault::error(op, io::ErrorKind::ReadOnlyFilesystem).forever());
    }
}

#[test]
fn media_that_cannot_be_written_can_be_read() {
    let fs = FaultFs::new(Arc::new(MemFs::new()));
    let options = || Options::default().fs(Arc::new(fs.clone())).stepped(1);
    protect(&fs);
    refused(options().open(DIR), ErrorKind::Io, &[DIR, "create the folder"]);
    fs.clear();
    let db = options().open(DIR).unwrap();
    db.put("flushed", "1").unwrap();
    db.flush().unwrap();
    db.put("logged", "2").unwrap();
    db.close().unwrap();
    let before = Folder::take(&fs, Path::new(DIR));
    protect(&fs);
    let error = refused(options().open(DIR), ErrorKind::Io, &[DIR, "`open_read_only`"]);
    assert_eq!(error.io_error().unwrap().kind(), io::ErrorKind::ReadOnlyFilesystem);
    let db = options().open_read_only(DIR).unwrap();
    assert_eq!(db.iter().count(), 2);
    assert_eq!(db.get("logged").unwrap().unwrap(), "2");
    db.verify().unwrap();
    let users = db.keyspace("users", KeyspaceOptions::default());
    refused(users, ErrorKind::Invalid, &["users", "reader"]);
    refused(db.put("a", "b"), ErrorKind::Invalid, &["read only"]);
    refused(db.delete("a"), ErrorKind::Invalid, &["read only"]);
    refused(db.write(&WriteBatch::new()), ErrorKind::Invalid, &["read only"]);
    refused(db.flush(), ErrorKind::Invalid, &["read only"]);
    refused(db.sync(), ErrorKind::Invalid, &["read only"]);
    refused(db.compact_range::<&str>(..), ErrorKind::Invalid, &["read only"]);
    refused(db.checkpoint("/copy"), ErrorKind::Invalid, &["read only"]);
    refused(db.drop_keyspace("default"), ErrorKind::Invalid, &["read only"]);
    refused(db.step(), ErrorKind::Invalid, &["read only"]);
    refused(db.wait_flushed(db.last_sequence()), ErrorKind::Invalid, &["read only"]);
    db.close().unwrap();
    fs.clear();
    assert_eq!(Folder::take(&fs, Path::new(DIR)), before, "reading changes nothing");
    // What the system says first where the folder is there: the lock file cannot be written.
    for kind in [io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::PermissionDenied] {
        let disk = FaultFs::new(Arc::new(fs.clone()));
        disk.inject(Fault::error(Op::Lock, kind).times(1));
        let options = Options::default().fs(Arc::new(disk)).stepped(1);
        refused(options.open(DIR), ErrorKind::Io, &[DIR, "lock the database", "`open_read_only`"]);
    }
}

fn tiny() -> KeyspaceOptions {
    KeyspaceOptions::default().write_buffer_bytes(64 << 10).table_bytes(64 << 10)
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let (mut full, mut went_on) = (0, 0);
    for room in (0..900_000).step_by(12_347) {
        let fs = FaultFs::new(Arc::new(MemFs::new()));
        let options = || {
            let sizes = Options::default().log_segment_bytes(64 << 10).log_bytes_max(256 << 10);
            sizes.default_keyspace(tiny()).fs(Arc::new(fs.clone())).stepped(1)
        };
        fs.set_free_bytes(Some(room));
        let mut acknowledged = 0;
        let outcome = options().open(DIR).and_then(|db| {
            let written = fill(&db, &mut acknowledged);
            // Reads go on.
            for i in 0..acknowledged {
                assert!(db.get(i.to_be_bytes())?.is_some(), "room {room}: {i}");
            }
            full += 1;
            if db.sync().is_ok() {
                // So does everything else, by itself, once there is room.
                assert!(db.stats().job_error.is_some());
                fs.set_free_bytes(Some(4 << 20));
                db.put(acknowledged.to_be_bytes(), "y").unwrap();
                db.flush().unwrap();
                while db.step().unwrap() {}
                assert_eq!(db.stats().job_error, None, "room {room}");
                db.close().unwrap();
                went_on += 1;
                fs.set_free_bytes(Some(0));
                return written;
            }
            // The manifest could not be written: so does every later refusal.
            let later = refused(db.put("x", "y"), ErrorKind::Failed, &["reopen"]);
            assert_eq!(later.io_error().unwrap().kind(), io::ErrorKind::StorageFull);
            let (text, said) = (later.to_string(), later.io_error().unwrap().to_string());
            assert_eq!(text.matches(&said).count(), 1, "{text}");
            assert_eq!(text.matches("reopen").count(), 1, "{text}");
            refused(db.flush(), ErrorKind::Failed, &["reopen"]);
            refused(db.close(), ErrorKind::Failed, &["reopen"]);
            written
        });
        let error = refused(outcome, ErrorKind::Io, &[DIR]);
        assert_eq!(error.io_error().unwrap().kind(), io::ErrorKind::StorageFull, "{error}");
        // Still full: still an error, and still nothing lost.
        if let Err(error) = options().open(DIR) {
            assert_eq!(error.kind(), ErrorKind::Io, "room {room}: {error}");
        }
        fs.set_free_bytes(Some(4 << 20));
        let db = options().open(DIR).unwrap();
        for i in 0..acknowledged {
            assert!(db.get(i.to_be_bytes()).unwrap().is_some(), "room {room}: {i} is lost");
        }
        let found = db.iter().count() as u64;
        assert!((acknowledged..=acknowledged + 1).contains(&found), "room {room}");
        db.put("more", "room").unwrap();
        db.flush().unwrap();
        db.verify().unwrap();
        db.close().unwrap();
    }
    assert!(went_on == full && full > 20, "{went_on} of {full}");
}

/// Writes until the disk is full.
fn fill(db: &Db, acknowledged: &mut u64) -> Result<()> {
    loop {
        let value = [*acknowledged as u8; 1000];
        let durability = match acknowledged.is_multiple_of(7) {
            true => Durability::Sync,
            false => Durability::Buffered,
        };
        db.put_with(acknowledged.to_be_bytes(), value, durability)?;
        *acknowledged += 1;
        db.step()?;
    }
}

const HOLD: &str = "LSM_TEST_HOLD";

/// Not a test of its own: the second process of the test below.
#[test]
fn hold_a_database_open() {
    let Ok(dir) = std::env::var(HOLD) else { return };
    let db = Db::open(dir).unwrap();
    db.put_with("k", "v", Durability::Buffered).unwrap();
    println!("\nholding");
    io::stdout().flush().unwrap();
    // Until killed, or until the parent is gone.
    let _ = io::stdin().read_line(&mut String::new());
    db.close().unwrap();
}

#[test]
fn a_folder_open_in_another_process_is_locked() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "bad_input::hold_a_database_open", "--nocapture"])
        .env(HOLD, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "holding"), "the child came up");
    let lock = dir.path().join("LOCK");
    refused(Db::open(dir.path()), ErrorKind::Locked, &["another process", lock.to_str().unwrap()]);
    refused(Db::open_read_only(dir.path()), ErrorKind::Locked, &["another process"]);
    child.kill().unwrap();
    child.wait().unwrap();
    // A dead process holds nothing, and what it wrote is there.
    let db = Db::open(dir.path()).unwrap();
    assert_eq!(db.get("k").unwrap().unwrap(), "v");
    drop(db);
    let readers = [0; 3].map(|_| Db::open_read_only(dir.path()).unwrap());
    refused(Db::open(dir.path()), ErrorKind::Locked, &[]);
    drop(readers);
    Db::open(dir.path()).unwrap();
}

#[test]
fn every_call_after_close_is_refused() {
    let db = open();
    db.put("a", "1").unwrap();
    db.put("b", "2").unwrap();
    let users = db.keyspace("users", KeyspaceOptions::default()).unwrap();
    users.put("u", "1").unwrap();
    let (snapshot, mut cursor) = (db.snapshot(), db.cursor());
    let mut begun = db.iter();
    begun.next().unwrap().unwrap();
    let other = db.clone();
    db.close().unwrap();
    let db = other;
    let closed = |result: Result<()>| drop(refused(result, ErrorKind::Closed, &["closed"]));
    closed(db.get("a").map(drop));
    closed(db.contains_key("a").map(drop));
    closed(db.put("a", "b"));
    closed(db.put_with("a", "b", Durability::None));
    closed(db.delete("a"));
    closed(db.write(&WriteBatch::new()).map(drop));
    let mut batch = WriteBatch::new();
    batch.put("a", "b");
    closed(db.write_with(&batch, Durability::Sync).map(drop));
    closed(db.keyspace("users", KeyspaceOptions::default()).map(drop));
    closed(db.keyspace("new", KeyspaceOptions::default()).map(drop));
    closed(db.drop_keyspace("users"));
    closed(db.flush());
    closed(db.sync());
    closed(db.compact_range::<&str>(..));
    closed(db.checkpoint("/copy"));
    closed(db.verify().map(drop));
    closed(db.wait_flushed(SeqNo::default()));
    closed(db.step().map(drop));
    closed(db.iter().next().unwrap().map(drop));
    closed(db.range("a"..).next_back().unwrap().map(drop));
    closed(db.prefix("a").next().unwrap().map(drop));
    closed(db.cursor().seek("a").map(drop));
    closed(snapshot.get("a").map(drop));
    closed(snapshot.iter().next().unwrap().map(drop));
    closed(users.get("u").map(drop));
    closed(users.put("u", "2"));
    closed(users.delete("u"));
    closed(users.compact_range::<&str>(..));
    closed(snapshot.keyspace(&users).unwrap().get("u").map(drop));
    // What was open ends, and says why.
    closed(begun.next().unwrap().map(drop));
    assert!(begun.next().is_none() && begun.next_back().is_none());
    closed(cursor.seek("b").map(drop));
    closed(cursor.next().map(drop));
    assert_eq!(cursor.key(), None);
    // These tell what was, and closing twice is fine.
    let _ = (db.keyspaces(), db.levels(), db.stats(), db.last_sequence(), db.flushed_sequence());
    db.clone().close().unwrap();
    db.close().unwrap();
}

#[test]
fn keyspaces_have_limits() {
    let db = open();
    let make = |name: &str| db.keyspace(name, KeyspaceOptions::default());
    refused(make(""), ErrorKind::Invalid, &["1 to 255"]);
    let long = "n".repeat(KEYSPACE_NAME_LEN_MAX);
    refused(make(&format!("{long}n")), ErrorKind::Invalid, &["1 to 255", "256"]);
    make(&long).unwrap();
    for name in ["/", "..", "a\0b", "\u{1f980}", "default "] {
        make(name).unwrap();
    }
    refused(db.drop_keyspace("default"), ErrorKind::Invalid, &["default"]);
    refused(db.drop_keyspace("nobody"), ErrorKind::Invalid, &["nobody"]);
    let same = make("default").unwrap();
    db.put("k", "v").unwrap();
    assert_eq!(same.get("k").unwrap().unwrap(), "v");
    let have = db.keyspaces().len();
    for i in have..KEYSPACES_MAX {
        make(&format!("{i}")).unwrap();
    }
    refused(make("one more"), ErrorKind::Invalid, &[&KEYSPACES_MAX.to_string()]);
    make("..").expect("one that is there");
    db.drop_keyspace("..").unwrap();
    make("one more").unwrap();
}

#[test]
fn a_dropped_keyspace_refuses_its_handles() {
    let db = open();
    let users = db.keyspace("users", tiny()).unwrap();
    users.put("u", "1").unwrap();
    let mut begun = users.iter();
    db.drop_keyspace("users").unwrap();
    let mut batch = WriteBatch::new();
    batch.put("a", "1");
    batch.put_in(&users, "u", "2");
    let words = ["write 1 of the batch, counted from 0", "dropped"];
    refused(db.write(&batch), ErrorKind::Invalid, &words);
    refused(users.put("u", "2"), ErrorKind::Invalid, &["keyspace \"users\" was dropped"]);
    refused(users.delete("u"), ErrorKind::Invalid, &["keyspace \"users\" was dropped"]);
    refused(users.get("u"), ErrorKind::Invalid, &["users", "dropped"]);
    refused(users.iter().next().unwrap(), ErrorKind::Invalid, &["users", "dropped"]);
    refused(users.compact_range::<&str>(..), ErrorKind::Invalid, &["users", "dropped"]);
    refused(db.drop_keyspace("users"), ErrorKind::Invalid, &["users"]);
    assert_eq!(begun.next().unwrap().unwrap().0, b"u", "what is open goes on");
    assert!(db.get("a").unwrap().is_none());
    // A new one of the same name has nothing of the old.
    let users = db.keyspace("users", tiny()).unwrap();
    assert_eq!(users.iter().count(), 0);
}

#[test]
fn waiting_for_what_was_never_written_is_refused() {
    let db = open();
    db.put("a", "1").unwrap();
    let other = open();
    for i in 0..3 {
        other.put("a", i.to_string()).unwrap();
    }
    let future = other.last_sequence();
    refused(db.wait_flushed(future), ErrorKind::Invalid, &["sequence number 3"]);
    db.flush().unwrap();
    db.wait_flushed(db.last_sequence()).unwrap();
}

#[test]
fn a_checkpoint_needs_an_empty_folder_and_its_end() {
    let fs = Arc::new(MemFs::new());
    let options = || Options::default().fs(fs.clone()).stepped(1);
    let db = options().open(DIR).unwrap();
    db.put("k", "v").unwrap();
    refused(db.checkpoint(DIR), ErrorKind::Invalid, &["empty folder", DIR]);
    db.checkpoint("/copy").unwrap();
    refused(db.checkpoint("/copy"), ErrorKind::Invalid, &["empty folder", "/copy"]);
    // A checkpoint that was cut short: `CURRENT` comes last.
    let copy = Folder::take(&*fs, Path::new("/copy"));
    let unfinished = copy.without("CURRENT").in_memory();
    let options = || Options::default().fs(unfinished.clone()).stepped(1);
    for result in [options().open(DIR), options().open_read_only(DIR)] {
        refused(result, ErrorKind::Corrupt, &["CURRENT", "missing"]);
    }
    let after = Folder::take(&*unfinished, Path::new(DIR));
    for (name, bytes) in &copy.without("CURRENT").0 {
        assert_eq!(&after.0[name], bytes, "a refused open removes nothing");
    }
}
