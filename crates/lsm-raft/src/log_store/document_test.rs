//! Compares `docs/format.md` with what the encoders of the log write.

use lsm_log::file_name::FileNumber;
use raft::eraftpb::{Entry, EntryType};

use super::record::{DurableRecord, Hard, LogId, Record, StateRecord, encode_append, encode_entry};

const DOCUMENT: &str = include_str!("../../../../docs/format.md");

/// The bytes of the block `hex NAME`.
fn documented(name: &str) -> Vec<u8> {
    let start = format!("```hex {name}\n");
    let (_, rest) = DOCUMENT.split_once(&start).expect("the example is there");
    let lines = rest.lines().take_while(|line| *line != "```");
    let code = lines.map(|line| line.split('#').next().unwrap_or_default());
    let digits = code.flat_map(str::split_whitespace);
    digits.map(|two| u8::from_str_radix(two, 16).expect("two digits a byte")).collect()
}

#[test]
fn a_state_record_is_as_documented() {
    let state = StateRecord {
        hard: Hard { term: 7, vote: 3, commit: 300 },
        truncated: LogId { index: 200, term: 6 },
        first_segment: FileNumber(9),
        last: 302,
    };
    let mut written = Vec::new();
    state.encode(&mut written);
    assert_eq!(documented("raft-state"), written);
    assert_eq!(Record::decode(&written), Ok(Record::State(state)));
}

#[test]
fn an_append_record_is_as_documented() {
    let hard = Hard { term: 7, vote: 3, commit: 300 };
    let plain = Entry { term: 7, index: 301, data: "put".into(), ..Entry::default() };
    let change = Entry {
        entry_type: EntryType::EntryConfChangeV2,
        index: 302,
        context: "c".into(),
        data: "d".into(),
        ..plain.clone()
    };
    let mut written = Vec::new();
    encode_append(&mut written, Some(hard), 301, 2);
    encode_entry(&mut written, &plain);
    encode_entry(&mut written, &change);
    assert_eq!(documented("raft-append"), written);
    let Ok(Record::Append { first, entries, .. }) = Record::decode(&written) else { panic!() };
    assert_eq!((first, entries.len()), (301, 2));
}

#[test]
fn a_durable_record_is_as_documented() {
    let durable = DurableRecord { hard: Hard { term: 7, vote: 3, commit: 300 }, through: 302 };
    let mut written = Vec::new();
    durable.encode(&mut written);
    assert_eq!(documented("raft-durable"), written);
    assert_eq!(Record::decode(&written), Ok(Record::Durable(durable)));
}
