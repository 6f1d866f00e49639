//! Entry points for fuzzing: any bytes, read as a manifest.

use super::catalog::Catalog;
use super::manifest::decode;
use crate::wal::fuzzing::NUMBER;
pub(crate) use crate::wal::fuzzing::mend_checksums;

/// Reads `bytes` as a manifest file and adds its edits up.
pub(crate) fn check_manifest(bytes: &[u8]) {
    let Ok((edits, end)) = decode(bytes, NUMBER) else { return };
    assert!(end <= bytes.len() && !edits.is_empty());
    let mut catalog = Catalog::default();
    for edit in &edits {
        if catalog.apply(edit).is_err() {
            return;
        }
    }
    let mut again = Catalog::default();
    again.apply(&catalog.snapshot()).expect("a snapshot of a catalog applies");
    assert_eq!(again.snapshot(), catalog.snapshot());
}
