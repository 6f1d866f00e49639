//! What the log was told of refusals, so that it is told once.
//!
//! A node that is refused tries again and again, and a stranger may take any number for its
//! own. Each node of the group and each cause gets one line, until that node is let in again; all
//! numbers that are of no node of the group are one.

use std::collections::BTreeSet;

use lsm_raft::Members;
use parking_lot::Mutex;

use super::refused::Cause;

/// What was told, by node; the node is zero for all that are no members.
#[derive(Debug, Default)]
pub(super) struct Told {
    all: Mutex<BTreeSet<(u64, Option<Cause>)>>,
}

impl Told {
    /// Whether it was not told yet that `node` is refused for this cause, or, without one, that
    /// its times do not fit. It is told from now on.
    pub(super) fn is_news(&self, node: u64, cause: Option<Cause>, members: &Members) -> bool {
        let is_known = members.nodes.contains_key(&node) || members.removed.contains(&node);
        self.all.lock().insert((if is_known { node } else { 0 }, cause))
    }

    /// The node was let in: what is wrong with it later is news.
    pub(super) fn forget(&self, node: u64) {
        self.all.lock().retain(|(told, cause)| *told != node || cause.is_none());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_and_cause_is_news_once_and_strangers_are_one() {
        let told = Told::default();
        let members = Members { removed: [1, 2].into(), ..Members::default() };
        let is_news = |node, cause| told.is_news(node, Some(cause), &members);
        assert!(is_news(1, Cause::ClusterId) && !is_news(1, Cause::ClusterId));
        assert!(is_news(1, Cause::Identity) && is_news(2, Cause::ClusterId));
        for node in 3..10_000 {
            assert_eq!(is_news(node, Cause::ClusterId), node == 3);
        }
        assert_eq!(told.all.lock().len(), 4);
        told.forget(1);
        assert!(is_news(1, Cause::ClusterId) && !is_news(2, Cause::ClusterId));
        assert!(told.is_news(1, None, &members) && !told.is_news(1, None, &members));
        told.forget(1);
        assert!(!told.is_news(1, None, &members), "times are told once a process");
    }
}
