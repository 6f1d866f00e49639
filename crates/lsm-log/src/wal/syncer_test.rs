use std::path::Path;
use std::sync::Barrier;
use std::thread;

use super::*;
use crate::error::ErrorKind;
use crate::file_name::FileName;
use crate::fs::Fs;
use crate::testkit::{OWNER, TestFs, nonce};
use crate::wal::writer::Writer;
use crate::wal::{WriteMode, prepare};

const WRITERS: usize = 8;
const COMMITS: u64 = 50;

fn dir() -> &'static Path {
    Path::new("/db")
}

fn start(fs: &TestFs, bytes: u64) -> (Writer, Arc<Syncer>) {
    let shared = Arc::new(Syncer::new(Lsn(0)));
    let segment =
        prepare(fs, dir(), FileNumber(1), nonce(FileNumber(1)), bytes, None, false).unwrap();
    let writer = Writer::start(OWNER, segment, Lsn(0), 0, shared.clone()).unwrap();
    fs.take_calls();
    (writer, shared)
}

fn rotate(fs: &TestFs, writer: &mut Writer, number: u64) {
    let segment =
        prepare(fs, dir(), FileNumber(number), nonce(FileNumber(number)), 4096, None, false)
            .unwrap();
    writer.rotate(segment).unwrap();
    fs.take_calls();
}

#[test]
fn nothing_is_synced_twice() {
    let fs = TestFs::default();
    let (mut writer, shared) = start(&fs, 4096);
    let one = writer.append(1, b"one", WriteMode::Pwrite).unwrap();
    let two = writer.append(2, b"two", WriteMode::Pwrite).unwrap();
    let before = fs.syncs();
    shared.sync_through(one).unwrap();
    assert_eq!(shared.synced(), two, "covers all that was appended before");
    shared.sync_through(two).unwrap();
    assert_eq!(fs.syncs(), before + 1);
    assert_eq!((shared.syncs(), shared.written()), (1, two.0));
}

#[test]
fn many_waiters_share_few_syncs() {
    let fs = TestFs::default();
    let (writer, shared) = start(&fs, 1 << 15);
    let path = FileName::Log(FileNumber(1)).in_dir(dir());
    fs.slow_syncs();
    let before = fs.syncs();
    let writer = Mutex::new((writer, 0));
    let together = Barrier::new(WRITERS);
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                together.wait();
                for _ in 0..COMMITS {
                    let mut guard = writer.lock();
                    guard.1 += 1;
                    let sequence = guard.1;
                    let end = guard.0.append(sequence, b"payload", WriteMode::Pwrite).unwrap();
                    drop(guard);
                    shared.sync_through(end).unwrap();
                    assert!(shared.synced() >= end);
                    let (now, durable) = (fs.bytes(&path), fs.synced_bytes(&path));
                    assert!(now[..end.0 as usize] == durable[..end.0 as usize]);
                }
            });
        }
    });
    let (commits, syncs) = (WRITERS as u64 * COMMITS, fs.syncs() - before);
    assert!(syncs >= COMMITS, "each commit of one thread needs a sync of its own");
    // About a sync for every eight, but on a machine where threads rarely run beside each other.
    assert!(syncs * 5 < commits * 4, "{syncs} syncs for {commits} commits");
    assert_eq!(shared.synced(), writer.lock().0.end());
}

#[test]
fn older_segments_are_synced_first_and_once() {
    let fs = TestFs::default();
    let (mut writer, shared) = start(&fs, 4096);
    writer.append(1, b"one", WriteMode::Mmap).unwrap();
    rotate(&fs, &mut writer, 2);
    writer.append(2, b"two", WriteMode::Mmap).unwrap();
    rotate(&fs, &mut writer, 3);
    let end = writer.append(3, b"three", WriteMode::Pwrite).unwrap();
    fs.take_calls();
    shared.sync_through(end).unwrap();
    assert_eq!(fs.take_calls(), ["sync 000001.log", "sync 000002.log", "sync 000003.log"]);
    let end = writer.append(4, b"four", WriteMode::Pwrite).unwrap();
    fs.take_calls();
    shared.sync_through(end).unwrap();
    assert_eq!(fs.take_calls(), ["sync 000003.log"]);
}

/// A rotation during a sync: the file it left holds bytes that the sync did not cover.
#[test]
fn a_segment_is_done_only_when_the_next_begins_below_what_is_synced() {
    let fs = TestFs::default();
    let file = fs.create(Path::new("/db/x")).unwrap();
    let started = |(number, base)| {
        let (number, base, path) = (FileNumber(number), Lsn(base), Path::new("/db/x").into());
        Arc::new(StartedFile { number, path, base, file: file.clone() })
    };
    for (synced, left) in [(0, 3), (99, 3), (100, 2), (199, 2), (200, 1), (900, 1)] {
        let mut files: Vec<_> = [(1, 0), (2, 100), (3, 200)].map(started).into();
        retire(&mut files, Lsn(synced));
        assert_eq!(files.len(), left, "synced up to {synced}");
        assert_eq!(files.last().unwrap().number, FileNumber(3));
    }
}

#[test]
fn forgotten_segments_are_not_synced() {
    let fs = TestFs::default();
    let (mut writer, shared) = start(&fs, 4096);
    writer.append(1, b"one", WriteMode::Mmap).unwrap();
    rotate(&fs, &mut writer, 2);
    let end = writer.append(2, b"two", WriteMode::Mmap).unwrap();
    shared.forget_below(FileNumber(2));
    fs.take_calls();
    shared.sync_through(end).unwrap();
    assert_eq!(fs.take_calls(), ["sync 000002.log"]);
    shared.forget_below(FileNumber(99));
    let end = writer.append(3, b"three", WriteMode::Mmap).unwrap();
    fs.take_calls();
    shared.sync_through(end).unwrap();
    assert_eq!(fs.take_calls(), ["sync 000002.log"], "the one being written stays");
}

#[test]
fn segments_that_are_needed_are_not_forgotten() {
    let fs = TestFs::default();
    let (mut writer, shared) = start(&fs, 4096);
    writer.append(1, b"one", WriteMode::Mmap).unwrap();
    rotate(&fs, &mut writer, 2);
    writer.append(2, b"two", WriteMode::Mmap).unwrap();
    rotate(&fs, &mut writer, 3);
    let end = writer.append(3, b"three", WriteMode::Mmap).unwrap();
    shared.forget_below(FileNumber(2));
    fs.take_calls();
    shared.sync_through(end).unwrap();
    assert_eq!(fs.take_calls(), ["sync 000002.log", "sync 000003.log"]);
}

#[test]
fn a_failed_sync_is_final() {
    let fs = TestFs::default();
    let (mut writer, shared) = start(&fs, 4096);
    let one = writer.append(1, b"one", WriteMode::Pwrite).unwrap();
    shared.sync_through(one).unwrap();
    let two = writer.append(2, b"two", WriteMode::Pwrite).unwrap();
    fs.fail_syncs(true);
    assert_eq!(shared.sync_through(two).unwrap_err().kind(), ErrorKind::Io);
    // The disk is well again, but what it lost is not known.
    fs.fail_syncs(false);
    let before = fs.syncs();
    for position in [one, two] {
        let error = shared.sync_through(position).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed);
        assert!(error.to_string().contains("told to fail"), "{error}");
    }
    assert_eq!(writer.append(3, b"x", WriteMode::Mmap).unwrap_err().kind(), ErrorKind::Failed);
    let next = prepare(&fs, dir(), FileNumber(2), nonce(FileNumber(2)), 4096, None, false).unwrap();
    let prepared = fs.syncs();
    assert_eq!(writer.rotate(next).unwrap_err().kind(), ErrorKind::Failed);
    assert_eq!(fs.syncs(), prepared);
    assert!(prepared - before <= 2, "only the preparation synced");
    assert_eq!(shared.synced(), one, "nothing was acknowledged since");
}

#[test]
fn a_failed_sync_of_an_older_segment_stops_before_the_next() {
    let fs = TestFs::default();
    let (mut writer, shared) = start(&fs, 4096);
    writer.append(1, b"one", WriteMode::Mmap).unwrap();
    rotate(&fs, &mut writer, 2);
    let end = writer.append(2, b"two", WriteMode::Mmap).unwrap();
    fs.take_calls();
    fs.fail_syncs(true);
    shared.sync_through(end).unwrap_err();
    assert_eq!(fs.take_calls(), ["sync 000001.log"]);
}

#[test]
fn all_waiters_learn_of_a_failure() {
    let fs = TestFs::default();
    let (mut writer, shared) = start(&fs, 4096);
    let end = writer.append(1, b"one", WriteMode::Pwrite).unwrap();
    fs.slow_syncs();
    fs.fail_syncs(true);
    let together = Barrier::new(WRITERS);
    let kinds: Vec<ErrorKind> = thread::scope(|scope| {
        let wait = || {
            together.wait();
            shared.sync_through(end).unwrap_err().kind()
        };
        let threads: Vec<_> = (0..WRITERS).map(|_| scope.spawn(wait)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let led = kinds.iter().filter(|kind| **kind == ErrorKind::Io).count();
    let told = kinds.iter().filter(|kind| **kind == ErrorKind::Failed).count();
    assert_eq!((led, told), (1, WRITERS - 1));
}

#[test]
#[should_panic(expected = "after it was appended")]
fn what_was_not_appended_cannot_be_synced() {
    let (_writer, shared) = start(&TestFs::default(), 4096);
    let _ = shared.sync_through(Lsn(4096));
}

#[test]
fn a_log_that_nobody_syncs_has_few_files_waiting() {
    let fs = TestFs::default();
    let (mut writer, shared) = start(&fs, 4096);
    for number in 2..200 {
        writer.append(number, b"buffered", WriteMode::Mmap).unwrap();
        shared.sync_if_many().unwrap();
        rotate(&fs, &mut writer, number);
        assert!(shared.state.lock().files.len() <= UNSYNCED_MAX);
    }
    assert!(shared.synced() > Lsn(0));
    assert!(shared.syncs() < 250, "each file about once: {}", shared.syncs());
}
