//! Whole tables against a model: every way to read gives what was written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use lsm_log::fs::WriteFile;
use parking_lot::Mutex;

use super::builder::{BuiltTable, TableBuilder, TableOptions};
use super::compress::Codec;
use super::fuzzing::{MemoryTable, NAME, open_table};
use super::properties::Properties;
use super::properties::Shadowed;
use super::reader::{ReadStats, TableReader};
use super::scan::TableScan;
use super::verify::verify;
use crate::iter::Cursor;
use crate::key::{KeyHash, Kind, SEQ_MAX, SeqNo, Tag};
use crate::options::TableAccess;

pub(super) const SALT: u64 = 0x5eed_5a17;

pub(super) const OPTIONS: TableOptions =
    TableOptions { block_bytes: 256, filter_bits_per_key: 10, codec: Codec::None, salt: SALT };

/// User key and tag in internal order: the tag is turned over, so that greater comes first.
pub(super) type Model = BTreeMap<(Vec<u8>, u64), Vec<u8>>;

fn ordered(key: &[u8], tag: Tag) -> (Vec<u8>, u64) {
    (key.to_vec(), !tag.0)
}

#[derive(Debug, Default)]
struct MemoryFile(Mutex<Vec<u8>>);

impl WriteFile for MemoryFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        let mut file = self.0.lock();
        assert_eq!(offset as usize, file.len(), "tables are written from front to back");
        file.extend_from_slice(bytes);
        Ok(())
    }

    fn allocate(&self, _: u64) -> std::io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> std::io::Result<()> {
        Ok(())
    }
}

fn build_with<'a>(
    entries: impl IntoIterator<Item = (&'a [u8], Tag, &'a [u8])>,
    options: TableOptions,
) -> (Bytes, BuiltTable) {
    let file = Arc::new(MemoryFile::default());
    let mut builder = TableBuilder::new(Arc::clone(&file) as _, PathBuf::from(NAME), options);
    for (key, tag, value) in entries {
        builder.add(key, tag, value).unwrap();
    }
    let built = builder.finish().unwrap();
    let bytes = Bytes::from(std::mem::take(&mut *file.0.lock()));
    assert_eq!(built.bytes, bytes.len() as u64);
    (bytes, built)
}

pub(super) fn build(model: &Model, options: TableOptions) -> Bytes {
    build_with(entries(model), options).0
}

fn entries(model: &Model) -> impl Iterator<Item = (&[u8], Tag, &[u8])> {
    model.iter().map(|((key, tag), value)| (&key[..], Tag(!tag), &value[..]))
}

pub(super) fn put(model: &mut Model, key: &[u8], seq: u64, value: &[u8]) {
    model.insert(ordered(key, Tag::new(SeqNo(seq), Kind::Put)), value.to_vec());
}

/// What a reader at `seq` sees of `key`.
pub(super) fn visible<'a>(model: &'a Model, key: &[u8], seq: SeqNo) -> Option<(Tag, &'a [u8])> {
    let ((found, tag), value) = model.range(ordered(key, Tag::seek(seq))..).next()?;
    (found == key).then_some((Tag(!tag), &value[..]))
}

/// Keys of many shapes: short and long, with common starts, zero and 0xff bytes.
fn random_key(random: &mut fastrand::Rng, shape: u8) -> Vec<u8> {
    let mut key = match shape {
        0 => Vec::new(),
        1 => b"a common prefix of more than a few words, ".to_vec(),
        _ => vec![[0, 0xff, b'x'][random.usize(..3)]; random.usize(..20)],
    };
    let len = if random.u8(..) == 0 { 2000 } else { random.usize(..12) };
    let letters = [0, 1, b'a', b'b', 0xfe, 0xff];
    key.extend((0..len).map(|_| letters[random.usize(..letters.len())]));
    key
}

pub(super) fn random_model(random: &mut fastrand::Rng, count: usize) -> Model {
    let mut model = Model::new();
    let shape = random.u8(..3);
    while model.len() < count {
        let key = random_key(random, shape);
        let versions = if random.u8(..16) == 0 { random.u64(1..60) } else { 1 };
        for _ in 0..versions {
            let seq = if random.bool() { random.u64(..1 << 20) } else { random.u64(..1 << 50) };
            let kind = if random.u8(..4) == 0 { Kind::Delete } else { Kind::Put };
            let len = match random.u8(..) {
                0 => random.usize(..5000),
                1..40 => 0,
                _ => random.usize(..30),
            };
            let value = match kind {
                Kind::Delete => Vec::new(),
                _ => (0..len).map(|i| if i % 3 == 0 { random.u8(..) } else { b'v' }).collect(),
            };
            model.insert(ordered(&key, Tag::new(SeqNo(seq), kind)), value);
        }
    }
    model
}

fn random_options(random: &mut fastrand::Rng) -> TableOptions {
    TableOptions {
        block_bytes: [1, 256, 1000, 4096, 10_000][random.usize(..5)],
        filter_bits_per_key: [0, 1, 10, 32][random.usize(..4)],
        codec: if random.bool() { Codec::Lz4 } else { Codec::None },
        salt: SALT,
    }
}

pub(super) fn readers(bytes: &Bytes) -> Vec<Arc<TableReader>> {
    let cases =
        [(TableAccess::Mapped, 1 << 20), (TableAccess::Pread, 1 << 20), (TableAccess::Pread, 0)];
    cases.iter().map(|&(access, cache)| open_table(bytes, SALT, access, cache).unwrap()).collect()
}

pub(super) fn scan(bytes: &Bytes) -> TableScan {
    let file = Arc::new(MemoryTable(bytes.clone()));
    TableScan::open(file, PathBuf::from(NAME), bytes.len() as u64, SALT).unwrap()
}

pub(super) fn verify_bytes(bytes: &Bytes) -> lsm_log::error::Result<Properties> {
    let file = Arc::new(MemoryTable(bytes.clone()));
    verify(file, Path::new(NAME), bytes.len() as u64, SALT)
}

pub(super) fn get(
    reader: &TableReader,
    key: &[u8],
    seq: SeqNo,
) -> lsm_log::error::Result<Option<(Tag, Vec<u8>)>> {
    let hash = KeyHash::of(key);
    let line = reader.filter_line(hash);
    let found = reader.get(key, hash, line.as_ref(), seq, &mut ReadStats::default())?;
    Ok(found.map(|(tag, value)| (tag, value.to_vec())))
}

/// A key that is in the model, or near one that is.
fn probe(random: &mut fastrand::Rng, model: &Model) -> (Vec<u8>, Tag) {
    let at = random.usize(..model.len());
    let ((key, tag), _) = model.iter().nth(at).unwrap();
    let (mut key, mut tag) = (key.clone(), Tag(!tag));
    match random.u8(..8) {
        0 => key.push(0),
        1 => drop(key.pop()),
        2 => key.iter_mut().last().into_iter().for_each(|last| *last = last.wrapping_add(1)),
        3 => tag = Tag(tag.0.wrapping_add(1)),
        4 => tag = Tag(tag.0.wrapping_sub(1)),
        5 => tag = Tag::seek(SEQ_MAX),
        6 => key = random_key(random, at as u8 % 3),
        _ => {}
    }
    (key, tag)
}

fn check_gets(random: &mut fastrand::Rng, model: &Model, readers: &[Arc<TableReader>]) {
    for _ in 0..300 {
        let (key, tag) = probe(random, model);
        let seq = tag.seq();
        let expected = visible(model, &key, seq);
        for reader in readers {
            let found = get(reader, &key, seq).unwrap();
            let found = found.as_ref().map(|(tag, value)| (*tag, &value[..]));
            assert_eq!(found, expected, "{key:?} at {seq}");
        }
    }
}

/// Moves a cursor about and compares where it stands with the model.
fn check_cursor(random: &mut fastrand::Rng, model: &Model, cursor: &mut impl Cursor) {
    assert!(!cursor.is_valid(), "a new cursor stands nowhere");
    let mut place: Option<(Vec<u8>, u64)> = None;
    for _ in 0..400 {
        let (key, tag) = probe(random, model);
        let wanted = ordered(&key, tag);
        let moves = if place.is_some() { 12 } else { 4 };
        place = match (random.u8(..moves), place) {
            (0, _) => {
                cursor.seek_first().unwrap();
                model.keys().next().cloned()
            }
            (1, _) => {
                cursor.seek_last().unwrap();
                model.keys().next_back().cloned()
            }
            (2, _) => {
                cursor.seek(&key, tag).unwrap();
                model.range(wanted..).next().map(|(place, _)| place.clone())
            }
            (3, _) | (_, None) => {
                cursor.seek_back(&key, tag).unwrap();
                model.range(..=wanted).next_back().map(|(place, _)| place.clone())
            }
            (4..=7, Some(at)) => {
                cursor.next().unwrap();
                let behind = (std::ops::Bound::Excluded(at), std::ops::Bound::Unbounded);
                model.range(behind).next().map(|(place, _)| place.clone())
            }
            (_, Some(at)) => {
                cursor.prev().unwrap();
                model.range(..at).next_back().map(|(place, _)| place.clone())
            }
        };
        assert_eq!(cursor.is_valid(), place.is_some());
        if let Some(at) = &place {
            assert_eq!((cursor.key(), cursor.tag()), (&at.0[..], Tag(!at.1)));
            assert_eq!(cursor.value(), model[at]);
            assert_eq!(cursor.value_to_keep(), model[at]);
        }
    }
}

fn check_walks(model: &Model, cursor: &mut impl Cursor) {
    cursor.seek_first().unwrap();
    for (key, tag, value) in entries(model) {
        assert!(cursor.is_valid());
        assert_eq!((cursor.key(), cursor.tag(), cursor.value()), (key, tag, value));
        cursor.next().unwrap();
    }
    assert!(!cursor.is_valid());
    cursor.seek_last().unwrap();
    for ((key, tag), value) in model.iter().rev() {
        assert!(cursor.is_valid());
        assert_eq!((cursor.key(), cursor.tag(), cursor.value()), (&key[..], Tag(!tag), &value[..]));
        cursor.prev().unwrap();
    }
    assert!(!cursor.is_valid());
}

fn check_all(random: &mut fastrand::Rng, model: &Model, options: TableOptions) {
    let (bytes, built) = build_with(entries(model), options);
    let readers = readers(&bytes);
    check_gets(random, model, &readers);
    for reader in &readers {
        check_walks(model, &mut reader.cursor());
        check_cursor(random, model, &mut reader.cursor());
    }
    check_walks(model, &mut scan(&bytes));
    check_cursor(random, model, &mut scan(&bytes));
    let found = verify_bytes(&bytes).unwrap();
    assert_eq!(&found, scan(&bytes).properties());
    assert_eq!(found.entries, model.len() as u64);
    assert_eq!((found.smallest, found.largest), (built.smallest, built.largest));
    let raw: usize = model.iter().map(|((key, _), value)| key.len() + value.len()).sum();
    assert_eq!(built.raw_bytes, raw as u64);
    let seqs = || model.keys().map(|(_, tag)| Tag(!tag).seq());
    assert_eq!((Some(built.seq_min), Some(built.seq_max)), (seqs().min(), seqs().max()));
    let deletes = model.keys().filter(|(_, tag)| Tag(!tag).kind() == Some(Kind::Delete));
    assert_eq!(built.tombstones, deletes.count() as u64);
    assert_eq!((built.shadowed, found.shadowed), (shadowed(model), shadowed(model)));
}

/// The puts behind another version of their key, as a reader would count them.
fn shadowed(model: &Model) -> Shadowed {
    let mut shadowed = Shadowed::default();
    for (((newer_key, newer), _), ((key, tag), value)) in model.iter().zip(model.iter().skip(1)) {
        if newer_key == key && Tag(!tag).kind() == Some(Kind::Put) {
            shadowed.entries += 1;
            shadowed.bytes += (key.len() + value.len()) as u64;
            shadowed.by = shadowed.by.max(Tag(!newer).seq());
        }
    }
    shadowed
}

/// Of `LSM_TEST_SEED`, or a new one; the test prints it.
pub(super) fn seed() -> u64 {
    let given = std::env::var("LSM_TEST_SEED").ok();
    given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap())
}

#[test]
fn random_tables_agree_with_the_model() {
    let seed =
        std::env::var("LSM_TEST_SEED").map_or_else(|_| fastrand::u64(..), |s| s.parse().unwrap());
    for round in 0..60 {
        let seed = seed.wrapping_add(round);
        println!("LSM_TEST_SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let count = [1, 2, 16, 17, 100, 1500][random.usize(..6)];
        let model = random_model(&mut random, count);
        let options = random_options(&mut random);
        check_all(&mut random, &model, options);
    }
}

#[test]
fn one_key_with_versions_over_many_blocks() {
    let mut random = fastrand::Rng::with_seed(1);
    for neighbours in [false, true] {
        let mut model = Model::new();
        for seq in (1..3000).step_by(3) {
            put(&mut model, b"hot", seq, &seq.to_le_bytes());
        }
        if neighbours {
            put(&mut model, b"ho", 7, b"before");
            put(&mut model, b"hot\0", 7, b"behind");
        }
        check_all(&mut random, &model, OPTIONS);
        let bytes = build(&model, OPTIONS);
        for reader in readers(&bytes) {
            assert_eq!(get(&reader, b"hot", SeqNo(0)).unwrap(), None);
            let (tag, _) = get(&reader, b"hot", SeqNo(1501)).unwrap().unwrap();
            assert_eq!(tag.seq(), SeqNo(1501 / 3 * 3 + 1 - 3 * u64::from(1501 % 3 == 0)));
        }
    }
}

#[test]
fn keys_that_differ_late() {
    let mut model = Model::new();
    for i in 0u32..2000 {
        // The first bytes never tell: more than two words are equal, in the table, in a block.
        let mut key = b"the same long start for all of them/".to_vec();
        key.extend_from_slice(&(i / 700).to_be_bytes());
        key.extend_from_slice(b"and the same again");
        key.extend_from_slice(&i.to_be_bytes());
        put(&mut model, &key, u64::from(i), b"value");
    }
    put(&mut model, b"", 1, b"the empty key");
    check_all(&mut fastrand::Rng::with_seed(2), &model, OPTIONS);
    model.remove(&ordered(b"", Tag::new(SeqNo(1), Kind::Put)));
    check_all(&mut fastrand::Rng::with_seed(2), &model, OPTIONS);
}

#[test]
fn zero_padding_is_not_a_zero_byte() {
    let mut model = Model::new();
    for len in 0..200 {
        put(&mut model, &vec![0; len], 1, &[len as u8; 40]);
        put(&mut model, &vec![0xff; len], 1, &[len as u8; 40]);
    }
    check_all(&mut fastrand::Rng::with_seed(3), &model, OPTIONS);
}

#[test]
fn large_values_and_keys() {
    let mut model = Model::new();
    put(&mut model, b"a", 1, &vec![7; 1 << 20]);
    put(&mut model, b"b", 1, b"");
    put(&mut model, &vec![b'b'; 65_535], 2, &vec![8; 3 << 20]);
    put(&mut model, b"c", 3, &vec![9; 300 << 10]);
    for codec in [Codec::None, Codec::Lz4] {
        check_all(&mut fastrand::Rng::with_seed(4), &model, TableOptions { codec, ..OPTIONS });
    }
}

#[test]
fn blocks_of_whole_pages_start_pages() {
    let mut model = Model::new();
    for i in 0u32..5000 {
        put(&mut model, &i.to_be_bytes(), 1, &[1; 100]);
    }
    let bytes = build(&model, TableOptions { block_bytes: 4096, ..OPTIONS });
    let reader = open_table(&bytes, SALT, TableAccess::Mapped, 0).unwrap();
    let index = reader.index();
    assert!(index.blocks() > 100);
    for at in 0..index.blocks() {
        assert_eq!(index.block(at).unwrap().offset, at as u64 * 4096);
    }
}

#[test]
fn the_length_is_known_before_the_end() {
    let file = Arc::new(MemoryFile::default());
    let options = TableOptions { block_bytes: 4096, ..OPTIONS };
    let mut builder = TableBuilder::new(Arc::clone(&file) as _, PathBuf::from(NAME), options);
    let mut before = builder.bytes();
    for i in 0u32..20_000 {
        builder.add(&i.to_be_bytes(), Tag::new(SeqNo(9), Kind::Put), &[1; 50]).unwrap();
        assert!(builder.bytes() >= before);
        before = builder.bytes();
    }
    let built = builder.finish().unwrap().bytes;
    assert!(before.abs_diff(built) < built / 100, "{before}, then {built}");
}

#[test]
fn touched_tells_what_a_lookup_cost() {
    let mut model = Model::new();
    for i in 0u32..1000 {
        put(&mut model, &i.to_be_bytes(), 1, &[1; 100]);
    }
    let bytes = build(&model, TableOptions { codec: Codec::Lz4, ..OPTIONS });
    let reader = open_table(&bytes, SALT, TableAccess::Mapped, 1 << 20).unwrap();
    let mut touched = ReadStats::default();
    let mut ask = |key: u32| {
        let key = key.to_be_bytes();
        let hash = KeyHash::of(&key);
        let line = reader.filter_line(hash);
        reader.get(&key, hash, line.as_ref(), SEQ_MAX, &mut touched).unwrap()
    };
    assert!(ask(7).is_some() && ask(7).is_some());
    for missing in 5000..6000 {
        assert!(ask(missing).is_none());
    }
    assert_eq!(touched.tables, 1002);
    assert_eq!(touched.filter_misses, 2 + touched.false_positives);
    assert_eq!(touched.filter_hits, 1000 - touched.false_positives);
    // Those keys lie behind the table's last: even a false positive touches no block.
    assert_eq!((touched.blocks, touched.cache_hits, touched.cache_misses), (2, 1, 1));
    assert!(touched.bytes_read > 0 && touched.false_positives < 30);
}

#[test]
#[should_panic(expected = "in order")]
fn entries_out_of_order_never_become_a_table() {
    let tag = Tag::new(SeqNo(1), Kind::Put);
    build_with([(&b"b"[..], tag, &b""[..]), (b"a", tag, b"")], OPTIONS);
}

/// The example of `docs/format.md`.
const EXAMPLE: &str = "
    02 00 00 00 2b 00 00 00 04 00 00 00 00 00 00 00
    00 00 00 65 20 00 00 00 2b 00 00 00 61 70 70 6c
    00 01 03 01 65 00 01 00 80 04 79 72 65 64 00 c4
    20 a8 95 00 00 00 00 00 00 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 01
    00 00 00 00 00 00 00 10 00 01 00 00 80 00 00 40
    00 00 00 00 04 00 00 00 00 00 00 80 10 00 00 00
    00 00 00 00 00 00 00 80 00 00 00 00 01 00 00 00
    01 00 00 00 06 00 00 00 00 1a 5f e4 1d 00 00 00
    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
    01 00 00 00 05 00 00 00 00 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 00 ff ff ff ff ff ff ff ff
    ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff
    ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff
    ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff
    00 00 00 00 00 00 00 00 2e 00 00 00 00 00 00 00
    61 70 70 6c 79 00 25 e8 a5 a8 01 01 02 02 01 01
    03 01 0a 04 01 03 07 01 00 08 01 02 09 01 00 05
    05 61 70 70 6c 65 06 05 61 70 70 6c 79 00 f4 f0
    e4 9b 40 00 00 00 00 00 00 00 48 00 00 00 00 00
    00 00 c0 00 00 00 00 00 00 00 95 00 00 00 00 00
    00 00 5a 01 00 00 00 00 00 00 23 00 00 00 00 00
    00 00 17 5a ed 5e 00 00 00 00 01 00 00 00 7a 78
    08 a5 6c 73 6d 74 61 62 6c 65
";

#[test]
fn the_example_of_the_format_is_what_is_written() {
    let tag = |seq, kind| Tag::new(SeqNo(seq), kind);
    let entries: [(&[u8], Tag, &[u8]); 2] =
        [(b"apple", tag(0, Kind::Put), b"red"), (b"apply", tag(2, Kind::Delete), b"")];
    let (bytes, _) = build_with(entries, TableOptions { block_bytes: 4096, ..OPTIONS });
    let expected = EXAMPLE.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap());
    assert_eq!(bytes, expected.collect::<Vec<_>>());
    let read = scan(&bytes);
    assert_eq!(read.properties().entries, 2);
}
