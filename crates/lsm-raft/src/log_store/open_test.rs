use lsm_core::fs::{CrashFs, CrashImage};
use raft::eraftpb::Entry;

use super::super::SegmentJob;
use super::super::test_log::{all, dir, entries, entry, hard, open, options};
use super::*;

#[test]
fn an_empty_log_stays_empty() {
    let fs = CrashFs::new();
    for _ in 0..3 {
        let (store, writer) = open(&fs, 4096).unwrap();
        assert_eq!((store.first_index(), store.last_index()), (1, 0));
        assert_eq!(store.hard_state(), hard(0, 0, 0));
        assert_eq!(store.term(0).unwrap(), 0);
        assert!(store.disk_bytes() >= 4096);
        drop(writer);
    }
}

#[test]
fn what_was_written_is_there_again() {
    let fs = CrashFs::new();
    let written = entries(1..=100, 3, 100);
    {
        let (store, mut writer) = open(&fs, 2048).unwrap();
        for some in written.chunks(7) {
            store.append(some);
            writer.write(Some(&hard(3, 2, 50)), some).unwrap();
        }
        // Without a sync: the process dies, the machine does not.
    }
    let (store, _writer) = open(&fs, 2048).unwrap();
    assert_eq!(all(&store), written);
    assert_eq!(store.hard_state(), hard(3, 2, 50));
}

#[test]
fn a_commit_index_beyond_the_last_entry_is_damage() {
    let fs = CrashFs::new();
    {
        let (store, mut writer) = open(&fs, 2048).unwrap();
        store.append(&entries(1..=3, 1, 10));
        writer.write(Some(&hard(1, 1, 4)), &entries(1..=3, 1, 10)).unwrap();
    }
    let error = open(&fs, 2048).unwrap_err();
    assert!(error.to_string().contains("ends at entry 3, but 4 entries"), "{error}");
}

#[test]
fn a_log_is_opened_once_at_a_time_and_by_its_owner() {
    let fs = CrashFs::new();
    let (store, writer) = open(&fs, 2048).unwrap();
    assert!(matches!(open(&fs, 2048), Err(Error::Folder { .. })));
    drop((store, writer));
    let stranger = LogOptions { owner: 1, ..options(&fs, 2048, 0) };
    let error = LogStore::open(stranger, dir()).unwrap_err();
    assert!(error.to_string().contains("belongs to"), "{error}");
    open(&fs, 2048).unwrap();
}

#[test]
fn segment_sizes_have_limits() {
    for bytes in [0, 511, (1 << 30) + 1] {
        let error = LogStore::open(options(&CrashFs::new(), bytes, 0), dir()).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
}

#[test]
fn a_long_entry_gets_a_segment_of_its_size() {
    let fs = CrashFs::new();
    let long = entry(2, 1, 33 << 20);
    {
        let (store, mut writer) = LogStore::open(options(&fs, 1 << 20, 0), dir()).unwrap();
        for entry in [entry(1, 1, 10), long.clone(), entry(3, 1, 10)] {
            store.append(std::slice::from_ref(&entry));
            writer.write(None, &[entry]).unwrap();
        }
        writer.sync().unwrap();
        assert!(store.disk_bytes() >= 34 << 20);
        assert_eq!(store.entries(2, 3, None).unwrap(), std::slice::from_ref(&long));
    }
    let (store, _writer) = LogStore::open(options(&fs, 1 << 20, 0), dir()).unwrap();
    assert_eq!(store.entries(1, 4, None).unwrap(), [entry(1, 1, 10), long, entry(3, 1, 10)]);
}

/// Entries hold what clients wrote, and lie behind the log's end once their segment is recycled.
#[test]
fn entries_that_look_like_records_do_no_harm() {
    const SEGMENT: u64 = 1 << 20;
    let fs = CrashFs::new();
    let mut rng = fastrand::Rng::with_seed(1);
    let (mut first, mut position) = (1, 0);
    for _ in 0..6 {
        let (store, mut writer) = open(&fs, SEGMENT).unwrap();
        assert_eq!(store.last_index(), first - 1);
        for index in first..first + 400 {
            // Headers of long records of any sequence, but for their checksums; now and then where
            // records can be, at a multiple of 8.
            let mut data = vec![0; rng.usize(0..8)];
            while data.len() < 8 << 10 {
                data.extend_from_slice(&rng.u32(..).to_le_bytes());
                data.extend_from_slice(&rng.u32(1..250_000).to_le_bytes());
                data.extend_from_slice(&u64::MAX.to_le_bytes());
                data.extend_from_slice(&(position + rng.u64(0..4 * SEGMENT)).to_le_bytes());
            }
            position += data.len() as u64;
            let entry = Entry { index, term: 1, data: data.into(), ..Entry::default() };
            store.append(std::slice::from_ref(&entry));
            writer.write(Some(&hard(1, 1, index)), &[entry]).unwrap();
            writer.make_ahead(SegmentJob::at_once);
            writer.sync().unwrap();
            if index > 20 {
                store.truncate(index - 20);
                writer.truncate(index - 20, 1).unwrap();
            }
        }
        first += 400;
    }
}

#[test]
fn what_a_failed_sync_left_in_the_cache_is_durable_after_the_next() {
    let fs = CrashFs::new();
    let written = entries(1..=4, 1, 100);
    {
        let (store, mut writer) = open(&fs, 4096).unwrap();
        store.append(&written[..2]);
        writer.write(Some(&hard(1, 1, 0)), &written[..2]).unwrap();
        // Its sync fails, and the process dies.
        let names = fs.list(dir()).unwrap();
        for name in names.iter().filter(|name| wal::segment_number(name).is_some()) {
            fs.lose_unsynced(&dir().join(name)).unwrap();
        }
    }
    let (store, mut writer) = open(&fs, 4096).unwrap();
    store.append(&written[2..]);
    writer.write(None, &written[2..]).unwrap();
    writer.sync().unwrap();
    let (store, _writer) = open(&fs.image(CrashImage::Lost), 4096).unwrap();
    assert_eq!(all(&store), written);
}
