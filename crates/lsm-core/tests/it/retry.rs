//! Background work that fails without harm: it is tried again, writes go on while they need not
//! wait for it, and the application is told.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use lsm_core::fs::{Fault, FaultFs, Fs, MemFs, Op, corrupt};
use lsm_core::{BackgroundJob, Db, ErrorKind, Event, KeyspaceOptions, Options};

use crate::folder::DIR;
use crate::wait;

struct Watched {
    disk: MemFs,
    faults: FaultFs,
    events: Arc<Mutex<Vec<Event>>>,
    db: Db,
}

fn small() -> KeyspaceOptions {
    KeyspaceOptions::default().write_buffer_bytes(64 << 10).l0_tables_compact(2)
}

impl Watched {
    fn open() -> Self {
        Self::with(small(), 64 << 10)
    }

    fn with(keyspace: KeyspaceOptions, segment_bytes: u64) -> Self {
        let disk = MemFs::new();
        let faults = FaultFs::new(Arc::new(disk.clone()));
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&events);
        let db = Options::default()
            .default_keyspace(keyspace)
            .log_segment_bytes(segment_bytes)
            .log_bytes_max(1 << 30)
            .fs(Arc::new(faults.clone()))
            .on_event(move |event| told.lock().unwrap().push(event.clone()))
            .open(DIR)
            .unwrap();
        Self { disk, faults, events, db }
    }

    fn failed(&self, wanted: BackgroundJob) -> bool {
        let events = self.events.lock().unwrap();
        events.iter().any(|event| matches!(event, Event::JobFailed { job, .. } if *job == wanted))
    }

    fn recovered(&self, wanted: BackgroundJob) -> bool {
        let events = self.events.lock().unwrap();
        events.iter().any(|event| matches!(event, Event::JobRecovered { job } if *job == wanted))
    }

    /// Nothing was lost, and nothing is put off.
    fn check(self, keys: u32) {
        wait::until("all is well", || self.db.stats().job_error.is_none());
        assert!(self.db.stats().job_failures > 0);
        self.db.verify().unwrap();
        for key in 0..keys {
            assert!(self.db.get(key.to_be_bytes()).unwrap().is_some(), "{key}");
        }
        self.db.close().unwrap();
        let db = Options::default().fs(Arc::new(self.disk)).open(DIR).unwrap();
        assert_eq!(db.iter().count(), keys as usize);
    }
}

fn refuse(op: Op, ending: &str) -> Fault {
    Fault::error(op, io::ErrorKind::StorageFull).on(ending)
}

#[test]
fn a_flush_that_finds_no_room_is_tried_again_and_writes_go_on() {
    for op in [Op::Create, Op::Write, Op::Sync] {
        let it = Watched::open();
        it.db.put(0u32.to_be_bytes(), "before").unwrap();
        it.faults.inject(refuse(op, ".table").times(2));
        let error = it.db.flush().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert_eq!(error.io_error().unwrap().kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains("a flush, which fails and is tried again"), "{error}");
        assert!(error.file().is_some_and(|file| file.to_string_lossy().ends_with(".table")));
        assert!(it.db.stats().job_error.is_some() && it.failed(BackgroundJob::Flush));
        it.db.put(1u32.to_be_bytes(), "meanwhile").unwrap();
        // Nobody asks: the thread tries again by itself.
        wait::until("the flush is done", || it.recovered(BackgroundJob::Flush));
        it.db.flush().unwrap();
        it.check(2);
    }
}

/// A part of its record may be in the manifest: the next one takes its place.
#[test]
fn an_edit_that_finds_no_room_in_the_manifest_is_tried_again() {
    for part in [0, 1, 30, 60] {
        // No compaction, whose edit would meet the fault that is meant for another.
        let it = Watched::with(small().l0_tables_compact(16), 64 << 10);
        it.db.put(0u32.to_be_bytes(), "before").unwrap();
        it.faults.inject(refuse(Op::Write, ".manifest").short(part).times(2));
        assert_eq!(it.db.flush().unwrap_err().kind(), ErrorKind::Io);
        it.db.put(1u32.to_be_bytes(), "meanwhile").unwrap();
        wait::until("the flush is done", || it.recovered(BackgroundJob::Flush));
        it.db.flush().unwrap();
        // The call itself may ask again, too.
        it.faults.inject(refuse(Op::Write, ".manifest").short(part));
        let options = KeyspaceOptions::default();
        assert_eq!(it.db.keyspace("new", options.clone()).unwrap_err().kind(), ErrorKind::Io);
        it.db.keyspace("new", options).unwrap();
        it.faults.inject(refuse(Op::Write, ".manifest").short(part));
        assert_eq!(it.db.drop_keyspace("new").unwrap_err().kind(), ErrorKind::Io);
        it.db.drop_keyspace("new").unwrap();
        let left = it.db.levels().iter().map(|level| level.tables.len()).sum::<usize>();
        let disk = it.disk.clone();
        wait::until("what was made in vain is removed", || {
            let names = disk.list(Path::new(DIR)).unwrap();
            names.iter().filter(|name| name.ends_with(".table")).count() == left
        });
        it.check(2);
    }
}

#[test]
fn a_flush_that_fails_half_way_leaves_no_table_behind() {
    let it = Watched::open();
    let other = it.db.keyspace("other", small()).unwrap();
    it.db.put(0u32.to_be_bytes(), "value").unwrap();
    other.put("key", "value").unwrap();
    // The table of the first keyspace is there, that of the second is not.
    it.faults.inject(refuse(Op::Create, ".table").after(1).times(1));
    assert_eq!(it.db.flush().unwrap_err().kind(), ErrorKind::Io);
    wait::until("the flush is done", || it.recovered(BackgroundJob::Flush));
    wait::until("two tables are left", || {
        let names = it.disk.list(Path::new(DIR)).unwrap();
        names.iter().filter(|name| name.ends_with(".table")).count() == 2
    });
    it.check(1);
}

/// For want of a file handle. Names in it could not be made durable, so none is changed.
#[test]
fn a_folder_that_cannot_be_opened_costs_the_attempt() {
    let it = Watched::with(small().l0_tables_compact(16), 64 << 10);
    for round in ["a", "b"] {
        it.db.put(0u32.to_be_bytes(), round).unwrap();
        it.db.flush().unwrap();
    }
    it.faults.inject(Fault::error(Op::OpenDir, io::ErrorKind::Other).forever());
    let error = it.db.compact_range::<&str>(..).unwrap_err();
    assert!(error.to_string().contains("open the folder"), "{error}");
    let mut keys = 1u32;
    let error = loop {
        match it.db.put(keys.to_be_bytes(), [7; 1000]) {
            Ok(()) => keys += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Io, "no log segment: {error}");
    assert_eq!(it.db.flush().unwrap_err().kind(), ErrorKind::Io);
    it.faults.clear();
    wait::until("writes go on", || it.db.put(keys.to_be_bytes(), "again").is_ok());
    it.db.flush().unwrap();
    it.db.compact_range::<&str>(..).unwrap();
    it.check(keys + 1);
}

#[test]
fn a_segment_that_cannot_be_made_ahead_costs_nothing() {
    let it = Watched::with(small(), 1 << 20);
    it.faults.inject(refuse(Op::Allocate, ".log").times(2));
    let mut keys = 0u32;
    // The first segment is large enough for all until the next one is there.
    while !it.recovered(BackgroundJob::LogSegment) {
        it.db.put(keys.to_be_bytes(), [7; 100]).unwrap();
        keys += 1;
        if keys > 4500 {
            wait::moment();
        }
    }
    assert!(it.failed(BackgroundJob::LogSegment));
    it.check(keys);
}

#[test]
fn a_write_that_finds_no_room_in_the_log_is_refused_and_the_next_is_not() {
    let it = Watched::open();
    it.faults.inject(refuse(Op::Allocate, ".log").forever());
    let mut keys = 0u32;
    let error = loop {
        match it.db.put(keys.to_be_bytes(), [7; 1000]) {
            Ok(()) => keys += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert_eq!(it.db.iter().count(), keys as usize, "what is refused is not there");
    it.faults.clear();
    it.db.put(keys.to_be_bytes(), "again").unwrap();
    it.db.sync().unwrap();
    it.check(keys + 1);
}

#[test]
fn writers_do_not_wait_for_flushes_that_fail() {
    let it = Watched::open();
    it.faults.inject(refuse(Op::Create, ".table").forever());
    let mut keys = 0u32;
    let error = loop {
        match it.db.put(keys.to_be_bytes(), [7; 1000]) {
            Ok(()) => keys += 1,
            Err(error) => break error,
        }
    };
    assert!(keys > 100, "the write buffers were there to be filled");
    assert_eq!(error.io_error().unwrap().kind(), io::ErrorKind::StorageFull, "{error}");
    it.faults.clear();
    wait::until("room was made", || it.db.put(keys.to_be_bytes(), "again").is_ok());
    it.db.flush().unwrap();
    it.check(keys + 1);
}

#[test]
fn a_compaction_that_fails_is_tried_again() {
    let faults: [fn() -> Fault; 4] = [
        || Fault::error(Op::OpenRead, io::ErrorKind::Other).on(".table"),
        || Fault::error(Op::Read, io::ErrorKind::Other).on(".table"),
        || refuse(Op::Write, "9.table"),
        || refuse(Op::Sync, "9.table"),
    ];
    for (at, fault) in faults.into_iter().enumerate() {
        let it = Watched::open();
        it.faults.inject(fault().times(2));
        let mut keys = 0u32;
        // Reads of tables are the compactions' own until then, and so are some of those written.
        while !(it.failed(BackgroundJob::Compaction) || it.failed(BackgroundJob::Flush)) {
            // Refused if level 0 is full by now, and what would empty it is what fails.
            match it.db.put(keys.to_be_bytes(), "value") {
                Ok(()) => keys += 1,
                Err(error) => assert_ne!(error.kind(), ErrorKind::Failed, "{error}"),
            }
            // Refused if it is the flush that fails.
            let _ = it.db.flush();
        }
        let is_put_off = || it.db.stats().job_error.is_some();
        wait::until("it is done", || !is_put_off());
        let level = |n: usize| it.db.levels()[n].tables.len();
        wait::until("level 0 is merged", || level(0) < 3);
        // A flush that reads its table back, with the costly checks, may meet it first.
        let job = match it.failed(BackgroundJob::Compaction) {
            true => BackgroundJob::Compaction,
            false => BackgroundJob::Flush,
        };
        assert!(at > 1 || job == BackgroundJob::Compaction || cfg!(feature = "paranoid"));
        wait::until("it is told", || it.recovered(job));
        it.check(keys);
    }
}

#[test]
fn one_damaged_table_stops_no_other_compaction_and_no_write() {
    let it = Watched::open();
    let (bad, good) = (it.db.keyspace("bad", small()).unwrap(), it.db.keyspace("good", small()));
    let good = good.unwrap();
    bad.put("key", "value").unwrap();
    it.db.flush().unwrap();
    let table = bad.levels()[0].tables[0].number;
    let path = Path::new(DIR).join(format!("{table:06}.table"));
    corrupt(&it.disk, &path, 3, 0xff).unwrap();
    for round in ["a", "b", "c", "d"] {
        bad.put("other", round).unwrap();
        good.put("key", round).unwrap();
        it.db.flush().unwrap();
    }
    wait::until("the damage is met", || it.failed(BackgroundJob::Compaction));
    let error = it.db.stats().job_error.unwrap();
    assert!(error.contains(&format!("{table:06}.table")), "{error}");
    wait::until("the other is merged", || good.levels()[0].tables.len() < 2);
    it.db.put("still", "written").unwrap();
    it.db.sync().unwrap();
    assert_eq!(good.get("key").unwrap().unwrap(), "d");
    let error = bad.compact_range::<&str>(..).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(error.file(), Some(&*path));
    // Without the keyspace there is nothing to be put off.
    it.db.drop_keyspace("bad").unwrap();
    it.db.close().unwrap();
}
