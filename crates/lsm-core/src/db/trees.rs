//! The keyspaces of an open database, by number and by name.
//!
//! Threads: any. The lock is a leaf, held for a look or a change and never over I/O.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;

use super::tree::Tree;
use crate::key::KeyspaceId;

/// The keyspaces that were not dropped.
#[derive(Debug, Default)]
pub(crate) struct Trees(RwLock<Index>);

#[derive(Debug, Default)]
struct Index {
    by_id: BTreeMap<KeyspaceId, Arc<Tree>>,
    by_name: HashMap<String, KeyspaceId>,
}

impl Trees {
    #[inline]
    pub(crate) fn get(&self, id: KeyspaceId) -> Option<Arc<Tree>> {
        self.0.read().by_id.get(&id).cloned()
    }

    pub(crate) fn named(&self, name: &str) -> Option<Arc<Tree>> {
        let index = self.0.read();
        index.by_name.get(name).and_then(|id| index.by_id.get(id)).cloned()
    }

    /// All of them, in the order of their numbers. For what is seldom asked: there may be
    /// thousands.
    pub(crate) fn all(&self) -> Vec<Arc<Tree>> {
        self.0.read().by_id.values().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.read().by_id.len()
    }

    pub(crate) fn insert(&self, tree: &Arc<Tree>) {
        let mut index = self.0.write();
        index.by_name.insert(tree.name.clone(), tree.id);
        index.by_id.insert(tree.id, Arc::clone(tree));
    }

    pub(crate) fn remove(&self, tree: &Tree) {
        let mut index = self.0.write();
        index.by_name.remove(&tree.name);
        let removed = index.by_id.remove(&tree.id);
        // The last handle may be this one: what it holds goes without the lock.
        drop(index);
        drop(removed);
    }
}
