//! Space comes back by itself: of snapshots that are gone, of what was deleted and overwritten.

use std::sync::Arc;
use std::time::Duration;

use lsm_core::fs::{Fs, MemFs};
use lsm_core::{Clock, Db, Keyspace, KeyspaceOptions, Options, SystemClock};

use crate::model::tiny;
use crate::seeds::{self, Told};

fn open(fs: &MemFs, keyspace: KeyspaceOptions, stepped: bool) -> Db {
    let options = Options::default().default_keyspace(keyspace).fs(Arc::new(fs.clone()));
    let options = if stepped { options.stepped(1) } else { options };
    options.open("/db").unwrap()
}

fn step_to_rest(db: &Db) {
    for _ in 0..100_000 {
        if !db.step().unwrap() {
            return;
        }
    }
    panic!("the database does not come to rest");
}

/// Waits for the database's own threads.
fn wait_until(what: &str, done: impl Fn() -> bool) {
    let clock = SystemClock::new();
    while !done() {
        assert!(clock.now() < Duration::from_secs(300), "waited for: {what}");
        clock.sleep(Duration::from_millis(20));
    }
}

/// Entries and tombstones in the tables.
fn stored(keyspace: &Keyspace) -> (u64, u64) {
    let levels = keyspace.levels();
    let tables = || levels.iter().flat_map(|level| &level.tables);
    (tables().map(|t| t.entries).sum(), tables().map(|t| t.tombstones).sum())
}

fn bytes(db: &Db) -> u64 {
    db.stats().table_bytes
}

/// All that is in tables is live: not a tombstone, not an older version.
fn check_at_rest(db: &Db, keyspace: &Keyspace) {
    let live = keyspace.iter().count() as u64;
    assert_eq!(stored(keyspace), (live, 0));
    db.verify().unwrap();
}

fn overwrite(keyspace: &Keyspace, keys: u32, round: u8) {
    for i in 0..keys {
        keyspace.put(i.to_be_bytes(), [round; 200]).unwrap();
    }
}

#[test]
fn what_was_kept_for_snapshots_comes_back() {
    for (keys, compact) in [(1000, true), (1000, false), (20, true), (6000, true)] {
        let fs = MemFs::new();
        let small = tiny().write_buffer_bytes(1 << 20).level_bytes_base(1 << 20);
        let db = open(&fs, small, true);
        let keyspace = db.keyspace("default", tiny()).unwrap();
        overwrite(&keyspace, keys, 0);
        db.compact_range::<&str>(..).unwrap();
        let live = bytes(&db);
        let mut snapshots = Vec::new();
        for round in 1..=5 {
            snapshots.push(db.snapshot());
            overwrite(&keyspace, keys, round);
            db.flush().unwrap();
        }
        if compact {
            db.compact_range::<&str>(..).unwrap();
        }
        step_to_rest(&db);
        assert!(bytes(&db) > 5 * live, "{keys} keys: the snapshots are there");
        for (round, snapshot) in snapshots.iter().enumerate() {
            assert_eq!(snapshot.get(1u32.to_be_bytes()).unwrap().unwrap()[0] as usize, round);
        }
        // The last one last, then the first one last.
        drop(snapshots.pop());
        snapshots.reverse();
        while snapshots.pop().is_some() {
            step_to_rest(&db);
        }
        assert!(bytes(&db) < live + live / 10 + 512, "{keys} keys: {} of {live}", bytes(&db));
        check_at_rest(&db, &keyspace);
    }
}

#[test]
fn what_was_kept_for_snapshots_comes_back_after_a_reopen() {
    let fs = MemFs::new();
    let db = open(&fs, tiny(), true);
    overwrite(&db.keyspace("default", tiny()).unwrap(), 1000, 0);
    db.compact_range::<&str>(..).unwrap();
    let live = bytes(&db);
    let _snapshot = db.snapshot();
    overwrite(&db.keyspace("default", tiny()).unwrap(), 1000, 1);
    db.compact_range::<&str>(..).unwrap();
    assert!(bytes(&db) > 2 * live - live / 10);
    db.close().unwrap();
    // It was not closed with the database, but it is of that one.
    let db = open(&fs, tiny(), true);
    step_to_rest(&db);
    assert!(bytes(&db) < live + live / 10, "{} of {live}", bytes(&db));
    check_at_rest(&db, &db.keyspace("default", tiny()).unwrap());
}

#[test]
fn threads_give_back_what_snapshots_held() {
    let fs = MemFs::new();
    let db = open(&fs, tiny(), false);
    let others: Vec<Keyspace> =
        (0..3).map(|i| db.keyspace(&format!("{i}"), tiny()).unwrap()).collect();
    let mut snapshots = Vec::new();
    for round in 0..4 {
        others.iter().for_each(|keyspace| overwrite(keyspace, 500, round));
        snapshots.push(db.snapshot());
    }
    for keyspace in &others {
        for i in 0..250u32 {
            keyspace.delete(i.to_be_bytes()).unwrap();
        }
        keyspace.compact_range::<&str>(..).unwrap();
        assert!(stored(keyspace).0 >= 2250);
    }
    drop(snapshots);
    for keyspace in &others {
        wait_until("what snapshots held", || stored(keyspace) == (250, 0));
        check_at_rest(&db, keyspace);
    }
}

#[test]
fn tombstones_under_a_snapshot_go_with_it() {
    for keys in [1, 100, 5000] {
        let db = open(&MemFs::new(), tiny(), true);
        let keyspace = db.keyspace("default", tiny()).unwrap();
        overwrite(&keyspace, keys, 0);
        db.flush().unwrap();
        let snapshot = db.snapshot();
        for i in 0..keys {
            keyspace.delete(i.to_be_bytes()).unwrap();
        }
        db.flush().unwrap();
        step_to_rest(&db);
        assert_eq!(stored(&keyspace), (2 * u64::from(keys), u64::from(keys)));
        assert_eq!(snapshot.iter().count(), keys as usize);
        drop(snapshot);
        step_to_rest(&db);
        assert_eq!(stored(&keyspace), (0, 0));
        assert_eq!(bytes(&db), 0);
    }
}

fn fill_and_empty(keyspace: &Keyspace) {
    for i in 0..100_000u32 {
        keyspace.put(i.to_be_bytes(), [7; 100]).unwrap();
    }
    for i in 0..100_000u32 {
        keyspace.delete(i.to_be_bytes()).unwrap();
    }
}

#[test]
fn an_emptied_keyspace_comes_to_nothing_by_steps() {
    let fs = MemFs::new();
    let db = open(&fs, KeyspaceOptions::default(), true);
    let keyspace = db.keyspace("queue", KeyspaceOptions::default()).unwrap();
    fill_and_empty(&keyspace);
    db.flush().unwrap();
    step_to_rest(&db);
    assert_eq!(stored(&keyspace), (0, 0));
    let names = fs.list(std::path::Path::new("/db")).unwrap();
    assert!(!names.iter().any(|name| name.ends_with(".table")), "{names:?}");
}

#[test]
fn an_emptied_keyspace_comes_to_nothing_by_itself() {
    let fs = MemFs::new();
    let db = open(&fs, KeyspaceOptions::default(), false);
    let keyspace = db.keyspace("queue", tiny()).unwrap();
    fill_and_empty(&keyspace);
    wait_until("the tombstones to go", || {
        stored(&keyspace) == (0, 0) && db.stats().memtable_bytes == 0
    });
}

#[test]
fn a_random_keyspace_comes_to_rest_at_its_live_data() {
    seeds::each("a_random_keyspace_comes_to_rest_at_its_live_data", 5, 40, |seed, rounds| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let fs = MemFs::new();
        let mut db = open(&fs, tiny(), true);
        let mut snapshots = Vec::new();
        for round in 0..rounds {
            let _told = Told::new(format_args!("round {round}"));
            let keyspace = db.keyspace(["default", "b"][rng.usize(..2)], tiny()).unwrap();
            let keys = 1 << rng.u32(3..12);
            for _ in 0..rng.u32(..600) {
                let key = rng.u32(..keys).to_be_bytes();
                match rng.u8(..4) {
                    0 => keyspace.delete(key).unwrap(),
                    _ => keyspace.put(key, vec![round as u8; rng.usize(..300)]).unwrap(),
                }
            }
            match rng.u8(..8) {
                0 => db.flush().unwrap(),
                1 => keyspace.compact_range::<&str>(..).unwrap(),
                2 => snapshots.push(db.snapshot()),
                3 if !snapshots.is_empty() => {
                    snapshots.swap_remove(rng.usize(..snapshots.len()));
                }
                4 => {
                    for _ in 0..rng.u32(..30) {
                        db.step().unwrap();
                    }
                }
                5 => step_to_rest(&db),
                6 if rng.bool() => {
                    snapshots.clear();
                    drop(keyspace);
                    db.close().unwrap();
                    db = open(&fs, tiny(), true);
                }
                _ => {}
            }
        }
        snapshots.clear();
        for name in ["default", "b"] {
            // Named, or it stays as it is.
            db.keyspace(name, tiny()).unwrap();
        }
        step_to_rest(&db);
        db.flush().unwrap();
        step_to_rest(&db);
        for name in ["default", "b"] {
            check_at_rest(&db, &db.keyspace(name, tiny()).unwrap());
        }
    });
}
