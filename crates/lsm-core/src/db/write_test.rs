use std::path::Path;

use super::*;
use crate::db::open::open;
use crate::fs::MemFs;
use crate::options::Options;

fn put(engine: &Engine, bytes: usize) {
    let mut batch = WriteBatch::new();
    batch.put("key", vec![7; bytes]);
    engine.write(&mut batch, Durability::Buffered).unwrap();
}

#[test]
fn the_second_segment_is_made_once_the_first_is_half_full() {
    let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
    let engine = open(options, Path::new("/db")).unwrap();
    put(&engine, 400 << 10);
    assert!(!engine.make_segment().unwrap(), "a short run needs one segment");
    put(&engine, 200 << 10);
    assert!(engine.make_segment().unwrap());
    put(&engine, 200 << 10);
    assert!(!engine.make_segment().unwrap(), "one is ahead");
    put(&engine, 400 << 10);
    assert!(engine.make_segment().unwrap(), "the log goes on in the second");
}

/// The background made a segment ahead, and right then a long batch used it up.
#[test]
fn a_segment_that_a_long_batch_used_up_is_made_again() {
    let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
    let engine = open(options, Path::new("/db")).unwrap();
    put(&engine, 600 << 10);
    assert!(engine.make_segment().unwrap());
    assert!(!engine.make_segment().unwrap(), "one is ahead already");
    engine.rotate_to_own(&mut engine.commit.lock(), 1 << 20).unwrap();
    assert!(engine.next_segment.lock().is_none());
    assert!(engine.make_segment().unwrap(), "the next rotation must not wait for its segment");
}

#[test]
fn a_rotation_without_a_segment_ahead_takes_a_spare_one() {
    let options = Options::default().log_segment_bytes(64 << 10);
    let engine = open(options.fs(Arc::new(MemFs::new())).stepped(1), Path::new("/db")).unwrap();
    for _ in 0..3 {
        engine.rotate(&mut engine.commit.lock()).unwrap();
    }
    put(&engine, 1);
    engine.flush_all().unwrap();
    // The first takes the one that is ahead.
    engine.rotate(&mut engine.commit.lock()).unwrap();
    let spare = engine.jobs.lock().spare_logs.len();
    engine.rotate(&mut engine.commit.lock()).unwrap();
    assert_eq!(engine.jobs.lock().spare_logs.len() + 1, spare);
}
