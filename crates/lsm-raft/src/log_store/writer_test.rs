use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64};

use lsm_core::ErrorKind;
use lsm_log::fs::{CrashFs, Fault, FaultFs, Fs, MemFs, Op, corrupt};
use lsm_log::wal::{self, SegmentJob, SegmentPromise};

use super::super::test_log::{OWNER, all, dir, entries, entry, hard, open};
use super::super::{LogOptions, LogStore};
use super::*;

/// Files that a log keeps to recycle them.
const SPARES_MAX: usize = 4;

struct Log {
    fs: FaultFs,
    store: LogStore,
    writer: LogWriter,
}

impl Log {
    fn open(fs: &FaultFs, segment_bytes: u64, cache_bytes: usize) -> Result<Self> {
        let shared: Arc<dyn Fs> = Arc::new(fs.clone());
        let options =
            LogOptions { fs: shared, segment_bytes, cache_bytes, ..LogOptions::new(OWNER) };
        let (store, writer) = LogStore::open(options, dir())?;
        Ok(Self { fs: fs.clone(), store, writer })
    }

    fn new(segment_bytes: u64, cache_bytes: usize) -> Self {
        Self::open(&FaultFs::new(Arc::new(MemFs::new())), segment_bytes, cache_bytes).unwrap()
    }

    fn write(&mut self, entries: &[Entry]) -> Result<()> {
        self.store.append(entries);
        self.writer.write(Some(&hard(2, 1, 0)), entries)
    }

    fn truncate(&mut self, index: u64) {
        let term = self.store.term(index).unwrap();
        self.store.truncate(index);
        self.writer.truncate(index, term).unwrap();
    }

    fn files(&self) -> usize {
        let names = self.fs.list(dir()).unwrap();
        names.iter().filter(|name| wal::segment_number(name).is_some()).count()
    }
}

#[test]
fn one_call_a_write_and_one_a_sync() {
    let mut log = Log::new(1 << 20, 1 << 20);
    let counts = |log: &Log| (log.fs.count(Op::Write), log.fs.count(Op::Sync));
    let (writes, syncs) = counts(&log);
    log.write(&entries(1..=300, 2, 100)).unwrap();
    assert_eq!(counts(&log), (writes + 1, syncs));
    log.writer.sync().unwrap();
    // The note that it is durable.
    assert_eq!(counts(&log), (writes + 2, syncs + 1));
    log.writer.sync().unwrap();
    log.writer.write(None, &[]).unwrap();
    assert_eq!(counts(&log), (writes + 2, syncs + 1), "there was nothing to do");
    assert_eq!(log.fs.count(Op::Read), 0);
}

#[test]
fn entries_are_there_before_they_are_written() {
    let mut log = Log::new(4096, 0);
    let written = entries(1..=50, 2, 100);
    log.store.append(&written);
    assert_eq!(all(&log.store), written);
    for some in written.chunks(3) {
        log.writer.write(None, some).unwrap();
    }
    assert_eq!(all(&log.store), written);
    assert!(log.fs.count(Op::Read) > 0, "none of them is in the cache");
    let store = log.store.clone();
    let limited = store.entries(10, 51, Some(500)).unwrap();
    assert_eq!(limited, written[9..9 + limited.len()]);
    assert!((3..6).contains(&limited.len()));
    let compacted = raft::Error::Store(raft::StorageError::Compacted);
    let unavailable = raft::Error::Store(raft::StorageError::Unavailable);
    log.truncate(10);
    assert_eq!(store.entries(10, 12, None).unwrap_err(), compacted);
    assert_eq!(store.entries(11, 52, None).unwrap_err(), unavailable);
    assert_eq!((store.term(9).unwrap_err(), store.term(51).unwrap_err()), (compacted, unavailable));
    assert_eq!((store.term(10).unwrap(), store.term(50).unwrap()), (2, 2));
}

#[test]
fn a_failure_is_final() {
    for (op, kind) in [(Op::Write, io::ErrorKind::StorageFull), (Op::Sync, io::ErrorKind::Other)] {
        let mut log = Log::new(4096, 0);
        log.write(&entries(1..=3, 2, 100)).unwrap();
        log.writer.sync().unwrap();
        log.fs.inject(Fault::error(op, kind).short(60));
        let failed = log.write(&entries(4..=5, 2, 100)).and_then(|()| log.writer.sync());
        let Err(Error::Storage { cause, .. }) = failed else { panic!("{op:?}") };
        assert_eq!(cause.kind(), ErrorKind::Io);
        // The disk is fine again; nothing is written or acknowledged all the same.
        let (writes, syncs) = (log.fs.count(Op::Write), log.fs.count(Op::Sync));
        for refused in [
            log.writer.write(None, &[entry(6, 2, 1)]),
            log.writer.write(Some(&hard(3, 0, 0)), &[]),
            log.writer.sync(),
            log.writer.truncate(1, 2),
            log.writer.reset(100, 3),
        ] {
            let Err(Error::Storage { cause, .. }) = refused else { panic!("{op:?}") };
            assert_eq!(cause.kind(), ErrorKind::Failed);
        }
        assert_eq!((log.fs.count(Op::Write), log.fs.count(Op::Sync)), (writes, syncs));
        let fs = log.fs.clone();
        drop(log);
        let log = Log::open(&fs, 4096, 0).unwrap();
        assert_eq!(all(&log.store)[..3], entries(1..=3, 2, 100));
    }
}

#[test]
fn a_full_disk_at_a_rotation_is_final() {
    let mut log = Log::new(4096, 0);
    log.fs.inject(Fault::error(Op::Allocate, io::ErrorKind::StorageFull));
    let failed = (1..100).find_map(|i| log.write(&[entry(i, 2, 500)]).err());
    assert!(failed.unwrap().to_string().contains("reserve the log segment"));
    assert!(log.writer.sync().is_err());
}

#[test]
fn segments_are_given_up_and_recycled() {
    let mut log = Log::new(4096, 0);
    let mut most = 0;
    for round in 0..50 {
        let first = round * 10 + 1;
        log.write(&entries(first..=first + 9, 2, 200)).unwrap();
        log.writer.sync().unwrap();
        log.truncate(first + 4);
        assert_eq!(log.store.first_index(), first + 5);
        most = most.max(log.files());
    }
    assert!(most <= 2 + SPARES_MAX, "{most} files");
    assert!(log.fs.count(Op::Rename) > 10, "recycled");
    let bytes: u64 = log.fs.list(dir()).unwrap().iter().fold(0, |sum, name| {
        let is_segment = wal::segment_number(name).is_some();
        sum + if is_segment { log.fs.len(&dir().join(name)).unwrap() } else { 0 }
    });
    assert_eq!(log.store.disk_bytes(), bytes);
}

#[test]
fn a_long_log_is_given_up_at_once() {
    let mut log = Log::new(4096, 0);
    for i in 1..=200 {
        log.write(&[entry(i, 2, 500)]).unwrap();
    }
    log.writer.sync().unwrap();
    assert!(log.files() > 20);
    log.truncate(199);
    assert!(log.files() <= 3 + SPARES_MAX);
    assert_eq!(all(&log.store), [entry(200, 2, 500)]);
    let fs = log.fs.clone();
    drop(log);
    let log = Log::open(&fs, 4096, 0).unwrap();
    assert_eq!((log.store.first_index(), all(&log.store)), (200, vec![entry(200, 2, 500)]));
}

#[test]
fn a_reset_empties_the_log_for_good() {
    let mut log = Log::new(4096, 0);
    log.write(&entries(1..=30, 2, 500)).unwrap();
    log.store.reset_to(100, 5);
    let later = entries(101..=103, 6, 10);
    log.store.append(&later);
    log.writer.reset(100, 5).unwrap();
    assert_eq!((all(&log.store), log.store.term(100).unwrap()), (later.clone(), 5));
    assert_eq!(log.store.hard_state().commit, 100);
    log.writer.write(None, &later).unwrap();
    let fs = log.fs.clone();
    drop(log);
    let log = Log::open(&fs, 4096, 0).unwrap();
    assert_eq!((log.store.first_index(), all(&log.store)), (101, later));
    assert_eq!((log.store.term(100).unwrap(), log.store.hard_state()), (5, hard(2, 1, 100)));
}

#[test]
fn many_long_entries_are_written_in_parts() {
    let mut log = Log::new(8 << 20, 0);
    let long = entries(1..=20, 2, 1 << 20);
    let writes = log.fs.count(Op::Write);
    log.store.append(&long);
    log.writer.write(Some(&hard(2, 1, 20)), &long).unwrap();
    assert!(log.fs.count(Op::Write) > writes + 4);
    assert_eq!(log.store.entries(5, 8, None).unwrap(), long[4..7]);
    let fs = log.fs.clone();
    drop(log);
    let log = Log::open(&fs, 8 << 20, 0).unwrap();
    assert_eq!((all(&log.store), log.store.hard_state()), (long, hard(2, 1, 20)));
}

#[test]
fn damage_in_a_file_is_an_error_that_names_it() {
    let mut log = Log::new(4096, 0);
    let written = entries(1..=3, 2, 100);
    for entry in &written {
        log.write(std::slice::from_ref(entry)).unwrap();
    }
    let path = segment_path(dir(), log.writer.log.number());
    let offset = log.writer.log.end().0 - log.writer.log.base().0;
    corrupt(&log.fs, &path, offset - 20, 1).unwrap();
    assert_eq!(log.store.entries(1, 3, None).unwrap(), written[..2]);
    let error = log.store.entries(1, 4, None).unwrap_err().to_string();
    assert!(error.contains("checksum") && error.contains("000001.log"), "{error}");
}

/// Lets the other threads end, also if this one has failed.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A reader that looks up entries while they are truncated and their segments recycled gets them
/// or is told so.
#[test]
fn reads_beside_truncation_are_whole() {
    let mut log = Log::new(4096, 0);
    log.write(&entries(1..=10, 2, 200)).unwrap();
    let store = log.store.clone();
    let (done, read) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let first = store.first_index();
                match store.entries(first, first + 5, None) {
                    Ok(found) => {
                        assert_eq!(found, entries(first..=first + 4, 2, 200));
                        read.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(raft::Error::Store(raft::StorageError::Compacted)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        for round in 1..20_000 {
            let first = round * 10 + 1;
            log.write(&entries(first..=first + 9, 2, 200)).unwrap();
            log.writer.sync().unwrap();
            log.truncate(first - 1);
            if round > 300 && read.load(Ordering::Relaxed) > 300 {
                break;
            }
        }
    });
    assert!(read.into_inner() > 0);
}

#[test]
#[should_panic(expected = "do not follow")]
fn a_gap_on_disk_is_a_bug_of_the_caller() {
    let (store, mut writer) = open(&CrashFs::new(), 4096).unwrap();
    store.append(&entries(1..=3, 1, 1));
    let _ = writer.write(None, &entries(3..=3, 1, 1));
}

/// Fills the segment until the next one is asked for, and leaves it to `start`.
fn write_until_asked(log: &mut Log, start: impl Fn(SegmentJob) -> SegmentPromise) -> u64 {
    let mut asked = false;
    for index in log.store.last_index() + 1.. {
        log.write(&[entry(index, 2, 100)]).unwrap();
        log.writer.make_ahead(|job| {
            asked = true;
            start(job)
        });
        if asked {
            return index;
        }
    }
    unreachable!("a log has an end")
}

#[test]
fn a_segment_is_made_ahead_once_and_gone_on_in() {
    let mut log = Log::new(4096, 1 << 20);
    log.writer.make_ahead(|_| panic!("nothing is written yet"));
    for _ in 0..10 {
        let last = write_until_asked(&mut log, SegmentJob::at_once);
        log.writer.make_ahead(|_| panic!("it was asked for already"));
        let (current, made) = (log.writer.log.number(), log.fs.count(Op::Create));
        for index in last + 1.. {
            log.write(&[entry(index, 2, 100)]).unwrap();
            if log.writer.log.number() != current {
                break;
            }
        }
        assert_eq!(log.writer.log.number().0, current.0 + 1);
        assert_eq!(log.fs.count(Op::Create), made, "it was there");
    }
    let written = all(&log.store);
    // One that was made ahead and is not needed goes at the next open.
    write_until_asked(&mut log, SegmentJob::at_once);
    log.writer.sync().unwrap();
    let (fs, last) = (log.fs.clone(), log.store.last_index());
    drop(log);
    let log = Log::open(&fs, 4096, 0).unwrap();
    assert_eq!(log.store.last_index(), last);
    assert_eq!(all(&log.store)[..written.len()], written);
}

#[test]
fn what_is_too_long_for_the_segment_made_ahead_gets_its_own_behind_it() {
    let mut log = Log::new(4096, 1 << 20);
    let last = write_until_asked(&mut log, SegmentJob::at_once);
    let current = log.writer.log.number();
    log.write(&[entry(last + 1, 2, 10_000)]).unwrap();
    assert_eq!(log.writer.log.number().0, current.0 + 2);
    log.write(&[entry(last + 2, 2, 100)]).unwrap();
    log.writer.sync().unwrap();
    let (fs, written) = (log.fs.clone(), all(&log.store));
    drop(log);
    assert_eq!(all(&Log::open(&fs, 4096, 0).unwrap().store), written);
}

#[test]
fn a_segment_that_could_not_be_made_ahead_fails_the_log_when_it_is_needed() {
    let mut log = Log::new(4096, 1 << 20);
    log.fs.inject(Fault::error(Op::Allocate, io::ErrorKind::StorageFull));
    let last = write_until_asked(&mut log, SegmentJob::at_once);
    let failed = (last + 1..last + 100).find_map(|index| log.write(&[entry(index, 2, 100)]).err());
    let Some(Error::Storage { cause, .. }) = failed else { panic!("{failed:?}") };
    assert_eq!(cause.io_error().map(io::Error::kind), Some(io::ErrorKind::StorageFull));
    assert!(log.writer.sync().is_err() && log.writer.write(Some(&hard(3, 1, 0)), &[]).is_err());
}
