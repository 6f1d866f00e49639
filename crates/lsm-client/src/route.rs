//! Which node one request goes to next.
//!
//! A request visits each node at most once a round. A node that names the leader is believed,
//! unless that one was visited in this round already, or was silent lately: so wrong, circular
//! and old hints cost little, and every node gets its turn.

use std::sync::Arc;

use crate::address_book::AddressBook;
use crate::error::Whom;
use crate::node::Node;

/// Where a request may go.
#[derive(Clone, Debug)]
pub(crate) enum To {
    /// The leader; others pass it on, or say who that is.
    Leader,
    /// Whoever answers.
    Any,
    /// This node, whatever happens.
    Only(Arc<Node>),
}

impl To {
    pub(crate) fn whom(&self) -> Whom {
        match self {
            Self::Leader => Whom::Cluster,
            Self::Any => Whom::AnyNode,
            Self::Only(_) => Whom::OneNode,
        }
    }
}

/// The nodes that a request has visited in this round.
#[derive(Debug, Default)]
pub(crate) struct Route {
    visited: Vec<Arc<Node>>,
    /// Those that cannot do it, of all rounds.
    unable: Vec<Arc<Node>>,
    hint: Option<Arc<Node>>,
}

impl Route {
    /// The node to try now.
    pub(crate) fn next(&mut self, to: &To, directory: &AddressBook) -> Arc<Node> {
        let preferred = match to {
            To::Only(node) => return Arc::clone(node),
            To::Leader => self.hint.take().or_else(|| directory.leader()),
            To::Any => None,
        };
        if let Some(node) = preferred.filter(|node| !self.visited.contains(node)) {
            return node;
        }
        if let Some(node) = directory.unvisited(&self.visited) {
            return node;
        }
        self.visited.clear();
        directory.unvisited(&[]).expect("the directory is never empty")
    }

    /// A node did not serve. Whether the leader it named is the one to try at once.
    pub(crate) fn failed(&mut self, node: &Arc<Node>, leader: Option<Arc<Node>>) -> bool {
        self.visited.push(Arc::clone(node));
        self.hint = leader.filter(|leader| !self.visited.contains(leader) && !leader.is_silent());
        self.hint.is_some()
    }

    /// A node cannot do it. Whether there is another in this round that may; a node that says
    /// so for the second time ends the search.
    pub(crate) fn is_unable(&mut self, node: &Arc<Node>, to: &To, directory: &AddressBook) -> bool {
        let again = self.unable.contains(node);
        self.unable.push(Arc::clone(node));
        self.visited.push(Arc::clone(node));
        !again && !matches!(to, To::Only(_)) && directory.unvisited(&self.visited).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::ClientOptions;
    use lsm_proto::v1::Header;

    fn directory(addresses: &[&str]) -> AddressBook {
        AddressBook::new(addresses, &ClientOptions::default(), 0).unwrap()
    }

    /// The next node's address.
    fn step(route: &mut Route, directory: &AddressBook) -> (Arc<Node>, String) {
        let node = route.next(&To::Leader, directory);
        let address = node.address().to_string();
        (node, address)
    }

    #[test]
    fn every_node_gets_its_turn() {
        let directory = directory(&["a:1", "b:1", "c:1"]);
        let b = directory.node("b:1").unwrap();
        directory.answered(&b, &Header { node: 2, leader: 2, ..Header::default() });
        let mut route = Route::default();
        let mut order = Vec::new();
        for _ in 0..6 {
            let (node, address) = step(&mut route, &directory);
            order.push(address);
            directory.failed(&node, false);
            assert!(!route.failed(&node, None));
        }
        assert_eq!(order[..3], ["b:1", "a:1", "c:1"]);
        let mut second = order[3..].to_vec();
        second.sort();
        assert_eq!(second, ["a:1", "b:1", "c:1"]);
    }

    #[test]
    fn each_node_may_say_once_that_it_cannot_do_it() {
        let directory = directory(&["a:1", "b:1", "c:1"]);
        let mut route = Route::default();
        let mut more = Vec::new();
        for _ in 0..3 {
            let (node, _) = step(&mut route, &directory);
            more.push(route.is_unable(&node, &To::Leader, &directory));
        }
        assert_eq!(more, [true, true, false]);
        let a = directory.node("a:1").unwrap();
        assert!(!Route::default().is_unable(&a, &To::Only(Arc::clone(&a)), &directory));

        // The others are silent: there is a second round, but not for this.
        let mut route = Route::default();
        let (a, _) = step(&mut route, &directory);
        assert!(route.is_unable(&a, &To::Leader, &directory));
        for _ in 0..2 {
            let (node, _) = step(&mut route, &directory);
            directory.failed(&node, true);
            route.failed(&node, None);
        }
        assert_eq!(step(&mut route, &directory).0, a);
        assert!(!route.is_unable(&a, &To::Leader, &directory));
    }

    #[test]
    fn circular_hints_end() {
        let directory = directory(&["a:1", "b:1", "c:1"]);
        let mut route = Route::default();
        let (a, _) = step(&mut route, &directory);
        let b = directory.node("b:1").unwrap();
        assert!(route.failed(&a, Some(Arc::clone(&b))), "a says b");
        assert_eq!(step(&mut route, &directory).1, "b:1");
        assert!(!route.failed(&b, Some(a)), "b says a");
        assert_eq!(step(&mut route, &directory).1, "c:1");
    }

    #[test]
    fn a_hint_at_a_silent_node_is_not_followed_at_once() {
        let directory = directory(&["a:1", "b:1", "c:1"]);
        let mut route = Route::default();
        let (a, _) = step(&mut route, &directory);
        let b = directory.node("b:1").unwrap();
        directory.failed(&b, true);
        assert!(!route.failed(&a, Some(b)), "a says b");
        assert_eq!(step(&mut route, &directory).1, "c:1");
    }
}
