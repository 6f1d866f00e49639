//! What a transaction has done so far, as its handles and cursors share it: its own writes, and what it
//! has read.
//!
//! Own writes lie in memtables under numbers that no stored version has ([`OWN_SEQ_MIN`]), so that a
//! cursor merges them as it merges any other part.
//!
//! Threads: any; the lock is a leaf, held for moves and never while something stored is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use lsm_log::error::{Error, Result};
use parking_lot::{Mutex, MutexGuard};

use super::read_set::{ReadSet, Visit};
use super::tree::Tree;
use crate::batch::{Savepoint, WriteBatch};
use crate::key::{KeyHash, KeyRange, KeyspaceId, Kind, OWN_SEQ_MIN, SeqNo};
use crate::memtable::{Insert, Memtable};
use crate::value::Value;

/// Filters of the memtables of own writes are made for so many bytes at first, and grow.
const OWN_BYTES_EXPECTED: usize = 64 << 10;

/// A transaction until it ends.
#[derive(Debug, Default)]
pub(crate) struct OpenTransaction(Mutex<TransactionState>);

#[derive(Debug, Default)]
struct TransactionState {
    /// It was committed, or rolled back.
    ended: bool,
    done: TransactionEffects,
    /// The writes by key.
    own: BTreeMap<KeyspaceId, Arc<Memtable>>,
}

/// What a transaction wants to do, and on what that rests.
#[derive(Debug, Default)]
pub(super) struct TransactionEffects {
    pub(super) writes: WriteBatch,
    pub(super) reads: ReadSet,
    /// All keyspaces that were read or written.
    pub(super) trees: BTreeMap<KeyspaceId, Arc<Tree>>,
}

/// What a cursor of a transaction sees beside what is stored.
#[derive(Clone, Debug)]
pub(super) struct TransactionView {
    transaction: Arc<OpenTransaction>,
    keyspace: KeyspaceId,
    /// The own writes of the keyspace, and the last of them when the cursor was made.
    pub(super) own: Option<(Arc<Memtable>, SeqNo)>,
}

/// Notes what one cursor reads.
#[derive(Debug)]
pub(super) struct ReadTracker {
    transaction: Arc<OpenTransaction>,
    keyspace: KeyspaceId,
    /// Which of the ranges that were read goes on.
    open: Option<usize>,
}

impl OpenTransaction {
    fn live(&self) -> Result<MutexGuard<'_, TransactionState>> {
        let state = self.0.lock();
        if state.ended {
            return Err(Error::invalid("the transaction has ended"));
        }
        Ok(state)
    }

    /// Ends it: what it was to do.
    pub(super) fn end(&self) -> Result<TransactionEffects> {
        let ended = TransactionState { ended: true, ..TransactionState::default() };
        Ok(std::mem::replace(&mut *self.live()?, ended).done)
    }

    pub(super) fn write(
        &self,
        tree: &Arc<Tree>,
        kind: Kind,
        key: &[u8],
        value: &[u8],
    ) -> Result<()> {
        tree.check_not_dropped()?;
        let mut state = self.live()?;
        state.done.writes.try_push(kind, tree.id, key, value)?;
        let seq = last_own(&state.done.writes);
        let own = state.own.entry(tree.id).or_insert_with(own_memtable);
        own.insert(std::iter::once(Insert { seq, kind, key, value }));
        state.touch(tree);
        Ok(())
    }

    /// What the own writes say of a key; if they say nothing, notes that it is read.
    pub(super) fn find_own(&self, tree: &Arc<Tree>, key: &[u8]) -> Result<Option<Option<Value>>> {
        let mut state = self.live()?;
        let last = last_own(&state.done.writes);
        let own = state.own.get(&tree.id);
        if let Some((tag, value)) = own.and_then(|own| own.get(key, KeyHash::of(key), last)) {
            return Ok(Some((tag.kind() == Some(Kind::Put)).then(|| Value::from(value))));
        }
        state.done.reads.add_key(tree.id, key)?;
        state.touch(tree);
        Ok(None)
    }

    /// What a cursor that is made now sees beside what is stored.
    pub(super) fn view(self: &Arc<Self>, tree: &Arc<Tree>) -> Result<TransactionView> {
        let mut state = self.live()?;
        state.touch(tree);
        let last = last_own(&state.done.writes);
        let own = state.own.get(&tree.id).map(|own| (Arc::clone(own), last));
        Ok(TransactionView { transaction: Arc::clone(self), keyspace: tree.id, own })
    }

    pub(super) fn savepoint(&self) -> Savepoint {
        self.0.lock().done.writes.savepoint()
    }

    /// False if none of the writes ends there.
    pub(super) fn roll_back(&self, savepoint: Savepoint) -> Result<bool> {
        let mut state = self.live()?;
        let is_there = state.done.writes.roll_back(savepoint);
        if is_there {
            let own = own_of(&state.done.writes);
            state.own = own;
        }
        Ok(is_there)
    }
}

impl TransactionState {
    fn touch(&mut self, tree: &Arc<Tree>) {
        self.done.trees.entry(tree.id).or_insert_with(|| Arc::clone(tree));
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
        let transaction = Arc::clone(&self.transaction);
        ReadTracker { transaction, keyspace: self.keyspace, open: None }
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
        let mut state = self.transaction.live()?;
        state.done.reads.add_visit(self.keyspace, visit, position, range, &mut self.open)
    }
}
