//! Who is in the group: nodes, their roles and addresses, and how that changes.
//!
//! Part of the replicated state: all nodes hold the same members at the same index.

use std::collections::{BTreeMap, BTreeSet};

use lsm_log::coding::{Decoder, put_bytes, put_u64, put_varint};
use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2};

use crate::error::{Error, Result};

/// Longest address, in bytes.
pub const ADDRESS_LEN_MAX: usize = 256;
/// Most nodes of a group, learners included.
pub const MEMBERS_MAX: usize = 64;

/// Part in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Votes, and counts for commits.
    Voter,
    /// Receives the log, and does not count.
    Learner,
}

/// One node of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// See [`Role`]. While a change is on its way: what the node will be after it.
    pub role: Role,
    /// `host:port` where other nodes reach it.
    pub peer_address: String,
    /// `host:port` where clients reach it.
    pub client_address: String,
    /// Tells its data folder from any other; none until it has said so. A node that comes back
    /// with another one has lost its disk, and with it its promises.
    pub incarnation: Option<u64>,
}

/// Which group it is, of all that have its name and number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// [`Members::digest`] of the founders, as each of them was told. None in a node that has not
    /// joined yet, and in a group that was founded before there was one.
    pub founders: Option<u128>,
    /// Drawn by the first leader; none until the group has agreed on it.
    pub cluster_id: Option<u128>,
}

/// All nodes of the group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// By node id.
    pub nodes: BTreeMap<u64, Member>,
    /// Ids that were used and may not come back.
    pub removed: BTreeSet<u64>,
    /// See [`Origin`].
    pub origin: Origin,
}

/// One step of a membership change; several may be made at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds a node that has never been a member.
    AddLearner {
        /// The new node.
        node: u64,
        /// `host:port` for nodes.
        peer_address: String,
        /// `host:port` for clients.
        client_address: String,
    },
    /// Makes a learner a voter.
    Promote {
        /// The learner.
        node: u64,
    },
    /// Removes a voter or learner for ever.
    Remove {
        /// The node.
        node: u64,
    },
}

impl Members {
    /// The members after `changes`, or why that cannot be.
    ///
    /// # Errors
    ///
    /// A sentence for the person who asked.
    pub fn after(&self, changes: &[Change]) -> std::result::Result<Self, String> {
        let mut next = self.clone();
        if changes.is_empty() {
            return Err("nothing to change".into());
        }
        for change in changes {
            next.make(change)?;
        }
        if !next.nodes.values().any(|member| member.role == Role::Voter) {
            return Err("a group needs at least one voter".into());
        }
        if next.nodes.len() > MEMBERS_MAX {
            return Err(format!("a group has at most {MEMBERS_MAX} nodes"));
        }
        Ok(next)
    }

    fn make(&mut self, change: &Change) -> std::result::Result<(), String> {
        match change {
            Change::AddLearner { node, peer_address, client_address } => {
                if *node == 0 {
                    return Err("node ids start at 1".into());
                }
                if self.nodes.contains_key(node) {
                    return Err(format!("node {node} is a member already"));
                }
                if self.removed.contains(node) {
                    return Err(format!(
                        "id {node} was used by a node that was removed; take a new one"
                    ));
                }
                let addresses = [peer_address, client_address];
                if let Some(bad) =
                    addresses.iter().find(|a| a.is_empty() || a.len() > ADDRESS_LEN_MAX)
                {
                    return Err(format!("{bad:?} is no address of 1 to {ADDRESS_LEN_MAX} bytes"));
                }
                let member = Member {
                    role: Role::Learner,
                    peer_address: peer_address.clone(),
                    client_address: client_address.clone(),
                    incarnation: None,
                };
                self.nodes.insert(*node, member);
            }
            Change::Promote { node } => match self.nodes.get_mut(node) {
                Some(member) if member.role == Role::Learner => member.role = Role::Voter,
                Some(_) => return Err(format!("node {node} is a voter already")),
                None => return Err(format!("node {node} is no member")),
            },
            Change::Remove { node } => {
                if self.nodes.remove(node).is_none() {
                    return Err(format!("node {node} is no member"));
                }
                self.removed.insert(*node);
            }
        }
        Ok(())
    }

    /// Tells these founders of a group from any others: who they are, and where they are reached.
    pub fn digest(&self, cluster: &str, group: u64) -> u128 {
        let mut bytes = Vec::new();
        put_bytes(&mut bytes, cluster.as_bytes());
        put_u64(&mut bytes, group);
        Self { origin: Origin::default(), ..self.clone() }.encode(&mut bytes);
        xxhash_rust::xxh3::xxh3_128(&bytes)
    }

    /// Whether nothing is known yet: the node has been told of no group.
    pub fn is_unknown(&self) -> bool {
        self.nodes.is_empty() && self.removed.is_empty()
    }

    /// Of the nodes, those that vote; ascending.
    pub fn voters(&self) -> impl Iterator<Item = u64> {
        let voters = self.nodes.iter().filter(|(_, member)| member.role == Role::Voter);
        voters.map(|(&id, _)| id)
    }

    /// Appends the encoded members to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.nodes.len() as u64);
        for (id, member) in &self.nodes {
            put_varint(out, *id);
            out.push(match member.role {
                Role::Voter => 0,
                Role::Learner => 1,
            });
            put_bytes(out, member.peer_address.as_bytes());
            put_bytes(out, member.client_address.as_bytes());
            out.push(u8::from(member.incarnation.is_some()));
            if let Some(incarnation) = member.incarnation {
                put_u64(out, incarnation);
            }
        }
        put_varint(out, self.removed.len() as u64);
        for id in &self.removed {
            put_varint(out, *id);
        }
        // Nothing at all as long as nothing is known: as it was written once.
        let origin = [self.origin.founders, self.origin.cluster_id];
        if origin != [None, None] {
            origin.into_iter().for_each(|number| put_number(out, number));
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut decoder = Decoder::new(bytes);
        let members = Self::read(&mut decoder).filter(|_| decoder.is_empty());
        members.ok_or_else(|| Error::corrupt("the list of members", "it does not decode"))
    }

    fn read(decoder: &mut Decoder<'_>) -> Option<Self> {
        let mut members = Self::default();
        for _ in 0..decoder.varint()? {
            let id = decoder.varint()?;
            let role = match decoder.u8()? {
                0 => Role::Voter,
                1 => Role::Learner,
                _ => return None,
            };
            let (peer_address, client_address) = (text(decoder)?, text(decoder)?);
            let incarnation = match decoder.u8()? {
                0 => None,
                1 => Some(decoder.u64()?),
                _ => return None,
            };
            let member = Member { role, peer_address, client_address, incarnation };
            members.nodes.insert(id, member);
        }
        for _ in 0..decoder.varint()? {
            members.removed.insert(decoder.varint()?);
        }
        if !decoder.is_empty() {
            let (founders, cluster_id) = (read_number(decoder)?, read_number(decoder)?);
            members.origin = Origin { founders, cluster_id };
            if members.origin == Origin::default() {
                return None;
            }
        }
        Some(members)
    }
}

fn put_number(out: &mut Vec<u8>, number: Option<u128>) {
    out.push(u8::from(number.is_some()));
    out.extend(number.into_iter().flat_map(u128::to_le_bytes));
}

fn read_number(decoder: &mut Decoder<'_>) -> Option<Option<u128>> {
    match decoder.u8()? {
        0 => Some(None),
        1 => Some(Some(u128::from_le_bytes(decoder.take(16)?.try_into().ok()?))),
        _ => None,
    }
}

/// What raft is told about `changes`: joint consensus, left on its own.
pub(crate) fn to_raft(changes: &[Change]) -> ConfChangeV2 {
    let mut raft_change = ConfChangeV2::default();
    raft_change.set_transition(ConfChangeTransition::Auto);
    for change in changes {
        let (kind, node) = match change {
            Change::AddLearner { node, .. } => (ConfChangeType::AddLearnerNode, *node),
            Change::Promote { node } => (ConfChangeType::AddNode, *node),
            Change::Remove { node } => (ConfChangeType::RemoveNode, *node),
        };
        let mut single = ConfChangeSingle::default();
        single.set_change_type(kind);
        single.node_id = node;
        raft_change.mut_changes().push(single);
    }
    raft_change
}

/// Appends encoded changes to `out`.
pub fn encode_changes(changes: &[Change], out: &mut Vec<u8>) {
    put_varint(out, changes.len() as u64);
    for change in changes {
        match change {
            Change::AddLearner { node, peer_address, client_address } => {
                out.push(0);
                put_varint(out, *node);
                put_bytes(out, peer_address.as_bytes());
                put_bytes(out, client_address.as_bytes());
            }
            Change::Promote { node } => {
                out.push(1);
                put_varint(out, *node);
            }
            Change::Remove { node } => {
                out.push(2);
                put_varint(out, *node);
            }
        }
    }
}

/// Reads what [`encode_changes`] wrote. No bytes are no changes: raft's own entry that leaves
/// a joint configuration.
///
/// # Errors
///
/// `Corrupt` if the bytes are anything else.
pub fn decode_changes(bytes: &[u8]) -> Result<Vec<Change>> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut decoder = Decoder::new(bytes);
    let changes = read_changes(&mut decoder).filter(|_| decoder.is_empty());
    changes.ok_or_else(|| Error::corrupt("a membership change", "it does not decode"))
}

fn read_changes(decoder: &mut Decoder<'_>) -> Option<Vec<Change>> {
    let count = decoder.varint()?;
    let mut changes = Vec::new();
    for _ in 0..count {
        changes.push(match decoder.u8()? {
            0 => Change::AddLearner {
                node: decoder.varint()?,
                peer_address: text(decoder)?,
                client_address: text(decoder)?,
            },
            1 => Change::Promote { node: decoder.varint()? },
            2 => Change::Remove { node: decoder.varint()? },
            _ => return None,
        });
    }
    Some(changes)
}

pub(crate) fn text(decoder: &mut Decoder<'_>) -> Option<String> {
    let bytes = decoder.bytes().filter(|bytes| bytes.len() <= ADDRESS_LEN_MAX)?;
    Some(std::str::from_utf8(bytes).ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn founders() -> Members {
        let member = |node: u64| Member {
            role: Role::Voter,
            peer_address: format!("n{node}:1"),
            client_address: format!("n{node}:2"),
            incarnation: None,
        };
        let nodes = (1..=3).map(|node| (node, member(node))).collect();
        Members { nodes, removed: [9].into(), ..Members::default() }
    }

    #[test]
    fn founders_that_differ_in_anything_have_another_digest() {
        let digest = founders().digest("test", 1);
        assert_eq!(founders().digest("test", 1), digest);
        let mut known = founders();
        known.origin.cluster_id = Some(7);
        assert_eq!(known.digest("test", 1), digest, "an id is no part of it");
        let mut moved = founders();
        moved.nodes.get_mut(&2).unwrap().peer_address = "other:1".into();
        let mut fewer = founders();
        fewer.nodes.remove(&3);
        let mut renumbered = fewer.clone();
        renumbered.nodes.insert(4, founders().nodes[&3].clone());
        let mut learner = founders();
        learner.nodes.get_mut(&2).unwrap().role = Role::Learner;
        for other in [moved, fewer, renumbered, learner] {
            assert_ne!(other.digest("test", 1), digest, "{other:?}");
        }
        assert_ne!(founders().digest("prod", 1), digest);
        assert_ne!(founders().digest("test", 2), digest);
    }

    #[test]
    fn what_is_known_of_the_origin_comes_back_and_old_members_have_none() {
        let mut lengths = Vec::new();
        for (founders_digest, cluster_id) in
            [(None, None), (Some(1), None), (None, Some(u128::MAX)), (Some(1), Some(2))]
        {
            let origin = Origin { founders: founders_digest, cluster_id };
            let members = Members { origin, ..founders() };
            let mut bytes = Vec::new();
            members.encode(&mut bytes);
            assert_eq!(Members::decode(&bytes).unwrap(), members);
            let whole = bytes.len();
            lengths.push(whole);
            for len in lengths[0] + 1..whole {
                assert!(Members::decode(&bytes[..len]).is_err(), "cut to {len}");
            }
            bytes.push(0);
            assert!(Members::decode(&bytes).is_err());
        }
        assert_eq!(lengths, [lengths[0], lengths[0] + 18, lengths[0] + 18, lengths[0] + 34]);
        // One spelling of nothing.
        let mut bytes = Vec::new();
        founders().encode(&mut bytes);
        bytes.extend([0, 0]);
        assert!(Members::decode(&bytes).is_err());
    }
}
