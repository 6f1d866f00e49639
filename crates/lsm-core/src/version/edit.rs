//! One change to the set of files and keyspaces, applied as a whole; encode and decode.
//!
//! Leaves to others: whether a change makes sense (a removed table exists, a keyspace is
//! known) is for whoever applies it. Decoding checks what can be seen in the edit alone, and
//! allocates no more than in proportion to its bytes.
//!
//! The layout is in `docs/format.md`: tagged [fields](super::fields).

use std::collections::HashMap;

use lsm_log::coding::{Decoder, put_bytes, put_u64, put_varint};
use lsm_log::error::{Error, Result};
use lsm_log::file_name::FileNumber;
use lsm_log::wal::Lsn;

use super::fields::{Decoded, Field, Fields, bad_value, many, once, twice};
use super::stored_options;
use super::table_file::TableMeta;
use crate::key::{KeyspaceId, SEQ_MAX, SeqNo};
use crate::options::{KEY_LEN_MAX, KEYSPACE_NAME_LEN_MAX, KeyspaceOptions};
use crate::sstable::Shadowed;

/// The deepest level that the format knows.
pub(crate) const LEVEL_MAX: u8 = 6;

/// Tags 3 and 5 are not used.
mod tag {
    pub(super) const DATABASE_ID: u8 = 1;
    pub(super) const NEXT_FILE: u8 = 2;
    pub(super) const FLUSHED_SEQ: u8 = 4;
    pub(super) const LOG_START: u8 = 6;
    pub(super) const ADD_LOG: u8 = 7;
    pub(super) const DROP_LOG: u8 = 8;
    pub(super) const LOG_CLOSED: u8 = 9;
    pub(super) const CREATE_KEYSPACE: u8 = 10;
    pub(super) const DROP_KEYSPACE: u8 = 11;
    pub(super) const KEYSPACE: u8 = 12;
    pub(super) const NEXT_KEYSPACE: u8 = 13;
    pub(super) const SNAPSHOT_END: u8 = 14;
}

/// Tags inside a keyspace field.
mod keyspace_tag {
    pub(super) const FLUSHED_SEQ: u8 = 1;
    pub(super) const REMOVED: u8 = 2;
    pub(super) const ADDED: u8 = 3;
    /// Optional: whoever does not know it gives space back later.
    pub(super) const SHADOWED: u8 = 64;
    /// Optional: whoever does not know it has the application name them.
    pub(super) const OPTIONS: u8 = 65;
}

/// One atomic change; what is `None` or empty stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) database_id: Option<u64>,
    /// No file has this number or a greater one.
    pub(crate) next_file: Option<FileNumber>,
    /// Every operation at or below is in tables.
    pub(crate) flushed_seq: Option<SeqNo>,
    /// The position at which the first of the logs that are left begins: what replay starts
    /// from. Changes in the same edit as that log.
    pub(crate) log_start: Option<Lsn>,
    /// Prepared segments and the length of their files.
    pub(crate) add_logs: Vec<(FileNumber, u64)>,
    pub(crate) drop_logs: Vec<FileNumber>,
    /// The log ends here, durable: written when the database is closed. Zero, when it is opened
    /// again, takes that back.
    pub(crate) log_closed: Option<Lsn>,
    /// No keyspace has this number or a greater one, nor ever had.
    pub(crate) next_keyspace: Option<KeyspaceId>,
    pub(crate) create_keyspaces: Vec<(KeyspaceId, String)>,
    pub(crate) drop_keyspaces: Vec<KeyspaceId>,
    pub(crate) keyspaces: Vec<KeyspaceEdit>,
    /// The snapshot that a manifest begins with ends with this edit.
    pub(crate) snapshot_end: bool,
}

/// What an edit changes in one keyspace. A table that moves is removed and added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyspaceEdit {
    pub(crate) id: KeyspaceId,
    /// Every operation on this keyspace at or below is in its tables.
    pub(crate) flushed_seq: Option<SeqNo>,
    /// The settings that are in force from now on.
    pub(crate) options: Option<KeyspaceOptions>,
    pub(crate) removed: Vec<(u8, FileNumber)>,
    pub(crate) added: Vec<(u8, TableMeta)>,
}

impl Edit {
    /// Appends the edit to `out`: nothing, if it changes nothing.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut fields = Fields { out, scratch: Vec::new() };
        if let Some(id) = self.database_id {
            fields.put(tag::DATABASE_ID, |value| put_u64(value, id));
        }
        fields.put_number(tag::NEXT_FILE, self.next_file.map(|number| number.0));
        fields.put_number(tag::FLUSHED_SEQ, self.flushed_seq.map(|seq| seq.0));
        fields.put_number(tag::LOG_START, self.log_start.map(|position| position.0));
        for &(number, bytes) in &self.add_logs {
            fields.put_pair(tag::ADD_LOG, number.0, bytes);
        }
        for number in &self.drop_logs {
            fields.put_number(tag::DROP_LOG, Some(number.0));
        }
        fields.put_number(tag::LOG_CLOSED, self.log_closed.map(|position| position.0));
        let next_keyspace = self.next_keyspace.map(|id| u64::from(id.0));
        fields.put_number(tag::NEXT_KEYSPACE, next_keyspace);
        for (id, name) in &self.create_keyspaces {
            fields.put(tag::CREATE_KEYSPACE, |value| {
                put_varint(value, u64::from(id.0));
                put_bytes(value, name.as_bytes());
            });
        }
        for id in &self.drop_keyspaces {
            fields.put_number(tag::DROP_KEYSPACE, Some(u64::from(id.0)));
        }
        for keyspace in &self.keyspaces {
            fields.put(tag::KEYSPACE, |value| keyspace.encode(value));
        }
        if self.snapshot_end {
            fields.put(tag::SNAPSHOT_END, |_| {});
        }
    }

    /// What [`encode`](Self::encode) wrote. The offset of an error counts from the front of
    /// `bytes`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut edit = Self::default();
        let mut input = Decoder::new(bytes);
        while let Some(field) = Field::next(&mut input)? {
            let mut value = Decoder::new(field.value);
            let known = edit.decode_field(field.tag, &mut value);
            field.finish(known, &value)?;
        }
        Ok(edit)
    }

    fn decode_field(&mut self, tag: u8, value: &mut Decoder<'_>) -> Decoded {
        match tag {
            tag::DATABASE_ID => once(&mut self.database_id, value.u64()),
            tag::NEXT_FILE => once(&mut self.next_file, number(value)),
            tag::FLUSHED_SEQ => once(&mut self.flushed_seq, seq(value)),
            tag::LOG_START => once(&mut self.log_start, position(value)),
            tag::ADD_LOG => {
                let pair = number(value).and_then(|number| Some((number, value.varint()?)));
                many(&mut self.add_logs, pair)
            }
            tag::DROP_LOG => many(&mut self.drop_logs, number(value)),
            tag::LOG_CLOSED => once(&mut self.log_closed, position(value)),
            tag::NEXT_KEYSPACE => once(&mut self.next_keyspace, keyspace_id(value)),
            tag::CREATE_KEYSPACE => {
                let pair = keyspace_id(value).and_then(|id| Some((id, name(value)?)));
                many(&mut self.create_keyspaces, pair)
            }
            tag::DROP_KEYSPACE => many(&mut self.drop_keyspaces, keyspace_id(value)),
            tag::KEYSPACE => {
                self.keyspaces.push(KeyspaceEdit::decode(value)?);
                Ok(true)
            }
            tag::SNAPSHOT_END if !self.snapshot_end => {
                self.snapshot_end = true;
                Ok(true)
            }
            tag::SNAPSHOT_END => Err(twice()),
            _ => Ok(false),
        }
    }
}

impl KeyspaceEdit {
    /// Stores the settings of a keyspace.
    pub(crate) fn of_options(id: KeyspaceId, options: &KeyspaceOptions) -> Self {
        Self { id, options: Some(options.clone()), ..Self::default() }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.id.0));
        let mut fields = Fields { out, scratch: Vec::new() };
        fields.put_number(keyspace_tag::FLUSHED_SEQ, self.flushed_seq.map(|seq| seq.0));
        if let Some(options) = &self.options {
            fields.put(keyspace_tag::OPTIONS, |value| stored_options::encode(options, value));
        }
        for &(level, number) in &self.removed {
            debug_assert!(level <= LEVEL_MAX);
            fields.put_pair(keyspace_tag::REMOVED, u64::from(level), number.0);
        }
        for (level, meta) in &self.added {
            debug_assert!(*level <= LEVEL_MAX);
            fields.put(keyspace_tag::ADDED, |value| {
                put_varint(value, u64::from(*level));
                encode_table(meta, value);
            });
            if meta.shadowed.entries > 0 {
                fields.put(keyspace_tag::SHADOWED, |value| encode_shadowed(meta, value));
            }
        }
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        let id =
            keyspace_id(input).ok_or_else(|| Error::corrupt("keyspace number is bad").at(0))?;
        let mut edit = Self { id, ..Self::default() };
        let mut shadowed = Vec::new();
        while let Some(field) = Field::next(input)? {
            let mut value = Decoder::new(field.value);
            let known = match field.tag {
                keyspace_tag::FLUSHED_SEQ => once(&mut edit.flushed_seq, seq(&mut value)),
                keyspace_tag::REMOVED => {
                    let pair = level(&mut value).and_then(|l| Some((l, number(&mut value)?)));
                    many(&mut edit.removed, pair)
                }
                keyspace_tag::ADDED => {
                    let pair = level(&mut value).and_then(|l| Some((l, decode_table(&mut value)?)));
                    many(&mut edit.added, pair)
                }
                keyspace_tag::OPTIONS => stored_options::decode(&mut value)
                    .and_then(|options| once(&mut edit.options, Some(options))),
                keyspace_tag::SHADOWED => many(&mut shadowed, decode_shadowed(&mut value)),
                _ => Ok(false),
            };
            field.finish(known, &value)?;
        }
        edit.take_shadowed(&shadowed).ok_or_else(bad_value)?;
        Ok(edit)
    }
}

impl KeyspaceEdit {
    /// Gives the tables that are added their counts; `None` if one does not fit its table.
    fn take_shadowed(&mut self, counts: &[(FileNumber, Shadowed)]) -> Option<()> {
        if counts.is_empty() {
            return Some(());
        }
        let tables = self.added.iter_mut().map(|(_, meta)| (meta.number, meta));
        let mut tables: HashMap<FileNumber, &mut TableMeta> = tables.collect();
        for &(number, shadowed) in counts {
            let meta = tables.remove(&number)?;
            let fits = shadowed.entries <= meta.entries - meta.tombstones
                && shadowed.bytes <= meta.raw_bytes
                && shadowed.by <= meta.seq_max;
            meta.shadowed = fits.then_some(shadowed)?;
        }
        Some(())
    }
}

fn encode_shadowed(meta: &TableMeta, out: &mut Vec<u8>) {
    let Shadowed { entries, bytes, by } = meta.shadowed;
    [meta.number.0, entries, bytes, by.0].into_iter().for_each(|number| put_varint(out, number));
}

fn decode_shadowed(input: &mut Decoder<'_>) -> Option<(FileNumber, Shadowed)> {
    let number = number(input)?;
    let (entries, bytes, by) = (input.varint()?, input.varint()?, seq(input)?);
    (entries > 0).then_some((number, Shadowed { entries, bytes, by }))
}

fn encode_table(meta: &TableMeta, out: &mut Vec<u8>) {
    debug_assert!(meta.smallest <= meta.largest && meta.seq_min <= meta.seq_max);
    put_varint(out, meta.number.0);
    put_varint(out, meta.bytes);
    put_bytes(out, &meta.smallest);
    put_bytes(out, &meta.largest);
    put_varint(out, meta.seq_min.0);
    put_varint(out, meta.seq_max.0);
    put_varint(out, meta.entries);
    put_varint(out, meta.tombstones);
    put_varint(out, meta.raw_bytes);
}

fn decode_table(input: &mut Decoder<'_>) -> Option<TableMeta> {
    let meta = TableMeta {
        number: number(input)?,
        bytes: input.varint()?,
        smallest: key(input)?,
        largest: key(input)?,
        seq_min: seq(input)?,
        seq_max: seq(input)?,
        entries: input.varint()?,
        tombstones: input.varint()?,
        raw_bytes: input.varint()?,
        shadowed: Shadowed::default(),
    };
    let ordered = meta.smallest <= meta.largest && meta.seq_min <= meta.seq_max;
    (ordered && meta.tombstones <= meta.entries).then_some(meta)
}

fn number(input: &mut Decoder<'_>) -> Option<FileNumber> {
    input.varint().map(FileNumber)
}

fn seq(input: &mut Decoder<'_>) -> Option<SeqNo> {
    input.varint().map(SeqNo).filter(|seq| *seq <= SEQ_MAX)
}

fn position(input: &mut Decoder<'_>) -> Option<Lsn> {
    input.varint().map(Lsn).filter(|position| *position <= Lsn::MAX)
}

fn keyspace_id(input: &mut Decoder<'_>) -> Option<KeyspaceId> {
    input.varint_u32().map(KeyspaceId)
}

fn level(input: &mut Decoder<'_>) -> Option<u8> {
    input.varint().and_then(|level| u8::try_from(level).ok()).filter(|level| *level <= LEVEL_MAX)
}

fn key(input: &mut Decoder<'_>) -> Option<Vec<u8>> {
    input.bytes().filter(|key| key.len() <= KEY_LEN_MAX).map(<[u8]>::to_vec)
}

fn name(input: &mut Decoder<'_>) -> Option<String> {
    let bytes = input.bytes().filter(|name| (1..=KEYSPACE_NAME_LEN_MAX).contains(&name.len()))?;
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

#[cfg(test)]
#[path = "edit_test.rs"]
mod tests;
