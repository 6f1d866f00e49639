//! The oracle: what a database must hold, kept the simplest way that can be right.
//!
//! Every version of every key stays, with its sequence number, so that the state at any point
//! of the write order can be read: what a snapshot sees, and what a crash may leave. The model
//! knows what was acknowledged with which durability, and judges what came back by that.
//!
//! Leaves to others: running the engine beside it ([`Runner`](super::runner::Runner)).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::options::Durability;

/// A key or value that many lists share.
pub type Blob = Arc<[u8]>;
/// Both ends of a range of keys.
pub type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// One keyspace between its creation and its drop; the same name made again is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeId(usize);

impl TreeId {
    /// The keyspace that every database has.
    pub const DEFAULT: Self = Self(0);
}

/// One write of a batch: a put, or a delete without a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where to.
    pub tree: TreeId,
    /// The key.
    pub key: Blob,
    /// The new value; `None` deletes.
    pub value: Option<Blob>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The process alone: what it handed to the system is there.
    Process,
    /// The machine: only what was synced is there for sure.
    Machine,
}

/// All that was written, in order, and what was promised about it.
#[derive(Clone, Debug)]
pub struct Model {
    trees: Vec<Tree>,
    /// Last sequence number of each batch, ascending.
    ends: Vec<u64>,
    /// Everything up to here was promised to survive the machine.
    durable: u64,
    /// Everything up to here was promised to survive the process.
    buffered: u64,
    /// The greatest number of a write that was lost.
    lost: u64,
}

/// The versions of a key, oldest first.
type Versions = Vec<(u64, Option<Blob>)>;

#[derive(Clone, Debug)]
struct Tree {
    name: String,
    dropped: bool,
    keys: BTreeMap<Blob, Versions>,
}

impl Tree {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), dropped: false, keys: BTreeMap::new() }
    }
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// An empty database: the default keyspace alone.
    pub fn new() -> Self {
        Self {
            trees: vec![Tree::new("default")],
            ends: Vec::new(),
            durable: 0,
            buffered: 0,
            lost: 0,
        }
    }

    /// The last sequence number given out.
    pub fn last(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The greatest number of a write that was lost. Once [`last`](Self::last) is beyond it,
    /// halves of a lost batch that are still in some table come to light.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Everything up to here must survive such an end.
    pub fn floor(&self, death: Death) -> u64 {
        match death {
            Death::Process => self.buffered.max(self.durable),
            Death::Machine => self.durable,
        }
    }

    /// Makes a keyspace.
    pub fn create(&mut self, name: &str) -> TreeId {
        assert!(self.find(name).is_none(), "keyspace {name} is there already");
        self.trees.push(Tree::new(name));
        TreeId(self.trees.len() - 1)
    }

    /// Drops a keyspace.
    pub fn drop(&mut self, tree: TreeId) {
        self.trees[tree.0].dropped = true;
    }

    /// The keyspace of this name, if there is one now.
    pub fn find(&self, name: &str) -> Option<TreeId> {
        self.live().find(|(_, own)| *own == name).map(|(tree, _)| tree)
    }

    /// The keyspaces there are now.
    pub fn live(&self) -> impl Iterator<Item = (TreeId, &str)> {
        let trees = self.trees.iter().enumerate().filter(|(_, tree)| !tree.dropped);
        trees.map(|(at, tree)| (TreeId(at), tree.name.as_str()))
    }

    /// Appends a batch, before it is known whether it arrived; returns its last sequence
    /// number.
    pub fn write(&mut self, changes: impl IntoIterator<Item = Change>) -> u64 {
        let mut seq = self.last();
        for change in changes {
            seq += 1;
            let keys = &mut self.trees[change.tree.0].keys;
            keys.entry(change.key).or_default().push((seq, change.value));
        }
        if seq > self.last() {
            self.ends.push(seq);
        }
        seq
    }

    /// Notes what the engine promised when it acknowledged everything up to the last batch.
    pub fn acknowledge(&mut self, durability: Durability) {
        self.acknowledge_through(self.last(), durability);
    }

    /// Notes what the engine promised when it acknowledged the batch that ends with `seq`: all
    /// before it survives as well.
    pub fn acknowledge_through(&mut self, seq: u64, durability: Durability) {
        match durability {
            Durability::None => {}
            Durability::Buffered => self.buffered = self.buffered.max(seq),
            Durability::Sync => {
                (self.durable, self.buffered) = (self.durable.max(seq), self.buffered.max(seq));
            }
        }
    }

    /// Notes that everything up to `seq` is in tables.
    pub fn flushed(&mut self, seq: u64) {
        assert!(seq <= self.last(), "flushed through {seq}, but only {} is written", self.last());
        self.durable = self.durable.max(seq);
    }

    /// The value of a key, right after `seq`.
    pub fn get(&self, tree: TreeId, key: &[u8], seq: u64) -> Option<&Blob> {
        visible(self.trees[tree.0].keys.get(key)?, seq)
    }

    /// The entries of a range, right after `seq`.
    pub fn range(&self, tree: TreeId, bounds: &Bounds, seq: u64) -> Vec<(Blob, Blob)> {
        let keys = &self.trees[tree.0].keys;
        let within = |key: &[u8]| {
            let starts = match &bounds.0 {
                Bound::Included(start) => key >= start.as_slice(),
                Bound::Excluded(start) => key > start.as_slice(),
                Bound::Unbounded => true,
            };
            let ends = match &bounds.1 {
                Bound::Included(end) => key <= end.as_slice(),
                Bound::Excluded(end) => key < end.as_slice(),
                Bound::Unbounded => true,
            };
            starts && ends
        };
        let entries = keys.iter().filter(|(key, _)| within(key));
        entries
            .filter_map(|(key, versions)| Some((key.clone(), visible(versions, seq)?.clone())))
            .collect()
    }

    /// Whether a batch ends with this number, or nothing was written and it is zero.
    pub fn is_end(&self, seq: u64) -> bool {
        seq == 0 || self.ends.binary_search(&seq).is_ok()
    }

    /// Judges what came back after the run ended: everything up to `seq`, and nothing else.
    /// From here on the model is that of the new run, for which all of it is durable.
    ///
    /// # Panics
    ///
    /// If that breaks a promise: an acknowledged batch is missing or one is cut in two.
    pub fn recover(&mut self, seq: u64, death: Death) {
        let floor = self.floor(death);
        assert!(seq >= floor, "recovered through {seq}, but {floor} was acknowledged ({death:?})");
        let ends = self.ends.partition_point(|&end| end <= seq);
        let end = ends.checked_sub(1).map_or(0, |last| self.ends[last]);
        assert_eq!(seq, end, "recovered through {seq}, inside a batch or behind the last");
        if seq < self.last() {
            self.lost = self.lost.max(self.last());
        }
        self.ends.truncate(ends);
        for tree in &mut self.trees {
            tree.keys.retain(|_, versions| {
                versions.retain(|(version, _)| *version <= seq);
                !versions.is_empty()
            });
        }
        (self.durable, self.buffered) = (seq, seq);
    }
}

fn visible(versions: &Versions, seq: u64) -> Option<&Blob> {
    let newer = versions.partition_point(|(version, _)| *version <= seq);
    versions[newer.checked_sub(1)?].1.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Change {
        let value = Some(value.as_bytes().into());
        Change { tree: TreeId::DEFAULT, key: key.as_bytes().into(), value }
    }

    #[test]
    fn every_point_of_the_write_order_can_be_read() {
        let mut model = Model::new();
        model.write([put("a", "1"), put("b", "1"), put("a", "2")]);
        let deleted = Change { value: None, ..put("a", "") };
        assert_eq!(model.write([deleted]), 4);
        let at = |seq| model.get(TreeId::DEFAULT, b"a", seq).map(|value| value.to_vec());
        let expected = [None, Some(b"1".to_vec()), Some(b"1".to_vec()), Some(b"2".to_vec()), None];
        assert_eq!([at(0), at(1), at(2), at(3), at(4)], expected);
        let all = (Bound::Unbounded, Bound::Unbounded);
        assert_eq!(model.range(TreeId::DEFAULT, &all, 4).len(), 1);
    }

    #[test]
    fn recovery_cuts_the_write_order() {
        let mut model = Model::new();
        model.write([put("a", "1"), put("b", "1")]);
        model.acknowledge(Durability::Sync);
        model.write([put("c", "1")]);
        model.recover(2, Death::Machine);
        assert_eq!((model.last(), model.lost()), (2, 3));
        assert_eq!(model.get(TreeId::DEFAULT, b"c", 9), None);
    }

    #[test]
    #[should_panic(expected = "acknowledged")]
    fn a_lost_batch_is_noticed() {
        let mut model = Model::new();
        model.write([put("a", "1")]);
        model.acknowledge(Durability::Buffered);
        model.recover(0, Death::Process);
    }

    #[test]
    #[should_panic(expected = "inside a batch")]
    fn a_torn_batch_is_noticed() {
        let mut model = Model::new();
        model.write([put("a", "1"), put("b", "1")]);
        model.recover(1, Death::Machine);
    }
}
