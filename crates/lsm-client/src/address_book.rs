//! Which nodes there are, and which of them is believed to lead.
//!
//! The list begins as the addresses that the user gave, and becomes that of the members once
//! they are known; the given addresses stay behind them as a last resort. The connections of
//! nodes that stay are kept.
//!
//! Threads: any number. The lock is held for a look or a switch, never while waiting.

use std::sync::Arc;

use lsm_proto::v1::{Header, Member};
use parking_lot::RwLock;

use crate::error::{Error, Result};
use crate::node::Node;
use crate::options::ClientOptions;

/// Nodes that a client knows; what comes beyond is not looked at.
const NODES_MAX: usize = 256;

#[derive(Debug)]
pub(crate) struct AddressBook {
    options: ClientOptions,
    given: Vec<Arc<Node>>,
    known: RwLock<Known>,
}

#[derive(Debug)]
struct Known {
    /// Never empty.
    nodes: Vec<Arc<Node>>,
    /// Position of the node to ask what any can answer. It stays until it fails, so that reads
    /// of old values do not jump between nodes that are behind by different amounts.
    near: usize,
    leader: Option<Arc<Node>>,
}

impl AddressBook {
    /// `dice` chooses the near node.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad address, or if there is none.
    pub(crate) fn new<A: AsRef<str>>(
        addresses: impl IntoIterator<Item = A>,
        options: &ClientOptions,
        dice: usize,
    ) -> Result<Self> {
        let mut nodes: Vec<Arc<Node>> = Vec::new();
        for address in addresses {
            push_new(&mut nodes, Arc::new(Node::new(address.as_ref(), options)?));
        }
        if nodes.is_empty() || nodes.len() > NODES_MAX {
            let message = format!("{} addresses were given: 1 to {NODES_MAX}", nodes.len());
            return Err(Error::invalid(message));
        }
        let known = Known { near: dice % nodes.len(), nodes: nodes.clone(), leader: None };
        Ok(Self { options: options.clone(), given: nodes, known: RwLock::new(known) })
    }

    pub(crate) fn leader(&self) -> Option<Arc<Node>> {
        self.known.read().leader.clone()
    }

    /// The first node, counted from the near one, that has not been visited. Nodes that were
    /// silent lately come last.
    pub(crate) fn unvisited(&self, visited: &[Arc<Node>]) -> Option<Arc<Node>> {
        let known = self.known.read();
        let (before, from) = known.nodes.split_at(known.near);
        let mut nodes = from.iter().chain(before).filter(|node| !visited.contains(node));
        let first = nodes.next()?;
        if !first.is_silent() {
            return Some(Arc::clone(first));
        }
        Some(Arc::clone(nodes.find(|node| !node.is_silent()).unwrap_or(first)))
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.known.read().nodes.iter().map(|node| node.address().to_string()).collect()
    }

    /// The node at an address, which need not be a member.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad address.
    pub(crate) fn node(&self, address: &str) -> Result<Arc<Node>> {
        let node = Node::new(address, &self.options)?;
        let known = self.known.read();
        let old = known.nodes.iter().chain(&self.given).find(|old| ***old == node);
        Ok(old.cloned().unwrap_or_else(|| Arc::new(node)))
    }

    /// A node did not serve: it is not the one to go to first.
    pub(crate) fn failed(&self, node: &Node, silent: bool) {
        if silent {
            node.was_silent();
        }
        let mut known = self.known.write();
        if known.leader.as_deref() == Some(node) {
            known.leader = None;
        }
        if *known.nodes[known.near] == *node {
            known.near = (known.near + 1) % known.nodes.len();
        }
    }

    /// Takes from an answer who leads. Whether that is a node not known before.
    pub(crate) fn answered(&self, node: &Arc<Node>, header: &Header) -> bool {
        let known = self.known.read();
        let believed = known.leader.as_deref();
        if header.leader_address.is_empty() {
            let leads = header.leader != 0 && header.leader == header.node;
            if leads && believed != Some(&**node) {
                drop(known);
                self.known.write().leader = Some(Arc::clone(node));
            }
            return false;
        }
        if believed.is_some_and(|leader| **leader.address() == *header.leader_address) {
            return false;
        }
        drop(known);
        let Some((leader, new)) = self.meet(&header.leader_address) else {
            return false;
        };
        self.known.write().leader = Some(leader);
        new
    }

    /// The node at `address`, and whether it was not known before. None if that is no address.
    pub(crate) fn meet(&self, address: &str) -> Option<(Arc<Node>, bool)> {
        let node = self.node(address).ok()?;
        let mut known = self.known.write();
        let new = !known.nodes.contains(&node);
        if new && known.nodes.len() >= NODES_MAX {
            return None;
        }
        push_new(&mut known.nodes, Arc::clone(&node));
        Some((node, new))
    }

    /// The members are these now.
    pub(crate) fn set_members(&self, members: &[Member]) {
        let mut nodes = Vec::new();
        for member in members.iter().take(NODES_MAX) {
            // A learner that never started has no address yet.
            if let Ok(node) = self.node(&member.client_address) {
                push_new(&mut nodes, node);
            }
        }
        if nodes.is_empty() {
            return;
        }
        for given in &self.given {
            push_new(&mut nodes, Arc::clone(given));
        }
        nodes.truncate(NODES_MAX);
        let mut known = self.known.write();
        let near = nodes.iter().position(|node| *node == known.nodes[known.near]);
        known.near = near.unwrap_or(known.near % nodes.len());
        known.leader = known.leader.take().filter(|leader| nodes.contains(leader));
        known.nodes = nodes;
    }
}

fn push_new(nodes: &mut Vec<Arc<Node>>, node: Arc<Node>) {
    if !nodes.contains(&node) {
        nodes.push(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(addresses: &[&str]) -> AddressBook {
        AddressBook::new(addresses, &ClientOptions::default(), 0).unwrap()
    }

    fn member(address: &str) -> Member {
        Member { client_address: address.to_owned(), ..Member::default() }
    }

    fn header(node: u64, leader: u64, leader_address: &str) -> Header {
        Header { node, leader, leader_address: leader_address.to_owned() }
    }

    fn leader(book: &AddressBook) -> Option<String> {
        book.leader().map(|node| node.address().to_string())
    }

    #[test]
    fn answers_say_who_leads() {
        let book = book(&["a:1", "b:1"]);
        let b = book.node("b:1").unwrap();
        assert!(!book.answered(&b, &header(2, 0, "")));
        assert_eq!(leader(&book), None);
        assert!(!book.answered(&b, &header(2, 2, "")));
        assert_eq!(leader(&book).as_deref(), Some("b:1"));
        assert!(!book.answered(&b, &header(2, 1, "a:1")));
        assert_eq!(leader(&book).as_deref(), Some("a:1"));
        assert!(book.answered(&b, &header(2, 3, "c:1")));
        assert_eq!(leader(&book).as_deref(), Some("c:1"));
        assert!(!book.answered(&b, &header(2, 3, "no address")));
        assert_eq!(book.addresses(), ["a:1", "b:1", "c:1"]);
        book.failed(&book.node("c:1").unwrap(), false);
        assert_eq!(leader(&book), None);
    }

    #[test]
    fn members_replace_the_list_and_keep_connections_and_given_addresses() {
        let book = book(&["a:1", "b:1"]);
        let b = book.node("b:1").unwrap();
        book.answered(&b, &header(2, 9, "x:1"));
        book.set_members(&[member("c:1"), member(""), member("b:1"), member("c:1")]);
        assert_eq!(book.addresses(), ["c:1", "b:1", "a:1"]);
        assert!(Arc::ptr_eq(&book.node("b:1").unwrap(), &b));
        assert_eq!(leader(&book), None, "x is no member");
        book.set_members(&[member("")]);
        assert_eq!(book.addresses().len(), 3, "an empty list is not believed");
    }

    #[test]
    fn the_near_node_stays_until_it_fails() {
        for dice in 0..2 {
            let book = AddressBook::new(["a:1", "b:1"], &ClientOptions::default(), dice);
            let book = book.unwrap();
            let near = || book.unvisited(&[]).unwrap();
            let (first, other) = (near(), ["b:1", "a:1"][dice]);
            assert_ne!(&**first.address(), other);
            book.set_members(&[member("b:1"), member("a:1")]);
            assert!(Arc::ptr_eq(&near(), &first));
            book.failed(&first, false);
            assert_eq!(&**near().address(), other);
            assert!(Arc::ptr_eq(&book.unvisited(&[near()]).unwrap(), &first));
            assert!(book.unvisited(&[near(), first]).is_none());
        }
    }

    #[test]
    fn the_list_is_bounded() {
        let book = book(&["a:1"]);
        for port in 1..2 * NODES_MAX {
            book.meet(&format!("b:{port}"));
        }
        assert_eq!(book.addresses().len(), NODES_MAX);
        let many: Vec<_> = (1..2 * NODES_MAX).map(|port| member(&format!("c:{port}"))).collect();
        book.set_members(&many);
        assert_eq!(book.addresses().len(), NODES_MAX);
    }
}
