//! The index against a plain list of separators.

use super::*;

fn place(at: usize) -> BlockPlace {
    BlockPlace { offset: at as u64 * 100, len: 90, codec: Codec::None }
}

fn build(separators: &[Vec<u8>]) -> Vec<u8> {
    let mut builder = IndexBuilder::default();
    for (at, separator) in separators.iter().enumerate() {
        builder.add(place(at), separator);
    }
    let mut out = Vec::new();
    builder.encode(&mut out).unwrap();
    out
}

fn check(separators: &[Vec<u8>], probes: &[Vec<u8>]) {
    let bytes = build(separators);
    let shape = IndexShape::parse(&bytes, separators.len() as u64 * 100).unwrap();
    let index = shape.on(&bytes);
    assert_eq!(index.blocks(), separators.len());
    index.check_words().unwrap();
    for (at, separator) in separators.iter().enumerate() {
        assert_eq!(index.block(at), Some(place(at)));
        assert!(index.separator_is(at, separator));
        assert!(index.compare_separator(at, separator).is_eq());
    }
    assert_eq!(index.block(separators.len()), None);
    for probe in probes.iter().chain(separators) {
        let expected = separators.partition_point(|separator| separator < probe);
        assert_eq!(index.find(probe), expected, "{probe:?}");
    }
}

#[test]
fn finds_what_a_plain_search_finds() {
    let mut random = fastrand::Rng::with_seed(1);
    for count in [1, 2, 7, 8, 9, 63, 64, 65, 511, 512, 513, 5000] {
        for shape in 0..4 {
            let mut key = || -> Vec<u8> {
                let letters: &[u8] = if shape == 0 { b"ab" } else { &[0, 1, 0xfe, 0xff] };
                let mut key = if shape == 2 { b"the same start".to_vec() } else { Vec::new() };
                if shape == 3 {
                    key = vec![0xff; random.usize(..12)];
                }
                key.extend((0..random.usize(..14)).map(|_| letters[random.usize(..letters.len())]));
                key
            };
            let mut separators: Vec<_> = (0..count).map(|_| key()).collect();
            separators.sort();
            let probes: Vec<_> = (0..500).map(|_| key()).collect();
            check(&separators, &probes);
        }
    }
}

#[test]
fn separators_are_short_and_between() {
    let cases: [(&[u8], &[u8], &[u8]); 9] = [
        (b"apple", b"banana", b"b"),
        (b"apple", b"b", b"aq"),
        (b"a\xff\xff", b"b", b"a\xff\xff"),
        (b"a\xff\x01x", b"b", b"a\xff\x02"),
        (b"apple", b"z", b"b"),
        (b"app", b"apple", b"app"),
        (b"app", b"app", b"app"),
        (b"", b"\0", b""),
        (b"abc", b"abe", b"abd"),
    ];
    let mut out = Vec::new();
    for (last, next, expected) in cases {
        separator(last, next, &mut out);
        assert_eq!(out, expected, "{last:?} | {next:?}");
        assert!(out.as_slice() >= last && (out.as_slice() < next || last == next));
    }
}

#[test]
fn random_separators_are_between() {
    let mut random = fastrand::Rng::with_seed(2);
    let mut key = || -> Vec<u8> {
        (0..random.usize(..6)).map(|_| [0, 1, 2, 0xfe, 0xff][random.usize(..5)]).collect()
    };
    let mut out = Vec::new();
    for _ in 0..50_000 {
        let (a, b) = (key(), key());
        let (last, next) = if a <= b { (a, b) } else { (b, a) };
        separator(&last, &next, &mut out);
        assert!(out >= last && (out < next || last == next), "{last:?} | {next:?}: {out:?}");
        assert!(out.len() <= last.len().max(next.len()));
    }
}

#[test]
fn every_cut_and_every_lie_of_a_count_is_damage() {
    let separators: Vec<_> = (0u16..100).map(|i| i.to_be_bytes().to_vec()).collect();
    let bytes = build(&separators);
    for len in 0..bytes.len() {
        assert!(IndexShape::parse(&bytes[..len], 10_000).is_err(), "cut to {len}");
    }
    for field in [0, 4, 8] {
        for wrong in [0u32, 99, 101, u32::MAX] {
            let mut lie = bytes.clone();
            if lie[field..field + 4] != wrong.to_le_bytes() {
                lie[field..field + 4].copy_from_slice(&wrong.to_le_bytes());
                assert!(IndexShape::parse(&lie, 10_000).is_err(), "{field}: {wrong}");
            }
        }
    }
    assert!(IndexShape::parse(&bytes, 9000).is_err(), "blocks behind the end of the data");
}
