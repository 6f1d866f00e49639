//! Compactions that are to leave the disk to others.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lsm_core::fs::{Fs, MemFs};
use lsm_core::{Clock, Compression, Db, ManualClock, Options, SystemClock};

const MIB: u64 = 1 << 20;

/// Two runs of so many mebibytes, each of which replaces what the other holds.
fn fill(db: &Db, mib: u64) {
    for round in 0..2 {
        for i in 0..mib * 1024 {
            db.put(i.to_be_bytes(), [round; 1024]).unwrap();
        }
        db.flush().unwrap();
    }
}

fn options(fs: &MemFs, rate: u64) -> Options {
    let options = Options::default().fs(Arc::new(fs.clone()));
    options.compression(Compression::None).compaction_rate_max(rate)
}

#[test]
fn a_compaction_writes_no_faster_than_it_may() {
    let (fs, clock) = (MemFs::new(), Arc::new(ManualClock::default()));
    // Whoever waits lets the time pass.
    let db = options(&fs, 8 * MIB).clock(clock.clone()).open("/db").unwrap();
    fill(&db, 4);
    db.compact_range::<[u8; 8]>(..).unwrap();
    let (time, written) = (clock.now(), db.stats().compaction_written_bytes);
    assert!(written >= 4 * MIB, "{written}");
    // What was written last is not waited for.
    let least = Duration::from_millis(125) * (written / MIB - 1) as u32;
    assert!(time >= least, "{written} bytes took {time:?}");
    assert_eq!(db.iter().filter(|entry| entry.as_ref().unwrap().1[0] == 1).count(), 4096);
    db.close().unwrap();
}

#[test]
fn closing_does_not_wait_for_a_compaction_that_is_held_back() {
    let (fs, clock) = (MemFs::new(), SystemClock::new());
    let db = options(&fs, MIB).open("/db").unwrap();
    fill(&db, 16);
    let tables = || {
        let names = fs.list(Path::new("/db")).unwrap();
        names.into_iter().filter(|name| name.ends_with(".table")).count()
    };
    let before = tables();
    std::thread::scope(|scope| {
        let other = db.clone();
        let compacts = scope.spawn(move || other.compact_range::<[u8; 8]>(..));
        while tables() <= before && !compacts.is_finished() {
            std::thread::yield_now();
        }
        let begun = clock.now();
        db.close().unwrap();
        let time = clock.now() - begun;
        assert!(time < Duration::from_secs(8), "16 MiB at one a second, and closing took {time:?}");
        assert!(compacts.join().unwrap().is_err());
    });
}
