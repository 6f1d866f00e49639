//! When a node stops for good because others refuse it.
//!
//! One node that errs, or that belongs elsewhere, must not be able to stop another. So a node
//! stops on the word of the leader that it follows, or if most of the voters say so; and what
//! counts is what they answer at their own addresses, not what a caller says.
//!
//! Invariant: remembers nodes that are voters, and no others.

use std::collections::BTreeSet;

use lsm_raft::Members;
use parking_lot::Mutex;

/// Who refuses this node for a reason for which it would have to stop.
#[derive(Debug, Default)]
pub(super) struct Testimony {
    said_by: Mutex<BTreeSet<u64>>,
}

impl Testimony {
    /// Node `by` was called, and said that node `own` must stop: whether it must.
    pub(super) fn hear(&self, by: u64, own: u64, members: &Members, leader: Option<u64>) -> bool {
        let voters: BTreeSet<u64> = members.voters().collect();
        let mut said_by = self.said_by.lock();
        said_by.insert(by);
        said_by.retain(|node| *node != own && voters.contains(node));
        is_enough(said_by.len(), voters.len()) || (leader == Some(by) && by != own)
    }

    /// Node `by` was called, and let this node in.
    pub(super) fn take_back(&self, by: u64) {
        self.said_by.lock().remove(&by);
    }
}

/// Most of the voters, of whom the node itself may be one.
fn is_enough(said: usize, voters: usize) -> bool {
    said > voters / 2
}

#[cfg(test)]
mod tests {
    use lsm_raft::{Member, Role};

    use super::*;

    fn members(voters: &[u64], learners: &[u64]) -> Members {
        let member = |role| Member {
            role,
            peer_address: "a:1".into(),
            client_address: "a:2".into(),
            incarnation: None,
        };
        let voters = voters.iter().map(|&id| (id, member(Role::Voter)));
        let learners = learners.iter().map(|&id| (id, member(Role::Learner)));
        Members { nodes: voters.chain(learners).collect(), ..Members::default() }
    }

    #[test]
    fn one_voter_does_not_stop_a_node_and_most_of_them_do() {
        let five = members(&[1, 2, 3, 4, 5], &[6, 7, 8]);
        let testimony = Testimony::default();
        for by in [1, 1, 2, 2, 6, 7, 8, 9, 100, 3] {
            assert!(!testimony.hear(by, 3, &five, None), "{by}");
        }
        assert!(testimony.hear(4, 3, &five, None));
        // Of two the other one is not most.
        assert!(!Testimony::default().hear(1, 2, &members(&[1, 2], &[]), None));
        assert!(!Testimony::default().hear(1, 7, &Members::default(), None));
        assert!(Testimony::default().hear(1, 7, &members(&[1], &[7]), None));
    }

    #[test]
    fn the_word_of_the_leader_is_enough() {
        let five = members(&[1, 2, 3, 4, 5], &[]);
        assert!(!Testimony::default().hear(2, 3, &five, Some(1)));
        assert!(Testimony::default().hear(1, 3, &five, Some(1)));
        assert!(!Testimony::default().hear(3, 3, &five, Some(3)), "nobody answers itself");
    }

    #[test]
    fn who_lets_the_node_in_again_has_taken_it_back_and_who_votes_no_more_does_not_count() {
        let three = members(&[1, 2, 3], &[]);
        let testimony = Testimony::default();
        assert!(!testimony.hear(1, 3, &three, None));
        testimony.take_back(1);
        assert!(!testimony.hear(2, 3, &three, None));
        let other = members(&[1, 3, 4], &[2]);
        assert!(!testimony.hear(1, 3, &other, None));
        assert!(testimony.hear(4, 3, &other, None));
    }

    #[test]
    fn made_up_numbers_are_not_remembered() {
        let testimony = Testimony::default();
        for by in 0..1000 {
            testimony.hear(by, 3, &members(&[1, 2, 3, 4, 5], &[]), None);
        }
        assert!(testimony.said_by.lock().len() <= 4);
    }
}
