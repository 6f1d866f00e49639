//! One point lookup: memtables, then level 0 from new to old, then one table a level.

use std::sync::Arc;

use super::state::Engine;
use super::tree::{Tree, View};
use crate::error::{Error, Result};
use crate::key::{KeyHash, Kind, SeqNo, Tag};
use crate::sstable::Touched;
use crate::value::Value;
use crate::version::TableFile;

/// A database, one of its keyspaces, and a point in the write order: all that a read needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadPoint<'a> {
    pub(crate) engine: &'a Arc<Engine>,
    pub(crate) tree: &'a Arc<Tree>,
    /// `None` reads the newest published state at each call.
    pub(crate) seq: Option<SeqNo>,
}

impl ReadPoint<'_> {
    pub(crate) fn check(&self) -> Result<()> {
        self.engine.check_open()?;
        if self.tree.is_dropped() {
            return Err(Error::invalid(format!("keyspace \"{}\" was dropped", self.tree.name)));
        }
        Ok(())
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        self.check()?;
        let view = self.tree.view();
        // After the view: whatever the view has lost to compaction was hidden, at that time,
        // by a version that this number sees.
        let seq = self.seq.unwrap_or_else(|| self.engine.published.get());
        let mut touched = Touched::default();
        let found = lookup(self.engine, &view, key, seq, &mut touched);
        self.engine.metrics.count_get(&touched, matches!(&found, Ok(Some(_))));
        found
    }
}

fn lookup(
    engine: &Engine,
    view: &View,
    key: &[u8],
    seq: SeqNo,
    touched: &mut Touched,
) -> Result<Option<Value>> {
    let hash = KeyHash::of(key);
    for memtable in view.memtables() {
        if let Some((tag, bytes)) = memtable.get(key, hash, seq) {
            return value_of(tag, || Value::from(bytes));
        }
    }
    let mut probe = |table: &TableFile| -> Result<Option<(Tag, Value)>> {
        engine.tables.reader(&table.handle)?.get(key, hash, seq, touched)
    };
    let version = &view.version;
    let newest = version.levels[0].iter();
    for table in newest.filter(|table| table.meta.overlaps(key, key)) {
        if let Some((tag, value)) = probe(table)? {
            return value_of(tag, || value);
        }
    }
    for level in 1..=version.deepest() {
        if let Some(table) = version.find(level, key)
            && let Some((tag, value)) = probe(table)?
        {
            return value_of(tag, || value);
        }
    }
    Ok(None)
}

#[inline]
fn value_of(tag: Tag, value: impl FnOnce() -> Value) -> Result<Option<Value>> {
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
