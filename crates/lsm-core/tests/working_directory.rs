//! The folder that was opened stays, wherever the process goes and whatever links come to mean.
//!
//! One test in a binary of its own: the working directory belongs to the whole process.

#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "looks at real folders from outside")]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lsm_core::fs::{Fault, FaultFs, Op, OsFs};
use lsm_core::{Db, ErrorKind, KeyspaceOptions, Options};

#[test]
fn what_was_opened_stays() {
    let root = tempfile::tempdir().unwrap();
    // The one that the system gives it, should the path of temporary files hold links.
    let root = fs::canonicalize(root.path()).unwrap();
    two_databases_of_one_name(&root.join("two"));
    a_reader(&root.join("reader"));
    a_checkpoint(&root.join("checkpoint"));
    a_link(&root.join("link"));
    paths_that_are_not_there_yet(&root.join("new"));
    the_empty_path(&root.join("empty"));
    env::set_current_dir("/").unwrap();
    fs::remove_dir_all(&root).unwrap();
}

/// Small buffers and segments: a few hundred writes go through every kind of file.
fn options() -> Options {
    let keyspace = KeyspaceOptions::default().write_buffer_bytes(64 << 10).table_bytes(64 << 10);
    Options::default().default_keyspace(keyspace).log_segment_bytes(64 << 10).log_bytes_max(1 << 20)
}

/// Two folders `w1` and `w2`, the process in the first.
fn two_places(root: &Path) -> [PathBuf; 2] {
    let places = ["w1", "w2"].map(|name| root.join(name));
    places.iter().for_each(|place| fs::create_dir_all(place).unwrap());
    env::set_current_dir(&places[0]).unwrap();
    places
}

fn fill(db: &Db, value: &str) {
    for i in 0..700_u32 {
        db.put(i.to_be_bytes(), value.repeat(100)).unwrap();
    }
}

#[track_caller]
fn holds(dir: &Path, value: &str) {
    let db = options().open(dir).unwrap();
    for i in 0..700_u32 {
        assert_eq!(db.get(i.to_be_bytes()).unwrap().unwrap(), value.repeat(100), "{i}");
    }
    db.verify().unwrap();
    db.close().unwrap();
}

/// Every file below `dir`, by name.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let name = |entry: &fs::DirEntry| entry.file_name().into_string().unwrap();
    entries.map(|entry| (name(&entry), fs::read(entry.path()).unwrap())).collect()
}

fn two_databases_of_one_name(root: &Path) {
    let [w1, w2] = two_places(root);
    env::set_current_dir(&w2).unwrap();
    let b = options().open("db").unwrap();
    fill(&b, "b");
    b.close().unwrap();
    let untouched = files(&w2.join("db"));

    env::set_current_dir(&w1).unwrap();
    let a = options().open("db").unwrap();
    fill(&a, "x");
    env::set_current_dir(&w2).unwrap();
    a.flush().unwrap();
    fill(&a, "a");
    a.compact_range::<&str>(..).unwrap();
    a.close().unwrap();

    assert!(files(&w2.join("db")) == untouched, "the other database was written to");
    holds(&w1.join("db"), "a");
    holds(&w2.join("db"), "b");
}

fn a_reader(root: &Path) {
    let [w1, w2] = two_places(root);
    let db = options().open("./db").unwrap();
    fill(&db, "a");
    db.flush().unwrap();
    db.close().unwrap();
    let db = Db::open_read_only("db").unwrap();
    env::set_current_dir(&w2).unwrap();
    assert_eq!(db.get(7_u32.to_be_bytes()).unwrap().unwrap(), "a".repeat(100));
    db.verify().unwrap();
    db.close().unwrap();
    holds(&w1.join("db"), "a");
}

/// The working directory changes while the links are being made.
fn a_checkpoint(root: &Path) {
    let [w1, w2] = two_places(root);
    let disk = FaultFs::new(Arc::new(OsFs));
    let db = options().fs(Arc::new(disk.clone())).open("db").unwrap();
    fill(&db, "a");
    disk.inject(Fault::delay(Op::HardLink, Duration::from_millis(200)).times(1));
    std::thread::scope(|scope| {
        let copying = scope.spawn(|| db.checkpoint("copy"));
        while disk.count(Op::HardLink) == 0 {
            assert!(!copying.is_finished(), "a checkpoint links its tables");
            std::thread::yield_now();
        }
        env::set_current_dir(&w2).unwrap();
        copying.join().unwrap().unwrap();
    });
    db.close().unwrap();
    assert_eq!(fs::read_dir(&w2).unwrap().count(), 0);
    holds(&w1.join("copy"), "a");
    holds(&w1.join("db"), "a");
}

/// A link on the way is made to point at another database.
fn a_link(root: &Path) {
    let [w1, w2] = two_places(root);
    let b = options().open(w2.join("db")).unwrap();
    fill(&b, "b");
    b.close().unwrap();
    let untouched = files(&w2.join("db"));
    let link = root.join("here");
    std::os::unix::fs::symlink(&w1, &link).unwrap();
    let a = options().open(link.join("db")).unwrap();
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&w2, &link).unwrap();
    fill(&a, "a");
    a.flush().unwrap();
    a.close().unwrap();
    assert!(files(&w2.join("db")) == untouched, "the other database was written to");
    holds(&w1.join("db"), "a");
}

/// Folders are made where the caller says, through links and back out of them.
fn paths_that_are_not_there_yet(root: &Path) {
    let [w1, w2] = two_places(root);
    std::os::unix::fs::symlink(&w2, w1.join("over")).unwrap();
    for (path, real) in [
        ("a/b/db", w1.join("a/b/db")),
        ("over/c/db", w2.join("c/db")),
        ("over/../w2/d", w2.join("d")),
        ("n/../e", w1.join("e")),
        (".", w1.clone()),
    ] {
        let db = options().open(path).unwrap();
        fill(&db, path);
        db.close().unwrap();
        assert!(real.join("CURRENT").exists(), "{path}");
        holds(&real, path);
    }
}

/// It names no folder, and so nothing is made anywhere: not even in the current one.
fn the_empty_path(root: &Path) {
    let [w1, _] = two_places(root);
    let existing = options().create_if_missing(false);
    for result in [Db::open(""), Db::open_read_only(""), existing.open("")] {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains("path of the folder is empty"), "{error}");
    }
    assert_eq!(fs::read_dir(&w1).unwrap().count(), 0);
    let db = options().open("db").unwrap();
    assert_eq!(db.checkpoint("").unwrap_err().kind(), ErrorKind::Invalid);
    db.close().unwrap();
    assert_eq!(fs::read_dir(&w1).unwrap().count(), 1);
}
