//! The settings of keyspaces: stored, and back at the next open.

use std::sync::Arc;

use lsm_core::fs::{CrashFs, CrashImage};
use lsm_core::{Compression, Db, Durability, KeyspaceOptions, Options};

use crate::folder::DIR;

fn options(disk: &CrashFs) -> Options {
    Options::default().fs(Arc::new(disk.clone())).stepped(1)
}

fn settings(blocks: usize) -> KeyspaceOptions {
    KeyspaceOptions::default().block_bytes(blocks).compression(Compression::None)
}

/// In force in `db`, by the names of the keyspaces.
fn in_force(db: &Db) -> Vec<(String, KeyspaceOptions)> {
    let named = |name: String| (name.clone(), db.keyspace(&name, None).unwrap().options());
    db.keyspaces().into_iter().map(named).collect()
}

#[test]
fn settings_survive_as_the_keyspaces_do() {
    let disk = CrashFs::new();
    let db = options(&disk).default_keyspace(settings(512)).open(DIR).unwrap();
    db.keyspace("made", settings(1024)).unwrap();
    db.keyspace("changed", settings(1024)).unwrap();
    db.keyspace("changed", settings(2048)).unwrap();
    db.keyspace("plain", None).unwrap();
    let expected = in_force(&db);
    let lens = [512, 1024, 2048, 4096].map(|bytes| match bytes {
        4096 => KeyspaceOptions::default(),
        bytes => settings(bytes),
    });
    assert!(expected.iter().map(|(_, options)| options).eq(&lens), "{expected:?}");
    db.checkpoint("/copy").unwrap();

    let lost = disk.image(CrashImage::Lost);
    db.close().unwrap();
    for (disk, dir) in [(&lost, DIR), (&disk, DIR), (&disk, "/copy")] {
        let reader = options(disk).open_read_only(dir).unwrap();
        assert_eq!(in_force(&reader), expected, "{dir}");
        reader.close().unwrap();
        // Each open begins a new manifest.
        for _ in 0..2 {
            let db = options(disk).open(dir).unwrap();
            assert_eq!(in_force(&db), expected, "{dir}");
            db.close().unwrap();
        }
    }
}

#[test]
fn settings_that_are_given_take_the_place_of_those_stored() {
    let disk = CrashFs::new();
    let db = options(&disk).default_keyspace(settings(512)).open(DIR).unwrap();
    db.keyspace("users", settings(512)).unwrap();
    db.close().unwrap();
    let db = options(&disk).write_buffer_bytes(1 << 20).open(DIR).unwrap();
    let given = KeyspaceOptions::default().write_buffer_bytes(1 << 20);
    assert_eq!(db.keyspace("default", None).unwrap().options(), given);
    db.keyspace("users", given.clone()).unwrap();
    db.close().unwrap();
    let db = options(&disk).open(DIR).unwrap();
    assert!(in_force(&db).iter().all(|(_, options)| *options == given), "{:?}", in_force(&db));
    db.close().unwrap();
}

#[test]
fn a_reader_changes_settings_for_itself_alone() {
    let disk = CrashFs::new();
    let db = options(&disk).open(DIR).unwrap();
    let users = db.keyspace("users", settings(512)).unwrap();
    users.put_with("ada", "countess", Durability::Sync).unwrap();
    db.close().unwrap();
    let reader = options(&disk).open_read_only(DIR).unwrap();
    assert_eq!(reader.keyspace("users", settings(1024)).unwrap().options(), settings(1024));
    reader.close().unwrap();
    let db = options(&disk).open(DIR).unwrap();
    assert_eq!(db.keyspace("users", None).unwrap().options(), settings(512));
    db.close().unwrap();
}
