use super::*;
use crate::error::ErrorKind;
use crate::testkit::{OWNER, TestFs, nonce};
use crate::wal::test_log::{SEGMENT, TestLog, dir, last_started, path, payload, read, sample};
use crate::wal::{WriteMode, prepare, rewrite_and_sync};

#[test]
fn what_was_written_comes_back() {
    let log = sample();
    let (content, replayed) = log.read().unwrap();
    assert_eq!(content, log.content());
    assert_eq!(replayed.end, log.writer.end());
    assert_eq!(replayed.last_sequence, 16);
    assert_eq!(last_started(&replayed), Some(FileNumber(3)));
    assert_eq!(replayed.bytes, content.iter().map(|(_, p)| p.len() as u64).sum::<u64>());
    assert!(!replayed.torn);
}

#[test]
fn an_empty_list_is_an_empty_log() {
    let fs = TestFs::default();
    let (content, replayed) = read(&fs, &[], Lsn(80), Lsn(80)).unwrap();
    assert!(content.is_empty() && replayed.end == Lsn(80) && replayed.started.is_empty());
    assert_eq!(read(&fs, &[], Lsn(80), Lsn(88)).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn prepared_segments_that_were_not_started_hold_nothing() {
    let mut log = sample();
    for number in [8, 9] {
        let segment = prepare(
            &log.fs,
            dir(),
            FileNumber(number),
            nonce(FileNumber(number)),
            SEGMENT,
            None,
            true,
        )
        .unwrap();
        log.segments.push(SegmentInfo { number: segment.number, bytes: segment.bytes });
    }
    let (content, replayed) = log.read().unwrap();
    assert_eq!(content, log.content());
    assert_eq!(last_started(&replayed), Some(FileNumber(3)));
    assert!(!replayed.torn);
}

#[test]
fn every_cut_file_is_an_error() {
    let log = sample();
    for segment in &log.segments {
        let file = path(segment.number.0);
        for len in 0..SEGMENT as usize {
            let damaged = log.fs.image();
            damaged.set(&file, &log.fs.bytes(&file)[..len]);
            let error = read(&damaged, &log.segments, Lsn(0), Lsn(0)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert_eq!(error.file(), Some(&*file));
            assert!(error.to_string().contains("truncated"), "{error}");
        }
    }
}

#[test]
fn a_missing_segment_is_named() {
    for number in 1..=3 {
        let log = sample();
        log.fs.remove(&path(number)).unwrap();
        let error = log.read().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(error.file(), Some(&*path(number)));
    }
}

#[test]
fn swapped_segments_are_an_error() {
    let log = sample();
    let (one, two) = (log.fs.bytes(&path(1)), log.fs.bytes(&path(2)));
    log.fs.set(&path(1), &two);
    log.fs.set(&path(2), &one);
    let error = log.read().unwrap_err();
    assert_eq!((error.kind(), error.file()), (ErrorKind::Corrupt, Some(&*path(1))));
}

#[test]
fn the_number_in_a_header_counts() {
    let mut log = sample();
    // A copy of the last segment where a segment that was not started should be.
    log.fs.set(&path(4), &log.fs.bytes(&path(3)));
    log.segments.push(SegmentInfo { number: FileNumber(4), bytes: SEGMENT });
    let error = log.read().unwrap_err();
    assert_eq!((error.kind(), error.file()), (ErrorKind::Corrupt, Some(&*path(4))));
    assert!(error.to_string().contains("number"), "{error}");
}

#[test]
fn a_segment_left_out_of_the_list_is_an_error() {
    let log = sample();
    for left_out in 0..2 {
        let mut segments = log.segments.clone();
        segments.remove(left_out);
        let error = read(&log.fs, &segments, Lsn(0), Lsn(0)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{left_out}");
    }
}

#[test]
fn another_version_is_unsupported() {
    let log = sample();
    for version in [LOG.version - 1, LOG.version + 1] {
        let mut bytes = log.fs.bytes(&path(3));
        bytes[40] = version as u8;
        let crc = crate::checksum::checksum(0, &bytes[..44]);
        bytes[44..48].copy_from_slice(&crc.to_le_bytes());
        log.fs.set(&path(3), &bytes);
        let error = log.read().unwrap_err();
        assert_eq!((error.kind(), error.file()), (ErrorKind::Unsupported, Some(&*path(3))));
    }
}

#[test]
fn a_log_of_another_owner_is_named() {
    let log = sample();
    let error =
        replay(&log.fs, dir(), 5, &log.segments, Lsn(0), None, &mut |_| Ok(())).unwrap_err();
    assert_eq!((error.kind(), error.file()), (ErrorKind::Corrupt, Some(&*path(1))));
    assert!(error.to_string().contains("0000000000000005"), "{error}");
}

#[test]
fn an_error_of_the_visitor_names_the_record() {
    let log = sample();
    let mut left = 8;
    let error = replay(&log.fs, dir(), OWNER, &log.segments, Lsn(0), None, &mut |record| {
        left -= 1;
        if left == 0 {
            return Err(Error::corrupt(format!("record {}", record.sequence)));
        }
        Ok(())
    })
    .unwrap_err();
    assert!(error.to_string().starts_with("record 8 [file /db/000002.log"), "{error}");
}

#[test]
fn a_recycled_file_does_not_bring_back_its_earlier_life() {
    let mut log = sample();
    log.sync();
    let stale = log.fs.bytes(&path(1));
    // The first segment is garbage now: its file becomes segment 9.
    let kept = log.segments.split_off(1);
    let start = Header::decode(&log.fs.bytes(&path(2)), &LOG).unwrap().unwrap().base;
    let next = prepare(
        &log.fs,
        dir(),
        FileNumber(9),
        nonce(FileNumber(9)),
        SEGMENT,
        Some(FileNumber(1)),
        false,
    )
    .unwrap();
    let mut segments = kept;
    segments.push(SegmentInfo { number: next.number, bytes: next.bytes });
    assert_eq!(log.fs.bytes(&path(9))[HEADER_LEN..], stale[HEADER_LEN..], "stale bytes stay");

    let survivors = |from: u64| log.content().split_off(log.content().len() - from as usize);
    let second_on = parts_of(&log.fs, &segments);
    let (content, replayed) = read(&log.fs, &segments, start, Lsn(0)).unwrap();
    assert_eq!(content, survivors(second_on));
    assert_eq!(last_started(&replayed), Some(FileNumber(3)), "prepared is not started");

    log.writer.rotate(next).unwrap();
    for sequence in 20..22 {
        log.writer.append(sequence, &payload(sequence), WriteMode::Mmap).unwrap();
        let (content, replayed) = read(&log.fs, &segments, start, Lsn(0)).unwrap();
        assert_eq!(content.last(), Some(&(sequence, payload(sequence))));
        assert_eq!(replayed.end, log.writer.end());
    }
}

/// How many records the started segments of a list hold.
fn parts_of(fs: &TestFs, segments: &[SegmentInfo]) -> u64 {
    let mut count = 0;
    for segment in segments {
        let bytes = fs.bytes(&path(segment.number.0));
        let Some(header) = Header::decode(&bytes, &LOG).unwrap() else {
            continue;
        };
        let mut records =
            Records::new(&bytes, segment.number, nonce(segment.number), header.base, 0);
        while records.read_next().unwrap().is_some() {
            count += 1;
        }
    }
    count
}

#[test]
fn a_record_longer_than_a_segment_gets_its_own() {
    let mut log = TestLog::new(&TestFs::default());
    log.append(1, b"before");
    let long: Vec<u8> = (0..3_000_000u32).map(|i| i as u8).collect();
    log.append(2, &long);
    log.sync();
    log.append(3, b"after");
    assert_eq!(log.segments.len(), 3);
    let (content, replayed) = log.read().unwrap();
    assert_eq!(content, log.content());
    assert_eq!(replayed.end, log.writer.end());
}

#[test]
fn settling_writes_and_syncs_what_is_listed() {
    let log = sample();
    log.fs.take_calls();
    rewrite_and_sync(&log.fs, dir(), &log.segments).unwrap();
    let calls: Vec<String> = ["1", "2", "3"]
        .iter()
        .flat_map(|n| [format!("write 00000{n}.log"), format!("sync 00000{n}.log")])
        .collect();
    assert_eq!(log.fs.take_calls(), calls);
    log.fs.fail_syncs(true);
    assert_eq!(rewrite_and_sync(&log.fs, dir(), &log.segments).unwrap_err().kind(), ErrorKind::Io);
    // What is missing is for replay to report.
    log.fs.fail_syncs(false);
    log.fs.remove(&path(2)).unwrap();
    rewrite_and_sync(&log.fs, dir(), &log.segments).unwrap();
}

#[test]
fn started_segments_say_where_they_begin() {
    let log = sample();
    let (_, replayed) = log.read().unwrap();
    for started in &replayed.started {
        let header = Header::decode(&log.fs.bytes(&path(started.number.0)), &LOG).unwrap();
        assert_eq!(header.unwrap().base, started.base);
    }
    // Each of them can be where replay starts, once those before it are garbage.
    let later = replayed.started[1];
    let (_, again) = read(&log.fs, &log.segments[1..], later.base, Lsn(0)).unwrap();
    assert_eq!((again.end, &again.started[..]), (replayed.end, &replayed.started[1..]));
}

#[test]
fn listed_lengths_may_be_any() {
    let mut log = sample();
    log.segments[0].bytes = u64::MAX;
    log.segments[1].bytes = u64::MAX;
    assert_eq!(log.read().unwrap_err().kind(), ErrorKind::Corrupt);
}

/// Nothing behind a clean close is read or judged, in this segment or in later ones; and everything
/// before it has to be there.
#[test]
fn a_close_is_the_end_to_the_byte() {
    let log = sample();
    log.sync();
    let ends: Vec<Lsn> = log.written.iter().map(|(end, ..)| *end).collect();
    for position in (0..log.writer.end().0).step_by(8).skip(1) {
        let closed = Lsn(position);
        let count = ends.iter().filter(|end| **end <= closed).count();
        match read(&log.fs, &log.segments, Lsn(0), closed) {
            Ok((content, replayed)) => {
                assert_eq!(content, log.content()[..count]);
                assert_eq!(replayed.end, closed);
                assert!(!replayed.torn);
                // What follows, valid and damaged, makes no difference.
                let last = &log.segments[2];
                let mut bytes = log.fs.bytes(&path(last.number.0));
                if last_started(&replayed) < Some(last.number) {
                    bytes[HEADER_LEN + 40..].fill(0xee);
                    let damaged = log.fs.image();
                    damaged.set(&path(last.number.0), &bytes);
                    let again = read(&damaged, &log.segments, Lsn(0), closed).unwrap();
                    assert_eq!(again, (content, replayed));
                }
            }
            Err(error) => {
                assert!(!ends.contains(&closed), "a record ends at {closed}: {error}");
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                assert!(error.to_string().contains("clean close"), "{error}");
            }
        }
    }
    assert_eq!(
        read(&log.fs, &log.segments, Lsn(8), Lsn(0)).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    let before = replay(&log.fs, dir(), OWNER, &[], Lsn(80), Some(Lsn(72)), &mut |_| Ok(()));
    assert_eq!(before.unwrap_err().kind(), ErrorKind::Corrupt);
}
