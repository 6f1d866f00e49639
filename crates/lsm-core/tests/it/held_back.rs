//! Settings that change while they hold writers back: what the new ones allow goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use lsm_core::fs::{Fault, FaultFs, MemFs, Op};
use lsm_core::{Clock, Db, Durability, KeyspaceOptions, StallReason, SystemClock};

use crate::folder::DIR;
use crate::model::{tiny, tiny_logs};

/// Longer than anything here takes, also on a busy machine: a test that waits so long has failed.
const LONG: Duration = Duration::from_secs(60);

/// One table of level 0, while nothing is compacted.
fn add_table(db: &Db, round: u32) {
    for n in 0..5_u32 {
        let key = format!("{:03}", (round + n * 7) % 100);
        db.put_with(key, vec![round as u8; 17 << 10], Durability::None).unwrap();
    }
}

fn level_zero(db: &Db) -> usize {
    db.levels()[0].tables.len()
}

/// Level 0 is merged for the number of its tables alone.
fn by_count(l0_tables_compact: usize) -> KeyspaceOptions {
    tiny().l0_tables_compact(l0_tables_compact).level_bytes_base(1 << 30)
}

/// A database without threads whose level 0 is as full as `options` let it be.
fn stopped_at_level_zero(options: KeyspaceOptions) -> Db {
    let db = tiny_logs()
        .default_keyspace(options)
        .stepped(1)
        .fs(Arc::new(MemFs::new()))
        .open(DIR)
        .unwrap();
    let mut round = 0;
    while level_zero(&db) < 9 {
        add_table(&db, round);
        db.flush().unwrap();
        round += 1;
        assert!(round < 40, "level 0 has {} tables", level_zero(&db));
    }
    db
}

#[test]
fn a_larger_level_zero_lets_writers_go_on() {
    let db = stopped_at_level_zero(by_count(1));
    let tables = level_zero(&db);
    db.keyspace("default", by_count(64)).unwrap();
    // With the old settings this would wait for a compaction; there is none to wait for now.
    db.put("key", "value").unwrap();
    assert_eq!(level_zero(&db), tables, "nobody had to compact");
    db.close().unwrap();
}

#[test]
fn a_smaller_level_zero_makes_writers_wait_for_compactions() {
    let db = stopped_at_level_zero(by_count(2));
    let tables = level_zero(&db);
    db.keyspace("default", by_count(1)).unwrap();
    db.put("key", "value").unwrap();
    assert!(level_zero(&db) < tables, "the writer waited, and did the work");
    assert_eq!(db.stats().stall_reason, StallReason::LevelZero);
    db.close().unwrap();
}

/// Lets nothing through until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut open = self.0.0.lock().unwrap();
        while !*open {
            open = self.0.1.wait(open).unwrap();
        }
    }
}

/// Opens a gate at the latest when a test fails.
struct OpenAtEnd(Gate);

impl Drop for OpenAtEnd {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Writes until it is held back by what `held` has stopped, changes the settings, and sees the
/// writer go on while that still stands still.
fn changed_while_a_writer_waits(before: KeyspaceOptions, after: KeyspaceOptions, held: &str) {
    let faults = FaultFs::new(Arc::new(MemFs::new()));
    let options = tiny_logs().default_keyspace(before).fs(Arc::new(faults.clone()));
    let db = options.open(DIR).unwrap();
    let gate = Gate::default();
    let _open = OpenAtEnd(gate.clone());
    let hold = gate.clone();
    faults.inject(Fault::run(Op::Sync, move || hold.pass()).on(held).forever());
    let (ends, ended) = channel();
    let changed = Arc::new(AtomicBool::new(false));
    let (writer, is_changed) = (db.clone(), Arc::clone(&changed));
    let writing = std::thread::spawn(move || {
        // The last write is the one that waits when the settings change.
        while !is_changed.load(Ordering::Acquire) {
            writer.put_with("key", vec![0; 5 << 10], Durability::None).unwrap();
        }
        ends.send(()).unwrap();
    });
    // The writer comes to a halt: nothing is written for a while.
    let clock = SystemClock::new();
    let (mut seen, mut quiet) = (db.last_sequence(), 0);
    while quiet < 20 {
        clock.sleep(Duration::from_millis(10));
        quiet = if db.last_sequence() == seen { quiet + 1 } else { 0 };
        seen = db.last_sequence();
    }
    changed.store(true, Ordering::Release);
    db.keyspace("default", after).unwrap();
    let went_on = ended.recv_timeout(LONG);
    gate.open();
    assert!(went_on.is_ok(), "the writer waits for what the new settings do not ask for");
    writing.join().unwrap();
    db.close().unwrap();
}

#[test]
fn more_write_buffers_let_a_writer_go_on() {
    let few = tiny().write_buffers_max(2);
    changed_while_a_writer_waits(few.clone(), few.write_buffers_max(64), ".table");
}

#[test]
fn larger_write_buffers_let_a_writer_go_on() {
    let small = tiny().write_buffers_max(2);
    changed_while_a_writer_waits(small.clone(), small.write_buffer_bytes(8 << 20), ".table");
}
