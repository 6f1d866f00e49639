//! Entry points for fuzzing: any bytes, read as the payload of a record.

use bytes::Bytes;
use lsm_log::file_name::FileNumber;
use raft::eraftpb::{Entry, EntryType};

use super::record::{
    DurableRecord, Hard, LogId, Record, StateRecord, StoredEntry, encode_append, encode_entry,
    entry_len,
};

/// Decodes a payload. What it holds is encoded and decoded again, and each entry alone.
pub(crate) fn check_record(bytes: &[u8]) {
    let payload = Bytes::copy_from_slice(bytes);
    let Ok(record) = Record::decode(&payload) else { return };
    let mut encoded = Vec::new();
    match &record {
        Record::State(state) => state.encode(&mut encoded),
        Record::Durable(durable) => durable.encode(&mut encoded),
        Record::Append { hard, first, entries, .. } => {
            encode_append(&mut encoded, *hard, *first, entries.len());
            for (index, stored) in (*first..).zip(entries) {
                let entry = stored.to_entry(index, &payload);
                let start = encoded.len();
                encode_entry(&mut encoded, &entry);
                assert_eq!(encoded.len() - start, entry_len(&entry));
                assert_eq!(StoredEntry::decode(&encoded[start..]).as_ref(), Some(stored));
            }
        }
    }
    match (Record::decode(&encoded).expect("what was encoded decodes"), record) {
        (
            Record::Append { hard, first, entries, .. },
            Record::Append { hard: hard_before, first: first_before, entries: before, .. },
        ) => assert_eq!((hard, first, entries), (hard_before, first_before, before)),
        (again, before) => assert_eq!(again, before),
    }
}

/// A state record, a note of what is durable, a hard state alone, each of these entries alone, and all together.
pub(crate) fn records(data: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let hard = Hard { term: 7, vote: 3, commit: 300 };
    let truncated = LogId { index: 200, term: 6 };
    let (mut state, mut durable, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    DurableRecord { hard, through: 302 }.encode(&mut durable);
    StateRecord { hard, truncated, first_segment: FileNumber(9), last: 302 }.encode(&mut state);
    encode_append(&mut alone, Some(hard), 0, 0);
    let entry = |data: &Vec<u8>| Entry {
        entry_type: EntryType::EntryNormal,
        term: 7,
        data: data.clone().into(),
        ..Entry::default()
    };
    let entries: Vec<Entry> = data.iter().map(entry).collect();
    let mut records = vec![state, durable, alone];
    for group in entries.chunks(1).chain([&entries[..]]) {
        let mut record = Vec::new();
        encode_append(&mut record, Some(hard), 301, group.len());
        group.iter().for_each(|entry| encode_entry(&mut record, entry));
        records.push(record);
    }
    records
}
