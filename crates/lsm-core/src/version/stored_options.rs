//! The settings of a keyspace as a manifest keeps them: a [field](super::fields) each, numbers as
//! varints. One that is missing has its default.

use lsm_log::coding::Decoder;
use lsm_log::error::{Error, Result};

use super::fields::{Field, Fields, bad_value};
use crate::options::{Compression, KeyspaceOptions};

mod tag {
    pub(super) const WRITE_BUFFER_BYTES: u8 = 1;
    pub(super) const WRITE_BUFFERS_MAX: u8 = 2;
    pub(super) const BLOCK_BYTES: u8 = 3;
    pub(super) const TABLE_BYTES: u8 = 4;
    pub(super) const FILTER_BITS_PER_KEY: u8 = 5;
    pub(super) const COMPRESSION: u8 = 6;
    pub(super) const L0_TABLES_COMPACT: u8 = 7;
    pub(super) const LEVEL_BYTES_BASE: u8 = 8;
    /// May be skipped: it changes no bytes.
    pub(super) const IDLE_AMPLIFICATION_MAX: u8 = 64;
}

pub(super) fn encode(options: &KeyspaceOptions, out: &mut Vec<u8>) {
    let mut fields = Fields { out, scratch: Vec::new() };
    let mut put = |tag, value| fields.put_number(tag, Some(value));
    put(tag::WRITE_BUFFER_BYTES, options.write_buffer_bytes as u64);
    put(tag::WRITE_BUFFERS_MAX, options.write_buffers_max as u64);
    put(tag::BLOCK_BYTES, options.block_bytes as u64);
    put(tag::TABLE_BYTES, options.table_bytes);
    put(tag::FILTER_BITS_PER_KEY, options.filter_bits_per_key.into());
    let compression = match options.compression {
        Compression::None => 0,
        Compression::Lz4 => 1,
    };
    put(tag::COMPRESSION, compression);
    put(tag::L0_TABLES_COMPACT, options.l0_tables_compact as u64);
    put(tag::LEVEL_BYTES_BASE, options.level_bytes_base);
    put(tag::IDLE_AMPLIFICATION_MAX, options.idle_amplification_max.into());
}

/// Settings that are within their limits. The offset of an error counts from where `input` stood.
pub(super) fn decode(input: &mut Decoder<'_>) -> Result<KeyspaceOptions> {
    let mut options = KeyspaceOptions::default();
    while let Some(field) = Field::next(input)? {
        let mut value = Decoder::new(field.value);
        let known = take(&mut options, field.tag, &mut value).ok_or_else(bad_value);
        field.finish(known, &value)?;
    }
    let valid = options.validate();
    valid.map_err(|error| Error::corrupt(format!("stored settings: {error}")).at(0))?;
    Ok(options)
}

/// Whether the tag is known; `None` if the value is not what it stands for.
fn take(options: &mut KeyspaceOptions, tag: u8, value: &mut Decoder<'_>) -> Option<bool> {
    let mut number = || value.varint();
    let size = |number| usize::try_from(number).ok();
    match tag {
        tag::WRITE_BUFFER_BYTES => options.write_buffer_bytes = size(number()?)?,
        tag::WRITE_BUFFERS_MAX => options.write_buffers_max = size(number()?)?,
        tag::BLOCK_BYTES => options.block_bytes = size(number()?)?,
        tag::TABLE_BYTES => options.table_bytes = number()?,
        tag::FILTER_BITS_PER_KEY => options.filter_bits_per_key = u32::try_from(number()?).ok()?,
        tag::COMPRESSION => {
            options.compression = match number()? {
                0 => Compression::None,
                1 => Compression::Lz4,
                _ => return None,
            }
        }
        tag::L0_TABLES_COMPACT => options.l0_tables_compact = size(number()?)?,
        tag::LEVEL_BYTES_BASE => options.level_bytes_base = number()?,
        tag::IDLE_AMPLIFICATION_MAX => {
            options.idle_amplification_max = u32::try_from(number()?).ok()?;
        }
        _ => return Some(false),
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use lsm_log::error::ErrorKind;

    use super::*;

    fn unlike_the_default() -> KeyspaceOptions {
        KeyspaceOptions::default()
            .write_buffer_bytes(1 << 20)
            .write_buffers_max(3)
            .block_bytes(1 << 10)
            .table_bytes(2 << 20)
            .filter_bits_per_key(7)
            .compression(Compression::None)
            .l0_tables_compact(9)
            .level_bytes_base(5 << 20)
            .idle_amplification_max(3)
    }

    #[test]
    fn settings_come_back() {
        for options in [KeyspaceOptions::default(), unlike_the_default()] {
            let mut bytes = Vec::new();
            encode(&options, &mut bytes);
            assert_eq!(decode(&mut Decoder::new(&bytes)).unwrap(), options);
        }
    }

    #[test]
    fn what_is_missing_has_its_default_and_what_may_be_unknown_is_skipped() {
        // Tag 99 with one byte that is no whole varint.
        let options = decode(&mut Decoder::new(&[99, 1, 0x80])).unwrap();
        assert_eq!(options, KeyspaceOptions::default());
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        let cases: [(&[u8], ErrorKind); 6] = [
            (&[tag::COMPRESSION, 1, 2], ErrorKind::Corrupt),
            (&[tag::WRITE_BUFFERS_MAX, 1, 1], ErrorKind::Corrupt),
            (&[tag::FILTER_BITS_PER_KEY, 5, 0xff, 0xff, 0xff, 0xff, 0x7f], ErrorKind::Corrupt),
            (&[tag::BLOCK_BYTES, 0], ErrorKind::Corrupt),
            (&[tag::BLOCK_BYTES, 2, 0x80, 0x08, 0], ErrorKind::Corrupt),
            (&[9, 1, 1], ErrorKind::Unsupported),
        ];
        for (bytes, kind) in cases {
            let refused = decode(&mut Decoder::new(bytes)).unwrap_err();
            assert_eq!(refused.kind(), kind, "{bytes:?}: {refused}");
        }
    }
}
