//! Where nodes are reached: what the group has agreed on, and what they said themselves.
//!
//! A node that joins knows no members yet, and one that has moved is known under its old
//! address until it has told the leader; both must be answered. So each call says where its
//! caller is reached. Nodes that are no members are remembered while they send messages, and no
//! longer: anybody can make up a number.

use std::collections::HashMap;
use std::sync::Arc;

use lsm_raft::{MEMBERS_MAX, Members};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Most callers whose addresses are remembered.
const HEARD_MAX: usize = 2 * MEMBERS_MAX;

/// The addresses that callers said, and this node's own.
#[derive(Debug, Default)]
pub(super) struct AddressBook {
    own: Mutex<Option<String>>,
    heard: Mutex<HashMap<u64, LastCall>>,
}

#[derive(Debug, Default)]
struct LastCall {
    address: Option<String>,
    /// The node has called: it can probably be reached now.
    called: Arc<Notify>,
}

impl AddressBook {
    /// Where this node is reached.
    pub(super) fn set_own(&self, address: &str) {
        *self.own.lock() = Some(address.to_owned());
    }

    pub(super) fn own(&self) -> Option<String> {
        self.own.lock().clone()
    }

    /// A node, whose identity was checked, has called and said where it is reached. It is a
    /// member, or will be [forgotten](Self::forget).
    pub(super) fn hear(&self, node: u64, address: Option<String>) {
        let mut all = self.heard.lock();
        if all.len() >= HEARD_MAX && !all.contains_key(&node) {
            return;
        }
        let heard = all.entry(node).or_default();
        heard.address = address.or_else(|| heard.address.take());
        heard.called.notify_one();
    }

    /// Forgets a node: it is no member, and sends no messages any more.
    pub(super) fn forget(&self, node: u64) {
        self.heard.lock().remove(&node);
    }

    /// Whether a node is remembered.
    pub(super) fn has(&self, node: u64) -> bool {
        self.heard.lock().contains_key(&node)
    }

    /// Nodes that are remembered.
    #[cfg(test)]
    pub(super) fn nodes(&self) -> Vec<u64> {
        self.heard.lock().keys().copied().collect()
    }

    /// Tells when this node has called, if it is remembered or a member.
    pub(super) fn called(&self, node: u64, is_member: bool) -> Arc<Notify> {
        let mut heard = self.heard.lock();
        if !is_member {
            return heard.get(&node).map(|heard| Arc::clone(&heard.called)).unwrap_or_default();
        }
        Arc::clone(&heard.entry(node).or_default().called)
    }

    /// Where to try to reach a node: what it said itself and what the group knows take turns.
    pub(super) fn address(&self, node: u64, members: &Members, attempt: u32) -> Option<String> {
        let heard = self.heard.lock().get(&node).and_then(|heard| heard.address.clone());
        let known = members.nodes.get(&node).map(|member| member.peer_address.clone());
        if attempt.is_multiple_of(2) { heard.or(known) } else { known.or(heard) }
    }
}

#[cfg(test)]
mod tests {
    use lsm_raft::{Member, Role};

    use super::*;

    #[test]
    fn what_a_node_said_and_what_the_group_knows_take_turns() {
        let directory = AddressBook::default();
        let member = Member {
            role: Role::Voter,
            peer_address: "known:1".into(),
            client_address: String::new(),
            incarnation: None,
        };
        let members = Members { nodes: [(1, member)].into(), ..Members::default() };
        assert_eq!(directory.address(1, &members, 0).as_deref(), Some("known:1"));
        assert_eq!(directory.address(2, &members, 0), None);
        directory.hear(1, Some("said:1".into()));
        directory.hear(2, Some("said:2".into()));
        directory.hear(1, None);
        assert_eq!(directory.address(1, &members, 0).as_deref(), Some("said:1"));
        assert_eq!(directory.address(1, &members, 1).as_deref(), Some("known:1"));
        assert_eq!(directory.address(2, &members, 1).as_deref(), Some("said:2"));
    }

    #[test]
    fn who_is_forgotten_is_not_remembered_by_a_look() {
        let directory = AddressBook::default();
        directory.hear(7, Some("said:1".into()));
        assert!(directory.has(7));
        directory.forget(7);
        directory.called(7, false);
        assert!(!directory.has(7));
        assert_eq!(directory.address(7, &Members::default(), 0), None);
    }

    #[test]
    fn a_crowd_of_callers_is_not_remembered() {
        let directory = AddressBook::default();
        for node in 1..10 * HEARD_MAX as u64 {
            directory.hear(node, Some("said:1".into()));
        }
        assert_eq!(directory.heard.lock().len(), HEARD_MAX);
    }
}
