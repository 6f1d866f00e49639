//! `flushed_sequence` is what is in tables: as much as that comes back without any log, and
//! nothing more.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lsm_core::fs::{CrashFs, CrashImage, Fault, FaultFs, MemFs, Op};
use lsm_core::{Db, Durability, ErrorKind, Keyspace, Options, SeqNo, WriteBatch};

use crate::folder::{DIR, Folder};
use crate::model::{tiny, tiny_logs};
use crate::seeds;

/// As long as a fifth of a memtable.
const VALUE_BYTES: usize = 3 << 10;
const WRITES: u64 = 150;

fn options(disk: &CrashFs, seed: u64) -> Options {
    tiny_logs().default_keyspace(tiny()).stepped(seed).fs(Arc::new(disk.clone()))
}

fn key(seq: u64) -> String {
    format!("{seq:04}")
}

/// Every number is a write of its own, of a key named after it, in one of two keyspaces.
fn write(db: &Db, other: &Keyspace, seq: u64, rng: &mut fastrand::Rng) {
    let mut batch = WriteBatch::new();
    match rng.bool() {
        true => batch.put(key(seq), vec![0; VALUE_BYTES]),
        false => batch.put_in(other, key(seq), vec![0; VALUE_BYTES]),
    };
    assert_eq!(db.write_with(&batch, Durability::None).unwrap().get(), seq);
}

/// What power loss leaves of writes that are in no log is exactly what was said to be flushed.
fn check(disk: &CrashFs, flushed: SeqNo, seed: u64) {
    let left = disk.image(CrashImage::Lost);
    let db = options(&left, seed).open(seeds::dir()).unwrap();
    assert_eq!(db.last_sequence(), flushed, "what came back");
    let other = db.keyspace("other", tiny()).unwrap();
    for seq in 1..=WRITES {
        let there = db.get(key(seq)).unwrap().is_some() || other.get(key(seq)).unwrap().is_some();
        assert_eq!(there, seq <= flushed.get(), "{seq} of {flushed}");
    }
}

#[test]
fn exactly_what_is_flushed_survives_without_a_log() {
    seeds::each("exactly_what_is_flushed_survives_without_a_log", 3, 0, |seed, _| {
        let disk = CrashFs::new();
        let db = options(&disk, seed).open(seeds::dir()).unwrap();
        let other = db.keyspace("other", tiny()).unwrap();
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut flushed, mut checked) = (SeqNo::default(), 0);
        for seq in 1..=WRITES {
            write(&db, &other, seq, &mut rng);
            if rng.u32(..8) == 0 {
                db.step().unwrap();
            }
            if db.flushed_sequence() != flushed {
                flushed = db.flushed_sequence();
                assert!(flushed <= db.last_sequence());
                check(&disk, flushed, seed);
                checked += 1;
            }
        }
        assert!(checked > 1, "{checked} flushes");
        db.flush().unwrap();
        assert_eq!(db.flushed_sequence(), db.last_sequence());
        check(&disk, db.flushed_sequence(), seed);
    });
}

/// While a flush waits for the disk, its number is not told yet.
#[test]
fn what_is_flushed_is_told_when_it_is_safe() {
    let disk = CrashFs::new();
    let faults = FaultFs::new(Arc::new(disk.clone()));
    let db = options(&disk, 1).fs(Arc::new(faults.clone())).open(seeds::dir()).unwrap();
    let other = db.keyspace("other", tiny()).unwrap();
    let mut rng = fastrand::Rng::with_seed(1);
    (1..=20).for_each(|seq| write(&db, &other, seq, &mut rng));
    let (looks, handle) = (Arc::new(AtomicU64::new(0)), db.clone());
    let look = {
        let looks = Arc::clone(&looks);
        move || {
            check(&disk, handle.flushed_sequence(), 1);
            looks.fetch_add(1, Ordering::Relaxed);
        }
    };
    faults.inject(Fault::run(Op::Sync, look.clone()).forever());
    faults.inject(Fault::run(Op::SyncDir, look).forever());
    db.flush().unwrap();
    faults.clear();
    assert!(looks.load(Ordering::Relaxed) > 2);
    assert_eq!(db.flushed_sequence().get(), 20);
}

/// A table that holds writes which the log has lost is named at the open: nobody could tell the
/// parts of their batches that it holds from writes that get the same numbers later.
#[test]
fn a_table_ahead_of_what_came_back_is_named() {
    let memory = MemFs::new();
    let options = tiny_logs().log_segment_bytes(1 << 20).log_bytes_max(4 << 20).stepped(1);
    let open = |fs| options.clone().default_keyspace(tiny()).fs(fs).open(DIR);
    let db = open(Arc::new(memory.clone())).unwrap();
    let other = db.keyspace("other", tiny()).unwrap();
    // A write buffer of one keyspace is flushed, and the other keyspace's part of each batch
    // is in the log alone.
    for n in 0..5_u8 {
        let mut batch = WriteBatch::new();
        batch.put([n], "part");
        batch.put_in(&other, [n], vec![n; 17 << 10]);
        db.write(&batch).unwrap();
    }
    let tables = |keyspace: &Keyspace| -> usize {
        keyspace.levels().iter().map(|level| level.tables.len()).sum()
    };
    while tables(&other) == 0 {
        assert!(db.step().unwrap(), "a full write buffer is flushed");
    }
    assert!(db.flushed_sequence().get() == 0, "the other keyspace has no table");
    let folder = Folder::take(&memory, Path::new(DIR));
    open(folder.in_memory()).unwrap().verify().unwrap();
    // The first batch stays.
    let log = folder.names(".log").into_iter().find(|name| {
        let bytes = &folder.0[name];
        bytes.windows(4).any(|window| window == b"part")
    });
    let cut =
        folder.with(&log.expect("the log that is written to"), |bytes| bytes[20 << 10..].fill(0));
    let error = open(cut.in_memory()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let file = error.file().and_then(Path::to_str).unwrap();
    assert!(file.ends_with(".table"), "{error}");
}
