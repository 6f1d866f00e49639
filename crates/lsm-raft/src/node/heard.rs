//! Which nodes answered a leader lately. Pure.
//!
//! raft knows who answered since it last looked for its quorum, and forgets that at each look:
//! until the next heartbeat is answered, nobody would have. So it is noted before.

use std::collections::BTreeMap;

/// The nodes that answered, and when; those for whom that is too long ago are left out.
#[derive(Debug, Default)]
pub(super) struct Heard {
    at: BTreeMap<u64, u64>,
}

impl Heard {
    /// At this tick, raft has heard of `nodes`. Whoever it had heard of no later than `ticks_max`
    /// ago still counts.
    pub(super) fn note(&mut self, tick: u64, ticks_max: u64, nodes: impl Iterator<Item = u64>) {
        self.at.extend(nodes.map(|node| (node, tick)));
        self.at.retain(|_, at| tick - *at <= ticks_max);
    }

    /// Nobody has answered: this node does not lead.
    pub(super) fn clear(&mut self) {
        self.at.clear();
    }

    pub(super) fn has(&self, node: u64) -> bool {
        self.at.contains_key(&node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answered_counts_for_a_while() {
        let mut heard = Heard::default();
        heard.note(7, 3, [1, 2].into_iter());
        heard.note(8, 3, [2].into_iter());
        heard.note(10, 3, [].into_iter());
        assert!(heard.has(1) && heard.has(2) && !heard.has(3));
        heard.note(11, 3, [].into_iter());
        assert!(!heard.has(1) && heard.has(2));
        heard.clear();
        assert!(!heard.has(2));
    }
}
