use lsm_log::fs::{CrashFs, CrashImage, corrupt};
use lsm_log::wal::SegmentJob;
use raft::eraftpb::Entry;

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

/// Entries 1 to 4 under a vote, durable in two steps, and the bytes of their segment.
fn two_steps() -> (CrashFs, PathBuf, Vec<u8>) {
    let fs = CrashFs::new();
    let (store, mut writer) = open(&fs, 4096).unwrap();
    let written = entries(1..=4, 5, 30);
    store.append(&written);
    for (vote, some) in [(1, &written[..2]), (3, &written[2..])] {
        writer.write(Some(&hard(5, vote, 4 * (vote / 3))), some).unwrap();
        writer.sync().unwrap();
    }
    drop((store, writer));
    let path = wal::segment_path(dir(), FileNumber(1));
    let mut bytes = vec![0; fs.len(&path).unwrap() as usize];
    fs.open_read(&path).unwrap().read_at(0, &mut bytes).unwrap();
    (fs, path, bytes)
}

#[test]
fn no_flipped_bit_shortens_the_log_unnoticed() {
    let (fs, path, bytes) = two_steps();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    let (mut lost, mut refused, mut whole) = (0, 0, 0);
    for offset in HEADER_LEN..=end {
        let fs = fs.image(CrashImage::Kept);
        corrupt(&fs, &path, offset as u64, 1 << (offset % 8)).unwrap();
        let Ok((store, writer)) = open(&fs, 4096) else {
            refused += 1;
            continue;
        };
        let (last, hard_state) = (store.last_index(), store.hard_state());
        assert_eq!((hard_state.term, hard_state.vote), (5, 3), "offset {offset}");
        assert_eq!(all(&store), entries(1..=last, 5, 30));
        if last == 4 {
            assert_eq!((store.lost_through(), hard_state.commit), (0, 4), "offset {offset}");
            whole += 1;
            continue;
        }
        assert_eq!((store.lost_through(), hard_state.commit), (4, last), "offset {offset}");
        lost += 1;
        // It is still so at the next start, and until all of it is here again.
        drop((store, writer));
        for next in last + 1..=5 {
            let (store, mut writer) = open(&fs, 4096).unwrap();
            assert_eq!(store.lost_through(), if next <= 4 { 4 } else { 0 }, "offset {offset}");
            store.append(&entries(next..=next, 5, 30));
            writer.write(None, &entries(next..=next, 5, 30)).unwrap();
            writer.sync().unwrap();
        }
    }
    assert!(
        lost > 50 && refused > 20 && whole > 20,
        "{lost} lost, {refused} refused, {whole} whole"
    );
}

/// A leader has replaced entries, and the damage is where it did so: what stands in front of the damage
/// is what it replaced, and was never committed.
#[test]
fn what_damage_may_have_replaced_does_not_come_back() {
    let fs = CrashFs::new();
    let (store, mut writer) = open(&fs, 4096).unwrap();
    let (old, new) = (entries(1..=6, 5, 30), entries(3..=5, 6, 30));
    for (some, hard) in [(&old, hard(5, 1, 2)), (&new, hard(6, 2, 5))] {
        store.append(some);
        writer.write(Some(&hard), some).unwrap();
        writer.sync().unwrap();
    }
    drop((store, writer));
    let path = wal::segment_path(dir(), FileNumber(1));
    let mut bytes = vec![0; fs.len(&path).unwrap() as usize];
    fs.open_read(&path).unwrap().read_at(0, &mut bytes).unwrap();
    // In the data of the last entry.
    let end = bytes.iter().rposition(|&byte| byte == new[2].data[0]).unwrap();
    let fs = fs.image(CrashImage::Kept);
    corrupt(&fs, &path, end as u64, 1).unwrap();
    for _ in 0..3 {
        let (store, _writer) = open(&fs, 4096).unwrap();
        let hard_state = store.hard_state();
        assert_eq!((hard_state.term, hard_state.vote, hard_state.commit), (6, 2, 2));
        assert_eq!((all(&store), store.lost_through()), (entries(1..=2, 5, 30), 5));
    }
    let (store, mut writer) = open(&fs, 4096).unwrap();
    store.append(&new);
    writer.write(Some(&hard(6, 2, 5)), &new).unwrap();
    writer.sync().unwrap();
    drop((store, writer));
    let (store, _writer) = open(&fs, 4096).unwrap();
    assert_eq!((store.hard_state().commit, store.lost_through()), (5, 0));
    assert_eq!(all(&store), [entries(1..=2, 5, 30), new].concat());
}

#[test]
fn what_was_never_durable_is_not_lost() {
    let fs = CrashFs::new();
    let (store, mut writer) = open(&fs, 4096).unwrap();
    for index in 1..=3 {
        store.append(&entries(index..=index, 1, 30));
        writer.write(None, &entries(index..=index, 1, 30)).unwrap();
        if index < 3 {
            writer.sync().unwrap();
        }
    }
    let path = wal::segment_path(dir(), FileNumber(1));
    let mut bytes = vec![0; fs.len(&path).unwrap() as usize];
    fs.open_read(&path).unwrap().read_at(0, &mut bytes).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    let fs = fs.image(CrashImage::Kept);
    corrupt(&fs, &path, end as u64, 1).unwrap();
    let (store, _writer) = open(&fs, 4096).unwrap();
    assert_eq!((store.last_index(), store.lost_through()), (2, 0));
}

#[test]
fn segments_begun_after_one_another_may_be_lost_in_any_order() {
    let fs = CrashFs::new();
    let (store, mut writer) = open(&fs, 512).unwrap();
    // Each in a segment of its own, and the first segment is not needed for them.
    for index in 1..=2 {
        store.append(&entries(index..=index, 1, 2000));
        writer.write(None, &entries(index..=index, 1, 2000)).unwrap();
    }
    drop((store, writer));
    for seed in 0..200 {
        let (store, _writer) = open(&fs.image(CrashImage::Torn { seed }), 512).unwrap();
        assert_eq!(store.lost_through(), 0);
        assert_eq!(all(&store), entries(1..=store.last_index(), 1, 2000));
    }
}
