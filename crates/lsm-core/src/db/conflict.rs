//! Whether others have changed what a transaction has read or writes.
//!
//! The evidence is what is stored: a version behind the transaction's snapshot. Compaction keeps what
//! the snapshot sees and the newest of each key, so that nothing has to be remembered of the commits
//! of others. One thing it may drop: of a key that had no value, and has none now, what it had in
//! between. Whoever read that there is none has read what holds at the commit.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use lsm_log::error::{Error, Result};

use super::engine::Engine;
use super::open_transaction::TransactionEffects;
use super::tree::Tree;
use crate::key::{Key, KeyHash, KeyRange, SEQ_MAX, SeqNo, Tag};
use crate::memtable::Memtable;
use crate::sstable::ReadStats;
use crate::version::TableFile;

/// How many bytes of a key a message shows.
const SHOWN_MAX: usize = 64;

/// What must not have changed for a transaction to take effect.
#[derive(Debug)]
pub(super) struct Validation<'a> {
    pub(super) engine: &'a Engine,
    pub(super) done: &'a TransactionEffects,
}

impl Validation<'_> {
    /// Looks for versions of what was read or is written that are newer than `since`.
    ///
    /// # Errors
    ///
    /// `Conflict` with the key; those of reading; `Invalid` if a keyspace was dropped.
    pub(super) fn check(&self, since: SeqNo) -> Result<()> {
        let TransactionEffects { writes, reads, trees } = self.done;
        let mut newer = BTreeMap::new();
        for (id, tree) in trees {
            newer.insert(*id, Newer::of(self.engine, tree, since)?);
        }
        let written = writes.operations().map(|write| (write.keyspace, write.key));
        for (id, key) in reads.keys().chain(written) {
            if newer[&id].has_key(key)? {
                return Err(conflict(newer[&id].tree, key));
            }
        }
        for (id, range) in reads.ranges() {
            if let Some(key) = newer[id].first_in(range)? {
                return Err(conflict(newer[id].tree, &key));
            }
        }
        Ok(())
    }
}

fn conflict(tree: &Tree, key: &[u8]) -> Error {
    let shown = key[..key.len().min(SHOWN_MAX)].escape_ascii();
    let rest = if key.len() > SHOWN_MAX { "…" } else { "" };
    Error::conflict(format!(
        "key \"{shown}{rest}\" of keyspace \"{}\" has changed since the transaction began",
        tree.name
    ))
}

/// The parts of a keyspace that may hold versions newer than a number.
struct Newer<'a> {
    engine: &'a Engine,
    tree: &'a Tree,
    since: SeqNo,
    /// Newest first.
    memtables: Vec<Arc<Memtable>>,
    tables: Vec<Arc<TableFile>>,
}

impl<'a> Newer<'a> {
    fn of(engine: &'a Engine, tree: &'a Tree, since: SeqNo) -> Result<Self> {
        let view = tree.pinned();
        tree.check_not_dropped()?;
        let mut newer = Self { engine, tree, since, memtables: Vec::new(), tables: Vec::new() };
        for memtable in view.memtables() {
            newer.memtables.push(Arc::clone(memtable));
            // All that is older lies below: sealing waits until every number is published.
            if memtable.first_seq().is_some_and(|first| first <= since) {
                return Ok(newer);
            }
        }
        let tables = view.version.tables().map(|(_, table)| table);
        newer.tables = tables.filter(|table| table.meta.seq_max > since).cloned().collect();
        Ok(newer)
    }

    fn has_key(&self, key: &[u8]) -> Result<bool> {
        let hash = KeyHash::of(key);
        for memtable in &self.memtables {
            if let Some((tag, _)) = memtable.get(key, hash, SEQ_MAX) {
                return Ok(tag.seq() > self.since);
            }
        }
        let mut touched = ReadStats::default();
        for table in self.tables.iter().filter(|table| table.meta.overlaps(key, key)) {
            let reader = self.engine.tables.reader(&table.handle)?;
            let line = reader.filter_line(hash);
            let found = reader.get(key, hash, line.as_ref(), SEQ_MAX, &mut touched)?;
            if found.is_some_and(|(tag, _)| tag.seq() > self.since) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A key of `range` that has one.
    fn first_in(&self, range: &KeyRange) -> Result<Option<Key>> {
        for memtable in self.memtables.iter().filter(|memtable| !memtable.is_empty()) {
            if let Some(key) = self.walk(memtable.cursor(), range)? {
                return Ok(Some(key));
            }
        }
        for table in &self.tables {
            if range.overlaps(&table.meta.smallest, &table.meta.largest) {
                let cursor = self.engine.tables.reader(&table.handle)?.cursor();
                if let Some(key) = self.walk(cursor, range)? {
                    return Ok(Some(key));
                }
            }
        }
        Ok(None)
    }

    fn walk(&self, mut cursor: impl crate::iter::Cursor, range: &KeyRange) -> Result<Option<Key>> {
        match &range.start {
            Bound::Unbounded => cursor.seek_first()?,
            Bound::Included(start) | Bound::Excluded(start) => {
                cursor.seek(start, Tag::seek(SEQ_MAX))?;
            }
        }
        while cursor.is_valid() && !range.is_after(cursor.key()) {
            if cursor.tag().seq() > self.since && !range.is_before(cursor.key()) {
                return Ok(Some(Key::from(cursor.key())));
            }
            cursor.next()?;
        }
        Ok(None)
    }
}
