//! Damaged tables: an error that names file and offset, or right answers; never wrong ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use lsm_log::error::{Error, ErrorKind, Result};
use lsm_log::file_name::FileNumber;
use lsm_log::fs::{Fs, OsFs};

use super::compress::Codec;
use super::format::{FOOTER_LEN, Footer, Section, reseal};
use super::fuzzing::{self, MemoryTable, NAME, open_table};
use super::reader::TableReader;
use super::table_test::{
    Model, OPTIONS, SALT, build, get, put, random_model, verify_bytes, visible,
};
use super::{ReadOptions, TableOptions, TableScan};
use crate::cache::BlockCache;
use crate::iter::Cursor;
use crate::key::{SEQ_MAX, Tag};
use crate::options::{TableAccess, Verification};

fn small_model() -> Model {
    let mut model = Model::new();
    for i in 0u32..60 {
        put(&mut model, format!("key {:03}", i * 2).as_bytes(), u64::from(i), b"a value, a value");
        if i % 9 == 0 {
            put(&mut model, format!("key {:03}", i * 2).as_bytes(), 1000, b"");
        }
    }
    model
}

fn tables() -> Vec<(Model, Bytes)> {
    let codecs = [Codec::None, Codec::Lz4];
    let tables = codecs.map(|codec| (small_model(), TableOptions { codec, ..OPTIONS }));
    tables.map(|(model, options)| (model.clone(), build(&model, options))).to_vec()
}

fn assert_names_the_place(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(error.file(), Some(Path::new(NAME)), "{error}");
    assert!(error.offset().is_some(), "{error}");
}

/// Fine, or an error of the right sort.
fn checked<T>(result: Result<T>) -> Option<T> {
    result.inspect_err(assert_names_the_place).ok()
}

/// Reads all there is in every way: each answer is right, or an error.
fn check_answers(model: &Model, bytes: &Bytes) {
    for access in [TableAccess::Mapped, TableAccess::Pread] {
        let Some(reader) = checked(open_table(bytes, SALT, access, 1 << 16)) else {
            continue;
        };
        for i in 0..122 {
            let key = format!("key {i:03}").into_bytes();
            if let Some(found) = checked(get(&reader, &key, SEQ_MAX)) {
                let found = found.as_ref().map(|(tag, value)| (*tag, &value[..]));
                assert_eq!(found, visible(model, &key, SEQ_MAX));
            }
        }
        check_walk(model, &mut reader.cursor());
    }
    let file = Arc::new(MemoryTable(bytes.clone()));
    let scan = TableScan::open(file, PathBuf::from(NAME), bytes.len() as u64, SALT);
    if let Some(mut scan) = checked(scan) {
        check_walk(model, &mut scan);
    }
}

fn check_walk(model: &Model, cursor: &mut impl Cursor) {
    let mut expected = model.iter();
    let mut last = None;
    let mut moved = cursor.seek_first();
    while checked(moved).is_some() {
        let Some(((key, tag), value)) = expected.next() else {
            assert!(!cursor.is_valid(), "more than was written");
            return;
        };
        assert!(cursor.is_valid(), "less than was written");
        assert_eq!((cursor.key(), cursor.tag(), cursor.value()), (&key[..], Tag(!tag), &value[..]));
        last = Some((key, *tag, value));
        moved = cursor.next();
    }
    assert!(!cursor.is_valid(), "a cursor that failed stands nowhere");
    // And goes on where the table is whole.
    if let Some((key, tag, value)) = last {
        cursor.seek(key, Tag(!tag)).unwrap();
        assert_eq!((cursor.key(), cursor.tag(), cursor.value()), (&key[..], Tag(!tag), &value[..]));
    }
}

#[test]
fn no_flipped_bit_changes_an_answer() {
    for (model, bytes) in tables() {
        check_answers(&model, &bytes);
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1 << (at % 8);
            let damaged = Bytes::from(damaged);
            check_answers(&model, &damaged);
            let error = verify_bytes(&damaged).expect_err("verify must see every flipped bit");
            assert_names_the_place(&error);
        }
    }
}

/// A table on disk that is damaged once a key of it has been read: what the next look at that key
/// gives. Nothing unpacked is kept.
fn look_twice(codec: Codec, verification: Verification) -> Result<Option<(Tag, Vec<u8>)>> {
    let model = small_model();
    let bytes = build(&model, TableOptions { codec, ..OPTIONS });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(NAME);
    let file = OsFs.create(&path).unwrap();
    file.write_at(0, &bytes).unwrap();
    let cache = Arc::new(BlockCache::new(0));
    let options = ReadOptions { access: TableAccess::Mapped, verification, cache };
    let read = OsFs.open_read(&path).unwrap();
    let (number, len) = (FileNumber(1), bytes.len() as u64);
    let reader = TableReader::open(read, path, number, len, SALT, &options).unwrap();
    let ((key, _), _) = model.first_key_value().unwrap();
    assert!(get(&reader, key, SEQ_MAX).unwrap().is_some());
    // The last byte of the first block's values: of another key than the one that is read.
    let at = reader.index().block(0).unwrap().len as u64 - 1;
    file.write_at(at, &[!bytes[at as usize]]).unwrap();
    get(&reader, key, SEQ_MAX)
}

/// A page may be dropped from memory and read from disk again, by then damaged.
#[test]
fn packed_blocks_of_a_mapping_are_checked_each_time() {
    for verification in [Verification::FirstTouch, Verification::Always] {
        let error = look_twice(Codec::Lz4, verification).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Corrupt, Some(0)), "{error}");
    }
}

#[test]
fn other_blocks_of_a_mapping_are_checked_as_often_as_is_wanted() {
    assert!(look_twice(Codec::None, Verification::FirstTouch).unwrap().is_some());
    let error = look_twice(Codec::None, Verification::Always).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Corrupt, Some(0)), "{error}");
}

/// Its trailer says otherwise, and has the right checksum.
#[test]
fn a_block_is_packed_as_the_index_says() {
    for (model, bytes) in tables() {
        let reader = open_table(&bytes, SALT, TableAccess::Mapped, 0).unwrap();
        let place = reader.index().block(0).unwrap();
        let sealed = place.offset as usize..place.end() as usize;
        let mut damaged = bytes.to_vec();
        reseal(&mut damaged[sealed], 1 - place.codec as u8, SALT, place.offset);
        let damaged = Bytes::from(damaged);
        verify_bytes(&damaged).unwrap_err();
        for access in [TableAccess::Mapped, TableAccess::Pread] {
            let reader = open_table(&damaged, SALT, access, 0).unwrap();
            let ((key, _), _) = model.first_key_value().unwrap();
            let error = get(&reader, key, SEQ_MAX).unwrap_err();
            assert!(error.to_string().contains("codec"), "{error}");
        }
    }
}

/// What was found of one block says nothing of another.
#[test]
fn each_block_of_a_mapping_is_checked() {
    let model = small_model();
    // One entry a block.
    let bytes = build(&model, TableOptions { block_bytes: 1, ..OPTIONS });
    let places: Vec<_> = {
        let reader = open_table(&bytes, SALT, TableAccess::Mapped, 0).unwrap();
        (0..).map_while(|at| reader.index().block(at)).collect()
    };
    assert!(places.len() > 64);
    for place in places {
        let mut damaged = bytes.to_vec();
        damaged[place.offset as usize + place.len - 1] ^= 1;
        let reader = open_table(&damaged.into(), SALT, TableAccess::Mapped, 0).unwrap();
        let errors = || {
            let failed = |(key, tag): &&(Vec<u8>, u64)| get(&reader, key, Tag(!tag).seq()).is_err();
            model.keys().filter(failed).count()
        };
        let (first, again) = (errors(), errors());
        assert!(first > 0 && again == first, "{place:?}: {first}, then {again}");
    }
}

/// Damage from before the checksums were made: what is stored twice is compared.
#[test]
fn verify_compares_the_filter_and_the_properties_with_the_entries() {
    for (_, bytes) in tables() {
        let intact = verify_bytes(&bytes).unwrap();
        let footer_at = bytes.len() - FOOTER_LEN;
        let footer = bytes.last_chunk().unwrap();
        let footer = Footer::decode(footer, footer_at as u64, SALT).unwrap();
        let range = |section: Section| section.offset as usize..section.end().unwrap() as usize - 5;
        // Its lines, without the two numbers behind them.
        let mut filter = range(footer.filter.unwrap());
        filter.end -= 8;
        for at in filter.filter(|&at| bytes[at] != 0).chain(range(footer.properties)) {
            let mut damaged = bytes.to_vec();
            damaged[at] &= damaged[at].wrapping_sub(1);
            if damaged[at] == bytes[at] {
                damaged[at] = 1;
            }
            fuzzing::mend_checksums(&mut damaged);
            if let Ok(found) = verify_bytes(&damaged.into()) {
                // What blocks were to be packed with is stored once.
                assert_ne!(found.codec, intact.codec, "a change at {at}");
            }
        }
    }
}

#[test]
fn no_truncated_table_opens() {
    for (_, bytes) in tables() {
        for len in 0..bytes.len() {
            let cut = bytes.slice(..len);
            for access in [TableAccess::Mapped, TableAccess::Pread] {
                assert_names_the_place(&open_table(&cut, SALT, access, 0).unwrap_err());
            }
            // Nor if the shorter length is the one that was expected, as above.
            let file = Arc::new(MemoryTable(cut));
            let opened = TableScan::open(file, PathBuf::from(NAME), bytes.len() as u64, SALT);
            assert_names_the_place(&opened.unwrap_err());
        }
    }
}

#[test]
fn blocks_hold_only_in_their_place() {
    let model = small_model();
    // One entry a block, all of one length.
    let options = TableOptions { block_bytes: 1, ..OPTIONS };
    let bytes = build(&model, options);
    let reader = open_table(&bytes, SALT, TableAccess::Mapped, 0).unwrap();
    let places: Vec<_> = (20..24).filter_map(|at| reader.index().block(at)).collect();
    let range = |at: usize| places[at].offset as usize..places[at].end() as usize;
    let (a, b) = (0..4)
        .flat_map(|a| (a + 1..4).map(move |b| (a, b)))
        .find(|&(a, b)| places[a].len == places[b].len)
        .expect("two blocks of one length");

    let mut swapped = bytes.to_vec();
    swapped[range(a)].copy_from_slice(&bytes[range(b)]);
    swapped[range(b)].copy_from_slice(&bytes[range(a)]);
    let swapped = Bytes::from(swapped);
    check_answers(&model, &swapped);
    assert!(verify_bytes(&swapped).is_err());

    let foreign = build(&model, TableOptions { salt: SALT + 1, ..options });
    assert_eq!(foreign.len(), bytes.len());
    let mut mixed = bytes.to_vec();
    mixed[range(a)].copy_from_slice(&foreign[range(a)]);
    let mixed = Bytes::from(mixed);
    check_answers(&model, &mixed);
    assert!(verify_bytes(&mixed).is_err());
}

#[test]
fn a_foreign_table_is_refused() {
    for (_, bytes) in tables() {
        for access in [TableAccess::Mapped, TableAccess::Pread] {
            let error = open_table(&bytes, SALT + 1, access, 0).unwrap_err();
            assert_names_the_place(&error);
            assert!(error.to_string().contains("salt"), "{error}");
        }
    }
}

#[test]
fn hostile_tables_neither_panic_nor_hang() {
    let seed = super::table_test::seed();
    println!("LSM_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for (_, bytes) in tables() {
        fuzzing::check_table(&bytes);
        for _ in 0..3000 {
            let mut damaged = bytes.to_vec();
            for _ in 0..random.usize(1..5) {
                let at = random.usize(..damaged.len());
                damaged[at] = [0, 1, 0x7f, 0x80, 0xff, random.u8(..)][random.usize(..6)];
            }
            // With right checksums, so that what lies behind them is reached.
            fuzzing::mend_checksums(&mut damaged);
            fuzzing::check_table(&damaged);
        }
    }
}

#[test]
fn hostile_parts_neither_panic_nor_hang() {
    let seed = super::table_test::seed();
    println!("LSM_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let bytes = build(&random_model(&mut random, 200), OPTIONS);
    for _ in 0..20_000 {
        let start = random.usize(..bytes.len());
        let mut part = bytes[start..random.usize(start..bytes.len())].to_vec();
        if !part.is_empty() {
            let at = random.usize(..part.len());
            part[at] = random.u8(..);
        }
        fuzzing::check_block(&part);
    }
}

#[test]
fn mending_makes_a_damaged_table_pass() {
    for (_, bytes) in tables() {
        let mut damaged = bytes.to_vec();
        damaged[40] ^= 0xff;
        let end = damaged.len();
        damaged[end - 1] ^= 0xff;
        assert!(open_table(&Bytes::from(damaged.clone()), SALT, TableAccess::Mapped, 0).is_err());
        fuzzing::mend_checksums(&mut damaged);
        let reader = open_table(&Bytes::from(damaged), SALT, TableAccess::Mapped, 0).unwrap();
        let mut cursor = reader.cursor();
        let walked = cursor.seek_first();
        assert!(walked.is_ok() || !walked.unwrap_err().to_string().contains("checksum"));
    }
}
