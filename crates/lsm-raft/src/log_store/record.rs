//! Payloads of the log's records, encoded and decoded. No I/O.
//!
//! The layout is stated once, in `docs/format.md`; a test compares the bytes. Decoders take any
//! bytes, and neither panic nor reserve memory for what may not be there.

use bytes::Bytes;
use lsm_log::coding::{Decoder, put_bytes, put_varint, varint_len};
use lsm_log::file_name::FileNumber;
use raft::eraftpb::{Entry, EntryType, HardState};

const STATE: u8 = 1;
const APPEND: u8 = 2;
const DURABLE: u8 = 3;

/// What a node must not forget besides entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hard {
    pub(super) term: u64,
    pub(super) vote: u64,
    pub(super) commit: u64,
}

/// An entry's place in the log of the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LogId {
    pub(super) index: u64,
    pub(super) term: u64,
}

/// What stands at the front of each segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StateRecord {
    pub(super) hard: Hard,
    /// The log begins behind this entry.
    pub(super) truncated: LogId,
    /// The oldest segment with a record that is still needed.
    pub(super) first_segment: FileNumber,
    /// Index of the last entry; what the records before hold behind it is none of the log.
    pub(super) last: u64,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    State(StateRecord),
    Append {
        hard: Option<Hard>,
        /// Index of the first entry; zero if there is none.
        first: u64,
        /// Where the entries begin in the payload.
        at: usize,
        entries: Vec<StoredEntry<'a>>,
    },
    Durable(DurableRecord),
}

/// What was durable when it was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DurableRecord {
    pub(super) hard: Hard,
    /// Index of the last entry.
    pub(super) through: u64,
}

/// An entry as it stands in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoredEntry<'a> {
    pub(super) kind: EntryType,
    pub(super) term: u64,
    pub(super) context: &'a [u8],
    pub(super) data: &'a [u8],
}

impl StoredEntry<'_> {
    /// The entry, sharing the memory of `payload`, in which it stands.
    pub(super) fn to_entry(self, index: u64, payload: &Bytes) -> Entry {
        Entry {
            entry_type: self.kind,
            term: self.term,
            index,
            data: payload.slice_ref(self.data),
            context: payload.slice_ref(self.context),
            ..Entry::default()
        }
    }
}

impl Hard {
    fn encode(&self, out: &mut Vec<u8>) {
        for field in [self.term, self.vote, self.commit] {
            put_varint(out, field);
        }
    }

    fn read(decoder: &mut Decoder<'_>) -> Option<Self> {
        let (term, vote, commit) = (decoder.varint()?, decoder.varint()?, decoder.varint()?);
        Some(Self { term, vote, commit })
    }

    pub(super) fn to_raft(self) -> HardState {
        let Self { term, vote, commit } = self;
        HardState { term, vote, commit, ..HardState::default() }
    }
}

impl From<&HardState> for Hard {
    fn from(hard: &HardState) -> Self {
        Self { term: hard.term, vote: hard.vote, commit: hard.commit }
    }
}

impl StateRecord {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(STATE);
        self.hard.encode(out);
        let LogId { index, term } = self.truncated;
        for field in [index, term, self.first_segment.0, self.last] {
            put_varint(out, field);
        }
    }

    fn read(decoder: &mut Decoder<'_>) -> Option<Self> {
        let hard = Hard::read(decoder)?;
        let truncated = LogId { index: decoder.varint()?, term: decoder.varint()? };
        let first_segment = FileNumber(decoder.varint()?);
        // Logs that were written before it was known end wherever their records do.
        let last = if decoder.is_empty() { u64::MAX } else { decoder.varint()? };
        Some(Self { hard, truncated, first_segment, last })
    }
}

impl DurableRecord {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(DURABLE);
        self.hard.encode(out);
        put_varint(out, self.through);
    }

    fn read(decoder: &mut Decoder<'_>) -> Option<Self> {
        Some(Self { hard: Hard::read(decoder)?, through: decoder.varint()? })
    }
}

/// Appends the front of an append record to `out`; `count` entries, encoded one by one, follow.
pub(super) fn encode_append(out: &mut Vec<u8>, hard: Option<Hard>, first: u64, count: usize) {
    out.push(APPEND);
    out.push(u8::from(hard.is_some()));
    if let Some(hard) = hard {
        hard.encode(out);
    }
    put_varint(out, count as u64);
    if count > 0 {
        put_varint(out, first);
    }
}

/// Appends an entry to `out`.
pub(super) fn encode_entry(out: &mut Vec<u8>, entry: &Entry) {
    out.push(entry.entry_type as u8);
    put_varint(out, entry.term);
    put_bytes(out, &entry.context);
    put_bytes(out, &entry.data);
}

/// How many bytes [`encode_entry`] appends.
pub(super) fn entry_len(entry: &Entry) -> usize {
    let with_length = |len: usize| varint_len(len as u64) + len;
    1 + varint_len(entry.term) + with_length(entry.context.len()) + with_length(entry.data.len())
}

impl<'a> Record<'a> {
    /// Reads a payload, or says at which of its bytes it stops making sense.
    pub(super) fn decode(payload: &'a [u8]) -> Result<Self, usize> {
        let mut decoder = Decoder::new(payload);
        let record = Self::read(&mut decoder).filter(|_| decoder.is_empty());
        record.ok_or(decoder.offset())
    }

    fn read(decoder: &mut Decoder<'a>) -> Option<Self> {
        match decoder.u8()? {
            STATE => StateRecord::read(decoder).map(Self::State),
            DURABLE => DurableRecord::read(decoder).map(Self::Durable),
            APPEND => {
                let hard = match decoder.u8()? {
                    0 => None,
                    1 => Some(Hard::read(decoder)?),
                    _ => return None,
                };
                let count = decoder.varint()?;
                let first = if count == 0 { 0 } else { decoder.varint()? };
                // There is an index behind the last one, and one behind that: loops count there.
                let end = first.checked_add(count).filter(|end| *end < u64::MAX);
                if count > 0 && (first == 0 || end.is_none()) {
                    return None;
                }
                let at = decoder.offset();
                let mut entries = Vec::new();
                for _ in 0..count {
                    entries.push(StoredEntry::read(decoder)?);
                }
                Some(Self::Append { hard, first, at, entries })
            }
            _ => None,
        }
    }
}

impl<'a> StoredEntry<'a> {
    /// Reads one entry that fills `bytes`.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut decoder = Decoder::new(bytes);
        Self::read(&mut decoder).filter(|_| decoder.is_empty())
    }

    fn read(decoder: &mut Decoder<'a>) -> Option<Self> {
        let kind = match decoder.u8()? {
            0 => EntryType::EntryNormal,
            1 => EntryType::EntryConfChange,
            2 => EntryType::EntryConfChangeV2,
            _ => return None,
        };
        let term = decoder.varint()?;
        Some(Self { kind, term, context: decoder.bytes()?, data: decoder.bytes()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: EntryType, term: u64, context: &'static str, data: &'static str) -> Entry {
        let (context, data) = (context.into(), data.into());
        Entry { entry_type: kind, term, index: 9, context, data, ..Entry::default() }
    }

    fn samples() -> Vec<Vec<u8>> {
        let hard = Hard { term: u64::MAX, vote: 0, commit: 300 };
        let truncated = LogId { index: 200, term: 6 };
        let mut all = Vec::new();
        let mut push = |encode: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            encode(&mut out);
            all.push(out);
        };
        push(&|out| {
            StateRecord { hard, truncated, first_segment: FileNumber(9), last: 302 }.encode(out);
        });
        push(&|out| encode_append(out, None, 0, 0));
        push(&|out| encode_append(out, Some(hard), 0, 0));
        push(&|out| {
            encode_append(out, Some(hard), 9, 3);
            encode_entry(out, &entry(EntryType::EntryNormal, 0, "", ""));
            encode_entry(out, &entry(EntryType::EntryConfChange, 128, "ctx", ""));
            encode_entry(out, &entry(EntryType::EntryConfChangeV2, u64::MAX, "", "data"));
        });
        all
    }

    #[test]
    fn entries_come_back() {
        let payload = Bytes::from(samples().pop().unwrap());
        let Ok(Record::Append { hard, first, at, entries }) = Record::decode(&payload) else {
            panic!("an append record");
        };
        assert_eq!((hard.unwrap().commit, first, entries.len()), (300, 9, 3));
        let last = entries[2].to_entry(11, &payload);
        let written = entry(EntryType::EntryConfChangeV2, u64::MAX, "", "data");
        assert_eq!(last, Entry { index: 11, ..written });
        let lengths: usize = entries.iter().map(|e| entry_len(&e.to_entry(1, &payload))).sum();
        assert_eq!(at + lengths, payload.len());
    }

    #[test]
    fn every_cut_is_refused_and_every_flipped_bit_read_without_panic() {
        for bytes in samples() {
            assert!(Record::decode(&bytes).is_ok());
            for len in 0..bytes.len() {
                let cut = Record::decode(&bytes[..len]);
                // A state record of before its last field.
                let is_older = matches!(&cut, Ok(Record::State(state)) if state.last == u64::MAX);
                assert!(cut.is_err() || is_older, "{bytes:?} cut to {len}");
            }
            assert!(Record::decode(&[&bytes[..], &[0]].concat()).is_err());
            for at in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[at / 8] ^= 1 << (at % 8);
                let _ = Record::decode(&bad);
            }
        }
    }

    #[test]
    fn impossible_indexes_are_refused() {
        for (first, count) in [(0, 1), (u64::MAX, 1), (u64::MAX - 1, 1), (u64::MAX - 2, 2)] {
            let mut out = Vec::new();
            encode_append(&mut out, None, first, count);
            for _ in 0..count {
                encode_entry(&mut out, &entry(EntryType::EntryNormal, 1, "", ""));
            }
            assert!(Record::decode(&out).is_err(), "{count} entries from {first} on");
        }
        // A count that is not there reserves nothing.
        let mut out = Vec::new();
        encode_append(&mut out, None, 1, usize::MAX >> 2);
        assert!(Record::decode(&out).is_err());
    }
}
