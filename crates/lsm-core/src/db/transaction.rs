//! Transactions: reads at one point, writes that take effect together, and a commit that succeeds
//! only if nothing that was read or is written has changed in between.
//!
//! Optimistic concurrency control with validation at the commit (Kung and Robinson, 1981). A
//! transaction that commits behaves as if all of it ran at its commit, so the order of the commits
//! is a serial one. One that only reads behaves as if it ran where its snapshot was taken.
//!
//! ```text
//! begin: pin a snapshot    read: there, then noted in the read set    write: into a batch, and
//!                                                                     a memtable of its own
//! commit:  validate, beside all others
//!          commit lock:  others were numbered meanwhile? wait until these are visible, and
//!                        validate against them alone
//!                        number the batch, append it to the log
//!          insert, publish, sync: as any write
//! ```
//!
//! Threads: any.

use std::sync::Arc;

use lsm_log::error::{Error, ErrorKind, Result};

use super::conflict::Validation;
use super::keyspace::{Keyspace, Snapshot};
use super::open_db::OpenDb;
use super::open_transaction::OpenTransaction;
use super::read::ReadPoint;
use super::reads::readable;
use super::tree::Tree;
use super::write::Precondition;
use crate::batch::Savepoint;
use crate::key::{Kind, SeqNo};
use crate::options::Durability;

/// Reads at one point in the write order and writes that take effect together, at the
/// [commit](Self::commit) and only if nobody has changed meanwhile what was read or is written:
/// transactions are serializable.
///
/// Reads see the state of the moment it [began](crate::Db::transaction), and its own writes. What was
/// read counts whether it was there or not, and of a range as far as it was walked over, with the
/// gaps. Reads like the default keyspace; [`keyspace`](Self::keyspace) gives the others. A
/// transaction holds no lock while it is open and keeps nobody waiting; it keeps old versions, as a
/// [`Snapshot`] does, until its last handle is dropped. One that is dropped has changed nothing.
///
/// [`Db::transact`](crate::Db::transact) runs a transaction again as long as others are faster.
///
/// ```
/// # fn main() -> lsm_core::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = lsm_core::Db::open(dir.path())?;
/// use lsm_core::ErrorKind;
///
/// db.put("seats", "1")?;
/// let (ann, bob) = (db.transaction(), db.transaction());
/// for (tx, name) in [(&ann, "ann"), (&bob, "bob")] {
///     assert_eq!(tx.get("seats")?.as_deref(), Some(&b"1"[..]));
///     tx.put("seats", "0")?;
///     tx.put(format!("seat/{name}"), "")?;
/// }
/// ann.commit()?;
/// assert_eq!(bob.commit().unwrap_err().kind(), ErrorKind::Conflict);
/// assert_eq!(db.prefix("seat/").count(), 1);
/// # db.close()
/// # }
/// ```
#[derive(Debug)]
pub struct Transaction {
    tree: Arc<Tree>,
    snapshot: Snapshot,
    open: Arc<OpenTransaction>,
}

/// A point in a transaction to which its writes can be rolled back.
#[derive(Clone, Copy, Debug)]
pub struct TransactionSavepoint {
    /// The address of the one that it is of.
    transaction: usize,
    writes: Savepoint,
}

impl Transaction {
    pub(super) fn begin(shared: Arc<OpenDb>, tree: &Arc<Tree>) -> Self {
        let snapshot = Snapshot::new(shared, Arc::clone(tree));
        Self { tree: Arc::clone(tree), snapshot, open: Arc::default() }
    }

    /// The point in the write order that it reads at.
    pub fn sequence(&self) -> SeqNo {
        self.snapshot.sequence()
    }

    /// Another keyspace in the same transaction.
    ///
    /// # Errors
    ///
    /// `Invalid` if the keyspace is of another database.
    pub fn keyspace(&self, keyspace: &Keyspace) -> Result<Self> {
        let snapshot = self.snapshot.keyspace(keyspace)?;
        Ok(Self { tree: Arc::clone(keyspace.tree()), snapshot, open: Arc::clone(&self.open) })
    }

    /// Sets `key` to `value` when the transaction is committed; its own reads see it from here on.
    ///
    /// # Errors
    ///
    /// `Invalid` for a key or value over its limit, for more than
    /// [`BATCH_BYTES_MAX`](crate::BATCH_BYTES_MAX) bytes of writes, after the end of the transaction,
    /// and once the keyspace was dropped.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.open.write(&self.tree, Kind::Put, key.as_ref(), value.as_ref())
    }

    /// Removes `key` when the transaction is committed; fine if it is not there. Errors as for
    /// [`put`](Self::put).
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.open.write(&self.tree, Kind::Delete, key.as_ref(), &[])
    }

    /// A point to come back to with [`rollback_to`](Self::rollback_to). Costs nothing.
    pub fn savepoint(&self) -> TransactionSavepoint {
        TransactionSavepoint { transaction: self.address(), writes: self.open.savepoint() }
    }

    /// Takes back the writes since `savepoint`, in all keyspaces; what was read stays read. Takes as
    /// long as it took to make the writes before it.
    ///
    /// # Errors
    ///
    /// `Invalid` for a savepoint of another transaction or one that was rolled back over, and after
    /// the end of the transaction.
    pub fn rollback_to(&self, savepoint: TransactionSavepoint) -> Result<()> {
        let is_ours = savepoint.transaction == self.address();
        if !is_ours || !self.open.roll_back(savepoint.writes)? {
            return Err(Error::invalid(
                "the savepoint is none of what the transaction has written",
            ));
        }
        Ok(())
    }

    /// Ends the transaction; nothing of it takes effect. Its handles refuse further calls.
    pub fn rollback(&self) {
        // If it has ended before, that is as good.
        let _ = self.open.end();
    }

    /// Makes all writes take effect, with the database's default durability, or none. Ends the
    /// transaction either way; its handles, iterators and cursors refuse further calls. Returns the
    /// sequence number of its last write; without writes, that of its snapshot.
    ///
    /// # Errors
    ///
    /// `Conflict`, with the key, if anything that was read or is written has changed since the
    /// transaction began: run it again. A transaction without writes has none. `Invalid` if it has
    /// ended before, or a keyspace that it has read or written was dropped; otherwise as for
    /// [`Db::write`](crate::Db::write).
    pub fn commit(&self) -> Result<SeqNo> {
        self.commit_with(self.snapshot.engine().options.durability)
    }

    /// [`commit`](Self::commit) with a durability of its own.
    pub fn commit_with(&self, durability: Durability) -> Result<SeqNo> {
        let (done, engine, begun) = (self.open.end()?, self.snapshot.engine(), self.sequence());
        if done.writes.is_empty() {
            return Ok(begun);
        }
        let unchanged =
            Unchanged { validation: Validation { engine, done: &done }, checked: begun };
        let committed = engine.write_if(&done.writes, durability, unchanged);
        match &committed {
            Ok(_) => engine.metrics.count_commit(false),
            Err(error) if error.kind() == ErrorKind::Conflict => engine.metrics.count_commit(true),
            Err(_) => {}
        }
        committed
    }

    /// Tells it from every other that lives.
    fn address(&self) -> usize {
        Arc::as_ptr(&self.open).addr()
    }

    fn read_point(&self) -> ReadPoint<'_> {
        ReadPoint { transaction: Some(&self.open), ..self.snapshot.point_in(&self.tree) }
    }
}

readable!(Transaction);

/// That nothing was changed since the transaction began.
struct Unchanged<'a> {
    validation: Validation<'a>,
    /// Up to here that is known.
    checked: SeqNo,
}

impl Precondition for Unchanged<'_> {
    fn prepare(&mut self) -> Result<()> {
        // Loaded before the super-versions are: whatever is visible now is in them.
        let visible = self.validation.engine.published.get();
        self.validation.check(self.checked)?;
        self.checked = visible;
        Ok(())
    }

    fn check(&self, last: SeqNo) -> Result<()> {
        if last == self.checked {
            return Ok(());
        }
        self.validation.engine.published.wait_for(last);
        self.validation.check(self.checked)
    }
}

#[cfg(test)]
#[path = "transaction_test.rs"]
mod tests;
