//! One block against a plain list of entries.

use lsm_log::coding::put_u32;

use super::super::block_builder::BlockBuilder;
use super::*;
use crate::key::{Kind, SeqNo};

type Plain = Vec<(Vec<u8>, Tag, Vec<u8>)>;

fn build(entries: &Plain) -> Vec<u8> {
    let mut builder = BlockBuilder::default();
    let mut last: &[u8] = &[];
    for (key, tag, value) in entries {
        let shared = common_len(last, key);
        let promised = builder.len_with(key, shared, *tag, value.len());
        builder.add(key, shared, *tag, value);
        assert_eq!(builder.len(), promised);
        last = key;
    }
    let mut out = Vec::new();
    builder.finish(&mut out);
    out
}

fn random_entries(random: &mut fastrand::Rng, count: usize) -> Plain {
    let start = vec![b'p'; random.usize(..20)];
    let mut entries = Plain::new();
    for _ in 0..count {
        let mut key = start.clone();
        key.extend((0..random.usize(..12)).map(|_| [0, b'a', 0xff][random.usize(..3)]));
        for _ in 0..random.usize(1..4) {
            let seq = [0, 1, 200, 1 << 40][random.usize(..4)] + random.u64(..50);
            let value = vec![random.u8(..); [0, 1, 100, 300, 70_000][random.usize(..5)]];
            entries.push((key.clone(), Tag::new(SeqNo(seq), Kind::Put), value));
        }
    }
    entries.sort_by(|a, b| compare((&a.0, a.1), (&b.0, b.1)));
    entries.dedup_by(|a, b| (&a.0, a.1) == (&b.0, b.1));
    entries
}

#[test]
fn seeks_agree_with_a_plain_search() {
    let mut random = fastrand::Rng::with_seed(1);
    for count in [1, 2, 7, 8, 9, 30, 200] {
        let entries = random_entries(&mut random, count);
        let bytes = build(&entries);
        let block = Block::parse(&bytes).unwrap();
        let mut probes = random_entries(&mut random, 200);
        probes.extend(entries.iter().map(|(key, tag, _)| (key.clone(), *tag, Vec::new())));
        for (key, tag, _) in &probes {
            let expected =
                entries.partition_point(|(k, t, _)| compare((k, *t), (key, *tag)).is_lt());
            let found = block.seek(key, *tag).unwrap();
            assert_eq!(found.map_or(entries.len(), |found| found.entry.at), expected);
            if let Some(found) = found {
                let (k, t, value) = &entries[expected];
                assert_eq!(found.same_key, k == key);
                assert_eq!((found.entry.tag, block.bytes(found.entry.value())), (*t, &value[..]));
                let rest = key.get(block.prefix().len()..).unwrap_or_default();
                let suffix = block.bytes(found.entry.suffix());
                assert_eq!([block.prefix(), &rest[..found.entry.shared], suffix].concat(), *k);
            }
        }
    }
}

#[test]
fn what_all_keys_share_is_stored_once() {
    let start = vec![b's'; 1000];
    let entry = |i: u32| ([&start[..], &i.to_be_bytes()].concat(), Tag(1), Vec::new());
    let bytes = build(&(0..100).map(entry).collect());
    assert!(bytes.len() < 1000 + 100 * 12, "{}", bytes.len());
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let tag = |seq, kind| Tag::new(SeqNo(seq), kind);
    let entries = vec![
        (b"apple".to_vec(), tag(0, Kind::Put), b"red".to_vec()),
        (b"apply".to_vec(), tag(2, Kind::Delete), Vec::new()),
    ];
    let mut expected = Vec::new();
    put_u32(&mut expected, 2); // entries
    put_u32(&mut expected, 43); // where the values start
    put_u32(&mut expected, 4); // length of "appl"
    expected.extend_from_slice(b"\0\0\0\0\0\0\0e"); // word of the restart's "e"
    put_u32(&mut expected, 32); // its place
    put_u32(&mut expected, 43); // the place of its value
    expected.extend_from_slice(b"appl");
    expected.extend_from_slice(b"\0\x01\x03\x01e");
    expected.extend_from_slice(b"\0\x01\x00\x80\x04y");
    expected.extend_from_slice(b"red");
    assert_eq!(build(&entries), expected);
}

#[test]
fn every_cut_is_damage_or_found_out_in_time() {
    let mut random = fastrand::Rng::with_seed(2);
    let entries = random_entries(&mut random, 20);
    let bytes = build(&entries);
    for len in (0..bytes.len()).step_by(1 + bytes.len() / 2000) {
        let Ok(block) = Block::parse(&bytes[..len]) else {
            continue;
        };
        let mut next = block.first().map(Some);
        let mut seen = 0;
        while let Ok(Some(entry)) = next {
            seen += 1;
            next = block.after(&entry);
        }
        assert!(next.is_err() || seen < entries.len() || entries[seen - 1].2.is_empty());
    }
}
