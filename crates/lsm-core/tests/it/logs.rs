//! How much log there is while a database runs: bounded, also by keyspaces at rest.

use std::path::Path;
use std::sync::Arc;

use lsm_core::fs::{Fs, MemFs};
use lsm_core::{Db, Options};

use crate::folder::DIR;
use crate::model::{tiny, tiny_logs};
use crate::wait;

const SEGMENT_BYTES: u64 = 64 << 10;
const LOG_BYTES_MAX: u64 = 4 * SEGMENT_BYTES;
/// Segments that hold no log: kept to be used again, made ahead, and just given up.
const SPARE_MAX: u64 = 6;

fn options() -> Options {
    tiny_logs()
        .default_keyspace(tiny())
        .log_segment_bytes(SEGMENT_BYTES)
        .log_bytes_max(LOG_BYTES_MAX)
}

fn log_bytes(memory: &MemFs) -> u64 {
    let names = memory.list(Path::new(DIR)).unwrap();
    let logs = names.iter().filter(|name| name.ends_with(".log"));
    logs.map(|name| memory.len(&Path::new(DIR).join(name)).unwrap()).sum()
}

/// Two writes to a keyspace that rests from then on, and much to another.
fn write_much(db: &Db, rested: &str, mut each: impl FnMut()) {
    let rests = db.keyspace(rested, tiny()).unwrap();
    rests.put("one", rested).unwrap();
    rests.delete("two").unwrap();
    for n in 0..400_u32 {
        db.put(format!("{:02}", n % 50), vec![n as u8; 4000]).unwrap();
        each();
    }
}

fn check_reopened(options: Options) {
    let db = options.open(DIR).unwrap();
    for name in ["first", "second"] {
        let rested = db.keyspace(name, tiny()).unwrap();
        assert_eq!(rested.get("one").unwrap().as_deref(), Some(name.as_bytes()));
    }
    assert_eq!(db.get("49").unwrap().unwrap(), vec![143; 4000]);
    db.close().unwrap();
}

#[test]
fn a_keyspace_at_rest_keeps_no_log() {
    let memory = MemFs::new();
    let options = options().stepped(1).fs(Arc::new(memory.clone()));
    let db = options.clone().open(DIR).unwrap();
    let mut most = 0;
    for rested in ["first", "second"] {
        write_much(&db, rested, || {
            while db.step().unwrap() {}
            most = most.max(log_bytes(&memory));
        });
    }
    assert!(most > LOG_BYTES_MAX / 2, "{most} bytes: too few to tell");
    assert!(most <= LOG_BYTES_MAX + SPARE_MAX * SEGMENT_BYTES, "{most} bytes of log");
    db.close().unwrap();
    check_reopened(options);
}

#[test]
fn threads_keep_the_log_short() {
    let memory = MemFs::new();
    let options = options().fs(Arc::new(memory.clone()));
    let db = options.clone().open(DIR).unwrap();
    for rested in ["first", "second"] {
        write_much(&db, rested, || {});
    }
    // Once the work has caught up.
    let enough = LOG_BYTES_MAX + SPARE_MAX * SEGMENT_BYTES;
    wait::until("the log is short", || log_bytes(&memory) <= enough);
    db.close().unwrap();
    check_reopened(options);
}
