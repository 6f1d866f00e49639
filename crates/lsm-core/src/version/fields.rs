//! Tagged fields, which edits are made of: tag (one byte), length (varint), value.
//!
//! A reader refuses tags below [`TAG_OPTIONAL`] that it does not know, and skips the others.

use lsm_log::coding::{Decoder, put_bytes, put_varint};
use lsm_log::error::{Error, Result};

/// From here on a tag may be skipped by a program that does not know it.
pub(super) const TAG_OPTIONAL: u8 = 64;

/// Whether the tag is known; an error if its value is not what the tag stands for.
pub(super) type Decoded = Result<bool>;

pub(super) fn once<T>(slot: &mut Option<T>, value: Option<T>) -> Decoded {
    match (&slot, value) {
        (None, Some(value)) => *slot = Some(value),
        (Some(_), _) => return Err(twice()),
        (None, None) => return Err(bad_value()),
    }
    Ok(true)
}

pub(super) fn many<T>(list: &mut Vec<T>, value: Option<T>) -> Decoded {
    list.push(value.ok_or_else(bad_value)?);
    Ok(true)
}

pub(super) fn twice() -> Error {
    Error::corrupt("field of an edit is there twice").at(0)
}

pub(super) fn bad_value() -> Error {
    Error::corrupt("field of an edit has an impossible value").at(0)
}

/// Writes tagged fields: tag (one byte), length (varint), value.
pub(super) struct Fields<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) scratch: Vec<u8>,
}

impl Fields<'_> {
    pub(super) fn put(&mut self, tag: u8, encode: impl FnOnce(&mut Vec<u8>)) {
        self.scratch.clear();
        encode(&mut self.scratch);
        self.out.push(tag);
        put_bytes(self.out, &self.scratch);
    }

    pub(super) fn put_number(&mut self, tag: u8, value: Option<u64>) {
        if let Some(value) = value {
            self.put(tag, |out| put_varint(out, value));
        }
    }

    pub(super) fn put_pair(&mut self, tag: u8, first: u64, second: u64) {
        self.put(tag, |out| {
            put_varint(out, first);
            put_varint(out, second);
        });
    }
}

/// One tagged field.
pub(super) struct Field<'a> {
    pub(super) tag: u8,
    pub(super) value: &'a [u8],
    /// Of the tag, and of the value, in what the field was read from.
    offset: u64,
    value_offset: u64,
}

impl<'a> Field<'a> {
    pub(super) fn next(input: &mut Decoder<'a>) -> Result<Option<Self>> {
        if input.is_empty() {
            return Ok(None);
        }
        let offset = input.offset() as u64;
        let field = input.u8().and_then(|tag| Some((tag, input.bytes()?)));
        let Some((tag, value)) = field else {
            return Err(Error::corrupt("field of an edit is cut short").at(offset));
        };
        let value_offset = (input.offset() - value.len()) as u64;
        Ok(Some(Self { tag, value, offset, value_offset }))
    }

    /// Judges how reading the value went.
    pub(super) fn finish(&self, known: Decoded, value: &Decoder<'_>) -> Result<()> {
        match known {
            Err(error) => Err(error.within(self.value_offset)),
            Ok(true) if !value.is_empty() => {
                let message = format!("field {} of an edit is longer than its value", self.tag);
                Err(Error::corrupt(message).at(self.value_offset + value.offset() as u64))
            }
            Ok(false) if self.tag < TAG_OPTIONAL => {
                let message = format!("edit has field {}: a newer program wrote it", self.tag);
                Err(Error::unsupported(message).at(self.offset))
            }
            Ok(_) => Ok(()),
        }
    }
}
