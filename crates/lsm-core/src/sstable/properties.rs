//! What a table says of itself: counts and bounds.
//!
//! A list of fields, each a number, a length and that many bytes, so that fields can be added:
//! readers skip those they do not know.

use lsm_log::coding::{Decoder, put_bytes, put_varint, varint};

use super::compress::Codec;
use super::format::Damage;
use crate::key::{Kind, SeqNo, Tag};

/// Counts and bounds of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Properties {
    /// Versions, tombstones among them.
    pub(crate) entries: u64,
    pub(crate) tombstones: u64,
    /// Length of all keys, and of all values, before anything is shared or packed.
    pub(crate) key_bytes: u64,
    pub(crate) value_bytes: u64,
    /// First and last user key.
    pub(crate) smallest: Vec<u8>,
    pub(crate) largest: Vec<u8>,
    /// Least and greatest sequence number.
    pub(crate) seq_min: SeqNo,
    pub(crate) seq_max: SeqNo,
    /// What blocks were to be packed with; those that did not shrink are not.
    pub(crate) codec: Codec,
    /// None, if it is not stated.
    pub(crate) shadowed: Shadowed,
}

/// The puts of a table that stand behind a newer version of their key. Only snapshots see them:
/// what writes a table leaves out all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shadowed {
    pub(crate) entries: u64,
    /// Length of their keys and values.
    pub(crate) bytes: u64,
    /// The greatest sequence number of a version right in front of one. Once no reader stands
    /// before it, none of them is seen any more.
    pub(crate) by: SeqNo,
}

impl Shadowed {
    /// Counts the version `tag` of a key, if it is a put behind the version `newer`.
    pub(super) fn count(&mut self, newer: Tag, tag: Tag, bytes: usize) {
        if tag.kind() == Some(Kind::Put) {
            self.entries += 1;
            self.bytes += bytes as u64;
            self.by = self.by.max(newer.seq());
        }
    }
}

const ENTRIES: u64 = 1;
const TOMBSTONES: u64 = 2;
const KEY_BYTES: u64 = 3;
const VALUE_BYTES: u64 = 4;
const SMALLEST: u64 = 5;
const LARGEST: u64 = 6;
const SEQ_MIN: u64 = 7;
const SEQ_MAX: u64 = 8;
const CODEC: u64 = 9;
const SHADOWED: u64 = 10;
const SHADOWED_BYTES: u64 = 11;
const SHADOWED_BY: u64 = 12;
/// Fields 1 to 9 must be there, the others are there if they are not zero.
const FIELDS_REQUIRED: u32 = 0b11_1111_1110;

impl Properties {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let numbers = [
            (ENTRIES, self.entries),
            (TOMBSTONES, self.tombstones),
            (KEY_BYTES, self.key_bytes),
            (VALUE_BYTES, self.value_bytes),
            (SEQ_MIN, self.seq_min.0),
            (SEQ_MAX, self.seq_max.0),
            (CODEC, self.codec as u64),
        ];
        let Shadowed { entries, bytes, by } = self.shadowed;
        let shadowed = [(SHADOWED, entries), (SHADOWED_BYTES, bytes), (SHADOWED_BY, by.0)];
        let shadowed = shadowed.into_iter().filter(|_| entries > 0);
        for (field, number) in numbers.into_iter().chain(shadowed) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            put_varint(out, field);
            put_bytes(out, &bytes);
        }
        for (field, key) in [(SMALLEST, &self.smallest), (LARGEST, &self.largest)] {
            put_varint(out, field);
            put_bytes(out, key);
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let mut properties = Self::default();
        let mut decoder = Decoder::new(bytes);
        let mut seen = 0u32;
        while !decoder.is_empty() {
            let start = decoder.offset();
            let field = decoder.varint().and_then(|field| Some((field, decoder.bytes()?)));
            let (field, body) = field.ok_or(Damage::new("properties are cut short", start))?;
            let known = properties.set(field, body);
            let known = known.ok_or(Damage::new("property out of range", start))?;
            if known {
                seen |= 1 << field;
            }
        }
        if seen & FIELDS_REQUIRED != FIELDS_REQUIRED {
            return Err(Damage::new("properties are incomplete", bytes.len()));
        }
        Ok(properties)
    }

    /// Takes over one field: `Some(false)` if it is not known, `None` if it is impossible.
    fn set(&mut self, field: u64, body: &[u8]) -> Option<bool> {
        let number = || varint(body).filter(|(_, len)| *len == body.len()).map(|(n, _)| n);
        let seq = || number().filter(|seq| *seq < 1 << 56).map(SeqNo);
        match field {
            ENTRIES => self.entries = number()?,
            TOMBSTONES => self.tombstones = number()?,
            KEY_BYTES => self.key_bytes = number()?,
            VALUE_BYTES => self.value_bytes = number()?,
            SMALLEST => self.smallest = body.to_vec(),
            LARGEST => self.largest = body.to_vec(),
            SEQ_MIN => self.seq_min = seq()?,
            SEQ_MAX => self.seq_max = seq()?,
            SHADOWED => self.shadowed.entries = number()?,
            SHADOWED_BYTES => self.shadowed.bytes = number()?,
            SHADOWED_BY => self.shadowed.by = seq()?,
            CODEC => self.codec = Codec::from_u8(u8::try_from(number()?).ok()?)?,
            _ => return Some(false),
        }
        Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties() -> Properties {
        Properties {
            entries: 1000,
            tombstones: 3,
            key_bytes: 16_000,
            value_bytes: 1 << 40,
            smallest: b"".to_vec(),
            largest: b"zebra".to_vec(),
            seq_min: SeqNo(0),
            seq_max: SeqNo((1 << 56) - 1),
            codec: Codec::Lz4,
            shadowed: Shadowed::default(),
        }
    }

    #[test]
    fn properties_come_back() {
        let mut out = Vec::new();
        properties().encode(&mut out);
        assert_eq!(Properties::decode(&out).unwrap(), properties());
        for len in 0..out.len() {
            assert!(Properties::decode(&out[..len]).is_err(), "cut to {len}");
        }
        let shadowed = Shadowed { entries: 4, bytes: 999, by: SeqNo((1 << 56) - 2) };
        let properties = Properties { shadowed, ..properties() };
        out.clear();
        properties.encode(&mut out);
        assert_eq!(Properties::decode(&out).unwrap(), properties);
    }

    #[test]
    fn unknown_fields_are_skipped() {
        let mut out = Vec::new();
        put_varint(&mut out, 700);
        put_bytes(&mut out, b"from the future");
        properties().encode(&mut out);
        assert_eq!(Properties::decode(&out).unwrap(), properties());
    }
}
