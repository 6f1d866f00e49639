//! What a node tells of itself, read from raft.

use raft::{ProgressState, Raft};

use super::io::{NodeStatus, NodeStorage, PeerStatus};
use super::last_contact::LastContact;

pub(super) fn leader<S: NodeStorage>(raft: &Raft<S>) -> Option<u64> {
    Some(raft.leader_id).filter(|&id| id != raft::INVALID_ID)
}

pub(super) fn read<S: NodeStorage>(
    raft: &Raft<S>,
    contact: &LastContact,
    flushed: u64,
) -> NodeStatus {
    let log = &raft.raft_log;
    let leader = leader(raft);
    NodeStatus {
        node: raft.id,
        leader,
        term: raft.term,
        first: log.first_index(),
        last: log.last_index(),
        committed: log.committed,
        applied: log.applied,
        flushed: flushed.max(log.first_index() - 1),
        peers: if leader == Some(raft.id) { peers(raft, contact) } else { Vec::new() },
    }
}

fn peers<S: NodeStorage>(raft: &Raft<S>, contact: &LastContact) -> Vec<PeerStatus> {
    let others = raft.prs().iter().filter(|&(&id, _)| id != raft.id);
    let mut peers: Vec<_> = others
        .map(|(&node, progress)| PeerStatus {
            node,
            matched: progress.matched,
            active: contact.is_active(node, progress),
            snapshot: progress.state == ProgressState::Snapshot,
        })
        .collect();
    peers.sort_by_key(|peer| peer.node);
    peers
}
