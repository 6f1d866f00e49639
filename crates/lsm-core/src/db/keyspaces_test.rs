//! Keyspaces that are dropped while something is being done with them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lsm_log::error::ErrorKind;
use lsm_log::fs::{Fault, FaultFs, Fs, MemFs, Op};

use super::*;
use crate::batch::WriteBatch;
use crate::db::open::open;
use crate::db::read::ReadPoint;
use crate::key::{KeyRange, Kind};
use crate::options::{Durability, Options, TableAccess};

/// A job whose edit comes next must see that the keyspace was dropped.
#[test]
fn no_edit_comes_between_dropping_a_keyspace_and_marking_it() {
    let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
    let engine = open(options, Path::new("/db")).unwrap();
    let tree = engine.keyspace("a", KeyspaceOptions::default()).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        // Holds the drop up in the middle of marking.
        let held = tree.change.lock();
        scope.spawn(|| engine.drop_keyspace("a").unwrap());
        while !tree.is_dropped() {
            std::thread::yield_now();
        }
        scope.spawn(|| engine.set.with(|_| tell.send(()).unwrap()));
        assert!(told.recv_timeout(Duration::from_millis(100)).is_err(), "the set is not held");
        drop(held);
        told.recv().unwrap();
    });
}

#[test]
fn what_a_dropped_keyspace_held_is_let_go_of_without_a_lock() {
    let disk = FaultFs::new(Arc::new(MemFs::new()));
    let options = Options::default().table_access(TableAccess::Pread).stepped(1);
    let engine = open(options.fs(Arc::new(disk.clone())), Path::new("/db")).unwrap();
    let tree = engine.keyspace("a", KeyspaceOptions::default()).unwrap();
    let mut batch = WriteBatch::new();
    batch.push(Kind::Put, tree.id, b"key", b"value");
    engine.write(&batch, Durability::Buffered).unwrap();
    engine.flush_all().unwrap();
    let point = ReadPoint { engine: &engine, tree: &tree, seq: None, transaction: None };
    assert!(point.get(b"key").unwrap().is_some(), "its table is open");
    let (closed, writers_wait) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let look = {
        let (engine, closed) = (Arc::clone(&engine), Arc::clone(&closed));
        let writers_wait = Arc::clone(&writers_wait);
        move || {
            closed.fetch_add(1, Ordering::Relaxed);
            writers_wait.fetch_or(engine.commit.is_locked(), Ordering::Relaxed);
        }
    };
    disk.inject(Fault::run(Op::Close, look).on(".table").forever());
    engine.drop_keyspace("a").unwrap();
    assert_eq!(closed.load(Ordering::Relaxed), 1);
    assert!(!writers_wait.load(Ordering::Relaxed));
    disk.clear();
}

#[test]
fn compacting_a_range_ends_when_the_keyspace_is_dropped() {
    let disk = MemFs::new();
    let slow = FaultFs::new(Arc::new(disk.clone()));
    let options = Options::default().fs(Arc::new(slow.clone())).stepped(1);
    let engine = open(options, Path::new("/db")).unwrap();
    let tree = engine.keyspace("a", KeyspaceOptions::default()).unwrap();
    for _ in 0..2 {
        let mut batch = WriteBatch::new();
        batch.push(Kind::Put, tree.id, b"key", b"value");
        engine.write(&batch, Durability::Buffered).unwrap();
        engine.flush_all().unwrap();
    }
    // The merge takes so long that the drop comes first.
    slow.inject(Fault::delay(Op::Sync, Duration::from_millis(500)).on(".table").forever());
    let created = slow.count(Op::Create);
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| tell.send(engine.compact_range(&tree, KeyRange::all())).unwrap());
        while slow.count(Op::Create) == created {
            std::thread::yield_now();
        }
        engine.drop_keyspace("a").unwrap();
        let ended = told.recv_timeout(Duration::from_secs(30));
        if ended.is_err() {
            engine.begin_close();
        }
        assert_eq!(ended.expect("it goes round for ever").unwrap_err().kind(), ErrorKind::Invalid);
    });
    // Its inputs and its output are gone, although there still is a handle of the keyspace.
    while engine.remove_one() {}
    let names = disk.list(Path::new("/db")).unwrap();
    assert!(!names.iter().any(|name| name.ends_with(".table")), "{names:?}");
}
