use std::path::Path;
use std::time::Duration;

use super::*;
use crate::batch::WriteBatch;
use crate::db::open::open;
use crate::fs::MemFs;
use crate::key::Kind;
use crate::options::{Durability, KeyspaceOptions};

/// A writer is about to compute the pressure, and is held up; meanwhile a job takes the cause of
/// the stop away. The writer must not store what it saw before.
#[test]
fn a_stop_ends_with_its_cause() {
    let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
    let engine = open(options, Path::new("/db")).unwrap();
    let tree = engine.default_tree();
    let most = tree.view().options.write_buffers_max * MEMTABLES_A_BUFFER;
    (0..most).for_each(|_| tree.seal());
    let sealed = tree.queue();
    engine.update_pressure();
    assert!(engine.stopped.load(Ordering::Relaxed));
    std::thread::scope(|scope| {
        let held = engine.pacing.lock();
        let writer = scope.spawn(|| engine.update_pressure());
        engine.options.clock.sleep(Duration::from_millis(100));
        tree.install(&Arc::default(), &sealed);
        drop(held);
        writer.join().unwrap();
    });
    assert!(!engine.stopped.load(Ordering::Relaxed));
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
        engine.write(&mut batch, Durability::Buffered)
    };
    while !engine.stopped.load(Ordering::Relaxed) {
        put().unwrap();
        engine.seal_all(&engine.commit.lock(), None);
        assert!(engine.flush_one().unwrap());
    }
    let stopped = engine.metrics.read().stops;
    std::thread::scope(|scope| {
        let writer = scope.spawn(put);
        engine.options.clock.sleep(Duration::from_millis(50));
        assert!(!writer.is_finished(), "it is held back");
        engine.keyspace("default", few.l0_tables_compact(64)).unwrap();
        // Hangs if nobody tells it.
        writer.join().unwrap().unwrap();
    });
    assert_eq!(engine.metrics.read().stops, stopped + 1);
}
