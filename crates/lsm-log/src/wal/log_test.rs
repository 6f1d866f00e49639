use std::path::Path;
use std::sync::mpsc;

use super::*;
use crate::error::ErrorKind;
use crate::testkit::{OWNER, TestFs, nonce};
use crate::wal::record::record_len;

const SEGMENT: u64 = 512;

fn config(fs: &TestFs) -> LogConfig {
    let (fs, dir) = (Arc::new(fs.clone()), Path::new("/db").to_owned());
    LogConfig { fs, dir, owner: OWNER, segment_bytes: SEGMENT }
}

fn log(fs: &TestFs) -> Log {
    let config = config(fs);
    let segment = config.first_job(FileNumber(1), nonce(FileNumber(1))).run().unwrap();
    Log::start(config, segment, Lsn(0), 0, []).unwrap()
}

fn job(log: &mut Log, number: u64, record_bytes: usize) -> SegmentJob {
    log.job(FileNumber(number), nonce(FileNumber(number)), record_bytes, true)
}

fn append(log: &mut Log, sequence: u64, last: u64, len: usize) -> Lsn {
    let payload = vec![7; len];
    log.append_with(sequence, last, WriteMode::Pwrite, len, |out| out.extend(payload)).unwrap()
}

/// Goes on in a new segment of this number.
fn go_on(log: &mut Log, number: u64) {
    let next = job(log, number, 0).run().unwrap();
    log.enter(next).unwrap();
}

#[test]
fn a_full_segment_keeps_what_is_known_of_it() {
    let mut log = log(&TestFs::default());
    append(&mut log, 3, 8, 100);
    let end = append(&mut log, 9, 12, 100);
    go_on(&mut log, 2);
    let full: Vec<_> = log.full().copied().collect();
    let first = FullSegment { number: FileNumber(1), base: Lsn(0), bytes: SEGMENT, last: 12 };
    assert_eq!(full, [first]);
    assert_eq!((log.number(), log.base()), (FileNumber(2), end));
    assert_eq!(log.disk_bytes(), 2 * SEGMENT);
}

#[test]
fn the_next_segment_is_wanted_at_half_of_the_first_and_at_once_of_the_others() {
    let mut log = log(&TestFs::default());
    append(&mut log, 1, 1, 100);
    assert!(!log.wants_segment());
    append(&mut log, 2, 2, 100);
    assert!(log.wants_segment());
    assert!(!log.wants_segment(), "once");
    go_on(&mut log, 2);
    assert!(log.wants_segment());
    assert!(!log.wants_segment(), "once");
}

#[test]
fn a_segment_made_ahead_is_waited_for() {
    let mut log = log(&TestFs::default());
    let (sender, receiver) = mpsc::channel();
    let job = job(&mut log, 2, 0);
    log.put_ahead(FileNumber(2), Box::new(move || receiver.recv().unwrap()));
    assert!(log.has_ahead());
    assert_eq!(log.disk_bytes(), 2 * SEGMENT);
    let maker = std::thread::spawn(move || sender.send(job.run()).unwrap());
    let segment = log.take_ahead().unwrap().unwrap();
    maker.join().unwrap();
    assert!(!log.has_ahead());
    log.enter(segment).unwrap();
    assert!(log.take_ahead().is_none());
    let (_sender, receiver) = mpsc::channel();
    log.put_ahead(FileNumber(4), Box::new(move || receiver.recv().unwrap()));
    log.cancel_ahead(FileNumber(3));
    assert!(log.has_ahead(), "another one");
    log.cancel_ahead(FileNumber(4));
    assert!(!log.has_ahead());
}

#[test]
fn a_long_record_gets_a_segment_with_room_for_it() {
    let mut log = log(&TestFs::default());
    log.keep_spare(FileNumber(0));
    let long = job(&mut log, 2, record_len(4000));
    assert_eq!(long.recycled, None, "a file of another length is not for it");
    log.enter(long.run().unwrap()).unwrap();
    assert!(log.has_room(4000));
    append(&mut log, 1, 1, 4000);
    assert!(!log.has_room(1));
}

#[test]
fn what_is_given_up_is_recycled_as_far_as_it_is_of_use() {
    let fs = TestFs::default();
    let mut log = log(&fs);
    for number in 2..9 {
        append(&mut log, number, number, 10);
        go_on(&mut log, number);
    }
    assert_eq!(log.give_up_below(FileNumber(1)), []);
    let given_up = log.give_up_below(FileNumber(7));
    let numbers: Vec<_> = given_up.iter().map(|segment| segment.number.0).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    assert_eq!(log.full().map(|segment| segment.number.0).collect::<Vec<_>>(), [7]);
    assert!(!log.needs_spare(SEGMENT + 1), "of another length");
    let mut kept = 0;
    for segment in given_up {
        if log.needs_spare(segment.bytes) {
            log.keep_spare(segment.number);
            kept += 1;
        }
    }
    assert_eq!(kept, SPARES_MAX);
    assert_eq!(log.disk_bytes(), (2 + SPARES_MAX as u64) * SEGMENT);
    let next = job(&mut log, 9, 0);
    assert!(next.recycled.is_some());
    fs.take_calls();
    log.enter(next.run().unwrap()).unwrap();
    assert_eq!(fs.take_calls()[0], "rename to 000009.log");
}

#[test]
#[should_panic(expected = "in the order of their numbers")]
fn segments_are_entered_in_order() {
    let mut log = log(&TestFs::default());
    go_on(&mut log, 3);
    go_on(&mut log, 2);
}

#[test]
#[should_panic(expected = "the payload has its length")]
fn a_payload_of_another_length_is_refused() {
    let mut log = log(&TestFs::default());
    let _ = log.append_with(1, 1, WriteMode::Pwrite, 5, |out| out.extend(b"four"));
}

#[test]
fn a_failure_is_final() {
    let fs = TestFs::default();
    let mut log = log(&fs);
    let next = job(&mut log, 2, 0).run().unwrap();
    fs.fail_writes(true);
    assert_eq!(log.enter(next).unwrap_err().kind(), ErrorKind::Io);
    fs.fail_writes(false);
    let error = log.append_with(1, 1, WriteMode::Mmap, 1, |out| out.push(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
}
