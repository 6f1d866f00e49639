//! What `docs/format.md` shows of tables.

use std::path::{Path, PathBuf};

use lsm_log::fs::{Fs, MemFs};

use super::builder::{TableBuilder, TableOptions};
use super::compress::{BLOCK_LEN_MAX, Codec, LZ4_RATIO_MAX, pack};
use super::filter::PROBES_MAX;
use super::format::{FOOTER_LEN, LINE_LEN, PLACE_FACTOR, TRAILER_LEN, VERSION, place};
use super::{block, index};
use crate::key::{Kind, SeqNo, Tag};

pub(crate) fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let mut packed = Vec::new();
    let codec = pack(Codec::Lz4, &[b'a'; 100], &mut packed);
    assert_eq!(codec, Codec::Lz4);
    vec![("table", table()), ("packed", packed)]
}

pub(crate) fn numbers() -> Vec<(&'static str, u64)> {
    vec![
        ("TABLE_VERSION", VERSION.into()),
        ("FOOTER_LEN", FOOTER_LEN as u64),
        ("TRAILER_LEN", TRAILER_LEN as u64),
        ("LINE_LEN", LINE_LEN as u64),
        ("PLACE_FACTOR", PLACE_FACTOR),
        ("place(7, 64)", place(7, 64)),
        ("BLOCK_HEADER_LEN", block::HEADER_LEN as u64),
        ("RESTART_LEN", block::RESTART_LEN as u64),
        ("RUN_LEN", block::RUN_LEN as u64),
        ("BLOCK_LEN_MAX", BLOCK_LEN_MAX as u64),
        ("LZ4_RATIO_MAX", LZ4_RATIO_MAX as u64),
        ("CODEC_NONE", Codec::None as u64),
        ("CODEC_LZ4", Codec::Lz4 as u64),
        ("PROBES_MAX", PROBES_MAX.into()),
        ("INDEX_RECORD_LEN", index::RECORD_LEN as u64),
        ("INDEX_LEVELS_MAX", index::LEVELS_MAX as u64),
    ]
}

/// Three versions of two keys, with salt 7.
fn table() -> Vec<u8> {
    let (fs, path) = (MemFs::new(), Path::new("/000006.table"));
    let options =
        TableOptions { block_bytes: 4096, filter_bits_per_key: 10, codec: Codec::None, salt: 7 };
    let mut builder = TableBuilder::new(fs.create(path).unwrap(), PathBuf::from(path), options);
    builder.add(b"user/ada", Tag::new(SeqNo(5), Kind::Put), b"countess").unwrap();
    builder.add(b"user/bob", Tag::new(SeqNo(9), Kind::Delete), b"").unwrap();
    builder.add(b"user/bob", Tag::new(SeqNo(4), Kind::Put), b"1").unwrap();
    builder.finish().unwrap();
    let file = fs.open_read(path).unwrap();
    let mut bytes = vec![0; file.len() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}
