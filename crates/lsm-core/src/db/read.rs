//! One point lookup: memtables, then level 0 from new to old, then one table a level.

use std::sync::Arc;

use lsm_log::error::{Error, Result};

use super::engine::Engine;
use super::open_transaction::OpenTransaction;
use super::tree::{SuperVersion, Tree};
use crate::key::{KeyHash, Kind, SeqNo, Tag};
use crate::sstable::{FilterLine, OpenTable, ReadStats};
use crate::value::Value;
use crate::version::TableFile;

/// A database, one of its keyspaces, and a point in the write order: all that a read needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadPoint<'a> {
    pub(crate) engine: &'a Arc<Engine>,
    pub(crate) tree: &'a Arc<Tree>,
    /// `None` reads the newest published state at each call.
    pub(crate) seq: Option<SeqNo>,
    /// Whose own writes come first, and who notes what is read.
    pub(crate) transaction: Option<&'a Arc<OpenTransaction>>,
}

impl ReadPoint<'_> {
    /// Checks that the keyspace may be read, after its super-version was loaded: one that is dropped
    /// is marked before that is emptied, and the empty one must not pass for no entries.
    pub(crate) fn check(&self) -> Result<()> {
        self.engine.lifecycle.check_open()?;
        self.tree.check_not_dropped()
    }

    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        match self.transaction {
            None => self.get_stored(key),
            Some(transaction) => self.get_in(transaction, key),
        }
    }

    #[cold]
    fn get_in(&self, transaction: &OpenTransaction, key: &[u8]) -> Result<Option<Value>> {
        match transaction.find_own(self.tree, key)? {
            Some(own) => Ok(own),
            None => self.get_stored(key),
        }
    }

    // What it calls is inlined, by order where others call it too: calls on the way, and what they move,
    // were a twentieth of a lookup's instructions (callgrind).
    fn get_stored(&self, key: &[u8]) -> Result<Option<Value>> {
        let view = self.tree.super_version();
        self.check()?;
        // After the super-version: whatever that has lost to compaction was hidden, at that time, by a
        // version that this number sees.
        let seq = self.seq.unwrap_or_else(|| self.engine.published.get());
        let mut touched = ReadStats::default();
        let found = lookup(self.engine, &view, key, seq, &mut touched);
        self.engine.metrics.count_get(&touched, matches!(&found, Ok(Some(_))));
        found
    }
}

fn lookup(
    engine: &Engine,
    view: &SuperVersion,
    key: &[u8],
    seq: SeqNo,
    touched: &mut ReadStats,
) -> Result<Option<Value>> {
    let hash = KeyHash::of(key);
    for memtable in view.memtables() {
        if let Some((tag, bytes)) = memtable.get(key, hash, seq) {
            return value_of(tag, || Value::from(bytes));
        }
    }
    let version = &view.version;
    let newest = version.levels[0].iter().filter(|table| table.meta.overlaps(key, key));
    let deeper = (1..=version.deepest()).filter_map(|level| version.find(level, key));
    let mut candidates = newest.chain(deeper);
    loop {
        let mut asked = FilterBatch::default();
        asked.fill(engine, hash, &mut candidates)?;
        for (table, line) in asked.tables() {
            if let Some((tag, value)) = table.get(key, hash, line, seq, touched)? {
                return value_of(tag, || value);
            }
        }
        if asked.len < ASKED_TOGETHER {
            return Ok(None);
        }
    }
}

/// How many tables are asked together.
const ASKED_TOGETHER: usize = 8;

/// Tables that may hold a key, each with the line of its filter. All lines are loaded before
/// the first is looked at: each is a cache miss, and this way they are waited for together
/// instead of one after the other.
#[derive(Default)]
struct FilterBatch {
    tables: [Option<(OpenTable, Option<FilterLine>)>; ASKED_TOGETHER],
    len: usize,
}

impl FilterBatch {
    #[inline]
    fn fill<'a>(
        &mut self,
        engine: &Engine,
        hash: KeyHash,
        candidates: &mut impl Iterator<Item = &'a Arc<TableFile>>,
    ) -> Result<()> {
        // The readers first: taking one is an atomic instruction, which would wait for the
        // loads before it.
        for (slot, table) in self.tables.iter_mut().zip(candidates) {
            *slot = Some((engine.tables.reader(&table.handle)?, None));
            self.len += 1;
        }
        for (table, line) in self.tables[..self.len].iter_mut().flatten() {
            *line = table.filter_line(hash);
        }
        Ok(())
    }

    #[inline]
    fn tables(&self) -> impl Iterator<Item = (&OpenTable, Option<&FilterLine>)> {
        self.tables[..self.len].iter().flatten().map(|(table, line)| (table, line.as_ref()))
    }
}

#[inline]
pub(super) fn value_of(tag: Tag, value: impl FnOnce() -> Value) -> Result<Option<Value>> {
    match tag.kind() {
        Some(Kind::Put) => Ok(Some(value())),
        Some(Kind::Delete) => Ok(None),
        _ => Err(unsupported(tag)),
    }
}

/// An entry kind that this program does not write.
pub(crate) fn unsupported(tag: Tag) -> Error {
    Error::unsupported(format!("an entry of kind {} needs a newer program", tag.0 & 0xff))
}
