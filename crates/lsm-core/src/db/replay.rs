//! Puts what the log holds beyond the tables back into memtables.
//!
//! Operations are collected for a few megabytes of log and inserted in key order: each insert
//! then finds the part of the skip list it needs in the caches, where the one before left it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::state::Engine;
use super::tree::Tree;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::file_name::{FileName, FileNumber};
use crate::key::{KeyspaceId, Kind, SeqNo};
use crate::memtable::Insert;
use crate::version::Catalog;
use crate::wal::{self, LogRecord, SegmentInfo};

/// Log collected before it is inserted, in bytes.
const COLLECT_BYTES: usize = 4 << 20;

/// What replay leaves for the log to go on.
pub(super) struct ReplayedLog {
    pub(super) replayed: wal::Replayed,
    /// The last sequence number of each segment that holds any.
    pub(super) last_seqs: BTreeMap<FileNumber, SeqNo>,
}

/// Replays the log, flushing memtables that fill up.
pub(super) fn replay(engine: &Engine, catalog: &Catalog) -> Result<ReplayedLog> {
    let segments: Vec<SegmentInfo> =
        catalog.logs.iter().map(|(&number, &bytes)| SegmentInfo { number, bytes }).collect();
    let fs = &*engine.options.fs;
    if !engine.read_only && catalog.log_closed.is_none() {
        // What is about to be read may be in the system's cache only, if just the process
        // died; tables and a new segment will build on it.
        wal::settle(fs, &engine.dir, &segments)?;
    }
    let (start, closed_at) = (catalog.log_start, catalog.log_closed);
    let mut collected = Collected::default();
    let mut last_seqs = BTreeMap::new();
    let replayed = wal::replay(
        fs,
        &engine.dir,
        catalog.database_id,
        &segments,
        start,
        closed_at,
        &mut |record| {
            let batch = decode(&record, collected.last, catalog.flushed_seq)?;
            collected.add(engine, catalog, &batch).map_err(|error| error.in_file(record.file))?;
            last_seqs.insert(record.segment, collected.last);
            if collected.bytes.len() < COLLECT_BYTES {
                return Ok(());
            }
            collected.insert(engine);
            flush_full(engine)
        },
    )?;
    collected.insert(engine);
    let last = collected.last.max(catalog.flushed_seq);
    check_not_ahead(&engine.dir, catalog, last)?;
    engine.published.advance(last);
    engine.commit.lock().last_seq = last;
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
            let Some(state) = catalog.keyspaces.get(&operation.keyspace) else {
                if operation.keyspace.0 < catalog.next_keyspace {
                    continue; // It was dropped.
                }
                return Err(Error::corrupt(format!("unknown keyspace {}", operation.keyspace)));
            };
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
            tree.view().active.insert(group.iter().map(|operation| Insert {
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

/// Keeps replay within the memory of the write buffers.
fn flush_full(engine: &Engine) -> Result<()> {
    if engine.read_only {
        return Ok(());
    }
    let is_full = |tree: &Arc<Tree>| tree.view().is_full();
    let full: Vec<_> = engine.live_trees().into_iter().filter(is_full).collect();
    let mut commit = engine.commit.lock();
    commit.last_seq = engine.published.get();
    if !full.is_empty() {
        engine.seal(&commit, &full);
    }
    engine.bound_memory(&commit);
    drop(commit);
    while engine.flush_one()? {}
    Ok(())
}
