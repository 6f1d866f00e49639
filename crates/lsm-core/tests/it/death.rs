//! The death of a process, and power loss while it or the next one runs: what is in memory or in
//! the system's cache only is not on the disk yet.

use std::io;
use std::sync::Arc;

use lsm_core::fs::{CrashFs, CrashImage, Fault, FaultFs, Fs, Op};
use lsm_core::{Db, Durability, Options, WriteBatch};

use crate::folder::DIR;
use crate::model::{tiny, tiny_logs};

/// What a process does to a disk.
const CHANGES: [Op; 10] = [
    Op::Create,
    Op::OpenWrite,
    Op::Write,
    Op::Copy,
    Op::Allocate,
    Op::Sync,
    Op::SyncDir,
    Op::Rename,
    Op::Remove,
    Op::HardLink,
];

fn open(fs: impl Fs) -> Db {
    tiny_logs().fs(Arc::new(fs)).stepped(1).open(DIR).unwrap()
}

/// Runs `work` as a process that dies right after it: nothing it does then reaches the disk.
fn dies_after(disk: &CrashFs, work: impl FnOnce(&Db)) {
    let seen = FaultFs::new(Arc::new(disk.clone()));
    let db = open(seen.clone());
    work(&db);
    for change in CHANGES {
        seen.inject(Fault::error(change, io::ErrorKind::Other).forever());
    }
}

/// The power goes right after each call that promises that what was written survives it.
#[test]
fn what_was_promised_survives_power_loss() {
    let disk = CrashFs::new();
    let db = open(disk.clone());
    let put = |n: u32, durability| {
        // Three of them fill a segment of the log.
        let value = n.to_be_bytes().repeat(6000);
        db.put_with(n.to_be_bytes(), value, durability).unwrap();
    };
    let check = |through: u32, what: &str| {
        let left = open(disk.image(CrashImage::Lost));
        let found: Vec<_> = left.iter().map(|entry| entry.unwrap().0).collect();
        let promised: Vec<_> = (1..=through).map(|n| n.to_be_bytes().to_vec()).collect();
        assert_eq!(found, promised, "{what}");
        left.verify().unwrap();
    };
    check(0, "the open");
    (1..4).for_each(|n| put(n, Durability::Sync));
    check(3, "a synced write");
    put(4, Durability::Buffered);
    db.sync().unwrap();
    check(4, "a sync");
    (5..9).for_each(|n| put(n, Durability::Buffered));
    put(9, Durability::Sync);
    check(9, "a synced write behind others, over several segments");
    put(10, Durability::None);
    put(11, Durability::Sync);
    check(11, "a synced write behind one in no log");
    put(12, Durability::Buffered);
    put(13, Durability::None);
    db.flush().unwrap();
    check(13, "a flush");
    put(14, Durability::Buffered);
    db.compact_range::<&str>(..).unwrap();
    check(14, "a compaction");
    while db.step().unwrap() {}
    check(14, "all that is to be done in the background");
    put(15, Durability::Buffered);
    put(16, Durability::None);
    db.close().unwrap();
    check(16, "a close");
}

#[test]
fn what_a_dead_process_left_is_durable_before_it_is_built_on() {
    for closed_before in [false, true] {
        let disk = CrashFs::new();
        if closed_before {
            let db = open(disk.clone());
            db.put("zeroth", "0").unwrap();
            db.close().unwrap();
        }
        dies_after(&disk, |db| db.put_with("first", "1", Durability::Buffered).unwrap());
        let second = open(disk.clone());
        assert_eq!(second.get("first").unwrap().unwrap(), "1");
        second.put_with("second", "2", Durability::Sync).unwrap();
        let third = open(disk.image(CrashImage::Lost));
        assert_eq!(third.get("first").unwrap().unwrap(), "1", "{closed_before}");
        assert_eq!(third.get("second").unwrap().unwrap(), "2", "{closed_before}");
        assert_eq!(third.get("zeroth").unwrap().is_some(), closed_before);
    }
}

/// The log still has the older write, and tables the newer one, which is in no log.
#[test]
fn what_the_log_holds_of_flushed_writes_hides_none_of_them() {
    let disk = CrashFs::new();
    dies_after(&disk, |db| {
        db.put_with("key", "old", Durability::Sync).unwrap();
        db.put_with("key", "new", Durability::None).unwrap();
        db.flush().unwrap();
    });
    assert_eq!(open(disk.clone()).get("key").unwrap().unwrap(), "new");
    assert_eq!(open(disk.clone()).iter().next().unwrap().unwrap().1, "new");
}

/// A table of the second process builds on the log of the first.
#[test]
fn a_flush_after_a_death_keeps_what_was_before() {
    let disk = CrashFs::new();
    dies_after(&disk, |db| {
        db.put_with("first", "1", Durability::Buffered).unwrap();
        db.flush().unwrap();
        db.put_with("second", "2", Durability::Buffered).unwrap();
    });
    let second = open(disk.clone());
    second.put_with("third", "3", Durability::None).unwrap();
    second.flush().unwrap();
    let third = open(disk.image(CrashImage::Lost));
    for (key, value) in [("first", "1"), ("second", "2"), ("third", "3")] {
        assert_eq!(third.get(key).unwrap().unwrap(), value);
    }
}

/// Both keyspaces get each batch, and only one of them fills its write buffers.
#[test]
fn a_flush_of_one_keyspace_keeps_batches_whole_in_all_of_them() {
    for durability in [Durability::None, Durability::Buffered] {
        let disk = CrashFs::new();
        let options = Options::default().fs(Arc::new(disk.clone())).stepped(1);
        let db = options.default_keyspace(tiny()).open(DIR).unwrap();
        let twin = db.keyspace("twin", tiny().write_buffer_bytes(1 << 20)).unwrap();
        for n in 0..300_u32 {
            let mut batch = WriteBatch::new();
            batch.put(n.to_be_bytes(), [7; 1000]);
            batch.put_in(&twin, n.to_be_bytes(), [7]);
            db.write_with(&batch, durability).unwrap();
            while db.step().unwrap() {}
        }
        let left = Options::default().fs(Arc::new(disk.image(CrashImage::Lost))).stepped(1);
        let left = left.open(DIR).unwrap();
        let twin = left.keyspace("twin", tiny()).unwrap();
        let (one, other) = (left.iter().count(), twin.iter().count());
        assert!(one > 100 && one == other, "{one} and {other} with {durability:?}");
    }
}
