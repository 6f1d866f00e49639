//! Reads that have to look far, cursors at their borders, and reads that fail.

use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use lsm_core::fs::{Fault, FaultFs, MemFs, Op};
use lsm_core::{ErrorKind, KeyspaceOptions, Options, TableAccess};

use crate::folder::DIR;
use crate::model::tiny;

#[test]
fn a_key_is_found_under_any_number_of_tables() {
    let keyspace = KeyspaceOptions::default().l0_tables_compact(64);
    let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
    let db = options.default_keyspace(keyspace).open(DIR).unwrap();
    for round in 0..40 {
        db.put(format!("key{round:02}"), [round]).unwrap();
        // Every table may hold every key.
        db.put("a", [round]).unwrap();
        db.put("z", [round]).unwrap();
        db.flush().unwrap();
    }
    assert_eq!(db.levels()[0].tables.len(), 40);
    for round in 0..40 {
        assert_eq!(db.get(format!("key{round:02}")).unwrap().unwrap(), [round]);
    }
    assert!(db.get("key40").unwrap().is_none());
}

#[test]
fn what_scans_do_is_counted() {
    for at_rest in [false, true] {
        let db = Options::default().fs(Arc::new(MemFs::new())).stepped(1).open(DIR).unwrap();
        (0..100).for_each(|i| db.put(format!("{i:02}"), "").unwrap());
        (0..40).for_each(|i| db.delete(format!("{i:02}")).unwrap());
        if at_rest {
            db.compact_range::<&str>(..).unwrap();
        }
        assert_eq!(db.iter().count(), 60);
        let mut cursor = db.cursor();
        assert!(cursor.seek("70").unwrap());
        (0..10).for_each(|_| assert!(cursor.next().unwrap()));
        drop(cursor);
        let stats = db.stats();
        // The step that finds the end counts.
        assert_eq!((stats.seeks, stats.steps), (2, 60 + 10));
        // A deletion each, and what it deletes.
        assert_eq!(stats.entries_skipped >= 80, !at_rest, "{}", stats.entries_skipped);
    }
}

/// From every key and to both sides, for every kind of border: what a sorted list gives.
#[test]
fn a_cursor_keeps_to_its_range() {
    for at_rest in [false, true] {
        keeps_to_its_range(at_rest);
    }
}

fn keeps_to_its_range(at_rest: bool) {
    let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
    let db = options.default_keyspace(tiny()).open(DIR).unwrap();
    let keys = ["b", "d", "f", "h", "k", "l"];
    // Some in memory, the others in tables of two levels.
    for (n, key) in keys.iter().enumerate() {
        db.put(key, key).unwrap();
        match n {
            1 => db.compact_range::<&str>(..).unwrap(),
            3 => db.flush().unwrap(),
            _ => {}
        }
    }
    if at_rest {
        db.compact_range::<&str>(..).unwrap();
    }
    let letters: Vec<String> = ('a'..'n').map(String::from).collect();
    let bounds = || {
        let all = letters.iter().map(String::as_str);
        let both = all.flat_map(|key| [Bound::Included(key), Bound::Excluded(key)]);
        both.chain([Bound::Unbounded]).collect::<Vec<Bound<&str>>>()
    };
    for range in bounds().into_iter().flat_map(|a| bounds().into_iter().map(move |b| (a, b))) {
        let inside: Vec<&str> =
            keys.into_iter().filter(|key| RangeBounds::<&str>::contains(&range, key)).collect();
        let mut cursor = db.cursor_in::<&str>(range);
        let at =
            |place: Option<usize>| place.and_then(|at| inside.get(at)).map(|key| key.as_bytes());
        for letter in &letters {
            let behind = inside.partition_point(|key| *key < letter.as_str());
            cursor.seek(letter).unwrap();
            assert_eq!(cursor.key(), at(Some(behind)), "{letter} in {range:?}");
            if cursor.key().is_some() {
                cursor.prev().unwrap();
                assert_eq!(cursor.key(), at(behind.checked_sub(1)), "before {letter} in {range:?}");
            }
            let before = inside.partition_point(|key| *key <= letter.as_str());
            cursor.seek_back(letter).unwrap();
            assert_eq!(cursor.key(), at(before.checked_sub(1)), "back from {letter} in {range:?}");
            if cursor.key().is_some() {
                cursor.next().unwrap();
                assert_eq!(cursor.key(), at(Some(before)), "behind {letter} in {range:?}");
            }
        }
    }
}

/// All of it lies in one run of tables, in which nothing is deleted or replaced.
#[test]
fn what_came_after_a_snapshot_is_hidden_in_a_tree_at_rest() {
    let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
    let db = options.open(DIR).unwrap();
    db.put("b", "1").unwrap();
    let snapshot = db.snapshot();
    db.put("a", "2").unwrap();
    db.put("c", "2").unwrap();
    db.compact_range::<&str>(..).unwrap();
    let keys =
        |entries: lsm_core::Range| entries.map(|entry| entry.unwrap().0[0]).collect::<Vec<_>>();
    assert_eq!(keys(snapshot.iter()), b"b");
    assert_eq!(keys(db.iter()), b"abc");
    // Nor does an entry go unseen that is in memory, or in a second run.
    db.put("d", "3").unwrap();
    db.delete("a").unwrap();
    assert_eq!(keys(db.iter()), b"bcd");
    db.flush().unwrap();
    assert_eq!(keys(db.iter()), b"bcd");
    // One run, in which a deletion hides a put from all but the snapshot.
    let snapshot = db.snapshot();
    db.delete("b").unwrap();
    db.put("c", "4").unwrap();
    db.compact_range::<&str>(..).unwrap();
    assert_eq!(keys(db.iter()), b"cd");
    assert_eq!(keys(snapshot.iter()), b"bcd");
    let back = db.iter().rev().map(|entry| entry.unwrap().0[0]).collect::<Vec<_>>();
    assert_eq!(back, b"dc");
}

#[test]
fn each_key_is_shown_once_however_many_runs_hold_it() {
    let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
    let db = options.open(DIR).unwrap();
    for round in ["1", "2"] {
        for key in ["a", "b"] {
            db.put(key, round).unwrap();
        }
        db.flush().unwrap();
    }
    let levels = db.levels();
    assert_eq!(levels.iter().map(|level| level.tables.len()).sum::<usize>(), 2);
    let entries = db.iter().map(|entry| entry.unwrap()).map(|(key, value)| (key[0], value[0]));
    assert_eq!(entries.collect::<Vec<_>>(), [(b'a', b'2'), (b'b', b'2')]);
}

/// Nothing else is known of the key: a snapshot keeps the deletion.
#[test]
fn a_deletion_alone_is_hidden_in_a_tree_at_rest() {
    let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
    let db = options.open(DIR).unwrap();
    let _snapshot = db.snapshot();
    db.delete("a").unwrap();
    db.put("b", "1").unwrap();
    db.flush().unwrap();
    assert_eq!(db.levels()[0].tables[0].tombstones, 1);
    assert_eq!(db.iter().map(|entry| entry.unwrap().0).collect::<Vec<_>>(), [b"b"]);
    assert_eq!(db.iter().rev().count(), 1);
}

#[test]
fn an_old_point_is_seen_whatever_came_later() {
    for (newer, flushed) in
        [(0, false), (3, true), (9, false), (12, false), (40, false), (40, true)]
    {
        let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
        let db = options.default_keyspace(tiny()).open(DIR).unwrap();
        for key in ["b", "c", "d"] {
            db.put(key, "old").unwrap();
        }
        db.delete("c").unwrap();
        let snapshot = db.snapshot();
        for n in 0..newer {
            for key in ["a", "b", "c", "d", "e"] {
                db.put(key, format!("new{n}")).unwrap();
            }
        }
        if flushed {
            db.flush().unwrap();
        }
        let mut cursor = snapshot.cursor();
        let (b, d) = (Some((&b"b"[..], &b"old"[..])), Some((&b"d"[..], &b"old"[..])));
        assert!(cursor.seek_first().unwrap());
        assert_eq!(cursor.entry(), b, "{newer}");
        assert!(cursor.next().unwrap());
        assert_eq!(cursor.entry(), d, "{newer}");
        // Turns on an entry that it came to from the front, and again.
        assert!(cursor.prev().unwrap());
        assert_eq!(cursor.entry(), b, "{newer}");
        assert!(cursor.next().unwrap());
        assert_eq!(cursor.entry(), d, "{newer}");
        assert!(!cursor.next().unwrap());
        assert!(cursor.seek_last().unwrap());
        assert_eq!(cursor.entry(), d, "{newer}");
        assert!(cursor.prev().unwrap());
        assert_eq!(cursor.entry(), b, "{newer}");
        assert!(!cursor.prev().unwrap());
        assert!(cursor.seek_back("c").unwrap());
        assert_eq!(cursor.entry(), b, "{newer}");
    }
}

#[test]
fn a_cursor_that_met_an_error_stands_nowhere_and_seeks_again() {
    let disk = FaultFs::new(Arc::new(MemFs::new()));
    let options = Options::default().fs(Arc::new(disk.clone())).stepped(1).block_cache_bytes(0);
    let options = options.table_access(TableAccess::Pread).default_keyspace(tiny());
    let db = options.open(DIR).unwrap();
    for n in 0..200 {
        db.put(format!("key{n:03}"), [n as u8; 100]).unwrap();
    }
    db.flush().unwrap();
    let mut cursor = db.cursor();
    for back in [false, true] {
        let mut step = |disk: Option<&FaultFs>| -> lsm_core::Result<bool> {
            if let Some(disk) = disk {
                disk.inject(Fault::error(Op::Read, io::ErrorKind::Other).forever());
            }
            if back { cursor.prev() } else { cursor.next() }
        };
        for _ in 0..50 {
            assert!(step(None).unwrap());
        }
        let error = loop {
            match step(Some(&disk)) {
                Ok(stands) => assert!(stands, "the table ends before a block had to be read"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Io);
        assert_eq!((cursor.key(), cursor.value(), cursor.entry()), (None, None, None));
        disk.clear();
        assert!(cursor.seek("key100").unwrap());
        assert_eq!(cursor.entry(), Some((&b"key100"[..], &[100; 100][..])));
    }
}

/// Tombstones that a snapshot holds up are not worked off again and again.
#[test]
fn background_work_comes_to_rest_beside_a_snapshot() {
    let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
    let db = options.default_keyspace(tiny()).open(DIR).unwrap();
    for n in 0..200 {
        db.put(format!("key{n:03}"), [7; 100]).unwrap();
    }
    db.compact_range::<&str>(..).unwrap();
    let snapshot = db.snapshot();
    for n in 0..400 {
        db.delete(format!("key{n:03}")).unwrap();
    }
    db.compact_range::<&str>(..).unwrap();
    let mut steps = 0;
    while db.step().unwrap() {
        steps += 1;
        assert!(steps < 1000, "there is work without end");
    }
    assert_eq!((snapshot.iter().count(), db.iter().count()), (200, 0));
}
