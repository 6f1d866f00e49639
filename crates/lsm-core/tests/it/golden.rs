//! Databases that released versions wrote: they still open, and until the format changes on
//! purpose, today's program writes the same bytes.
//!
//! `golden/v1/` is such a folder, `golden/v1.txt` what it holds; `v2` has stored settings. Logs are kept without the zeros
//! at their end. Files of a released version never change; a new format gets a new folder: set
//! [`NEWEST`], then run this test once with `LSM_WRITE_GOLDEN=1`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_core::fs::{Fs, MemFs, OsFs};
use lsm_core::{
    Compression, Db, Durability, KeyspaceOptions, ManualClock, Options, TableAccess, Verification,
    WriteBatch,
};

use crate::folder::{DIR, Folder, read, write};

const VERSIONS: [&str; 2] = ["v1", "v2"];
const NEWEST: &str = "v2";

const SEED: u64 = 0x5eed;
const LOG_BYTES: usize = 64 << 10;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn settings(compression: Compression) -> KeyspaceOptions {
    KeyspaceOptions::default()
        .write_buffer_bytes(64 << 10)
        .block_bytes(256)
        .table_bytes(64 << 10)
        .level_bytes_base(64 << 10)
        .l0_tables_compact(64)
        .compression(compression)
}

fn options(fs: Arc<dyn Fs>) -> Options {
    Options::default()
        .default_keyspace(settings(Compression::None))
        .log_segment_bytes(LOG_BYTES as u64)
        .log_bytes_max(4 * LOG_BYTES as u64)
        .clock(Arc::new(ManualClock::default()))
        .fs(fs)
        .stepped(SEED)
}

/// Writes a small database with everything that the formats know, and closes it; with the names
/// of the tables whose bytes are up to the compressor.
fn build() -> (Folder, Vec<String>) {
    let fs = Arc::new(MemFs::new());
    let db = options(fs.clone()).open(DIR).unwrap();
    let gone = db.keyspace("gone", settings(Compression::None)).unwrap();
    let users = db.keyspace("users", settings(Compression::Lz4)).unwrap();
    gone.put("lost", "with its keyspace").unwrap();
    for i in 0..60_u32 {
        let mut batch = WriteBatch::new();
        batch.put(format!("key{i:03}"), format!("first {i}"));
        batch.put_in(&users, format!("user{i:03}"), format!("name {i}, ").repeat(12));
        db.write(&batch).unwrap();
    }
    db.flush().unwrap();
    db.compact_range::<&str>(..).unwrap();
    users.compact_range::<&str>(..).unwrap();
    db.drop_keyspace("gone").unwrap();
    db.put("", "the empty key").unwrap();
    db.put([0xff; 9], "behind all prefixes").unwrap();
    db.put("key007", "seen by the snapshot only").unwrap();
    let snapshot = db.snapshot();
    for i in (0..60_u32).step_by(5) {
        db.put(format!("key{i:03}"), format!("second {i}")).unwrap();
        db.delete(format!("key{:03}", i + 1)).unwrap();
        users.delete(format!("user{i:03}")).unwrap();
    }
    db.put("key007", "kept for the snapshot").unwrap();
    db.flush().unwrap();
    drop(snapshot);
    // What is left is in the log only.
    for i in 0..6_u32 {
        let mut batch = WriteBatch::new();
        batch.put(format!("key{i:03}"), format!("logged {i}"));
        batch.delete(format!("key{:03}", i + 50));
        batch.put_in(&users, format!("user{:03}", i * 7), "");
        let durability = if i == 2 { Durability::Sync } else { Durability::Buffered };
        db.write_with(&batch, durability).unwrap();
    }
    let levels = users.levels();
    let packed = levels.iter().flat_map(|level| &level.tables);
    let packed = packed.map(|table| format!("{:06}.table", table.number)).collect();
    drop((gone, users));
    db.close().unwrap();
    (Folder::take(&*fs, Path::new(DIR)), packed)
}

/// All entries, one a line.
fn content(db: &Db) -> String {
    let mut text = String::new();
    for name in db.keyspaces() {
        let keyspace = db.keyspace(&name, None).unwrap();
        for entry in keyspace.iter() {
            let (key, value) = entry.unwrap();
            assert_eq!(keyspace.get(&key).unwrap().unwrap(), value);
            let (key, value) = (key.escape_ascii(), value.escape_ascii());
            writeln!(text, "{name} \"{key}\" = \"{value}\"").unwrap();
        }
        let backward = keyspace.iter().rev().count();
        assert_eq!(backward, keyspace.iter().count());
    }
    text
}

/// The files as they are kept: no lock, and no zeros at the end of a log.
fn packed(mut folder: Folder) -> Folder {
    folder.0.remove("LOCK");
    for (name, bytes) in &mut folder.0 {
        if name.ends_with(".log") {
            assert_eq!(bytes.len(), LOG_BYTES);
            bytes.truncate(bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1));
        }
    }
    folder
}

fn unpacked(mut folder: Folder) -> Folder {
    let logs = folder.0.iter_mut().filter(|(name, _)| name.ends_with(".log"));
    logs.for_each(|(_, bytes)| bytes.resize(LOG_BYTES, 0));
    folder
}

#[test]
fn databases_of_released_versions_open() {
    for version in VERSIONS {
        let folder = unpacked(Folder::take(&OsFs, &golden(version)));
        let expected = read(&OsFs, &golden(&format!("{version}.txt")));
        let expected = String::from_utf8(expected).unwrap();
        assert!(!expected.is_empty());
        for access in [TableAccess::Mapped, TableAccess::Pread] {
            let options = |fs| options(fs).table_access(access).verification(Verification::Always);
            let db = options(folder.in_memory()).open_read_only(DIR).unwrap();
            assert_eq!(content(&db), expected, "{version}");
            db.verify().unwrap();

            let dir = tempfile::tempdir().unwrap();
            folder.put(&OsFs, dir.path());
            let db = options(Arc::new(OsFs)).open(dir.path()).unwrap();
            assert_eq!(content(&db), expected, "{version}");
            assert!(db.verify().unwrap().tables >= 4);
            // It is a database like any other: it goes on, and opens again.
            db.put("today", "added").unwrap();
            db.flush().unwrap();
            db.compact_range::<&str>(..).unwrap();
            db.delete("today").unwrap();
            db.close().unwrap();
            let db = options(Arc::new(OsFs)).open(dir.path()).unwrap();
            assert_eq!(content(&db), expected, "{version}, written to");
            db.verify().unwrap();
        }
    }
}

#[test]
fn today_writes_the_bytes_of_the_newest_version() {
    let (folder, compressed) = build();
    let written = packed(folder.clone());
    let place = golden(NEWEST);
    if std::env::var_os("LSM_WRITE_GOLDEN").is_some_and(|value| value == "1") {
        assert!(!place.exists(), "golden files of a released version never change");
        written.put(&OsFs, &place);
        let db = options(folder.in_memory()).open_read_only(DIR).unwrap();
        write(&OsFs, &golden(&format!("{NEWEST}.txt")), content(&db).as_bytes());
    }
    let kept = Folder::take(&OsFs, &place);
    let names = |folder: &Folder| folder.0.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&written), names(&kept));
    for (name, bytes) in &written.0 {
        // A newer compressor may pack tighter.
        if compressed.contains(name) {
            continue;
        }
        let kept = &kept.0[name];
        let same = bytes.iter().zip(kept).take_while(|(a, b)| a == b).count();
        assert!(
            bytes == kept,
            "{name} is written otherwise than before, from byte {same} on ({} bytes, then {}): if \
             that is meant, see CONTRIBUTING.md, \"Formats\"",
            kept.len(),
            bytes.len()
        );
    }
}
