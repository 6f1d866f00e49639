//! Entry points for fuzzing: any bytes, read as a manifest.

use lsm_log::fuzzing::NUMBER;

use super::catalog::Catalog;
use super::manifest::decode;
pub(crate) use lsm_log::fuzzing::mend_checksums;

/// So that small catalogs have several pieces.
const PIECE_BYTES: usize = 200;

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
    for piece in catalog.snapshot(PIECE_BYTES) {
        again.apply(&piece).expect("a snapshot of a catalog applies");
    }
    assert!(again.snapshot(usize::MAX).eq(catalog.snapshot(usize::MAX)));
}
