//! Tells the group which data folder this node lives in, and where it listens; and gives the
//! group its id.
//!
//! Until the group has agreed on it, nothing tells this node from another one that uses its id, and
//! nothing but the list of its founders tells this group from another one of its name.

use std::sync::Arc;
use std::time::Duration;

use lsm_proto::peer::IdentifyRequest;
use lsm_raft::command::Command;
use lsm_raft::{Error, Members, Replica};

use super::client::NextTry;
use super::group::Group;
use super::handshake::lost_disk;
use super::receiver;
use super::refused::Refused;
use super::transport::PeerTransport;

const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The first tries come faster: a new cluster elects its leader meanwhile.
const RETRY_INTERVAL_FIRST: Duration = Duration::from_millis(200);
const TRIES_FIRST: u32 = 15;

/// Runs until the group has agreed on its id and on this node's folder and addresses, or the
/// replica stops.
/// A node that turns out to be an impostor is told to.
pub(crate) async fn identify(
    replica: Replica,
    transport: Arc<PeerTransport>,
    peer_address: String,
    client_address: String,
) {
    let group: Arc<dyn Group> = Arc::new(replica.clone());
    tokio::select! {
        () = run(&*group, &transport, peer_address, client_address) => {}
        _ = replica.wait_stopped() => {}
    }
}

pub(super) async fn run(
    group: &dyn Group,
    transport: &PeerTransport,
    peer_address: String,
    client_address: String,
) {
    transport.set_own_address(&peer_address);
    let identity = group.identity();
    let request = IdentifyRequest {
        node: identity.node,
        incarnation: identity.incarnation,
        peer_address,
        client_address,
    };
    for attempt in 0.. {
        let members = group.members();
        let has_id = members.origin.cluster_id.is_some();
        if !has_id && group.status().leads() {
            give_id(group).await;
        }
        match standing(&members, &request) {
            Standing::Known if has_id => return,
            Standing::Refused(sentence) => {
                group.fail(Error::Refused(sentence));
                return;
            }
            // Nobody has added this node yet, or the news is still on its way.
            Standing::Known | Standing::Stranger => {}
            Standing::Unknown => {
                if let Err((reason, next)) = ask(group, transport, attempt, &request).await {
                    if next == NextTry::Stop {
                        return;
                    }
                    tracing::debug!(reason, "the group does not know this node's folder yet");
                }
            }
        }
        let is_first = attempt < TRIES_FIRST;
        let wait = if is_first { RETRY_INTERVAL_FIRST } else { RETRY_INTERVAL };
        tokio::time::sleep(wait).await;
    }
}

/// Gives the group the id that tells it from all others; it keeps the first that it gets.
async fn give_id(group: &dyn Group) {
    let command = Command::Found { cluster_id: fastrand::u128(..) };
    if let Err(refusal) = group.propose(command.to_bytes()).await {
        tracing::debug!(%refusal, "the group has no id yet");
    }
}

/// What the members, as applied here, say about this node.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Known,
    /// A member whose folder or addresses are not known, or have changed.
    Unknown,
    /// No member.
    Stranger,
    Refused(String),
}

fn standing(members: &Members, own: &IdentifyRequest) -> Standing {
    let node = own.node;
    if members.removed.contains(&node) {
        return Standing::Refused(format!(
            "node {node} was removed from the cluster; its folder can be deleted"
        ));
    }
    match members.nodes.get(&node) {
        None => Standing::Stranger,
        Some(member) => match member.incarnation {
            Some(incarnation) if incarnation != own.incarnation => {
                Standing::Refused(lost_disk(node))
            }
            Some(_)
                if (&member.peer_address, &member.client_address)
                    == (&own.peer_address, &own.client_address) =>
            {
                Standing::Known
            }
            _ => Standing::Unknown,
        },
    }
}

/// Asks the leader, or, while none is known, the other members in turn. What this node says itself
/// as the leader is the word of the group.
async fn ask(
    group: &dyn Group,
    transport: &PeerTransport,
    attempt: u32,
    request: &IdentifyRequest,
) -> Result<(), (String, NextTry)> {
    let own = request.node;
    let leader = group.status().leader;
    if leader == Some(own) {
        let identified = receiver::identify(group, request.clone()).await;
        return identified.map_err(|status| match Refused::read(&status) {
            Some(refused) => {
                group.fail(Error::Refused(refused.sentence));
                (status.message().to_owned(), NextTry::Stop)
            }
            None => (status.message().to_owned(), NextTry::Retry),
        });
    }
    let members = group.members();
    let others: Vec<u64> = members.nodes.keys().copied().filter(|node| *node != own).collect();
    let in_turn = || others.get(attempt as usize % others.len().max(1)).copied();
    let asked = leader.or_else(in_turn);
    let asked = asked.ok_or_else(|| ("no other member is known".to_owned(), NextTry::Retry))?;
    transport.ask_to_identify(asked, attempt, request.clone()).await
}

#[cfg(test)]
mod tests {
    use lsm_raft::{Member, Role};

    use super::*;

    #[test]
    fn a_node_is_known_when_folder_and_addresses_are() {
        let own = IdentifyRequest {
            node: 3,
            incarnation: 7,
            peer_address: "p:1".into(),
            client_address: "c:1".into(),
        };
        let member = Member {
            role: Role::Voter,
            peer_address: "p:1".into(),
            client_address: "c:1".into(),
            incarnation: Some(7),
        };
        let with = |member: Member| Members { nodes: [(3, member)].into(), ..Members::default() };
        assert_eq!(standing(&with(member.clone()), &own), Standing::Known);
        let moved = Member { peer_address: "p:2".into(), ..member.clone() };
        assert_eq!(standing(&with(moved), &own), Standing::Unknown);
        let silent = Member { incarnation: None, ..member.clone() };
        assert_eq!(standing(&with(silent), &own), Standing::Unknown);
        let other = Member { incarnation: Some(8), ..member };
        assert!(matches!(standing(&with(other), &own), Standing::Refused(_)));
        assert_eq!(standing(&Members::default(), &own), Standing::Stranger);
        let removed = Members { removed: [3].into(), ..Members::default() };
        assert!(matches!(standing(&removed, &own), Standing::Refused(_)));
    }
}
