//! Dropping a keyspace: what survives it, and who waits for what it held.

use std::sync::Arc;
use std::sync::mpsc::channel;

use lsm_core::fs::{CrashFs, CrashImage, MemFs};
use lsm_core::{Db, Durability, ErrorKind, KeyspaceOptions, Options};

use crate::folder::DIR;
use crate::wait;

fn open(disk: &CrashFs) -> Db {
    Options::default().fs(Arc::new(disk.clone())).open(DIR).unwrap()
}

#[test]
fn what_was_moved_elsewhere_survives_with_the_drop() {
    for durability in [Durability::None, Durability::Buffered, Durability::Sync] {
        let disk = CrashFs::new();
        let db = open(&disk);
        let old = db.keyspace("old", KeyspaceOptions::default()).unwrap();
        let new = db.keyspace("new", KeyspaceOptions::default()).unwrap();
        old.put_with("key", "value", Durability::Sync).unwrap();
        let value = old.get("key").unwrap().unwrap();
        new.put_with("key", &value, durability).unwrap();
        db.drop_keyspace("old").unwrap();
        let left = disk.image(CrashImage::Lost);
        db.close().unwrap();
        let db = open(&left);
        assert!(!db.keyspaces().contains(&"old".to_owned()));
        let new = db.keyspace("new", KeyspaceOptions::default()).unwrap();
        let found = new.get("key").unwrap();
        assert_eq!(found.as_deref(), Some(&b"value"[..]), "{durability:?}");
    }
}

#[test]
fn nobody_waits_for_writes_that_went_with_their_keyspace() {
    let db = Options::default().fs(Arc::new(MemFs::new())).open(DIR).unwrap();
    let gone = db.keyspace("gone", KeyspaceOptions::default()).unwrap();
    gone.put("key", "value").unwrap();
    let last = db.last_sequence();
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| tell.send(db.wait_flushed(last)).unwrap());
        db.drop_keyspace("gone").unwrap();
        let waited = told.recv_timeout(wait::PATIENCE);
        if waited.is_err() {
            db.clone().close().unwrap();
        }
        waited.expect("it waits for ever").unwrap();
    });
    assert!(db.flushed_sequence() >= last);
    db.close().unwrap();
}

#[test]
fn who_steps_by_hand_is_told_that_no_flush_is_queued() {
    let db = Options::default().fs(Arc::new(MemFs::new())).stepped(1).open(DIR).unwrap();
    let gone = db.keyspace("gone", KeyspaceOptions::default()).unwrap();
    gone.put("key", "value").unwrap();
    let error = db.wait_flushed(db.last_sequence()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    db.drop_keyspace("gone").unwrap();
    db.wait_flushed(db.last_sequence()).unwrap();
    db.close().unwrap();
}
