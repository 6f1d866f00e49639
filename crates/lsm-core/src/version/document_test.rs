//! What `docs/format.md` shows of manifests.

use std::path::Path;

use lsm_log::file_name::FileNumber;
use lsm_log::fs::{Fs, MemFs};
use lsm_log::wal::{Lsn, Nonce};

use super::edit::{Edit, KeyspaceEdit, LEVEL_MAX};
use super::fields::TAG_OPTIONAL;
use super::manifest::{CURRENT_LEN_MAX, MANIFEST, Manifest, encode_current};
use super::table_file::TableMeta;
use super::table_salt;
use crate::key::{KeyspaceId, SeqNo};
use crate::sstable::Shadowed;

pub(crate) fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let mut encoded = Vec::new();
    edit().encode(&mut encoded);
    assert_eq!(Edit::decode(&encoded).unwrap(), edit());
    let current = encode_current(FileNumber(1)).into_bytes();
    vec![("edit", encoded), ("manifest", manifest()), ("current", current)]
}

pub(crate) fn numbers() -> Vec<(&'static str, u64)> {
    vec![
        ("MANIFEST_VERSION", MANIFEST.version.into()),
        ("LEVEL_MAX", LEVEL_MAX.into()),
        ("TAG_OPTIONAL", TAG_OPTIONAL.into()),
        ("CURRENT_LEN_MAX", CURRENT_LEN_MAX),
        ("table_salt(1, 6)", table_salt(1, FileNumber(6))),
    ]
}

fn edit() -> Edit {
    let table = TableMeta {
        number: FileNumber(6),
        bytes: 70_000,
        smallest: b"ant".to_vec(),
        largest: b"bee".to_vec(),
        seq_min: SeqNo(3),
        seq_max: SeqNo(300),
        entries: 12,
        tombstones: 2,
        raw_bytes: 90_000,
        shadowed: Shadowed::default(),
    };
    let keyspace = KeyspaceEdit {
        id: KeyspaceId(1),
        flushed_seq: Some(SeqNo(200)),
        options: None,
        removed: vec![(0, FileNumber(4))],
        added: vec![(1, table)],
    };
    Edit {
        next_file: Some(FileNumber(12)),
        log_start: Some(Lsn(4096)),
        drop_logs: vec![FileNumber(7)],
        keyspaces: vec![keyspace],
        ..Edit::default()
    }
}

/// A manifest with the least that a database holds.
fn manifest() -> Vec<u8> {
    let (fs, dir) = (MemFs::new(), Path::new("/db"));
    fs.create_dir_all(dir).unwrap();
    let snapshot = Edit {
        database_id: Some(1),
        next_file: Some(FileNumber(2)),
        next_keyspace: Some(KeyspaceId(1)),
        create_keyspaces: vec![(KeyspaceId::DEFAULT, "default".to_owned())],
        ..Edit::default()
    };
    let name = (FileNumber(1), Nonce(0xfedc_ba98_7654_3210));
    Manifest::create(&fs, dir, name, std::iter::once(snapshot)).unwrap();
    let file = fs.open_read(&dir.join("000001.manifest")).unwrap();
    let mut bytes = vec![0; file.len() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}
