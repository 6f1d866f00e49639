//! Scripts: `merge table_bytes=…`, a line of grandparents, a line of entries.

use lsm_log::file_name::FileNumber;

use super::*;
use crate::key::SeqNo;
use crate::testkit::script;
use crate::version::TableMeta;

/// `c-f` or `c-f:30`: a table and its bytes.
fn grandparent(word: &str) -> Arc<TableFile> {
    let (keys, bytes) = word.split_once(':').unwrap_or((word, "10"));
    let (smallest, largest) = keys.split_once('-').expect("first-last");
    let meta = TableMeta {
        number: FileNumber(1),
        bytes: bytes.parse().expect("bytes"),
        smallest: smallest.into(),
        largest: largest.into(),
        seq_min: SeqNo(0),
        seq_max: SeqNo(0),
        entries: 1,
        tombstones: 0,
        raw_bytes: 1,
        shadowed: Default::default(),
    };
    Arc::new(TableFile::new(meta, 0, Arc::default()))
}

/// Entries are keys of 5 bytes each; a key that comes twice has two versions. The answer shows
/// a `|` for each cut.
#[test]
fn scripts() {
    script::run(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts/cut.txt"), |block| {
        let [grandparents, entries] = block.input.as_slice() else { panic!("two lines") };
        let grandparents: Vec<_> =
            grandparents.split_whitespace().skip(1).map(grandparent).collect();
        let mut cut = OutputSplitter::new(block.number("table_bytes").unwrap(), &grandparents);
        let (mut answer, mut bytes, mut last) = (Vec::new(), 0, "");
        for key in entries.split_whitespace().skip(1) {
            if cut.should_cut(bytes, key != last, key.as_bytes()) {
                answer.push("|");
                bytes = 0;
            }
            answer.push(key);
            bytes += 5;
            last = key;
        }
        answer.join(" ")
    });
}

/// However small tables shall be: what is kept of their keys is a small share of them.
#[test]
fn long_keys_make_long_tables() {
    let long = |i: u32, len: usize| [format!("{i:09}").as_bytes(), &vec![b'k'; len]].concat();
    let hundred = |i: u32| grandparent(&format!("{:09}-{:09}", i * 100, i * 100 + 99));
    let below: Vec<_> = (0..80).map(hundred).collect();
    let cases = [(20, &[][..]), (100, &[]), (1000, &[]), (60_000, &[]), (60_000, &below[..])];
    for (key_len, grandparents) in cases {
        let mut cut = OutputSplitter::new(4096, grandparents);
        let (mut bytes, mut tables) = (0, Vec::new());
        for i in 0..8000 {
            let key = long(i, key_len);
            if cut.should_cut(bytes, true, &key) {
                tables.push(std::mem::take(&mut bytes));
            }
            bytes += key.len() as u64 + 10;
        }
        let bounds = 2 * long(0, key_len).len() as u64;
        let least = bounds.saturating_sub(BOUNDS_BYTES_FREE) * BYTES_PER_BOUNDS_BYTE;
        assert!(tables.len() > 10, "{key_len}: {} tables", tables.len());
        for bytes in tables {
            // Half of it where borders line up, as with short keys.
            assert!(bytes >= least.max(4096) / 2, "{key_len}: {bytes} bytes");
            assert!(bytes <= least.max(4096) + bounds, "{key_len}: {bytes} bytes");
        }
    }
}
