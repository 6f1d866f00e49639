//! What must hold whatever happens, checked after each step.

use std::collections::BTreeMap;

use lsm_raft::NodeStatus;
use lsm_raft::raft::eraftpb::Entry;

/// Sees all nodes at once, and remembers.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    leaders: BTreeMap<u64, u64>,
    /// Term and content of each committed entry, by index.
    committed: BTreeMap<u64, (u64, u64)>,
    /// The state after an index.
    states: BTreeMap<u64, u128>,
}

impl Oracle {
    /// One leader a term.
    pub(crate) fn see_status(&mut self, status: &NodeStatus) {
        if status.leads() {
            let leader = *self.leaders.entry(status.term).or_insert(status.node);
            assert_eq!(leader, status.node, "two leaders in term {}", status.term);
        }
    }

    /// Logs match: what one node holds as committed at an index, every node does, for ever.
    pub(crate) fn see_committed(&mut self, node: u64, entries: &[Entry]) {
        for entry in entries {
            let seen = (entry.term, content(entry));
            let known = *self.committed.entry(entry.index).or_insert(seen);
            assert_eq!(known, seen, "node {node} has another entry committed at {}", entry.index);
        }
    }

    /// States are equal at equal index.
    pub(crate) fn see_state(&mut self, node: u64, index: u64, hash: u128) {
        let known = *self.states.entry(index).or_insert(hash);
        assert_eq!(known, hash, "node {node} has another state at {index}");
    }

    pub(crate) fn terms(&self) -> u64 {
        self.leaders.len() as u64
    }
}

fn content(entry: &Entry) -> u64 {
    let mut bytes = vec![entry.get_entry_type() as u8];
    bytes.extend_from_slice(&entry.data);
    bytes.extend_from_slice(&entry.context);
    xxhash_rust::xxh3::xxh3_64(&bytes)
}
