//! Which nodes were sent a snapshot and have yet to catch up from there: the log behind it is
//! kept for them. Otherwise a node that takes longer to receive and check a snapshot than the log
//! is kept would be sent one after the other for ever. Pure.

use std::collections::BTreeMap;

/// Looks at which a node may be silent: while it switches to the snapshot it answers nothing.
const SILENT_LOOKS_MAX: u32 = 30;

#[derive(Debug, Default)]
pub(super) struct CatchingUp {
    nodes: BTreeMap<u64, SnapshotReceiver>,
    /// What the disk has to spare for them.
    pub(super) spare_bytes: u64,
}

#[derive(Debug)]
struct SnapshotReceiver {
    /// What the snapshot stands for.
    snapshot: u64,
    silent_looks: u32,
}

/// What is known of a member at a look.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerProgress {
    /// It holds the log through this index.
    pub(super) matched: u64,
    pub(super) active: bool,
}

impl CatchingUp {
    /// A node is sent a snapshot.
    pub(super) fn sent(&mut self, node: u64, snapshot: u64) {
        self.nodes.insert(node, SnapshotReceiver { snapshot, silent_looks: 0 });
    }

    /// Nobody is sent anything by a node that does not lead.
    pub(super) fn clear(&mut self) {
        self.nodes.clear();
    }

    /// Lets go of those that are no members, silent for long, or hold the log through `near`, as
    /// far as it is cut at most without them. Returns through where it may be cut for the rest.
    pub(super) fn look(
        &mut self,
        near: u64,
        seen: impl Fn(u64) -> Option<PeerProgress>,
    ) -> Option<u64> {
        let mut needed = None;
        self.nodes.retain(|&node, behind| {
            let Some(PeerProgress { matched, active }) = seen(node) else { return false };
            behind.silent_looks = if active { 0 } else { behind.silent_looks + 1 };
            let stays =
                behind.silent_looks <= SILENT_LOOKS_MAX && matched < near.max(behind.snapshot);
            if stays {
                let has = matched.max(behind.snapshot);
                needed = Some(needed.map_or(has, |needed: u64| needed.min(has)));
            }
            stays
        });
        needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIVE: PeerProgress = PeerProgress { matched: 0, active: true };

    #[test]
    fn the_log_is_kept_from_the_snapshot_on_until_the_node_is_near_its_end() {
        let mut nodes = CatchingUp::default();
        nodes.sent(2, 100);
        assert_eq!(nodes.look(50, |_| Some(ACTIVE)), Some(100));
        assert_eq!(nodes.look(500, |_| Some(ACTIVE)), Some(100), "it is still receiving");
        let seen = |matched| move |_| Some(PeerProgress { matched, ..ACTIVE });
        assert_eq!(nodes.look(500, seen(100)), Some(100));
        assert_eq!(nodes.look(500, seen(300)), Some(300));
        nodes.sent(3, 200);
        assert_eq!(nodes.look(500, seen(499)), Some(499));
        assert_eq!(nodes.look(500, seen(500)), None);
        assert_eq!(nodes.look(900, seen(500)), None, "like any other node from then on");
    }

    #[test]
    fn nothing_is_kept_for_nodes_that_are_gone() {
        let mut nodes = CatchingUp::default();
        nodes.sent(2, 100);
        nodes.sent(3, 90);
        let silent = |node| (node == 2).then_some(PeerProgress { active: false, ..ACTIVE });
        for _ in 0..SILENT_LOOKS_MAX {
            assert_eq!(nodes.look(500, silent), Some(100));
        }
        assert_eq!(nodes.look(500, silent), None);
        nodes.sent(2, 100);
        nodes.clear();
        assert_eq!(nodes.look(500, |_| Some(ACTIVE)), None);
    }
}
