//! A process that was forked from the one that opened a database, and runs on without `exec`: it
//! can do nothing with the database, and nothing to it.
//!
//! The child judges what it sees by itself and answers with its exit code: it must not use what
//! the test harness's other threads may have held when it was made, such as the standard output.

#![cfg(unix)]
#![allow(unsafe_code, clippy::disallowed_methods, reason = "forks, and looks at real folders")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lsm_core::{Db, Durability, Error, ErrorKind, KeyspaceOptions, Options, Result, WriteBatch};

const ROWS: u32 = 300;

/// How a child ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Every handle is dropped first.
    Drop,
    /// As `main` returns: what is registered with the system's `atexit` runs.
    Exit,
    /// At once.
    Leave,
}

/// Large enough for a few hundred rows that nothing changes files in the background.
fn options() -> Options {
    let keyspace = KeyspaceOptions::default().write_buffer_bytes(1 << 20).table_bytes(64 << 10);
    Options::default().default_keyspace(keyspace).log_segment_bytes(1 << 20).log_bytes_max(4 << 20)
}

/// Runs `work` in a forked process; what it returns is the exit code. None is returned here.
fn fork(end: End, work: impl FnOnce() -> u8) -> libc::pid_t {
    // SAFETY: the child is a copy of this thread alone. It allocates, which the C library makes
    // safe after a fork, and uses nothing that another thread of this process may have been in
    // the middle of: it touches the database, which is what is tested, and no output.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "no process could be forked");
    if pid > 0 {
        return pid;
    }
    let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(250);
    match end {
        // SAFETY: leaves without running anything.
        End::Drop | End::Leave => unsafe { libc::_exit(code.into()) },
        End::Exit => std::process::exit(code.into()),
    }
}

/// Waits for a child; its exit code, or the signal that killed it below zero. One that hangs is
/// killed by its own alarm, see [`watch`].
fn wait(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is a place for the one number that is written.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -libc::WTERMSIG(status) }
}

/// Kills this process if it takes a minute: something in it waits for ever.
fn watch() {
    // SAFETY: sets a timer of the system, and nothing else.
    unsafe { libc::alarm(60) };
}

/// Panics, and so ends the child with 250, unless the call is refused as it must be.
#[track_caller]
fn refused<T>(result: Result<T>) {
    let error: Error = result.err().expect("the call was accepted");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("forked"), "{error}");
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let name = |entry: &fs::DirEntry| entry.file_name().into_string().unwrap();
    entries.map(|entry| (name(&entry), fs::read(entry.path()).unwrap())).collect()
}

fn key(row: u32) -> [u8; 4] {
    row.to_be_bytes()
}

/// Everything that can be asked of a database is refused, whoever asks.
fn try_everything(db: &Db, copy: &Path) {
    let tree = || db.keyspace("other", KeyspaceOptions::default());
    for durability in [Durability::None, Durability::Buffered, Durability::Sync] {
        refused(db.put_with("child", "was here", durability));
        refused(db.delete_with(key(0), durability));
        let mut batch = WriteBatch::new();
        batch.put(key(1), "child");
        refused(db.write_with(&batch, durability));
        refused(db.write_with(&WriteBatch::new(), durability));
    }
    refused(db.flush());
    refused(db.sync());
    refused(db.compact_range::<&str>(..));
    refused(db.checkpoint(copy));
    refused(db.verify());
    refused(db.step());
    refused(db.wait_flushed(db.last_sequence()));
    refused(tree());
    refused(db.drop_keyspace("users"));
    refused(db.get(key(1)));
    refused(db.contains_key(key(1)));
    refused(db.iter().next().unwrap());
    refused(db.cursor().seek_first());
    let snapshot = db.snapshot();
    refused(snapshot.get(key(1)));
    drop(snapshot);
    refused(db.clone().close());
}

#[test]
fn a_forked_process_is_refused_and_does_no_harm() {
    for stepped in [false, true] {
        for end in [End::Drop, End::Exit, End::Leave] {
            let dir = tempfile::tempdir().unwrap();
            let (path, copy) = (dir.path().join("db"), dir.path().join("copy"));
            let options = || if stepped { options().stepped(1) } else { options() };
            let db = options().open(&path).unwrap();
            let users = db.keyspace("users", KeyspaceOptions::default()).unwrap();
            for row in 0..ROWS {
                db.put(key(row), b"parent").unwrap();
                users.put(key(row), b"parent").unwrap();
            }
            let snapshot = db.snapshot();
            let mut cursor = db.cursor();
            cursor.seek(key(7)).unwrap();
            let before = files(&path);
            let child = {
                let (db, users, snapshot) = (db.clone(), users.clone(), snapshot.clone());
                fork(end, move || {
                    watch();
                    try_everything(&db, &copy);
                    refused(users.put("child", "was here"));
                    refused(users.get(key(1)));
                    refused(snapshot.get(key(1)));
                    refused(cursor.next());
                    // A database of its own is a child's right, if no threads were lost on the way;
                    // the parent's is locked.
                    let locked = options().open(&path).err().map(|error| error.kind());
                    assert_eq!(locked, Some(ErrorKind::Locked));
                    if stepped {
                        let own = options().open(copy.with_extension("own")).unwrap();
                        own.put("child", "alone").unwrap();
                        own.flush().unwrap();
                        own.close().unwrap();
                    }
                    match end {
                        End::Drop => drop((db, users, snapshot, cursor)),
                        End::Exit | End::Leave => {
                            std::mem::forget((db, users, snapshot, cursor));
                        }
                    }
                    0
                })
            };
            assert_eq!(wait(child), 0, "{end:?}, stepped: {stepped}");
            let path = dir.path().join("db");
            assert!(files(&path) == before, "the child changed files: {end:?}");
            assert!(!dir.path().join("copy").exists());
            let locked = options().open(&path).err().map(|error| error.kind());
            assert_eq!(locked, Some(ErrorKind::Locked), "the child unlocked the folder: {end:?}");

            for row in ROWS..2 * ROWS {
                db.put(key(row), b"parent").unwrap();
            }
            drop((users, snapshot));
            db.close().unwrap();
            let db = options().open(&path).unwrap();
            let found: Vec<_> = db.iter().map(|entry| entry.unwrap()).collect();
            assert_eq!(found.len() as u32, 2 * ROWS, "{end:?}, stepped: {stepped}");
            assert!(found.iter().all(|(_, value)| *value == b"parent"[..]));
            let users = db.keyspace("users", KeyspaceOptions::default()).unwrap();
            assert_eq!(users.iter().count() as u32, ROWS);
            db.verify().unwrap();
        }
    }
}

/// A child holds copies of all open files, and so of the one that is locked.
#[test]
fn a_child_that_lives_on_does_not_keep_the_folder_locked() {
    let dir = tempfile::tempdir().unwrap();
    let db = options().open(dir.path()).unwrap();
    let mut ends = [0; 2];
    // SAFETY: there is room for the two numbers that are written.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    let [read_end, write_end] = ends;
    let child = fork(End::Leave, || {
        watch();
        // SAFETY: closes this process's end of the pipe, and reads a byte that never comes, up
        // to when the parent closes its own; `byte` has room for it.
        unsafe {
            libc::close(write_end);
            let mut byte = 0_u8;
            libc::read(read_end, (&raw mut byte).cast(), 1);
        }
        0
    });
    db.put("a", "1").unwrap();
    db.close().unwrap();
    for _ in 0..2 {
        let db = options().open(dir.path()).unwrap();
        assert_eq!(db.get("a").unwrap().unwrap(), "1");
        drop(db);
    }
    // SAFETY: the parent's end, which nothing uses any more.
    unsafe { libc::close(write_end) };
    assert_eq!(wait(child), 0);
}

/// Threads that are in the middle of everything while the process forks.
#[test]
fn a_fork_beside_busy_threads_hangs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let db = options().open(dir.path().join("db")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..2_u32 {
            let (db, stop) = (&db, &stop);
            scope.spawn(move || {
                for i in 0.. {
                    if stop.load(std::sync::atomic::Ordering::Relaxed) {
                        break;
                    }
                    db.put(key(i % 5000 + thread * 10_000), [7; 100]).unwrap();
                    db.get(key(i % 77)).unwrap();
                    drop(db.snapshot());
                }
            });
        }
        let run = |round: usize| {
            let end = [End::Drop, End::Exit, End::Leave][round % 3];
            let (db, copy) = (db.clone(), dir.path().join("copy"));
            wait(fork(end, move || {
                watch();
                try_everything(&db, &copy);
                drop(db);
                0
            }))
        };
        let failed = (0..20).map(run).find(|&code| code != 0);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(failed, None);
    });
    db.verify().unwrap();
    db.close().unwrap();
    options().open(dir.path().join("db")).unwrap().verify().unwrap();
}
