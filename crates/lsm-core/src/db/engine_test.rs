use std::path::Path;
use std::time::Duration;

use lsm_log::fs::MemFs;

use super::*;
use crate::batch::WriteBatch;
use crate::db::open::open;
use crate::db::pacing::pressure_of;
use crate::db::stall::Pressure;
use crate::db::tree::MEMTABLES_A_BUFFER;
use crate::key::Kind;
use crate::options::{Durability, KeyspaceOptions};

/// A writer is about to compute the pressure, and is held up; meanwhile a job takes the cause of
/// the stop away. The writer must not store what it saw before.
#[test]
fn a_stop_ends_with_its_cause() {
    let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
    let engine = open(options, Path::new("/db")).unwrap();
    let tree = engine.default_tree();
    let most = tree.super_version().options.write_buffers_max * MEMTABLES_A_BUFFER;
    (0..most).for_each(|_| tree.seal());
    let sealed = tree.queue();
    engine.changed(&tree);
    engine.update_pressure();
    assert!(engine.pacing.is_stopped());
    std::thread::scope(|scope| {
        let held = engine.pacing.hold();
        let writer = scope.spawn(|| engine.update_pressure());
        engine.options.clock.sleep(Duration::from_millis(100));
        tree.install(&Arc::default(), &sealed);
        drop(held);
        writer.join().unwrap();
    });
    assert!(!engine.pacing.is_stopped());
}

/// Writers that the old options hold back go on when the new ones do not.
#[test]
fn new_options_release_writers() {
    // Nobody works in the background: only the options can end the stop.
    let few = KeyspaceOptions::default().l0_tables_compact(2);
    let options = Options::default().fs(Arc::new(MemFs::new())).default_keyspace(few.clone());
    let engine = open(options, Path::new("/db")).unwrap();
    let put = || {
        let mut batch = WriteBatch::new();
        batch.push(Kind::Put, KeyspaceId::DEFAULT, b"key", b"value");
        engine.write(&batch, Durability::Buffered)
    };
    while !engine.pacing.is_stopped() {
        put().unwrap();
        engine.seal_all(&engine.commit.lock(), None);
        assert!(engine.flush_one().unwrap());
    }
    let stopped = engine.metrics.read().stops;
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| tell.send(put()).unwrap());
        let early = told.recv_timeout(Duration::from_millis(50));
        assert!(early.is_err(), "it is held back");
        engine.keyspace("default", few.l0_tables_compact(64)).unwrap();
        let written = told.recv_timeout(Duration::from_secs(60));
        if written.is_err() {
            engine.begin_close();
        }
        written.expect("nobody told it").unwrap();
    });
    assert_eq!(engine.metrics.read().stops, stopped + 1);
}

/// Compares what is found by looking at what has changed with a look at everything.
fn check_nothing_is_missed(engine: &Engine, seed: u64) {
    engine.update_pressure();
    let trees = engine.live_trees();
    let all = trees.iter().map(|tree| pressure_of(&tree.super_version()));
    let worst = all.fold(Pressure::default(), Pressure::worse);
    let found = engine.pacing.pressure();
    assert_eq!((found.stop, found.delay_per_kib), (worst.stop, worst.delay_per_kib), "seed {seed}");
    let flushing = trees.iter().any(|tree| tree.super_version().is_flushing());
    let pressed = engine.pacing.is_pressed();
    assert_eq!(pressed, flushing || !worst.is_none(), "seed {seed}");
    let is_due = |tree: &&Arc<Tree>| tree.super_version().facts.is_due;
    let due: Vec<KeyspaceId> = trees.iter().filter(is_due).map(|tree| tree.id).collect();
    assert_eq!(engine.work.lock().due.keys().copied().collect::<Vec<_>>(), due, "seed {seed}");
}

#[test]
fn pressure_and_work_are_found_by_a_look_at_what_has_changed() {
    let (mut pressed, mut due) = (0, 0);
    for seed in 0..30 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let disk = MemFs::new();
        let open = || {
            let options = Options::default().fs(Arc::new(disk.clone())).stepped(seed);
            open(options, Path::new("/db")).unwrap()
        };
        let mut engine = open();
        for _ in 0..200 {
            let name = rng.u32(1..6).to_string();
            match rng.u32(..24) {
                0 => drop(engine.drop_keyspace(&name)),
                1 => {
                    assert!(engine.begin_close());
                    engine.finish_close().unwrap();
                    engine = open();
                }
                2..5 => drop(engine.step().unwrap()),
                5..8 => engine.seal_all(&engine.commit.lock(), None),
                n => {
                    let options = KeyspaceOptions::default()
                        .write_buffer_bytes(64 << 10)
                        .write_buffers_max(rng.usize(2..5))
                        .level_bytes_base(64 << 10)
                        .l0_tables_compact(rng.usize(1..4));
                    let tree = match engine.trees.named(&name) {
                        Some(tree) if n > 9 => tree,
                        _ => engine.keyspace(&name, options).unwrap(),
                    };
                    let mut batch = WriteBatch::new();
                    let key = rng.u32(..40).to_be_bytes();
                    let value = vec![7; rng.usize(..10_000)];
                    batch.push(Kind::Put, tree.id, &key, &value);
                    engine.write(&batch, Durability::Buffered).unwrap();
                }
            }
            check_nothing_is_missed(&engine, seed);
            pressed += usize::from(!engine.pacing.pressure().is_none());
            due += usize::from(!engine.work.lock().due.is_empty());
        }
    }
    assert!(pressed > 100 && due > 100, "{pressed}, {due}");
}

/// Nobody walks over thousands of keyspaces that hold nobody back.
#[test]
fn keyspaces_at_rest_are_not_looked_at() {
    let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
    let engine = open(options, Path::new("/db")).unwrap();
    for i in 0..300 {
        let tree = engine.keyspace(&i.to_string(), KeyspaceOptions::default()).unwrap();
        let mut batch = WriteBatch::new();
        batch.push(Kind::Put, tree.id, b"key", b"value");
        engine.write(&batch, Durability::Buffered).unwrap();
    }
    assert!(engine.pacing.watched() <= 1);
    engine.flush_all().unwrap();
    assert_eq!(engine.pacing.watched(), 0);
    assert_eq!(engine.work.lock().due.len(), 0);
}

/// Writes of two keyspaces take turns, and one of them is flushed.
#[test]
fn the_flushed_number_stops_in_front_of_what_is_only_in_memory() {
    let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
    let engine = open(options, Path::new("/db")).unwrap();
    let other = engine.keyspace("other", KeyspaceOptions::default()).unwrap();
    for id in [KeyspaceId::DEFAULT, other.id, KeyspaceId::DEFAULT] {
        let mut batch = WriteBatch::new();
        batch.push(Kind::Put, id, b"key", b"value");
        engine.write(&batch, Durability::Buffered).unwrap();
    }
    engine.seal_now(&engine.commit.lock(), &[engine.default_tree()]);
    assert!(engine.flush_one().unwrap());
    assert_eq!(engine.flushed_seq(), SeqNo(1));
    engine.flush_all().unwrap();
    assert_eq!(engine.flushed_seq(), SeqNo(3));
}
