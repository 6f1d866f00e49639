//! A checkpoint is one point in the write order, whole, and durable when the call returns.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use lsm_core::fs::{CrashFs, CrashImage, Fault, FaultFs, Fs, MemFs, Op};
use lsm_core::{Db, Durability, KeyspaceOptions, Options, WriteBatch};

use crate::folder::DIR;
use crate::hooked::HookedFs;
use crate::model::{tiny, tiny_logs};

const COPY: &str = "/copy";
/// Keys that the writer goes round over.
const KEYS: u64 = 50;

fn tables(fs: &dyn Fs, dir: &str) -> usize {
    let names = fs.list(Path::new(dir)).unwrap();
    names.iter().filter(|name| name.ends_with(".table")).count()
}

/// Round `n` sets a key and the number of the last round, in two keyspaces of which one fills up
/// sooner than the other: their flushes come at different times.
fn write_round(db: &Db, twin: &lsm_core::Keyspace, n: u64) {
    let mut batch = WriteBatch::new();
    let key = format!("key{:03}", n % KEYS);
    batch.put(&key, n.to_le_bytes());
    batch.put("last", n.to_le_bytes());
    batch.put_in(twin, &key, n.to_le_bytes());
    batch.put_in(twin, "last", n.to_le_bytes());
    batch.put_in(twin, "ballast", [n as u8; 700]);
    db.write_with(&batch, Durability::Buffered).unwrap();
}

#[test]
fn a_copy_is_one_point_whatever_is_written_and_flushed_meanwhile() {
    let disk = MemFs::new();
    let options = || tiny_logs().fs(Arc::new(disk.clone())).default_keyspace(tiny());
    let db = options().open(DIR).unwrap();
    let twin = db.keyspace("twin", tiny()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                write_round(&db, &twin, n);
            }
        });
        for i in 0..40 {
            let copy = format!("{COPY}{i}");
            db.checkpoint(&copy).unwrap();
            if writer.is_finished() {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let number = |value: lsm_core::Value| u64::from_le_bytes(value[..].try_into().unwrap());
    for i in 0..40 {
        let copy = options().open_read_only(format!("{COPY}{i}")).unwrap();
        let twin = copy.keyspace("twin", KeyspaceOptions::default()).unwrap();
        let last = copy.get("last").unwrap().map_or(0, number);
        assert_eq!(twin.get("last").unwrap().map_or(0, number), last, "copy {i}");
        for k in 0..KEYS.min(last) {
            // The last round up to then that set this key.
            let n = last - k;
            let key = format!("key{:03}", n % KEYS);
            assert_eq!(copy.get(&key).unwrap().map(number), Some(n), "copy {i}");
            assert_eq!(twin.get(&key).unwrap().map(number), Some(n), "copy {i}");
        }
    }
}

/// Before each table is linked, all of them are compacted away and what nothing names is removed.
#[test]
fn the_files_of_a_copy_stay_until_they_are_linked() {
    let disk = MemFs::new();
    let source: Arc<OnceLock<Db>> = Arc::default();
    let links = Arc::new(AtomicUsize::new(0));
    let hook = {
        let (source, links) = (Arc::clone(&source), Arc::clone(&links));
        move || {
            let db = source.get().unwrap();
            let n = links.fetch_add(1, Ordering::Relaxed);
            db.put("later", n.to_le_bytes()).unwrap();
            db.compact_range::<&str>(..).unwrap();
            while db.step().unwrap() {}
        }
    };
    let fs = HookedFs::new(disk.clone(), hook);
    let db = Options::default().fs(fs).stepped(1).open(DIR).unwrap();
    for n in 0..3 {
        db.put(format!("key{n}"), "value").unwrap();
        db.flush().unwrap();
    }
    source.set(db.clone()).unwrap();
    db.checkpoint(COPY).unwrap();
    assert_eq!(links.load(Ordering::Relaxed), 3);
    while db.step().unwrap() {}
    assert_eq!(tables(&disk, DIR), 1, "and go once the copy has them");
    let copy = Options::default().fs(Arc::new(disk)).stepped(1).open(COPY).unwrap();
    copy.verify().unwrap();
    for n in 0..3 {
        assert_eq!(copy.get(format!("key{n}")).unwrap().unwrap(), "value");
    }
    assert!(copy.get("later").unwrap().is_none(), "what was written while it was made");
}

#[test]
fn a_copy_survives_power_loss_linked_or_copied() {
    for links in [true, false] {
        let disk = CrashFs::new();
        let faults = FaultFs::new(Arc::new(disk.clone()));
        let db = Options::default().fs(Arc::new(faults.clone())).stepped(1).open(DIR).unwrap();
        for n in 0..3 {
            db.put(format!("key{n}"), [n; 3000]).unwrap();
            db.flush().unwrap();
        }
        if !links {
            let error = io::ErrorKind::CrossesDevices;
            faults.inject(Fault::error(Op::HardLink, error).forever());
        }
        db.checkpoint(COPY).unwrap();
        let image = disk.image(CrashImage::Lost);
        let copy = Options::default().fs(Arc::new(image)).stepped(1).open(COPY).unwrap();
        copy.verify().unwrap();
        for n in 0..3 {
            assert_eq!(copy.get(format!("key{n}")).unwrap().unwrap(), [n; 3000], "{links}");
        }
    }
}
