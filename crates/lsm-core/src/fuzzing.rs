//! Doors for fuzzers: each takes any bytes and must come back, without a panic and without
//! memory or time out of proportion.
//!
//! The `mend_*` functions put right every checksum of mutated bytes, so that a fuzzer gets past
//! them to the code behind.

use crate::batch::Batch;
use crate::version::Edit;

/// A whole table: opened, walked in both directions, searched, verified.
pub fn sstable(bytes: &[u8]) {
    crate::sstable::fuzzing::check_table(bytes);
}

/// One data block: walked and searched; and the same bytes as each other part of a table.
pub fn block(bytes: &[u8]) {
    crate::sstable::fuzzing::check_block(bytes);
}

/// One log segment: replayed.
pub fn log(bytes: &[u8]) {
    lsm_log::fuzzing::check_log(bytes);
}

/// A manifest file; and the bytes as a single edit, which must come back as they went out.
pub fn manifest(bytes: &[u8]) {
    crate::version::fuzzing::check_manifest(bytes);
    if let Ok(edit) = Edit::decode(bytes) {
        let mut encoded = Vec::new();
        edit.encode(&mut encoded);
        assert_eq!(Edit::decode(&encoded).expect("what was encoded decodes"), edit);
    }
}

/// An encoded batch: every operation decodes once the whole was accepted.
pub fn batch(bytes: &[u8]) {
    if let Ok(batch) = Batch::decode(bytes) {
        assert_eq!(batch.operations().count(), batch.count as usize);
    }
}

/// Mends every checksum of a mutated table.
pub fn mend_sstable(bytes: &mut [u8]) {
    crate::sstable::fuzzing::mend_checksums(bytes);
}

/// Mends every checksum of a mutated log segment.
pub fn mend_log(bytes: &mut [u8]) {
    lsm_log::fuzzing::mend_checksums(bytes);
}

/// Mends every checksum of a mutated manifest.
pub fn mend_manifest(bytes: &mut [u8]) {
    crate::version::fuzzing::mend_checksums(bytes);
}

/// The data blocks of an intact table, unpacked: seeds for [`block`].
pub fn blocks_of(table: &[u8]) -> Vec<Vec<u8>> {
    crate::sstable::fuzzing::blocks(table)
}

/// The payloads of an intact log segment or manifest: seeds for [`batch`] and [`manifest`].
pub fn payloads_of(framed: &[u8]) -> Vec<Vec<u8>> {
    lsm_log::fuzzing::payloads(framed)
}
