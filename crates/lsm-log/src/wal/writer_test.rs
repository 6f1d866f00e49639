use std::path::Path;

use super::*;
use crate::coding::u64_at;
use crate::error::ErrorKind;
use crate::file_name::FileName;
use crate::file_name::FileNumber;
use crate::fs::Fs;
use crate::testkit::{OWNER, TestFs, nonce};
use crate::wal::{FoundNonce, find_nonce, prepare};

fn dir() -> &'static Path {
    Path::new("/db")
}

fn segment(fs: &TestFs, number: u64, bytes: u64) -> Segment {
    prepare(fs, dir(), FileNumber(number), nonce(FileNumber(number)), bytes, None, false).unwrap()
}

fn start(fs: &TestFs, bytes: u64) -> Writer {
    Writer::start(OWNER, segment(fs, 1, bytes), Lsn(0), 0, Arc::new(Syncer::new(Lsn(0)))).unwrap()
}

#[test]
fn one_call_a_record() {
    let fs = TestFs::default();
    let mut writer = start(&fs, 4096);
    fs.take_calls();
    let end = writer.append(1, b"payload", WriteMode::Mmap).unwrap();
    assert_eq!(fs.take_calls(), ["write 000001.log"]);
    assert_eq!(end, Lsn((HEADER_LEN + 32) as u64));
    assert_eq!(end, writer.end());
}

#[test]
fn records_and_headers_say_what_was_durable() {
    let fs = TestFs::default();
    let mut writer = start(&fs, 4096);
    let path = |number| FileName::Log(FileNumber(number)).in_dir(dir());
    let mask = nonce(FileNumber(1)).0;
    let synced_at = |offset: usize| u64_at(&fs.bytes(&path(1)), offset + 16).map(|s| s ^ mask);
    let first = writer.append(1, b"payload", WriteMode::Mmap).unwrap();
    writer.shared.sync_through(first).unwrap();
    let second = writer.append(2, b"payload", WriteMode::Pwrite).unwrap();
    writer.append(3, b"payload", WriteMode::Pwrite).unwrap();
    assert_eq!(synced_at(HEADER_LEN), Some(0));
    assert_eq!(synced_at(first.0 as usize), Some(first.0));
    assert_eq!(synced_at(second.0 as usize), Some(first.0));
    writer.shared.sync_through(second).unwrap();
    writer.rotate(segment(&fs, 2, 4096)).unwrap();
    let header = Header::decode(&fs.bytes(&path(2)), &LOG).unwrap().unwrap();
    assert_eq!(header.synced, header.base, "a sync covers all that was appended");
}

#[test]
fn room_is_exact() {
    let fs = TestFs::default();
    for payload_len in 1..100 {
        let bytes = (HEADER_LEN + record_len(payload_len)) as u64;
        let number = payload_len as u64;
        let shared = Arc::new(Syncer::new(Lsn(0)));
        let mut writer =
            Writer::start(OWNER, segment(&fs, number, bytes), Lsn(0), 0, shared).unwrap();
        assert!(writer.has_room(payload_len));
        assert!(!writer.has_room(payload_len + 8));
        writer.append(1, &vec![1; payload_len], WriteMode::Mmap).unwrap();
        assert!(!writer.has_room(1));
    }
    assert!(!start(&TestFs::default(), 4096).has_room(PAYLOAD_LEN_MAX + 1));
}

#[test]
fn a_rotation_seals_without_waiting() {
    let fs = TestFs::default();
    let mut writer = start(&fs, 4096);
    let end = writer.append(5, b"payload", WriteMode::Mmap).unwrap();
    let next = segment(&fs, 2, 8192);
    fs.take_calls();
    writer.rotate(next).unwrap();
    assert_eq!(fs.take_calls(), ["write 000002.log"]);
    assert_eq!((writer.segment.number, writer.base()), (FileNumber(2), end));
    assert_eq!(writer.end(), end.plus(HEADER_LEN));
}

#[test]
fn a_failed_append_is_final() {
    for mode in [WriteMode::Mmap, WriteMode::Pwrite] {
        let fs = TestFs::default();
        let mut writer = start(&fs, 4096);
        let end = writer.append(1, b"one", mode).unwrap();
        fs.fail_writes(true);
        let error = writer.append(2, b"two", mode).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Io, Some(end.0)));
        fs.fail_writes(false);
        fs.take_calls();
        assert_eq!(writer.append(2, b"two", mode).unwrap_err().kind(), ErrorKind::Failed);
        assert_eq!(writer.shared.sync_through(end).unwrap_err().kind(), ErrorKind::Failed);
        assert_eq!(fs.take_calls(), [] as [&str; 0], "nothing reaches the disk any more");
    }
}

#[test]
fn a_failed_rotation_is_final() {
    let fs = TestFs::default();
    let mut writer = start(&fs, 4096);
    let next = segment(&fs, 2, 4096);
    fs.fail_writes(true);
    assert_eq!(writer.rotate(next).unwrap_err().kind(), ErrorKind::Io);
    fs.fail_writes(false);
    assert_eq!(writer.append(1, b"one", WriteMode::Mmap).unwrap_err().kind(), ErrorKind::Failed);
}

#[test]
#[should_panic(expected = "sequences do not decrease")]
fn sequences_do_not_decrease() {
    let fs = TestFs::default();
    let shared = Arc::new(Syncer::new(Lsn(0)));
    let mut writer = Writer::start(OWNER, segment(&fs, 1, 4096), Lsn(0), 8, shared).unwrap();
    writer.append(8, b"same", WriteMode::Mmap).unwrap();
    let _ = writer.append(7, b"less", WriteMode::Mmap);
}

#[test]
fn a_prepared_segment_is_durable_and_has_no_header() {
    let fs = TestFs::default();
    let path = FileName::Log(FileNumber(1)).in_dir(dir());
    let made = prepare(&fs, dir(), FileNumber(1), nonce(FileNumber(1)), 4096, None, true).unwrap();
    assert_eq!((made.number, made.bytes, &made.path), (FileNumber(1), 4096, &path));
    let bytes = fs.bytes(&path);
    assert_eq!(find_nonce(&bytes, FileNumber(1)), FoundNonce::Nonce(nonce(FileNumber(1))));
    assert!([&bytes[..NONCE_AT], &bytes[HEADER_LEN..]].concat().iter().all(|byte| *byte == 0));
    let calls =
        ["create", "allocate", "write", "write", "sync"].map(|call| format!("{call} 000001.log"));
    assert_eq!(fs.take_calls(), [&calls[..], &["sync folder db".into()]].concat());
}

#[test]
fn a_recycled_segment_loses_its_header_and_grows() {
    let fs = TestFs::default();
    let old = FileName::Log(FileNumber(1)).in_dir(dir());
    for (number, wanted, length) in [(2, 4096, 8192), (3, 16384, 16384)] {
        let new = FileName::Log(FileNumber(number)).in_dir(dir());
        fs.set(&old, &[7; 8192]);
        fs.take_calls();
        let recycle = Some(FileNumber(1));
        let made = prepare(
            &fs,
            dir(),
            FileNumber(number),
            nonce(FileNumber(number)),
            wanted,
            recycle,
            true,
        )
        .unwrap();
        assert_eq!(made.bytes, length);
        let bytes = fs.bytes(&new);
        assert_eq!(bytes.len() as u64, length);
        assert!(bytes[..NONCE_AT].iter().all(|byte| *byte == 0));
        let number = FileNumber(number);
        assert_eq!(find_nonce(&bytes, number), FoundNonce::Nonce(nonce(number)), "a new one");
        assert!(bytes[HEADER_LEN..8192].iter().all(|byte| *byte == 7));
        assert!(bytes[8192..].iter().all(|byte| *byte == 0));
        assert!(fs.len(&old).is_err());
        let calls = fs.take_calls();
        assert_eq!(calls[0], format!("rename to {number}.log"));
        let last = [format!("sync {number}.log"), "sync folder db".into()];
        assert_eq!(calls[calls.len() - 2..], last);
    }
}

#[test]
fn a_taken_name_is_left_alone() {
    let fs = TestFs::default();
    let path = FileName::Log(FileNumber(1)).in_dir(dir());
    for recycle in [None, Some(FileNumber(2))] {
        fs.set(&path, b"precious");
        fs.set(&FileName::Log(FileNumber(2)).in_dir(dir()), b"old");
        let error = prepare(&fs, dir(), FileNumber(1), nonce(FileNumber(1)), 4096, recycle, false)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert_eq!(fs.bytes(&path), b"precious");
    }
}

#[test]
fn a_failed_preparation_leaves_nothing() {
    let fs = TestFs::default();
    fs.fail_syncs(true);
    let error =
        prepare(&fs, dir(), FileNumber(1), nonce(FileNumber(1)), 4096, None, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(fs.paths().is_empty());
    for bytes in [0, HEADER_LEN as u64 - 1, u64::MAX] {
        let error = prepare(&fs, dir(), FileNumber(1), nonce(FileNumber(1)), bytes, None, false)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
