//! Which nodes a leader has heard from lately. Pure.
//!
//! raft knows who was active since it last looked for its quorum, and forgets that at each look:
//! until the next heartbeat is answered, nobody would have been. So it is recorded before.

use std::collections::BTreeMap;

use raft::Progress;

/// The nodes that answered, and at which tick last; those for whom that is too long ago are left
/// out.
#[derive(Debug, Default)]
pub(super) struct LastContact {
    at: BTreeMap<u64, u64>,
}

impl LastContact {
    /// At this tick, raft has heard from `nodes`. Whoever it had heard from no later than
    /// `ticks_max` ago still counts.
    pub(super) fn record(&mut self, tick: u64, ticks_max: u64, nodes: impl Iterator<Item = u64>) {
        self.at.extend(nodes.map(|node| (node, tick)));
        self.at.retain(|_, at| tick - *at <= ticks_max);
    }

    /// Nobody has answered: this node does not lead.
    pub(super) fn clear(&mut self) {
        self.at.clear();
    }

    /// Whether a node has answered lately, as far as raft knows or it is recorded here.
    pub(super) fn is_active(&self, node: u64, progress: &Progress) -> bool {
        progress.recent_active || self.is_recent(node)
    }

    fn is_recent(&self, node: u64) -> bool {
        self.at.contains_key(&node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answered_counts_for_a_while() {
        let mut contact = LastContact::default();
        contact.record(7, 3, [1, 2].into_iter());
        contact.record(8, 3, [2].into_iter());
        contact.record(10, 3, [].into_iter());
        assert!(contact.is_recent(1) && contact.is_recent(2) && !contact.is_recent(3));
        contact.record(11, 3, [].into_iter());
        assert!(!contact.is_recent(1) && contact.is_recent(2));
        contact.clear();
        assert!(!contact.is_recent(2));
    }
}
