//! Values that want to be read back as log records: see `lsm_log::testkit::hostile`.

use std::path::Path;
use std::sync::Arc;

use lsm_core::fs::MemFs;
use lsm_core::testkit::generate::logged_put;
use lsm_core::{Db, Durability, KeyspaceOptions, Options};
use lsm_log::testkit::hostile::{Target, marked};

use crate::folder::{DIR, Folder};

const SEED: u64 = 0xbad;
/// Values of the first run of segments, each longer than a forged record.
const VALUES: u16 = 90;
const VALUE_LEN: usize = 4000;

fn options(fs: Arc<MemFs>) -> Options {
    let keyspace = KeyspaceOptions::default().write_buffer_bytes(1 << 20);
    Options::default().default_keyspace(keyspace).log_segment_bytes(64 << 10).fs(fs).stepped(SEED)
}

fn values() -> Vec<Vec<u8>> {
    (0..VALUES).map(|index| marked(index, VALUE_LEN)).collect()
}

/// Fills segments with `values`, has them recycled, and goes on a little way into one of them.
/// Closed, or as the death of the process leaves it.
fn live(values: &[Vec<u8>], close: bool) -> Folder {
    let fs = Arc::new(MemFs::new());
    let db = options(Arc::clone(&fs)).open(DIR).unwrap();
    for (index, value) in values.iter().enumerate() {
        db.put(format!("key{index:02}"), value).unwrap();
        while db.step().unwrap() {}
    }
    // A log at rest would keep none to be recycled.
    db.flush().unwrap();
    // Into the segments that were recycled: past the one that was made before the flush.
    for i in 0..40_u32 {
        db.put(format!("small{i:02}"), vec![7; 4000]).unwrap();
        while db.step().unwrap() {}
    }
    db.put_with("last", "one", Durability::Sync).unwrap();
    if close {
        db.close().unwrap();
    } else {
        std::mem::forget(db);
    }
    Folder::take(&*fs, Path::new(DIR))
}

/// The segment that the log ends in, among old values.
fn target(folder: &Folder) -> (String, Target) {
    let targets = folder.names(".log").into_iter().filter_map(|name| {
        let target = Target::of(&folder.0[&name])?;
        Some((target.last_sequence, (name, target)))
    });
    targets.max_by_key(|(last, _)| *last).unwrap().1
}

#[derive(Clone, Copy, Debug)]
struct Forgery {
    /// Whether the forger knows what nobody can know.
    knows: bool,
    /// At the very end of the log, or somewhere behind it.
    at_end: bool,
    close: bool,
}

/// Lives twice: to learn all that can be learned, and to use it.
fn forged(forgery: Forgery) -> Folder {
    let Forgery { knows, at_end, close } = forgery;
    let mut values = values();
    let seen = live(&values, close);
    let (name, target) = target(&seen);
    let segment = &seen.0[&name];
    // The number of every try that is possible is the same: one bit is as wrong as all.
    let nonce = if knows { target.nonce } else { target.nonce ^ 1 << 40 };
    let sequence = target.last_sequence + 1;
    let payload = logged_put(sequence, "nobody", "wrote this");
    let len = target.record(nonce, target.end, sequence, &payload).len();
    let offset = match at_end {
        true => target.end,
        false => target.place_from(segment, target.end + 8, len).unwrap(),
    };
    let record = target.record(nonce, offset, sequence, &payload);
    assert!(target.plant(segment, &mut values, offset, &record), "old values lie there");
    let folder = live(&values, close);
    assert_eq!(self::target(&folder).0, name);
    assert_eq!(folder.0[&name][offset..offset + len], record, "it lies where it should");
    folder
}

fn open(folder: &Folder, read_only: bool) -> lsm_core::Result<Db> {
    let options = options(folder.in_memory());
    if read_only { options.open_read_only(DIR) } else { options.open(DIR) }
}

/// Opens as if nothing had been tried.
fn check_untouched(folder: &Folder, forgery: Forgery) {
    for read_only in [true, false] {
        let db = open(folder, read_only).unwrap_or_else(|error| panic!("{forgery:?}: {error}"));
        assert_eq!(db.get("nobody").unwrap(), None, "{forgery:?}");
        assert_eq!(db.get("last").unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(db.iter().count(), usize::from(VALUES) + 41);
    }
}

#[test]
fn a_value_is_never_read_back_as_a_record() {
    for at_end in [true, false] {
        for close in [true, false] {
            let forgery = Forgery { knows: false, at_end, close };
            check_untouched(&forged(forgery), forgery);
        }
    }
}

/// What the test above is worth: with the one number that cannot be known, the forgery works.
#[test]
fn only_the_nonce_stands_between_a_value_and_the_log() {
    let forgery = Forgery { knows: true, at_end: true, close: false };
    let db = open(&forged(forgery), true).unwrap();
    assert_eq!(db.get("nobody").unwrap().as_deref(), Some(&b"wrote this"[..]));
    let forgery = Forgery { at_end: false, ..forgery };
    let error = open(&forged(forgery), true).unwrap_err();
    assert_eq!(error.kind(), lsm_core::ErrorKind::Corrupt);
}

/// After a clean close even that is of no use: nothing behind the end is looked at.
#[test]
fn nothing_behind_a_clean_close_is_read_or_judged() {
    for at_end in [true, false] {
        let forgery = Forgery { knows: true, at_end, close: true };
        check_untouched(&forged(forgery), forgery);
    }
}

/// Two lives of one folder use different nonces, and so do two files.
#[test]
fn no_nonce_is_used_twice() {
    let folder = live(&values(), true);
    let fs = folder.in_memory();
    let nonces = |folder: &Folder| -> Vec<u64> {
        let logs = folder.names(".log");
        logs.iter().filter_map(|name| Target::of(&folder.0[name])).map(|t| t.nonce).collect()
    };
    let mut all = nonces(&folder);
    for _ in 0..3 {
        let db = options(Arc::clone(&fs)).open(DIR).unwrap();
        db.put("again", "and again").unwrap();
        db.close().unwrap();
        let (_, target) = target(&Folder::take(&*fs, Path::new(DIR)));
        assert!(!all.contains(&target.nonce));
        all.push(target.nonce);
    }
}
