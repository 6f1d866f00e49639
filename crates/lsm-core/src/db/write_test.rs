use std::path::Path;
use std::time::Duration;

use lsm_log::error::ErrorKind;
use lsm_log::file_name::FileNumber;
use lsm_log::fs::{Fs, MemFs};
use lsm_log::wal::FullSegment;

use super::*;
use crate::clock::ManualClock;
use crate::db::open::open;
use crate::db::tree::MEMTABLES_A_BUFFER;
use crate::key::Kind;
use crate::options::{KeyspaceOptions, Options};

fn put(engine: &Engine, bytes: usize) {
    let mut batch = WriteBatch::new();
    batch.put("key", vec![7; bytes]);
    engine.write(&batch, Durability::Buffered).unwrap();
}

/// The full segments of the log.
fn full(engine: &Engine) -> Vec<FullSegment> {
    engine.commit.lock().log.as_ref().unwrap().full().copied().collect()
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
    put(&engine, 20 << 20);
    assert!(!engine.commit.lock().log.as_ref().unwrap().has_ahead());
    assert!(engine.make_segment().unwrap(), "the next rotation must not wait for its segment");
}

#[test]
fn a_rotation_without_a_segment_ahead_takes_a_spare_one() {
    let options = Options::default().log_segment_bytes(64 << 10);
    let fs = Arc::new(MemFs::new());
    let engine = open(options.fs(fs.clone()).stepped(1), Path::new("/db")).unwrap();
    for _ in 0..4 {
        put(&engine, 60 << 10);
    }
    engine.flush_all().unwrap();
    let logs = || {
        let names = fs.list(Path::new("/db")).unwrap().into_iter();
        names.filter(|name| name.ends_with(".log")).collect::<Vec<_>>()
    };
    // The first takes the one that is ahead.
    put(&engine, 60 << 10);
    let before = logs();
    put(&engine, 60 << 10);
    let after = logs();
    assert!(before.len() == after.len() && before != after, "{before:?} {after:?}");
}

/// A sync of the folder failed beside whoever goes on in that segment: no second one is trusted.
#[test]
fn what_failed_for_good_ahead_fails_whoever_needs_it() {
    let write = |engine: &Engine| {
        let mut batch = WriteBatch::new();
        batch.put("key", vec![7; 2 << 20]);
        engine.write(&batch, Durability::Buffered).map(drop)
    };
    let shrink = |engine: &Engine| engine.shrink_log().map(|shrunk| assert!(shrunk));
    let needs: [fn(&Engine) -> Result<()>; 2] = [write, shrink];
    for (need, (path, is_final)) in needs
        .into_iter()
        .flat_map(|need| [("/db", true), ("/db/000009.log", false)].map(|p| (need, p)))
    {
        let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
        let engine = open(options, Path::new("/db")).unwrap();
        let (path, failed) = (Path::new(path), std::io::Error::other("gone"));
        let error = Error::io("sync", path, failed);
        let promise = Box::new(|| Err(error));
        engine.commit.lock().log.as_mut().unwrap().put_ahead(FileNumber(9), promise);
        assert_eq!(need(&engine).is_err(), is_final);
        assert_eq!(engine.lifecycle.is_failed(), is_final);
    }
}

/// An engine whose flushes wait until the test does them.
fn unflushed() -> Arc<Engine> {
    open(Options::default().fs(Arc::new(MemFs::new())), Path::new("/db")).unwrap()
}

fn put_as(engine: &Engine, durability: Durability) -> SeqNo {
    let mut batch = WriteBatch::new();
    batch.put("key", "value");
    engine.write(&batch, durability).unwrap()
}

fn wait_for_waiting(engine: &Engine, logged: usize, unlogged: usize) {
    loop {
        let commit = engine.commit.lock();
        if (commit.logged_waiting, commit.unlogged_waiting) == (logged, unlogged) {
            return;
        }
        drop(commit);
        std::thread::yield_now();
    }
}

/// It took as many flushes as there were unlogged writers who came first each time.
#[test]
fn a_logged_write_has_its_turn_once_what_it_waited_for_is_flushed() {
    for _ in 0..20 {
        let engine = unflushed();
        put_as(&engine, Durability::None);
        std::thread::scope(|scope| {
            scope.spawn(|| put_as(&engine, Durability::Buffered));
            wait_for_waiting(&engine, 1, 0);
            let unlogged = [(); 4].map(|()| scope.spawn(|| put_as(&engine, Durability::None)));
            wait_for_waiting(&engine, 1, 4);
            // Comes after all of them.
            let logged = scope.spawn(|| put_as(&engine, Durability::Buffered));
            wait_for_waiting(&engine, 2, 4);
            assert!(engine.flush_one().unwrap());
            let unlogged = unlogged.map(|thread| thread.join().unwrap());
            // If one of those has come first, it waits for another flush.
            while !logged.is_finished() {
                engine.flush_one().unwrap();
                std::thread::yield_now();
            }
            let logged = logged.join().unwrap();
            assert!(unlogged.iter().all(|seq| *seq > logged), "{logged} after {unlogged:?}");
        });
        wait_for_waiting(&engine, 0, 0);
    }
}

/// Logged writes that never let up, each held up by the first unlogged one, let the others wait.
#[test]
fn unlogged_writes_that_were_held_up_go_on_before_others_are_held_up_again() {
    for _ in 0..20 {
        let engine = unflushed();
        put_as(&engine, Durability::None);
        std::thread::scope(|scope| {
            scope.spawn(|| put_as(&engine, Durability::Buffered));
            wait_for_waiting(&engine, 1, 0);
            let (done, told) = std::sync::mpsc::channel();
            for _ in 0..4 {
                let (done, engine) = (done.clone(), &engine);
                scope.spawn(move || done.send(put_as(engine, Durability::None)).unwrap());
            }
            wait_for_waiting(&engine, 1, 4);
            assert!(engine.flush_one().unwrap());
            let logged = [(); 2].map(|()| {
                scope.spawn(|| {
                    for _ in 0..50 {
                        put_as(&engine, Durability::Buffered);
                    }
                })
            });
            // All without another flush.
            let patience = Duration::from_secs(60);
            let all = (0..4).all(|_| told.recv_timeout(patience).is_ok());
            if !all {
                engine.begin_close();
            }
            assert!(all, "an unlogged write waits for a second flush");
            while !logged.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                engine.flush_one().unwrap();
                std::thread::yield_now();
            }
        });
    }
}

#[test]
fn waiting_for_a_turn_ends_with_the_database() {
    let engine = unflushed();
    put_as(&engine, Durability::None);
    std::thread::scope(|scope| {
        let write = |durability| {
            let mut batch = WriteBatch::new();
            batch.put("key", "value");
            engine.write(&batch, durability)
        };
        // The first raises the barrier, behind which the others wait.
        let first = scope.spawn(move || write(Durability::Buffered));
        wait_for_waiting(&engine, 1, 0);
        let others = [Durability::None, Durability::Sync, Durability::None]
            .map(|durability| scope.spawn(move || write(durability)));
        wait_for_waiting(&engine, 2, 2);
        engine.begin_close();
        for thread in others.into_iter().chain([first]) {
            assert_eq!(thread.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
        }
    });
    wait_for_waiting(&engine, 0, 0);
}

const BUDGET: usize = 4 << 20;

/// A stepped engine with a small budget and so many keyspaces: a flush runs only where a write
/// waits for it.
fn with_budget(keyspaces: usize) -> (Arc<Engine>, Vec<Arc<Tree>>) {
    let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
    let engine = open(options.write_buffers_bytes_max(BUDGET), Path::new("/db")).unwrap();
    let make = |i| engine.keyspace(&format!("{i}"), KeyspaceOptions::default()).unwrap();
    let trees = (0..keyspaces).map(make).collect();
    (engine, trees)
}

#[test]
fn the_memory_of_hundreds_of_keyspaces_keeps_to_its_limit() {
    for durability in [Durability::Buffered, Durability::None] {
        let (engine, trees) = with_budget(300);
        let mut most = 0;
        for i in 0..40_000u64 {
            let mut batch = WriteBatch::new();
            let tree = &trees[(i * i % 300) as usize];
            batch.push(Kind::Put, tree.id, &i.to_be_bytes(), &[7; 300]);
            engine.write(&batch, durability).unwrap();
            most = most.max(engine.memory.bytes());
            if i % 1000 == 0 {
                let bytes = engine.stats().memtable_bytes as usize;
                assert!(bytes <= BUDGET + BUDGET / 8 + 300 * 1024, "{bytes} bytes");
            }
        }
        assert!(most <= BUDGET + (512 << 10), "{most} bytes");
        assert!(most > BUDGET / 2, "{most} bytes");
        engine.flush_all().unwrap();
        assert_eq!(engine.memory.filling(), engine.memory.bytes());
        assert_eq!(engine.stats().memtable_bytes, engine.memory.bytes() as u64);
    }
}

#[test]
fn writers_wait_when_flushes_do_not_keep_memory_within_its_limit() {
    let (engine, trees) = with_budget(20);
    let mut seen = StallReason::None;
    for i in 0..30_000u64 {
        let mut batch = WriteBatch::new();
        batch.push(Kind::Put, trees[(i % 20) as usize].id, &i.to_be_bytes(), &[7; 300]);
        engine.write(&batch, Durability::Buffered).unwrap();
        if engine.stats().stops > 0 {
            seen = engine.stats().stall_reason;
            break;
        }
    }
    assert_eq!(seen, StallReason::Memory);
}

/// What is beyond the limit alone must not wait for what nobody does.
#[test]
fn a_batch_larger_than_all_memory_is_taken() {
    let (engine, trees) = with_budget(2);
    for round in 0..5 {
        let mut batch = WriteBatch::new();
        batch.push(Kind::Put, trees[round % 2].id, b"key", &vec![7; 2 * BUDGET]);
        engine.write(&batch, Durability::Buffered).unwrap();
    }
    assert!(engine.memory.bytes() < 6 * BUDGET, "{}", engine.memory.bytes());
}

/// The largest go first, so that flushes make few small tables.
#[test]
fn the_keyspaces_that_hold_most_are_flushed_for_memory() {
    let (engine, trees) = with_budget(30);
    let write = |tree: &Tree, i: u64, len: usize| {
        let mut batch = WriteBatch::new();
        batch.push(Kind::Put, tree.id, &i.to_be_bytes(), &vec![7; len]);
        engine.write(&batch, Durability::Buffered).unwrap();
    };
    trees.iter().for_each(|tree| write(tree, 0, 100));
    let mut i = 0;
    while engine.work.lock().flushes.is_empty() {
        i += 1;
        write(&trees[7], i, 1000);
    }
    assert!(engine.memory.bytes() < BUDGET);
    let jobs = engine.work.lock();
    let parts = &jobs.flushes[0].parts;
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].tree.id, trees[7].id);
}

/// Thousands of keyspaces with a few entries each are usual.
#[test]
fn a_keyspace_that_holds_a_kilobyte_takes_kilobytes() {
    let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
    let engine = open(options, Path::new("/db")).unwrap();
    for i in 0..100 {
        let tree = engine.keyspace(&format!("{i}"), KeyspaceOptions::default()).unwrap();
        for key in 0..10u64 {
            let mut batch = WriteBatch::new();
            batch.push(Kind::Put, tree.id, &key.to_be_bytes(), &[7; 100]);
            engine.write(&batch, Durability::Buffered).unwrap();
        }
    }
    let bytes = engine.stats().memtable_bytes / 100;
    assert!((1080..4096).contains(&bytes), "{bytes} bytes each");
}

/// One write to a keyspace that is never full holds the oldest segment.
#[test]
fn what_holds_the_oldest_segment_is_flushed_once_there_is_too_much_log() {
    let log_bytes_max = 256 << 10;
    let options = Options::default().log_segment_bytes(64 << 10).log_bytes_max(log_bytes_max);
    let engine = open(options.fs(Arc::new(MemFs::new())).stepped(1), Path::new("/db")).unwrap();
    let cold = engine.keyspace("cold", KeyspaceOptions::default()).unwrap();
    let mut batch = WriteBatch::new();
    batch.push(Kind::Put, cold.id, b"key", b"value");
    engine.write(&batch, Durability::Buffered).unwrap();
    for _ in 0..500 {
        put(&engine, 4 << 10);
        while engine.step().unwrap() {}
        let full: u64 = full(&engine).iter().map(|segment| segment.bytes).sum();
        assert!(full <= log_bytes_max, "{full} bytes of full segments");
    }
    assert!(engine.metrics.read().flushes >= 5, "neither is full");
}

/// The last operation of a segment is in memory, and all before it are in tables.
#[test]
fn a_log_is_kept_for_its_last_operation() {
    let fs = Arc::new(MemFs::new());
    let reopen = || open(Options::default().fs(fs.clone()).stepped(1), Path::new("/db")).unwrap();
    let engine = reopen();
    let other = engine.keyspace("other", KeyspaceOptions::default()).unwrap();
    for id in [KeyspaceId::DEFAULT, other.id] {
        let mut batch = WriteBatch::new();
        batch.push(Kind::Put, id, b"key", b"value");
        engine.write(&batch, Durability::Buffered).unwrap();
    }
    engine.make_log_room(&mut engine.commit.lock(), 1 << 20).unwrap();
    engine.seal_now(&engine.commit.lock(), &[engine.default_tree()]);
    assert!(engine.flush_one().unwrap());
    assert_eq!(full(&engine).len(), 1);
    drop((engine, other));
    for _ in 0..2 {
        // An open replays it and flushes nothing: the next one needs it, too.
        assert_eq!(reopen().published.get(), SeqNo(2));
    }
}

#[test]
fn there_are_never_more_memtables_than_may_be() {
    let keyspace = KeyspaceOptions::default().write_buffer_bytes(64 << 10).write_buffers_max(2);
    let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
    let options = options.default_keyspace(keyspace).clock(Arc::new(ManualClock::default()));
    let engine = open(options, Path::new("/db")).unwrap();
    let mut most = 0;
    for _ in 0..300 {
        // Works only as it has to.
        put(&engine, 1 << 10);
        most = most.max(engine.default_tree().super_version().memtables().count());
    }
    assert_eq!(most, 2 * MEMTABLES_A_BUFFER);
}

/// It has its numbers, and its place in the log, but is not in the memtable yet.
#[test]
fn a_memtable_is_sealed_once_all_who_write_into_it_are_done() {
    type Seal = fn(&Engine, &Commit, &[Arc<Tree>]);
    let seals: [Seal; 2] = [Engine::seal, |engine, commit, _| engine.seal_all(commit, None)];
    for seal in seals {
        let options = Options::default().fs(Arc::new(MemFs::new())).stepped(1);
        let engine = open(options, Path::new("/db")).unwrap();
        let mut batch = WriteBatch::new();
        batch.put("key", "value");
        let (targets, first, _) = engine.commit(&batch, Durability::Buffered, &()).unwrap();
        let tree = engine.default_tree();
        std::thread::scope(|scope| {
            let sealing = scope.spawn(|| {
                seal(&engine, &engine.commit.lock(), &[Arc::clone(&tree)]);
            });
            for _ in 0..20_000 {
                assert!(Arc::ptr_eq(&tree.super_version().active, &targets[0]), "it waits");
                std::thread::yield_now();
            }
            insert(&batch, &targets, first);
            engine.published.publish(first, first);
            sealing.join().unwrap();
        });
        let view = tree.pinned();
        let sealed = view.memtables().find(|memtable| Arc::ptr_eq(memtable, &targets[0])).unwrap();
        assert!(!Arc::ptr_eq(&view.active, sealed));
        assert_eq!(sealed.entries(), 1);
    }
}
