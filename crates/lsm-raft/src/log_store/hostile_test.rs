//! Entries that want to be read back as log records: see `lsm_log::testkit::hostile`.

use std::sync::Arc;

use lsm_log::fs::{CrashFs, CrashImage, Fs};
use lsm_log::testkit::hostile::{Target, marked};
use lsm_log::wal;
use raft::eraftpb::Entry;

use super::record::{Hard, encode_append, encode_entry};
use super::test_log::{OWNER, all, dir, hard};
use super::{LogOptions, LogStore, LogWriter};
use crate::error::Result;

const SEGMENT: u64 = 64 << 10;
const ENTRIES: u64 = 120;
const DATA_LEN: usize = 4000;

fn open(fs: &CrashFs) -> Result<(LogStore, LogWriter)> {
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let options = LogOptions::new(OWNER);
    let options = LogOptions { fs: shared, segment_bytes: SEGMENT, seed: Some(5), ..options };
    LogStore::open(options, dir())
}

fn entry(index: u64, data: Vec<u8>) -> Entry {
    Entry { index, term: 1, data: data.into(), ..Entry::default() }
}

/// Writes entries with `data`, truncating behind them so that their segments are recycled, and a few
/// short ones at the end.
fn live(data: &[Vec<u8>]) -> CrashFs {
    let fs = CrashFs::new();
    let (store, mut writer) = open(&fs).unwrap();
    let short = (0..3).map(|_| vec![1; 10]);
    for (index, data) in (1..).zip(data.iter().cloned().chain(short)) {
        let entry = [entry(index, data)];
        store.append(&entry);
        writer.write(Some(&hard(1, 1, index)), &entry).unwrap();
        writer.sync().unwrap();
        if index > 10 {
            store.truncate(index - 10);
            writer.truncate(index - 10, 1).unwrap();
        }
    }
    fs
}

fn read(fs: &CrashFs, name: &str) -> Vec<u8> {
    let file = fs.open_read(&dir().join(name)).unwrap();
    let mut bytes = vec![0; file.len() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

/// The segment that the log ends in.
fn newest(fs: &CrashFs) -> (String, Vec<u8>, Target) {
    let names = fs.list(dir()).unwrap().into_iter();
    let segments = names.filter(|name| wal::segment_number(name).is_some());
    let targets = segments.filter_map(|name| {
        let bytes = read(fs, &name);
        let target = Target::of(&bytes)?;
        Some((name, bytes, target))
    });
    targets.max_by_key(|(.., target)| target.last_sequence).unwrap()
}

/// What lies at or behind the end of the log looks like one more entry there.
fn forged(knows: bool, at_end: bool) -> CrashFs {
    let mut data: Vec<Vec<u8>> = (0..ENTRIES as u16).map(|index| marked(index, DATA_LEN)).collect();
    let (name, bytes, target) = newest(&live(&data));
    let nonce = if knows { target.nonce } else { target.nonce ^ 1 << 40 };
    let next = ENTRIES + 4;
    let mut payload = Vec::new();
    let state = Hard { term: 1, vote: 1, commit: next };
    encode_append(&mut payload, Some(state), next, 1);
    encode_entry(&mut payload, &entry(next, b"nobody wrote this".to_vec()));
    let sequence = target.last_sequence + 1;
    let len = target.record(nonce, target.end, sequence, &payload).len();
    let offset = match at_end {
        true => target.end,
        false => target.place_from(&bytes, target.end + 8, len).unwrap(),
    };
    let record = target.record(nonce, offset, sequence, &payload);
    assert!(target.plant(&bytes, &mut data, offset, &record), "old entries lie there");
    let fs = live(&data);
    let written = newest(&fs);
    assert_eq!((&written.0, written.2.nonce), (&name, target.nonce));
    assert_eq!(written.1[offset..offset + len], record, "it lies where it should");
    fs
}

#[test]
fn an_entry_is_never_read_back_as_a_record() {
    for at_end in [true, false] {
        let fs = forged(false, at_end);
        for image in [CrashImage::Kept, CrashImage::Lost] {
            let (store, _writer) = open(&fs.image(image)).unwrap();
            assert_eq!(store.last_index(), ENTRIES + 3);
            assert_eq!(all(&store).last().unwrap().data, vec![1; 10]);
        }
    }
}

/// What the test above is worth: with the one number that cannot be known, the forgery works.
#[test]
fn only_the_nonce_stands_between_an_entry_and_the_log() {
    let (store, _writer) = open(&forged(true, true).image(CrashImage::Kept)).unwrap();
    assert_eq!(store.last_index(), ENTRIES + 4);
    assert_eq!(all(&store).last().unwrap().data, &b"nobody wrote this"[..]);
    let error = open(&forged(true, false).image(CrashImage::Kept)).unwrap_err();
    assert!(error.to_string().contains("shows that it was durable"), "{error}");
}

#[test]
fn without_a_seed_two_logs_of_one_owner_have_other_nonces() {
    let nonce = |seed| {
        let fs = CrashFs::new();
        let shared: Arc<dyn Fs> = Arc::new(fs.clone());
        let options = LogOptions { fs: shared, seed, ..LogOptions::new(OWNER) };
        let _open = LogStore::open(options, dir()).unwrap();
        newest(&fs).2.nonce
    };
    assert_ne!(nonce(None), nonce(None));
    assert_eq!(nonce(Some(3)), nonce(Some(3)));
}
