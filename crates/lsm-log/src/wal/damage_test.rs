//! Damage and crashes: what replay makes of every flipped bit, lost tail and dead process.

use std::path::PathBuf;

use super::reader::SegmentInfo;
use super::record::{HEADER_LEN, Header, LOG, Lsn, NONCE_AT};
use super::scan::Records;
use super::segment::prepare;
use super::test_log::{SEGMENT, TestLog, dir, last_started, path, payload, read, sample};
use crate::error::ErrorKind;
use crate::file_name::FileNumber;
use crate::testkit::{TestFs, nonce};

/// Where the records and headers of a log stand, to predict what damage to them must do.
#[derive(Debug)]
struct Part {
    file: PathBuf,
    range: std::ops::Range<usize>,
    /// Position of its first byte in the log; for a header, where its segment begins.
    at: Lsn,
    synced: Lsn,
    /// Records before it.
    before: usize,
}

fn parts(log: &TestLog) -> Vec<Part> {
    let (mut parts, mut before) = (Vec::new(), 0);
    for segment in &log.segments {
        let file = path(segment.number.0);
        let bytes = log.fs.bytes(&file);
        let header = Header::decode(&bytes, &LOG).unwrap().unwrap();
        let (at, synced) = (header.base, header.synced);
        parts.push(Part { file: file.clone(), range: 0..HEADER_LEN, at, synced, before });
        let mut records =
            Records::new(&bytes, segment.number, nonce(segment.number), header.base, 0);
        while let (at, Some(frame)) = (records.position(), records.read_next().unwrap()) {
            let range = frame.offset..records.offset();
            parts.push(Part { file: file.clone(), range, at, synced: frame.synced, before });
            before += 1;
        }
    }
    parts
}

/// What reading must give when `parts[hit]` is damaged: the records before it, or an error if
/// anything else says that it was durable.
fn expected(parts: &[Part], hit: usize) -> Option<usize> {
    let witness = parts[hit + 1..].iter().map(|part| part.synced).max().unwrap_or_default();
    (witness <= parts[hit].at).then_some(parts[hit].before)
}

fn check_damage(log: &TestLog, damaged: &TestFs, parts: &[Part], hit: Option<usize>, floor: Lsn) {
    let closed = log.written.iter().filter(|(end, ..)| *end <= floor).count();
    let expected = match hit {
        // Only what was written before the close is looked at.
        _ if floor > Lsn(0) => hit.is_none_or(|hit| parts[hit].at >= floor).then_some(closed),
        Some(hit) => expected(parts, hit),
        None => Some(log.written.len()),
    };
    match (read(damaged, &log.segments, Lsn(0), floor), expected) {
        (Ok((content, replayed)), Some(count)) => {
            assert_eq!(content, log.content()[..count]);
            if let Some(hit) = hit {
                assert!(replayed.end <= parts[hit].at);
            }
        }
        (Err(error), None) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(error.file().is_some() && error.offset().is_some(), "{error}");
        }
        (found, expected) => panic!("expected {expected:?} records, found {found:?}"),
    }
}

/// It was durable before the segment was listed, and nothing can be said of records without it.
fn check_lost_nonce(log: &TestLog, damaged: &TestFs, file: &std::path::Path) {
    let error = read(damaged, &log.segments, Lsn(0), Lsn(0)).unwrap_err();
    assert_eq!((error.kind(), error.file()), (ErrorKind::Corrupt, Some(file)));
    assert_eq!(error.offset(), Some(NONCE_AT as u64), "{error}");
}

#[test]
fn every_flipped_bit_is_a_torn_tail_or_an_error() {
    let log = sample();
    let parts = parts(&log);
    let last_synced = log.shared.synced();
    for segment in &log.segments {
        let file = path(segment.number.0);
        let intact = log.fs.bytes(&file);
        for byte in 0..intact.len() {
            let hit = parts.iter().position(|p| p.file == file && p.range.contains(&byte));
            for bit in 0..8 {
                let mut bytes = intact.clone();
                bytes[byte] ^= 1 << bit;
                let damaged = log.fs.image();
                damaged.set(&file, &bytes);
                if (NONCE_AT..HEADER_LEN).contains(&byte) {
                    check_lost_nonce(&log, &damaged, &file);
                    continue;
                }
                for floor in [Lsn(0), last_synced] {
                    check_damage(&log, &damaged, &parts, hit, floor);
                }
            }
        }
    }
}

/// Everything from each byte on reads as zeros, as after a power loss: in one segment, or in
/// that segment and all later ones. What was durable before the segments were listed stays.
#[test]
fn every_lost_tail_is_a_torn_tail_or_an_error() {
    let log = sample();
    let parts = parts(&log);
    for (index, segment) in log.segments.iter().enumerate() {
        let file = path(segment.number.0);
        for from in 0..SEGMENT as usize {
            for and_later in [false, true] {
                let damaged = log.fs.image();
                let zero = |file: &std::path::Path, from: usize| {
                    let mut bytes = damaged.bytes(file);
                    bytes[from..].fill(0);
                    if from <= NONCE_AT {
                        let nonce = NONCE_AT..HEADER_LEN;
                        bytes[nonce.clone()].copy_from_slice(&log.fs.bytes(file)[nonce]);
                    }
                    damaged.set(file, &bytes);
                };
                zero(&file, from);
                if (NONCE_AT + 1..HEADER_LEN).contains(&from) {
                    check_lost_nonce(&log, &damaged, &file);
                    continue;
                }
                if and_later {
                    for later in &log.segments[index + 1..] {
                        zero(&path(later.number.0), 0);
                    }
                }
                let lost = |part: &Part| {
                    let later = part.file > file && and_later;
                    let end = if part.range.start == 0 { NONCE_AT } else { part.range.end };
                    later || part.file == file && end > from
                };
                let Some(hit) = parts.iter().position(lost) else {
                    check_damage(&log, &damaged, &parts, None, Lsn(0));
                    continue;
                };
                let witness = parts[hit..].iter().filter(|part| !lost(part)).map(|p| p.synced);
                let durable = witness.max().unwrap_or_default() > parts[hit].at;
                // Padding that was zero anyway is not lost.
                match read(&damaged, &log.segments, Lsn(0), Lsn(0)) {
                    Ok((content, _)) if content == log.content() => {}
                    Ok((content, _)) => {
                        assert!(!durable, "{hit} {from}");
                        let count = content.len();
                        assert!(count == parts[hit].before || count == parts[hit].before + 1);
                        assert_eq!(content, log.content()[..count]);
                    }
                    Err(error) => assert!(durable, "{error}"),
                }
            }
        }
    }
}

#[test]
fn the_floor_tells_lost_bytes_from_a_torn_tail() {
    let log = sample();
    let parts = parts(&log);
    let last = parts.last().unwrap();
    let mut bytes = log.fs.bytes(&last.file);
    bytes[last.range.start] ^= 1;
    log.fs.set(&last.file, &bytes);
    assert!(read(&log.fs, &log.segments, Lsn(0), last.at).is_ok());
    let error = read(&log.fs, &log.segments, Lsn(0), Lsn(last.at.0 + 8)).unwrap_err();
    assert_eq!((error.kind(), error.file()), (ErrorKind::Corrupt, Some(&*last.file)));
    assert_eq!(error.offset(), Some(last.range.start as u64));
}

#[test]
fn the_header_of_the_next_segment_is_a_witness() {
    let mut log = TestLog::new(&TestFs::default());
    log.append(1, b"one");
    log.sync();
    log.rotate(SEGMENT);
    let mut bytes = log.fs.bytes(&path(1));
    bytes[HEADER_LEN] ^= 1;
    log.fs.set(&path(1), &bytes);
    let error = log.read().unwrap_err();
    assert_eq!((error.kind(), error.file()), (ErrorKind::Corrupt, Some(&*path(1))));
    assert!(error.to_string().contains("header of /db/000002.log"), "{error}");
}

/// A sector that could not be read when the log was recovered comes back later.
#[test]
fn what_an_earlier_recovery_cut_off_stays_cut_off() {
    let mut log = TestLog::new(&TestFs::default());
    for sequence in 1..=5 {
        log.append(sequence, &payload(sequence));
    }
    let intact = log.fs.bytes(&path(1));
    let third = parts(&log).swap_remove(3);
    let mut bytes = intact.clone();
    bytes[third.range.start] ^= 1;
    log.fs.set(&path(1), &bytes);
    let (content, replayed) = log.read().unwrap();
    assert_eq!((content.len(), replayed.end), (2, third.at));

    let mut log = TestLog::resume(&log.fs, log.segments, &replayed, 2);
    log.fs.set(&path(1), &intact);
    log.append(6, b"after");
    let (found, _) = log.read().unwrap();
    assert_eq!(found, [content, vec![(6, b"after".to_vec())]].concat());
}

#[test]
fn a_segment_that_starts_behind_a_hole_is_cut_off() {
    let mut log = TestLog::new(&TestFs::default());
    for sequence in 1..=9 {
        log.append(sequence, &payload(sequence));
    }
    assert_eq!(log.segments.len(), 2);
    // Nothing was synced: the first segment lost a record, the second arrived.
    let lost = &parts(&log)[4];
    let mut bytes = log.fs.bytes(&lost.file);
    bytes[lost.range.clone()].fill(0);
    log.fs.set(&lost.file, &bytes);
    let (content, replayed) = log.read().unwrap();
    assert_eq!(content, log.content()[..3]);
    assert_eq!(last_started(&replayed), Some(FileNumber(1)));
    assert_eq!(replayed.started.len(), 1);
    assert!(replayed.torn);
}

#[test]
fn a_log_inside_a_payload_is_no_witness() {
    // The payload is a copy of a segment of the same log, records that claim a lot included.
    let log = sample();
    let copy = log.fs.bytes(&path(3));
    let mut other = TestLog::new(&TestFs::default());
    other.rotate(8192);
    for sequence in 1..=3 {
        other.append(sequence, &copy);
    }
    let parts = parts(&other);
    let first = &parts[2];
    let mut bytes = other.fs.bytes(&first.file);
    bytes[first.range.start] ^= 1;
    other.fs.set(&first.file, &bytes);
    assert!(other.read().unwrap().0.is_empty());
}

/// Torn tail, new segment, crash, torn again, new segment: what each recovery cut off stays
/// cut off, and what each promised stays.
#[test]
fn three_crashes_leave_one_exact_log() {
    let fs = TestFs::default();
    let mut log = TestLog::new(&fs);
    let mut survivors = Vec::new();
    for life in 0..4u64 {
        for i in 1..=9 {
            log.append(life * 100 + i, &payload(i + life));
            if i == 5 {
                log.sync();
            }
        }
        // Record 7 is lost, 8 and 9 reached the disk: only 6 may stay of what was not synced.
        let count = survivors.len() + 6;
        let seventh = parts(&log).into_iter().find(|p| p.range.start > 0 && p.before == count);
        let seventh = seventh.unwrap();
        let mut bytes = fs.bytes(&seventh.file);
        bytes[seventh.range.clone()][40..].fill(0xee);
        fs.set(&seventh.file, &bytes);
        survivors.extend(log.content().into_iter().take(6));

        let (content, replayed) = log.read().unwrap();
        assert_eq!(content, survivors, "life {life}");
        assert!(replayed.torn, "life {life}");
        assert_eq!(replayed.end, seventh.at, "life {life}");
        let (segments, number) = (log.segments.clone(), log.next_number);
        log = TestLog::resume(&fs, segments, &replayed, number);
        // Reading again before anything is written gives the same.
        let (content, again) = log.read().unwrap();
        assert_eq!(content, survivors, "life {life}");
        assert_eq!(again.end, log.writer.end());
    }
    // What an earlier recovery accepted is durable: losing it is an error now, although
    // nothing was synced since.
    let victim = &parts(&log)[3];
    let mut bytes = fs.bytes(&victim.file);
    bytes[victim.range.start] ^= 1;
    fs.set(&victim.file, &bytes);
    assert_eq!(log.read().unwrap_err().kind(), ErrorKind::Corrupt);
}

/// Many lives of one log, each ended by a dead process or a power loss: what is read back is
/// always an exact prefix of what was written, and holds all that was synced.
#[test]
fn random_crashes_lose_only_what_was_not_synced() {
    for seed in 0..400 {
        let outcome = std::panic::catch_unwind(|| crash_again_and_again(seed));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

fn crash_again_and_again(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let sector = rng.choice([8, 64, 512]).unwrap();
    let (mut fs, mut start) = (TestFs::default(), Lsn(0));
    let (mut segments, mut number, mut sequence) = (Vec::new(), 1, 0);
    let mut written: Vec<(Lsn, u64, Vec<u8>)> = Vec::new();
    for _ in 0..rng.usize(2..6) {
        let (_, replayed) = read(&fs, &segments, start, Lsn(0)).unwrap();
        let mut log = TestLog::resume(&fs, segments, &replayed, number);
        log.written = written;
        for _ in 0..rng.usize(0..40) {
            sequence += 1;
            log.append(sequence, &vec![sequence as u8; rng.usize(1..150)]);
            match rng.u32(0..12) {
                0 => log.sync(),
                1 if log.segments.len() > 2 => recycle_oldest(&mut log),
                _ => {}
            }
        }
        let durable = log.shared.synced();
        let first = fs.bytes(&path(log.segments[0].number.0));
        start = Header::decode(&first, &LOG).unwrap().unwrap().base;
        fs = match rng.bool() {
            true => fs.image(),
            false => fs.crash_image(sector, &mut rng),
        };
        let (found, replayed) = read(&fs, &log.segments, start, Lsn(0)).unwrap();
        // Records that end at or before the start were in segments that are garbage.
        log.written.retain(|(end, ..)| *end > start);
        assert_eq!(found, log.content()[..found.len()], "an exact prefix");
        let promised = log.written.iter().filter(|(end, ..)| *end <= durable).count();
        assert!(found.len() >= promised, "{} of {promised} synced records", found.len());
        assert!(replayed.end >= durable.max(start));
        log.written.truncate(found.len());
        (written, segments, number) = (log.written, log.segments, log.next_number);
    }
}

/// The oldest segment is garbage from here on, and the log goes on in its file.
fn recycle_oldest(log: &mut TestLog) {
    let old = log.segments.remove(0).number;
    log.shared.forget_below(log.segments[0].number);
    let number = FileNumber(log.next_number);
    log.next_number += 1;
    let next = prepare(&log.fs, dir(), number, nonce(number), SEGMENT, Some(old), false).unwrap();
    log.segments.push(SegmentInfo { number, bytes: next.bytes });
    log.writer.rotate(next).unwrap();
}
