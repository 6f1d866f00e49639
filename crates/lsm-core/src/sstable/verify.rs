//! Reads all of a table and compares everything that is stored twice.
//!
//! Beyond the checksums, which every scan checks: the order of the entries, the counts and
//! bounds, that the filter knows every key, that the index leads to every entry, and that the
//! room between blocks and sections is zero.

use std::path::Path;
use std::sync::Arc;

use lsm_log::error::{Error, Result};
use lsm_log::fs::ReadFile;

use super::cursor::{Blocks, Walk};
use super::format::PAGE_LEN;
use super::properties::Properties;
use super::scan::{ScanBlocks, TableScan};
use crate::iter::Cursor;
use crate::key::{KeyHash, Kind, SEQ_MAX, Tag, compare};

/// Reads and checks a whole table that should be `bytes` long and carry `salt`; says what it
/// found. `path` names the file in errors.
pub(crate) fn verify(
    file: Arc<dyn ReadFile>,
    path: &Path,
    bytes: u64,
    salt: u64,
) -> Result<Properties> {
    check(file, path, bytes, salt).map_err(|e| e.in_file(path))
}

fn check(file: Arc<dyn ReadFile>, path: &Path, bytes: u64, salt: u64) -> Result<Properties> {
    let mut blocks = ScanBlocks::open(file, path.to_owned(), bytes, salt, true)?;
    check_gaps(&mut blocks)?;
    let index_at = blocks.parts().footer.index.offset;
    blocks.index().check_words().map_err(|damage| damage.error(index_at, path))?;

    let stated = blocks.parts().properties.clone();
    let mut scan = Walk::new(blocks);
    let mut found = Properties { seq_min: SEQ_MAX, codec: stated.codec, ..Properties::default() };
    let mut before: Option<(Vec<u8>, Tag)> = None;
    scan.seek_first()?;
    while scan.is_valid() {
        check_entry(&scan, before.as_ref(), path)?;
        count(&mut found, &scan, before.as_ref());
        let (key, tag) = before.get_or_insert_with(|| (Vec::new(), scan.tag()));
        key.clear();
        key.extend_from_slice(scan.key());
        *tag = scan.tag();
        scan.next()?;
    }
    found.largest = before.map(|(key, _)| key).unwrap_or_default();
    if found != stated {
        let at = scan.blocks().parts().footer.properties.offset;
        let (stated, found) = (format!("{stated:?}"), format!("{found:?}"));
        return Err(Error::mismatch("table properties", stated, found).at(at));
    }
    Ok(found)
}

/// Room between blocks, and between sections, holds nothing.
fn check_gaps(blocks: &mut ScanBlocks) -> Result<()> {
    let mut from = 0;
    for at in 0..blocks.index().blocks() {
        let Some(place) = blocks.index().block(at) else {
            break;
        };
        check_gap(blocks, from, place.offset)?;
        from = place.end();
    }
    let footer = blocks.parts().footer;
    for section in footer.filter.into_iter().chain([footer.index]) {
        check_gap(blocks, from, section.offset)?;
        from = section.end().unwrap_or(section.offset);
    }
    Ok(())
}

fn check_gap(blocks: &mut ScanBlocks, from: u64, to: u64) -> Result<()> {
    let len = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
    if len >= PAGE_LEN {
        return Err(Error::corrupt("bytes that belong to nothing").at(from));
    }
    let gap = blocks.read(from, len)?;
    match blocks.ahead(gap).iter().position(|&byte| byte != 0) {
        Some(dirty) => Err(Error::corrupt("padding that is not zero").at(from + dirty as u64)),
        None => Ok(()),
    }
}

fn check_entry(scan: &TableScan, before: Option<&(Vec<u8>, Tag)>, path: &Path) -> Result<()> {
    let (key, tag) = (scan.key(), scan.tag());
    let blocks = scan.blocks();
    let at = scan.block_at();
    let place = blocks.index().block(at);
    let wrong = |what: &str| {
        let error = Error::corrupt(format!("{what} (key b\"{}\", {tag:?})", key.escape_ascii()));
        Err(error.at(place.map_or(0, |place| place.offset)).in_file(path))
    };
    if let Some((last_key, last_tag)) = before
        && compare((last_key, *last_tag), (key, tag)).is_ge()
    {
        return wrong("entries out of order");
    }
    if tag.kind().is_none() {
        return wrong("entry of an unknown kind");
    }
    if let Some(filter) = blocks.parts().filter
        && !filter.may_contain(&blocks.filter, KeyHash::of(key))
    {
        return wrong("entry that the filter does not know");
    }
    let index = blocks.index();
    if index.compare_separator(at, key).is_lt() {
        return wrong("entry behind the separator of its block");
    }
    // A lookup starts at the first block whose separator is not below the key, and goes on
    // while separators equal it.
    let start = index.find(key);
    if start > at || (start..at).any(|before| !index.separator_is(before, key)) {
        return wrong("entry that the index does not lead to");
    }
    Ok(())
}

fn count(found: &mut Properties, scan: &TableScan, before: Option<&(Vec<u8>, Tag)>) {
    if let Some((_, newer)) = before.filter(|(key, _)| key == scan.key()) {
        found.shadowed.count(*newer, scan.tag(), scan.key().len() + scan.value().len());
    }
    if found.entries == 0 {
        found.smallest = scan.key().to_vec();
    }
    found.entries += 1;
    found.tombstones += u64::from(scan.tag().kind() == Some(Kind::Delete));
    found.key_bytes += scan.key().len() as u64;
    found.value_bytes += scan.value().len() as u64;
    found.seq_min = found.seq_min.min(scan.tag().seq());
    found.seq_max = found.seq_max.max(scan.tag().seq());
}
