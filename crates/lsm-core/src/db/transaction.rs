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
//! Own writes lie in memtables under numbers that no stored version has
//! ([`OWN_SEQ_MIN`]), so that a cursor merges them as it merges any other part.
//!
//! Threads: any; the lock is a leaf, held for moves and never while something is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use lsm_log::error::{Error, Result};
use parking_lot::{Mutex, MutexGuard};

use super::conflict::Validation;
use super::keyspace::{Keyspace, Snapshot};
use super::open_db::OpenDb;
use super::read::ReadPoint;
use super::read_set::ReadSet;
pub(super) use super::read_set::Visit;
use super::reads::readable;
use super::tree::Tree;
use super::write::Precondition;
use crate::batch::{Savepoint, WriteBatch};
use crate::key::{KeyHash, KeyRange, KeyspaceId, Kind, OWN_SEQ_MIN, SeqNo};
use crate::memtable::{Insert, Memtable};
use crate::options::Durability;
use crate::value::Value;

/// The keyspaces that a transaction has touched.
pub(super) type Trees = BTreeMap<KeyspaceId, Arc<Tree>>;

/// Filters of the memtables of own writes are made for so many bytes at first, and grow.
const OWN_BYTES_EXPECTED: usize = 64 << 10;

/// Reads at one point in the write order and writes that take effect together, at the
/// [commit](Self::commit) and only if nobody has changed meanwhile what was read or is written:
/// transactions are serializable.
///
/// Reads see the state of the moment it [began](crate::Db::transaction), and its own writes. What was
/// read counts whether it was there or not, and of a range as far as it was walked over, with the
/// gaps. Reads like the default keyspace; [`keyspace`](Self::keyspace) gives the others. A
/// transaction holds no lock while it is open and keeps nobody waiting; it keeps old versions, as a
/// [`Snapshot`] does, until it ends. One that is dropped has changed nothing.
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
    shared: Arc<TransactionShared>,
}

/// A point in a transaction to which its writes can be rolled back.
#[derive(Clone, Copy, Debug)]
pub struct TransactionSavepoint {
    /// Of which one.
    transaction: usize,
    writes: Savepoint,
}

/// A transaction as its handles and cursors share it.
#[derive(Debug)]
pub(crate) struct TransactionShared {
    snapshot: Snapshot,
    state: Mutex<TransactionState>,
}

#[derive(Debug, Default)]
struct TransactionState {
    /// It was committed, or rolled back.
    ended: bool,
    writes: WriteBatch,
    /// The same by key.
    own: BTreeMap<KeyspaceId, Arc<Memtable>>,
    reads: ReadSet,
    trees: Trees,
}

/// What a cursor of a transaction sees beside what is stored.
#[derive(Clone, Debug)]
pub(super) struct TransactionView {
    shared: Arc<TransactionShared>,
    keyspace: KeyspaceId,
    /// The own writes of the keyspace, and the last of them when the cursor was made.
    pub(super) own: Option<(Arc<Memtable>, SeqNo)>,
}

/// Notes what one cursor reads.
#[derive(Debug)]
pub(super) struct ReadTracker {
    shared: Arc<TransactionShared>,
    keyspace: KeyspaceId,
    /// Which of the ranges that were read goes on.
    open: Option<usize>,
}

impl Transaction {
    pub(super) fn begin(shared: Arc<OpenDb>, tree: &Arc<Tree>) -> Self {
        let snapshot = Snapshot::new(shared, Arc::clone(tree));
        let shared = TransactionShared { snapshot, state: Mutex::default() };
        Self { tree: Arc::clone(tree), shared: Arc::new(shared) }
    }

    /// The point in the write order that it reads at.
    pub fn sequence(&self) -> SeqNo {
        self.shared.snapshot.sequence()
    }

    /// Another keyspace in the same transaction.
    ///
    /// # Errors
    ///
    /// `Invalid` if the keyspace is of another database.
    pub fn keyspace(&self, keyspace: &Keyspace) -> Result<Self> {
        // The snapshot says whether it is.
        self.shared.snapshot.keyspace(keyspace)?;
        Ok(Self { tree: Arc::clone(keyspace.tree()), shared: Arc::clone(&self.shared) })
    }

    /// Sets `key` to `value` when the transaction is committed; its own reads see it from here on.
    ///
    /// # Errors
    ///
    /// `Invalid` for a key or value over its limit, for more than
    /// [`BATCH_BYTES_MAX`](crate::BATCH_BYTES_MAX) bytes of writes, after the end of the transaction,
    /// and once the keyspace was dropped.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.shared.write(&self.tree, Kind::Put, key.as_ref(), value.as_ref())
    }

    /// Removes `key` when the transaction is committed; fine if it is not there. Errors as for
    /// [`put`](Self::put).
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.shared.write(&self.tree, Kind::Delete, key.as_ref(), &[])
    }

    /// A point to come back to with [`rollback_to`](Self::rollback_to). Costs nothing.
    pub fn savepoint(&self) -> TransactionSavepoint {
        let writes = self.shared.state.lock().writes.savepoint();
        TransactionSavepoint { transaction: self.shared.address(), writes }
    }

    /// Takes back the writes since `savepoint`, in all keyspaces; what was read stays read. Takes as
    /// long as it took to make the writes before it.
    ///
    /// # Errors
    ///
    /// `Invalid` for a savepoint of another transaction or one that was rolled back over, and after
    /// the end of the transaction.
    pub fn rollback_to(&self, savepoint: TransactionSavepoint) -> Result<()> {
        let mut state = self.shared.live()?;
        let is_ours = savepoint.transaction == self.shared.address();
        if !is_ours || !state.writes.roll_back(savepoint.writes) {
            return Err(Error::invalid(
                "the savepoint is none of what the transaction has written",
            ));
        }
        let own = own_of(&state.writes);
        state.own = own;
        Ok(())
    }

    /// Ends the transaction; nothing of it takes effect. Its handles refuse further calls.
    pub fn rollback(&self) {
        let mut state = self.shared.state.lock();
        *state = TransactionState { ended: true, ..TransactionState::default() };
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
        self.commit_with(self.shared.snapshot.engine().options.durability)
    }

    /// [`commit`](Self::commit) with a durability of its own.
    pub fn commit_with(&self, durability: Durability) -> Result<SeqNo> {
        let ended = TransactionState { ended: true, ..TransactionState::default() };
        let state = std::mem::replace(&mut *self.shared.live()?, ended);
        let (engine, begun) = (self.shared.snapshot.engine(), self.sequence());
        if state.writes.is_empty() {
            return Ok(begun);
        }
        let (trees, reads, writes) = (&state.trees, &state.reads, &state.writes);
        let validation = Validation { engine, trees, reads, writes };
        engine.write_if(writes, durability, Unchanged { validation, checked: begun })
    }

    fn read_point(&self) -> ReadPoint<'_> {
        ReadPoint { transaction: Some(&self.shared), ..self.shared.snapshot.point_in(&self.tree) }
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

impl TransactionShared {
    /// Tells it from every other that lives.
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn live(&self) -> Result<MutexGuard<'_, TransactionState>> {
        let state = self.state.lock();
        if state.ended {
            return Err(Error::invalid("the transaction has ended"));
        }
        Ok(state)
    }

    fn write(&self, tree: &Arc<Tree>, kind: Kind, key: &[u8], value: &[u8]) -> Result<()> {
        tree.check_not_dropped()?;
        let mut state = self.live()?;
        state.writes.try_push(kind, tree.id, key, value)?;
        let seq = last_own(&state.writes);
        let own = state.own.entry(tree.id).or_insert_with(own_memtable);
        own.insert(std::iter::once(Insert { seq, kind, key, value }));
        state.touch(tree);
        Ok(())
    }

    /// Looks up a key: among the own writes, then at `point`.
    pub(super) fn get(&self, point: &ReadPoint<'_>, key: &[u8]) -> Result<Option<Value>> {
        {
            let mut state = self.live()?;
            let last = last_own(&state.writes);
            let own = state.own.get(&point.tree.id);
            if let Some((tag, value)) = own.and_then(|own| own.get(key, KeyHash::of(key), last)) {
                return Ok((tag.kind() == Some(Kind::Put)).then(|| Value::from(value)));
            }
            state.reads.add_key(point.tree.id, key)?;
            state.touch(point.tree);
        }
        point.get_stored(key)
    }

    /// What a cursor that is made now sees beside what is stored.
    pub(super) fn view(self: &Arc<Self>, tree: &Arc<Tree>) -> Result<TransactionView> {
        let mut state = self.live()?;
        state.touch(tree);
        let last = last_own(&state.writes);
        let own = state.own.get(&tree.id).map(|own| (Arc::clone(own), last));
        Ok(TransactionView { shared: Arc::clone(self), keyspace: tree.id, own })
    }
}

impl TransactionState {
    fn touch(&mut self, tree: &Arc<Tree>) {
        self.trees.entry(tree.id).or_insert_with(|| Arc::clone(tree));
    }
}

/// The number of the last own write.
fn last_own(writes: &WriteBatch) -> SeqNo {
    SeqNo(OWN_SEQ_MIN.0 + writes.len() as u64)
}

fn own_memtable() -> Arc<Memtable> {
    // What it takes is bounded by what a batch may hold, and not the business of writers.
    Arc::new(Memtable::new(OWN_BYTES_EXPECTED, &Arc::default()))
}

fn own_of(writes: &WriteBatch) -> BTreeMap<KeyspaceId, Arc<Memtable>> {
    let mut own = BTreeMap::new();
    for (write, seq) in writes.operations().zip(OWN_SEQ_MIN.0 + 1..) {
        let memtable: &mut Arc<Memtable> = own.entry(write.keyspace).or_insert_with(own_memtable);
        let (kind, key, value) = (write.kind, write.key, write.value);
        memtable.insert(std::iter::once(Insert { seq: SeqNo(seq), kind, key, value }));
    }
    own
}

impl TransactionView {
    pub(super) fn tracker(&self) -> ReadTracker {
        ReadTracker { shared: Arc::clone(&self.shared), keyspace: self.keyspace, open: None }
    }
}

impl ReadTracker {
    /// The cursor over `range` has moved to `position`.
    ///
    /// # Errors
    ///
    /// `Invalid` if the transaction has ended, or read too much.
    pub(super) fn tell(
        &mut self,
        visit: Visit<'_>,
        position: Option<&[u8]>,
        range: &KeyRange,
    ) -> Result<()> {
        let mut state = self.shared.live()?;
        state.reads.add_visit(self.keyspace, visit, position, range, &mut self.open)
    }
}
