//! Puts what the log holds beyond the tables back into memtables.
//!
//! Operations are collected for a few megabytes of log and inserted in key order: each insert
//! then finds the part of the skip list it needs in the caches, where the one before left it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use lsm_log::error::{Error, Result};
use lsm_log::file_name::{FileName, FileNumber};
use lsm_log::wal::{self, LogRecord, SegmentInfo};

use super::engine::Engine;
use super::tree::Tree;
use crate::batch::Batch;
use crate::key::{KeyspaceId, Kind, SeqNo};
use crate::memtable::Insert;
use crate::version::{Catalog, KeyspaceState};

/// Log collected before it is inserted, in bytes.
const COLLECT_BYTES: usize = 4 << 20;

/// What replay leaves for the log to go on.
pub(super) struct ReplayedLog {
    pub(super) replayed: wal::Replayed,
    /// The last sequence number of each segment that holds any.
    pub(super) last_seqs: BTreeMap<FileNumber, SeqNo>,
}

/// The segments that make up the log.
pub(super) fn segments(catalog: &Catalog) -> Vec<SegmentInfo> {
    catalog.logs.iter().map(|(&number, &bytes)| SegmentInfo { number, bytes }).collect()
}

/// Replays the log, flushing memtables that fill up.
///
/// `begin` is called once, after all of the log was read and found to be good, and before anything
/// is written. So a log that the write buffers cannot hold is read twice, the first time to be
/// judged.
pub(super) fn replay(
    engine: &Engine,
    catalog: &Catalog,
    begin: &mut dyn FnMut() -> Result<()>,
) -> Result<ReplayedLog> {
    let (mut collected, mut last_seqs) = (Collected::default(), BTreeMap::new());
    let mut begun = false;
    let replayed = read(engine, catalog, &mut |record, batch| {
        collected.add(engine, catalog, batch)?;
        last_seqs.insert(record.segment, batch.last());
        if collected.bytes.len() < COLLECT_BYTES {
            return Ok(());
        }
        collected.insert(engine);
        if !seal_full(engine) {
            return Ok(());
        }
        if !begun {
            judge(engine, catalog)?;
            begin()?;
            begun = true;
        }
        while engine.flush_one()? {}
        Ok(())
    })?;
    collected.insert(engine);
    let last = collected.last.max(catalog.flushed_seq);
    engine.published.advance(last);
    engine.commit.lock().last_seq = last;
    if !begun {
        check_not_ahead(&engine.dir, catalog, last)?;
        begin()?;
    }
    Ok(ReplayedLog { replayed, last_seqs })
}

/// No table is ahead of the write order as far as it came back. What it held beyond that would be
/// parts of batches whose rest is lost, unseen until new writes get the same numbers.
fn check_not_ahead(dir: &Path, catalog: &Catalog, last: SeqNo) -> Result<()> {
    for state in catalog.keyspaces.values() {
        let ahead = state.version.tables().find(|(_, table)| table.meta.seq_max > last);
        if let Some((_, table)) = ahead {
            let message = format!(
                "the table holds sequence number {}, but log and tables end with {last}",
                table.meta.seq_max
            );
            let path = FileName::Table(table.meta.number).in_dir(dir);
            return Err(Error::corrupt(message).in_file(&path));
        }
        if state.flushed_seq > last {
            let (name, flushed) = (&state.name, state.flushed_seq);
            let message = format!(
                "keyspace \"{name}\" is in tables through sequence number {flushed}, but log and \
                 tables end with {last}"
            );
            return Err(Error::corrupt(message).in_file(dir));
        }
    }
    Ok(())
}

/// Reads the whole log for what would refuse it.
fn judge(engine: &Engine, catalog: &Catalog) -> Result<()> {
    let mut last = catalog.flushed_seq;
    read(engine, catalog, &mut |_, batch| {
        last = last.max(batch.last());
        check_keyspaces(catalog, batch)
    })?;
    check_not_ahead(&engine.dir, catalog, last)
}

/// What is done with each batch of the log.
type Visit<'a> = dyn FnMut(&LogRecord<'_>, &Batch<'_>) -> Result<()> + 'a;

/// Reads the whole log, in which each batch must follow the one before it.
fn read(engine: &Engine, catalog: &Catalog, visit: &mut Visit<'_>) -> Result<wal::Replayed> {
    let mut last = SeqNo(0);
    let mut visit_record = |record: LogRecord<'_>| {
        let batch = decode(&record, last, catalog.flushed_seq)?;
        last = batch.last();
        visit(&record, &batch)
    };
    let (fs, dir, owner) = (&*engine.options.fs, &engine.dir, catalog.database_id);
    let (start, closed_at) = (catalog.log_start, catalog.log_closed);
    wal::replay(fs, dir, owner, &segments(catalog), start, closed_at, &mut visit_record)
}

/// Reads a record as the batch that follows `last`. Numbers between may be missing only if
/// what had them is in tables: it was never in the log.
fn decode<'a>(record: &LogRecord<'a>, last: SeqNo, flushed: SeqNo) -> Result<Batch<'a>> {
    let place = |error: Error| error.within(record.offset).in_file(record.file);
    let batch = Batch::decode(record.payload).map_err(place)?;
    let follows = batch.first.0 == last.0 + 1;
    let skips_flushed = batch.first > last && batch.first.0 <= flushed.0 + 1;
    if follows || skips_flushed {
        return Ok(batch);
    }
    Err(place(Error::mismatch("sequence number in the log", last.0 + 1, batch.first)))
}

/// What the catalog knows of a keyspace; `None` if it was dropped.
fn keyspace(catalog: &Catalog, id: KeyspaceId) -> Result<Option<&KeyspaceState>> {
    match catalog.keyspaces.get(&id) {
        None if id.0 >= catalog.next_keyspace => {
            Err(Error::corrupt(format!("unknown keyspace {id}")))
        }
        known => Ok(known),
    }
}

fn check_keyspaces(catalog: &Catalog, batch: &Batch<'_>) -> Result<()> {
    batch.operations().try_for_each(|operation| keyspace(catalog, operation.keyspace).map(drop))
}

/// Operations on their way from the log into memtables.
#[derive(Default)]
struct Collected {
    /// Keys and values, back to back.
    bytes: Vec<u8>,
    operations: Vec<Operation>,
    last: SeqNo,
}

struct Operation {
    keyspace: KeyspaceId,
    seq: SeqNo,
    kind: Kind,
    key: Range<usize>,
    value_end: usize,
}

impl Collected {
    fn add(&mut self, engine: &Engine, catalog: &Catalog, batch: &Batch<'_>) -> Result<()> {
        for (operation, seq) in batch.operations().zip(batch.first.0..) {
            let Some(state) = keyspace(catalog, operation.keyspace)? else { continue };
            // What is in tables already may be in the log still.
            if seq <= state.flushed_seq.0 {
                continue;
            }
            debug_assert!(engine.tree(operation.keyspace).is_some());
            let start = self.bytes.len();
            self.bytes.extend_from_slice(operation.key);
            self.bytes.extend_from_slice(operation.value);
            self.operations.push(Operation {
                keyspace: operation.keyspace,
                seq: SeqNo(seq),
                kind: operation.kind,
                key: start..start + operation.key.len(),
                value_end: self.bytes.len(),
            });
        }
        self.last = batch.last();
        Ok(())
    }

    /// Inserts what was collected, in key order, and makes it visible.
    fn insert(&mut self, engine: &Engine) {
        let bytes = &self.bytes;
        self.operations.sort_unstable_by(|a, b| {
            let place = |operation: &Operation| (operation.keyspace, &bytes[operation.key.clone()]);
            place(a).cmp(&place(b)).then_with(|| b.seq.cmp(&a.seq))
        });
        for group in self.operations.chunk_by(|a, b| a.keyspace == b.keyspace) {
            let Some(tree) = engine.tree(group[0].keyspace) else { continue };
            tree.super_version().active.insert(group.iter().map(|operation| Insert {
                seq: operation.seq,
                kind: operation.kind,
                key: &bytes[operation.key.clone()],
                value: &bytes[operation.key.end..operation.value_end],
            }));
        }
        self.bytes.clear();
        self.operations.clear();
        engine.published.advance(self.last.max(engine.published.get()));
    }
}

/// Keeps replay within the memory of the write buffers: seals what is full; true if that is to be
/// flushed now.
fn seal_full(engine: &Engine) -> bool {
    if engine.lifecycle.read_only {
        return false;
    }
    let is_full = |tree: &Arc<Tree>| tree.super_version().is_full();
    let full: Vec<_> = engine.live_trees().into_iter().filter(is_full).collect();
    let mut commit = engine.commit.lock();
    commit.last_seq = engine.published.get();
    if !full.is_empty() {
        engine.seal(&commit, &full);
    }
    engine.bound_memory(&commit);
    !engine.work.lock().flushes.is_empty()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::batch::WriteBatch;
    use lsm_log::error::ErrorKind;

    /// Reads a batch of two writes whose first number is `first` behind `last`, with everything up to
    /// `flushed` in tables.
    fn follows(first: u64, last: u64, flushed: u64) -> Result<()> {
        let mut batch = WriteBatch::new();
        batch.put("a", "1");
        batch.put("b", "2");
        let mut payload = Vec::new();
        batch.encode(SeqNo(first), &mut payload);
        let (payload, file) = (&*payload, Path::new("log"));
        let record =
            LogRecord { sequence: first, payload, segment: FileNumber(1), file, offset: 48 };
        decode(&record, SeqNo(last), SeqNo(flushed)).map(drop)
    }

    #[test]
    fn numbers_are_missing_only_where_tables_have_them() {
        follows(1, 0, 0).unwrap();
        follows(6, 5, 0).unwrap();
        follows(6, 5, 9).unwrap();
        // They were given to writes in no log, which had to be in tables before the next in the log.
        follows(8, 5, 7).unwrap();
        follows(8, 5, 10).unwrap();
        for (first, last, flushed) in [(7, 5, 0), (8, 5, 6), (5, 5, 9), (4, 5, 9), (2, 0, 0)] {
            let error = follows(first, last, flushed).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{first} {last} {flushed}");
            assert_eq!(error.offset(), Some(48));
        }
    }
}
