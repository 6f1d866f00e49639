//! One named tree of a database, and snapshots.

use std::cell::RefCell;
use std::ops::RangeBounds;
use std::sync::Arc;

use lsm_log::error::{Error, Result};

use super::engine::Engine;
use super::levels::Level;
use super::open_db::OpenDb;
use super::read::ReadPoint;
use super::reads::readable;
use super::tree::Tree;
use crate::batch::{KeyspaceRef, WriteBatch};
use crate::key::{KeyRange, Kind, SeqNo};
use crate::options::{Durability, KeyspaceOptions};

/// Scratch memory that a thread keeps for its single puts, in bytes.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

thread_local! {
    /// Single writes are encoded here, so that they allocate nothing.
    static SCRATCH: RefCell<WriteBatch> = RefCell::new(WriteBatch::new());
}

/// A named, ordered map within a database, with levels and options of its own; the log, and so
/// the write order and atomic batches, are shared by all keyspaces of a database.
///
/// Clones are handles of the same keyspace, and keep the database open.
#[derive(Clone, Debug)]
pub struct Keyspace {
    shared: Arc<OpenDb>,
    tree: Arc<Tree>,
    reference: KeyspaceRef,
}

impl Keyspace {
    pub(super) fn new(shared: Arc<OpenDb>, tree: Arc<Tree>) -> Self {
        let reference = KeyspaceRef { database: shared.engine.token, id: tree.id };
        Self { shared, tree, reference }
    }

    /// The name it was made with.
    pub fn name(&self) -> &str {
        &self.tree.name
    }

    /// The settings in force.
    pub fn options(&self) -> KeyspaceOptions {
        KeyspaceOptions::clone(&self.tree.super_version().options)
    }

    /// Sets `key` to `value`, with the database's default durability.
    ///
    /// The empty key is a key like any other.
    ///
    /// # Errors
    ///
    /// `Invalid` for a key over [`KEY_LEN_MAX`](crate::KEY_LEN_MAX) or a value over
    /// [`VALUE_LEN_MAX`](crate::VALUE_LEN_MAX) bytes, once the keyspace was dropped, on a
    /// read-only database and in a [forked](crate::Options::open) process, `Io` if the
    /// disk refuses, `Failed` after an earlier failure made writing unsafe, `Closed`.
    #[inline]
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.put_with(key, value, self.shared.engine.options.durability)
    }

    /// [`put`](Self::put) with a durability of its own.
    pub fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        durability: Durability,
    ) -> Result<()> {
        self.write_one(Kind::Put, key.as_ref(), value.as_ref(), durability)
    }

    /// Removes `key`; fine if it is not there. Errors as for [`put`](Self::put).
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.delete_with(key, self.shared.engine.options.durability)
    }

    /// [`delete`](Self::delete) with a durability of its own.
    pub fn delete_with(&self, key: impl AsRef<[u8]>, durability: Durability) -> Result<()> {
        self.write_one(Kind::Delete, key.as_ref(), &[], durability)
    }

    fn write_one(
        &self,
        kind: Kind,
        key: &[u8],
        value: &[u8],
        durability: Durability,
    ) -> Result<()> {
        SCRATCH.with_borrow_mut(|batch| {
            batch.clear();
            let pushed = batch.try_push(kind, self.tree.id, key, value);
            let written = pushed.and_then(|()| self.shared.engine.write(batch, durability));
            if batch.bytes() > SCRATCH_BYTES_MAX {
                *batch = WriteBatch::new();
            }
            // The batch knows the keyspace's number only.
            written.map(drop).or_else(|error| self.tree.check_not_dropped().and(Err(error)))
        })
    }

    /// Merges all tables with keys in `range` down to the last level that has any, and so gives
    /// the space of deleted and overwritten entries back. Flushes first. Takes as long as it
    /// takes to read and write these tables; reads and writes go on meanwhile.
    ///
    /// # Errors
    ///
    /// As for [`put`](Self::put), and `Corrupt` if a table is damaged.
    pub fn compact_range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Result<()> {
        self.shared.engine.compact_range(&self.tree, KeyRange::new(range))
    }

    /// The levels as they are now, from level 0 down, each with its tables.
    pub fn levels(&self) -> Vec<Level> {
        Level::all(&self.tree.super_version().version)
    }

    pub(super) fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    pub(super) fn shared(&self) -> &Arc<OpenDb> {
        &self.shared
    }

    fn read_point(&self) -> ReadPoint<'_> {
        ReadPoint { engine: &self.shared.engine, tree: &self.tree, seq: None, transaction: None }
    }
}

readable!(Keyspace);

impl AsRef<KeyspaceRef> for Keyspace {
    fn as_ref(&self) -> &KeyspaceRef {
        &self.reference
    }
}

/// A database at one point in the write order: reads see exactly the writes up to there.
///
/// Reads like the default keyspace; [`keyspace`](Self::keyspace) gives the others at the same
/// point. Clones are cheap. While it is held, compaction keeps the versions it sees.
#[derive(Clone, Debug)]
pub struct Snapshot {
    tree: Arc<Tree>,
    pin: Arc<Pin>,
}

/// Holds a sequence number pinned.
#[derive(Debug)]
struct Pin {
    shared: Arc<OpenDb>,
    seq: SeqNo,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let engine = &self.shared.engine;
        // In a forked process a thread that is not there may hold the lock for ever.
        if engine.lifecycle.check_process().is_ok() && engine.snapshots.unpin(self.seq) {
            engine.work.announce();
        }
    }
}

impl Snapshot {
    pub(super) fn new(shared: Arc<OpenDb>, tree: Arc<Tree>) -> Self {
        let engine = &shared.engine;
        let seq = match engine.lifecycle.check_process() {
            Ok(()) => engine.snapshots.pin(&engine.published),
            // Reading from it is refused.
            Err(_) => engine.published.get(),
        };
        Self { tree, pin: Arc::new(Pin { shared, seq }) }
    }

    /// The point in the write order.
    pub fn sequence(&self) -> SeqNo {
        self.pin.seq
    }

    /// Another keyspace at the same point. A keyspace that was made later is empty there.
    ///
    /// # Errors
    ///
    /// `Invalid` if the keyspace is of another database.
    pub fn keyspace(&self, keyspace: &Keyspace) -> Result<Self> {
        if keyspace.reference.database != self.pin.shared.engine.token {
            return Err(Error::invalid("the keyspace is of another database than the snapshot"));
        }
        Ok(Self { tree: Arc::clone(keyspace.tree()), pin: Arc::clone(&self.pin) })
    }

    fn read_point(&self) -> ReadPoint<'_> {
        self.point_in(&self.tree)
    }

    /// The same point in another keyspace.
    pub(super) fn point_in<'a>(&'a self, tree: &'a Arc<Tree>) -> ReadPoint<'a> {
        let (engine, seq) = (self.engine(), Some(self.pin.seq));
        ReadPoint { engine, tree, seq, transaction: None }
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.pin.shared.engine
    }
}

readable!(Snapshot);
