//! Whether two nodes talk to each other: the same decision at both ends of a connection. Pure.
//!
//! Nothing of raft passes between two nodes unless each has let the other in. Whoever is
//! refused is told why; that alone stops nobody (see `testimony`).

use lsm_raft::{Identity, Members, Timing};

use super::headers::{PeerHeaders, escape, hex};
use super::refused::{Cause, Refused};

/// Whether whoever said `headers` is let in by node `own`, which knows `members`.
///
/// # Errors
///
/// Why not.
pub(super) fn check(
    headers: &PeerHeaders,
    own: &Identity,
    members: &Members,
) -> Result<(), Refused> {
    check_place(headers, own)?;
    check_origin(headers, own, members)?;
    check_ends(headers, own, members)
}

/// Whether the answer to a greeting is of the node that was greeted, `asked`, and lets it in as
/// [`check`] does.
///
/// # Errors
///
/// Why not.
pub(super) fn check_answer(
    headers: &PeerHeaders,
    asked: u64,
    own: &Identity,
    members: &Members,
) -> Result<(), Refused> {
    if headers.from != asked {
        let from = headers.from;
        let sentence =
            format!("node {asked} was called, but node {from} answered: look at its address");
        return Err(Refused { cause: Cause::Elsewhere, sentence });
    }
    check(headers, own, members)
}

/// The two ends are nodes of one group, as it is called, and the right one was reached.
fn check_place(headers: &PeerHeaders, own: &Identity) -> Result<(), Refused> {
    let (from, node) = (headers.from, own.node);
    let refuse = |sentence: String| Err(Refused { cause: Cause::Elsewhere, sentence });
    if headers.cluster != escape(&own.cluster) {
        return refuse(format!(
            "node {from} belongs to cluster {}, but called node {node} of cluster {}: look at \
             the addresses of both",
            headers.cluster,
            escape(&own.cluster)
        ));
    }
    if headers.group != own.group {
        return refuse(format!(
            "node {from} belongs to group {}, but called node {node} of group {}",
            headers.group, own.group
        ));
    }
    if headers.to != node {
        return refuse(format!(
            "node {from} called node {}, but reached node {node}: look at the address of node {}",
            headers.to, headers.to
        ));
    }
    if from == node || from == 0 {
        return refuse(format!(
            "a node that says it is node {from} called node {node}: each node needs an id of \
             its own"
        ));
    }
    Ok(())
}

/// The two are of the same cluster among all that have its name. Two that know its id go by that;
/// before, by the founders that they were told.
fn check_origin(headers: &PeerHeaders, own: &Identity, members: &Members) -> Result<(), Refused> {
    let (from, node, name) = (headers.from, own.node, &headers.cluster);
    let (theirs, ours) = (headers.origin, members.origin);
    match (theirs.cluster_id, ours.cluster_id) {
        (Some(theirs), Some(ours)) if theirs != ours => {
            let sentence = format!(
                "nodes {from} and {node} are of two clusters that are both called {name}, with the \
                 ids {} and {}: look at the addresses of both, and for the folder of an old \
                 cluster",
                hex(theirs),
                hex(ours)
            );
            return Err(Refused { cause: Cause::ClusterId, sentence });
        }
        (Some(_), Some(_)) => return Ok(()),
        _ => {}
    }
    match (theirs.founders, ours.founders) {
        (Some(theirs), Some(ours)) if theirs != ours => {
            let sentence = format!(
                "nodes {from} and {node} of cluster {name} were told different founders (digests \
                 {} and {}): give both the same `members`, and the one that had the wrong ones an \
                 empty folder",
                hex(theirs),
                hex(ours)
            );
            Err(Refused { cause: Cause::Founders, sentence })
        }
        _ => Ok(()),
    }
}

/// Both are who they say, as far as the group has agreed on that.
fn check_ends(headers: &PeerHeaders, own: &Identity, members: &Members) -> Result<(), Refused> {
    let (from, name) = (headers.from, &headers.cluster);
    let refuse = |cause, sentence| Err(Refused { cause, sentence });
    if headers.to_incarnation.is_some_and(|incarnation| incarnation != own.incarnation) {
        return refuse(Cause::Receiver, lost_disk(own.node));
    }
    if members.removed.contains(&from) {
        return refuse(
            Cause::Removed,
            format!("node {from} was removed from cluster {name}; its folder can be deleted"),
        );
    }
    match members.nodes.get(&from) {
        Some(member) if member.incarnation.is_some_and(|known| known != headers.incarnation) => {
            refuse(Cause::Identity, lost_disk(from))
        }
        Some(_) => Ok(()),
        // One that joins knows nobody, and one that lags not yet all: who names the cluster's id
        // learned it from the cluster.
        None if members.is_unknown() || headers.origin.cluster_id.is_some() => Ok(()),
        None => refuse(
            Cause::Stranger,
            format!("node {from} is no member of cluster {name}: add it as a learner first"),
        ),
    }
}

/// What to tell an operator about a node whose folder is not the one that is known.
pub(super) fn lost_disk(node: u64) -> String {
    format!(
        "node {node} is known with another data folder. A node that lost its disk must come back \
         under a new id: add a learner, then remove node {node} from the cluster. If two processes \
         run as node {node}, stop the one that was started last"
    )
}

/// What is wrong with the times of two nodes that are let in, if anything: the followers of such
/// a leader would campaign although it lives.
pub(super) fn clash(own: u64, ours: &Timing, from: u64, theirs: &Timing) -> Option<String> {
    let (short, election, long, heartbeat) = if theirs.election <= 2 * ours.heartbeat {
        (from, theirs.election, own, ours.heartbeat)
    } else if ours.election <= theirs.heartbeat.saturating_mul(2) {
        (own, ours.election, from, theirs.heartbeat)
    } else {
        return None;
    };
    Some(format!(
        "the election timeout of node {short}, {election:?}, is not longer than two heartbeats of \
         node {long}, {heartbeat:?} each: give all nodes the same times"
    ))
}

#[cfg(test)]
#[path = "handshake_test.rs"]
mod tests;
