//! The space of files that nothing needs comes back, under load too, and nobody waits for it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lsm_core::fs::{Fault, FaultFs, Fs, MemFs, Op};
use lsm_core::{Db, Durability, KeyspaceOptions, Options};

use crate::folder::DIR;
use crate::model::tiny;
use crate::wait;

/// Tells a writer to stop, also when a test fails.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn tables(disk: &MemFs) -> usize {
    let names = disk.list(Path::new(DIR)).unwrap();
    names.iter().filter(|name| name.ends_with(".table")).count()
}

#[test]
fn files_are_removed_while_flushes_keep_coming() {
    let disk = MemFs::new();
    let faults = FaultFs::new(Arc::new(disk.clone()));
    let hot = KeyspaceOptions::default().write_buffer_bytes(64 << 10).l0_tables_compact(2);
    let options = Options::default().default_keyspace(hot).fs(Arc::new(faults.clone()));
    let db = options.open(DIR).unwrap();
    // Flushes are slower than writes: there is always one to do.
    faults.inject(Fault::delay(Op::Sync, Duration::from_millis(3)).on(".table").forever());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0u64.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                db.put_with((i % 100).to_be_bytes(), [7; 500], Durability::None).unwrap();
            }
        });
        let _stops = Stops(&done);
        wait::until("files are removed", || faults.count(Op::Remove) >= 50);
    });
    db.close().unwrap();
}

#[test]
fn nobody_waits_for_files_to_be_removed() {
    const TABLES: usize = 40;
    let disk = MemFs::new();
    let faults = FaultFs::new(Arc::new(disk.clone()));
    let db = Options::default().fs(Arc::new(faults.clone())).open(DIR).unwrap();
    let many = KeyspaceOptions::default().l0_tables_compact(64);
    let dropped = db.keyspace("dropped", many).unwrap();
    for round in 0..TABLES as u32 {
        dropped.put(round.to_be_bytes(), "value").unwrap();
        db.flush().unwrap();
    }
    assert_eq!(tables(&disk), TABLES);
    // All of them take more than ten seconds.
    faults.inject(Fault::delay(Op::Remove, Duration::from_millis(300)).on(".table").forever());
    drop(dropped);
    db.drop_keyspace("dropped").unwrap();
    db.put("key", "value").unwrap();
    db.flush().unwrap();
    db.put_with("other", "value", Durability::None).unwrap();
    db.put("key", "again").unwrap();
    let left = db.stats().obsolete_files;
    assert!(left > 0, "a flush waited for {TABLES} files");
    faults.clear();
    wait::until("two tables are left", || tables(&disk) <= 2 && db.stats().obsolete_files == 0);
    db.close().unwrap();
}

#[test]
fn what_a_close_leaves_goes_at_the_next_open() {
    let disk = MemFs::new();
    let faults = FaultFs::new(Arc::new(disk.clone()));
    let open = || Options::default().fs(Arc::new(faults.clone())).open(DIR).unwrap();
    let db = open();
    faults.inject(Fault::delay(Op::Remove, Duration::from_millis(300)).on(".table").forever());
    for round in 0..24u32 {
        db.put(round.to_be_bytes(), "value").unwrap();
        db.flush().unwrap();
    }
    db.compact_range::<&str>(..).unwrap();
    db.close().unwrap();
    assert!(tables(&disk) > 1, "a close waits for a moment only");
    faults.clear();
    let db = open();
    wait::until("one table is left", || tables(&disk) <= 1);
    assert_eq!(db.iter().count(), 24);
    db.close().unwrap();
}

fn live(db: &Db) -> usize {
    db.levels().iter().map(|level| level.tables.len()).sum()
}

/// What hot keys leave behind goes while they are still being overwritten, by writers who never
/// let the flushes come to rest.
#[test]
fn the_backlog_of_files_is_bounded() {
    const WRITERS: usize = 2;
    const WRITES: u32 = 8000;
    let memory = MemFs::new();
    let faults = FaultFs::new(Arc::new(memory.clone()));
    faults.inject(Fault::delay(Op::Sync, Duration::from_millis(2)).on(".table").forever());
    let hot = tiny().write_buffers_max(8);
    let db = Options::default().default_keyspace(hot).fs(Arc::new(faults)).open(DIR).unwrap();
    let mut most = 0;
    std::thread::scope(|scope| {
        let write = |writer: usize| {
            for n in 0..WRITES {
                let (key, value) = (format!("hot{writer}/{:03}", n % 50), [n as u8; 1000]);
                db.put_with(key, value, Durability::None).unwrap();
            }
        };
        let writers: Vec<_> = (0..WRITERS).map(|n| scope.spawn(move || write(n))).collect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            most = most.max(tables(&memory).saturating_sub(live(&db)));
            std::thread::yield_now();
        }
    });
    let made = db.stats().flushes + db.stats().compactions;
    assert!(made > 150, "{made} tables were made: too few to tell");
    // A bounded backlog, whatever was made.
    assert!(most < 60, "{most} tables that nothing names, of {made} that were made");
    db.close().unwrap();
}
