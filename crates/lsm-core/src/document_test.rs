//! Compares `docs/format.md` with what the encoders write, so that the two cannot drift apart.
//!
//! The document has fenced blocks `hex NAME`: bytes in hexadecimal, `#` starts a comment; and a
//! table of numbers with rows of the form `` | `NAME` | VALUE | ``. Each folder says in a
//! `document_test` of its own what its encoders write under these names. Names on one side
//! only are errors too; but `raft-` begins the names that `lsm-raft` compares.

use std::collections::BTreeMap;

use lsm_log::checksum::checksum;

use crate::batch::{Batch, KeyspaceRef, WriteBatch};
use crate::key::{KeyHash, KeyspaceId, Kind, SEQ_MAX, SeqNo, Tag};
use crate::options;
use crate::{sstable, version};

const DOCUMENT: &str = include_str!("../../../docs/format.md");

/// What the program says: bytes under the name of their example.
fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = vec![("batch", batch())];
    all.extend(lsm_log::testkit::document::examples());
    all.extend(version::document_test::examples());
    all.extend(sstable::document_test::examples());
    all
}

/// What the program says: numbers under their names.
fn numbers() -> Vec<(&'static str, u64)> {
    let mut all = vec![
        ("KEY_LEN_MAX", options::KEY_LEN_MAX as u64),
        ("VALUE_LEN_MAX", options::VALUE_LEN_MAX as u64),
        ("BATCH_BYTES_MAX", options::BATCH_BYTES_MAX as u64),
        ("KEYSPACES_MAX", options::KEYSPACES_MAX as u64),
        ("KEYSPACE_NAME_LEN_MAX", options::KEYSPACE_NAME_LEN_MAX as u64),
        ("SEQ_MAX", SEQ_MAX.0),
        ("KIND_DELETE", Kind::Delete as u64),
        ("KIND_PUT", Kind::Put as u64),
        ("KIND_RANGE_DELETE", Kind::RangeDelete as u64),
        ("KIND_MERGE", Kind::Merge as u64),
        ("tag(5, put)", Tag::new(SeqNo(5), Kind::Put).0),
        ("checksum(0, \"123456789\")", checksum(0, b"123456789").into()),
        ("checksum(7, \"123456789\")", checksum(7, b"123456789").into()),
        ("hash(\"\")", KeyHash::of(b"").0),
        ("hash(\"key\")", KeyHash::of(b"key").0),
    ];
    all.extend(lsm_log::testkit::document::numbers());
    all.extend(version::document_test::numbers());
    all.extend(sstable::document_test::numbers());
    all
}

fn batch() -> Vec<u8> {
    struct Users;
    impl AsRef<KeyspaceRef> for Users {
        fn as_ref(&self) -> &KeyspaceRef {
            &KeyspaceRef { database: 1, id: KeyspaceId(300) }
        }
    }
    let mut batch = WriteBatch::new();
    batch.put("key", "value");
    batch.delete("old");
    batch.put_in(&Users, "k", "");
    let mut encoded = Vec::new();
    batch.encode(SeqNo(9), &mut encoded);
    assert_eq!(Batch::decode(&encoded).unwrap().last(), SeqNo(11));
    encoded
}

fn documented_examples() -> BTreeMap<&'static str, Vec<u8>> {
    let mut examples = BTreeMap::new();
    let mut lines = DOCUMENT.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```hex ") else { continue };
        let mut digits = String::new();
        for line in lines.by_ref().take_while(|line| *line != "```") {
            let code = line.split('#').next().unwrap_or_default();
            digits.extend(code.chars().filter(|c| !c.is_whitespace()));
        }
        let bytes = (0..digits.len()).step_by(2).map(|at| {
            let byte = digits.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
            byte.unwrap_or_else(|| panic!("example {name} is not hexadecimal at digit {at}"))
        });
        let before = examples.insert(name, bytes.collect());
        assert!(before.is_none(), "two examples are called {name}");
    }
    examples
}

fn documented_numbers() -> BTreeMap<&'static str, u64> {
    let mut numbers = BTreeMap::new();
    let section = DOCUMENT.split("\n## ").find(|section| section.starts_with("Numbers"));
    for line in section.expect("there is a section \"Numbers\"").lines() {
        let Some(rest) = line.strip_prefix("| `") else { continue };
        let (name, rest) = rest.split_once("` | ").expect("a row is name and value");
        let value = rest.split(' ').next().unwrap_or_default();
        let parsed = match value.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => value.parse(),
        };
        let before = numbers.insert(name, parsed.unwrap_or_else(|e| panic!("{name}: {e}")));
        assert!(before.is_none(), "two numbers are called {name}");
    }
    numbers
}

/// As the document writes bytes.
fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x} ")).collect::<String>();
    let lines: Vec<String> = bytes.chunks(16).map(line).collect();
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

#[test]
fn examples_are_what_is_written() {
    let mut documented = documented_examples();
    documented.retain(|name, _| !name.starts_with("raft-"));
    let mut wrong = String::new();
    for (name, written) in examples() {
        if documented.remove(name).as_ref() != Some(&written) {
            wrong += &format!("```hex {name}\n{}\n```\n", hex(&written));
        }
    }
    assert!(
        wrong.is_empty(),
        "docs/format.md has other bytes or none; these are written:\n{wrong}"
    );
    assert!(documented.is_empty(), "nothing writes {:?}", documented.keys());
}

#[test]
fn numbers_are_those_of_the_program() {
    let mut documented = documented_numbers();
    let mut wrong = String::new();
    for (name, value) in numbers() {
        if documented.remove(name) != Some(value) {
            wrong += &format!("| `{name}` | {value} | ({value:#x})\n");
        }
    }
    assert!(wrong.is_empty(), "docs/format.md has other numbers or none; these hold:\n{wrong}");
    assert!(documented.is_empty(), "the program has no {:?}", documented.keys());
}
