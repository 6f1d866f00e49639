//! Which jobs are chosen, and those whose keyspace is dropped before they are done.

use std::path::Path;

use lsm_log::file_name::FileName;
use lsm_log::fs::{Fault, FaultFs, Fs, MemFs, Op};

use super::*;
use crate::batch::WriteBatch;
use crate::db::open::open;
use crate::key::Kind;
use crate::key::SeqNo;
use crate::options::{Durability, KeyspaceOptions, Options};

/// A stepped database with a keyspace, and what it stands on.
struct Stepped {
    disk: MemFs,
    engine: Arc<Engine>,
    tree: Arc<Tree>,
}

impl Stepped {
    fn new(options: KeyspaceOptions) -> Self {
        let disk = MemFs::new();
        let all = Options::default().fs(Arc::new(disk.clone())).stepped(1);
        let engine = open(all, Path::new("/db")).unwrap();
        let tree = engine.keyspace("a", options).unwrap();
        Self { disk, engine, tree }
    }

    fn put(&self, key: &str) {
        let mut batch = WriteBatch::new();
        batch.push(Kind::Put, self.tree.id, key.as_bytes(), b"value");
        self.engine.write(&batch, Durability::Buffered).unwrap();
    }

    fn tables(&self) -> usize {
        while self.engine.remove_one() {}
        let names = self.disk.list(Path::new("/db")).unwrap();
        names.iter().filter(|name| name.ends_with(".table")).count()
    }
}

#[test]
fn a_compaction_of_a_dropped_keyspace_leaves_no_table() {
    let db = Stepped::new(KeyspaceOptions::default().l0_tables_compact(2));
    for _ in 0..2 {
        db.put("key");
        db.engine.flush_all().unwrap();
    }
    let (tree, plan) = db.engine.next_plan().unwrap();
    db.engine.drop_keyspace("a").unwrap();
    db.engine.run_plan(&tree, &plan).unwrap();
    drop(plan);
    assert_eq!(db.tables(), 0, "there still is a handle, but nothing to read by it");
    db.engine.lifecycle.check_writable().unwrap();
}

#[test]
fn keyspaces_are_compacted_side_by_side() {
    let options = KeyspaceOptions::default().l0_tables_compact(2);
    let db = Stepped::new(options.clone());
    let other = db.engine.keyspace("b", options).unwrap();
    for _ in 0..2 {
        let mut batch = WriteBatch::new();
        batch.push(Kind::Put, db.tree.id, b"key", b"value");
        batch.push(Kind::Put, other.id, b"key", b"value");
        db.engine.write(&batch, Durability::Buffered).unwrap();
        db.engine.seal_all(&db.engine.commit.lock(), None);
        assert!(db.engine.flush_one().unwrap());
    }
    let plans = [(); 2].map(|()| db.engine.next_plan().expect("a plan for each keyspace"));
    assert_ne!(plans[0].0.id, plans[1].0.id);
    for (tree, plan) in plans {
        db.engine.run_plan(&tree, &plan).unwrap();
    }
    assert!(db.engine.work.lock().busy.is_empty());
}

#[test]
fn a_flush_of_a_dropped_keyspace_leaves_no_table() {
    let db = Stepped::new(KeyspaceOptions::default());
    db.put("key");
    db.engine.seal_all(&db.engine.commit.lock(), None);
    let group = db.engine.work.lock().flushes.front().cloned().unwrap();
    let options = KeyspaceOptions::default();
    let job = db.engine.job(&options, &[SeqNo(1)]);
    let memtables = group.parts.iter().map(|part| &part.memtables);
    let built: Vec<_> = memtables.map(|m| compaction::flush(&job, m).unwrap()).collect();
    db.engine.drop_keyspace("a").unwrap();
    db.engine.install_flush(&group, &built).unwrap();
    assert_eq!(db.tables(), 0);
    assert!(db.tree.super_version().sealed.is_empty(), "its memory is given back as well");
    // What was dropped before its turn came is not written at all.
    let files = db.engine.set.new_file_number();
    assert!(db.engine.flush_one().unwrap());
    assert_eq!(db.engine.set.new_file_number().0, files.0 + 1);
}

#[test]
fn the_keyspace_that_holds_writers_back_most_is_compacted_first() {
    let options = KeyspaceOptions::default().l0_tables_compact(2);
    let db = Stepped::new(options.clone());
    let other = db.engine.keyspace("b", options).unwrap();
    for round in 0..6 {
        let mut batch = WriteBatch::new();
        batch.push(Kind::Put, other.id, b"key", b"value");
        if round < 2 {
            batch.push(Kind::Put, db.tree.id, b"key", b"value");
        }
        db.engine.write(&batch, Durability::Buffered).unwrap();
        db.engine.seal_all(&db.engine.commit.lock(), None);
        assert!(db.engine.flush_one().unwrap());
    }
    // Both are due, and the other one is further over.
    let names = [(); 2].map(|()| db.engine.next_plan().unwrap().0.name.clone());
    assert_eq!(names, ["b", "a"]);
    assert!(db.engine.next_plan().is_none());
}

#[test]
fn a_table_that_cannot_be_removed_is_tried_again() {
    let disk = MemFs::new();
    let faults = FaultFs::new(Arc::new(disk.clone()));
    let all = Options::default().fs(Arc::new(faults.clone())).stepped(1);
    let engine = open(all, Path::new("/db")).unwrap();
    let tree = engine.keyspace("a", KeyspaceOptions::default()).unwrap();
    let db = Stepped { disk, engine, tree };
    for _ in 0..2 {
        db.put("key");
        db.engine.flush_all().unwrap();
    }
    let refuse = || Fault::error(Op::Remove, std::io::ErrorKind::PermissionDenied).on(".table");
    faults.inject(refuse().times(2));
    db.engine.drop_keyspace("a").unwrap();
    assert!(!db.engine.remove_one(), "nothing was done, and there is nothing to wait for");
    db.engine.lifecycle.check_writable().unwrap();
    assert_eq!(db.tables(), 0);
}

/// As no thread does the work here, it would be waited for without end.
#[test]
fn a_compaction_that_was_put_off_is_not_waited_for() {
    let disk = FaultFs::new(Arc::new(MemFs::new()));
    let options = Options::default().fs(Arc::new(disk.clone()));
    let engine = open(options, Path::new("/db")).unwrap();
    let tree = engine.keyspace("a", KeyspaceOptions::default()).unwrap();
    let flush = |kind, keys: &[String]| {
        let mut batch = WriteBatch::new();
        keys.iter().for_each(|key| batch.push(kind, tree.id, key.as_bytes(), b""));
        engine.write(&batch, Durability::Buffered).unwrap();
        engine.seal_all(&engine.commit.lock(), None);
        assert!(engine.flush_one().unwrap());
    };
    // A table of what is deleted, due to be written anew once the snapshots have gone.
    let deleted: Vec<_> = (0..2000).map(|n: u32| format!("z{:08x}", n.reverse_bits())).collect();
    let mut pins = Vec::new();
    for kind in [Kind::Put, Kind::Delete, Kind::Delete] {
        flush(kind, &deleted);
        pins.push(engine.snapshots.pin(&engine.published));
    }
    engine.compact_range(&tree, KeyRange::all()).unwrap();
    pins.into_iter().for_each(|pin| assert!(!engine.snapshots.unpin(pin)));
    let view = tree.pinned();
    let tables: Vec<_> = view.version.tables().map(|(_, table)| table.meta.number).collect();
    let [bad] = tables[..] else { panic!("{tables:?}") };
    (0..2).for_each(|_| flush(Kind::Put, &["a".to_owned()]));
    // It cannot be read, which is found out while the call merges others.
    let unreadable = Fault::error(Op::OpenRead, std::io::ErrorKind::Other);
    disk.inject(unreadable.on(&FileName::Table(bad).to_string()).forever());
    let background = Arc::clone(&engine);
    disk.inject(Fault::run(Op::OpenRead, move || {
        background.compact_one().unwrap_err();
        assert_eq!(background.work.lock().put_off.len(), 1);
    }));
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let (engine, tree) = (&engine, &tree);
        scope.spawn(move || tell.send(engine.compact_range(tree, KeyRange::all())).unwrap());
        let ended = told.recv_timeout(std::time::Duration::from_secs(60));
        // So that the test ends also if it fails.
        engine.begin_close();
        let error = ended.expect("it waits for ever").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.file().unwrap().ends_with(FileName::Table(bad).to_string()), "{error}");
    });
    disk.clear();
}

#[test]
fn a_keyspace_is_compacted_by_its_stored_settings_before_it_is_named() {
    let many = || KeyspaceOptions::default().l0_tables_compact(64);
    let db = Stepped::new(many());
    for _ in 0..40 {
        db.put("key");
        db.engine.seal_all(&db.engine.commit.lock(), None);
        assert!(db.engine.flush_one().unwrap());
    }
    let Stepped { disk, engine, .. } = db;
    assert!(engine.begin_close());
    engine.finish_close().unwrap();
    let all = Options::default().fs(Arc::new(disk)).stepped(1);
    let engine = open(all, Path::new("/db")).unwrap();
    engine.update_pressure();
    assert!(!engine.pacing.is_stopped(), "by the default settings it would be");
    assert!(engine.next_plan().is_none());
    assert_eq!(*engine.keyspace("a", None).unwrap().super_version().options, many());
    engine.keyspace("a", KeyspaceOptions::default()).unwrap();
    engine.update_pressure();
    assert!(engine.pacing.is_stopped());
    assert!(engine.next_plan().is_some());
}
