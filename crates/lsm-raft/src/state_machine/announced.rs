//! Data folders that the log names and the state does not know yet. Pure.
//!
//! After a crash the state may be older than the log, and nothing can be applied before a leader
//! says what is committed. A node that came back with an empty disk must not be let in meanwhile:
//! its vote could make a leader of one that lacks what was acknowledged.
//!
//! An entry that is not committed may be replaced by another. That does no harm here: a node says
//! the same of its folder each time, and two that use one number are an error of whoever started them.
//! It would with the cluster's id, which each leader draws anew
//! until one is agreed on: a node that believed the wrong one would let nobody in any more.

use raft::eraftpb::{Entry, EntryType};

use crate::command::{Command, Commands};
use crate::members::Members;

/// What entries behind the state announce, oldest first.
#[derive(Debug, Default)]
pub(super) struct Announced(Vec<Announcement>);

#[derive(Debug)]
struct Announcement {
    index: u64,
    node: u64,
    incarnation: u64,
}

impl Announced {
    /// Notes what further entries say. One that does not decode says nothing: whoever applies it
    /// will report that.
    pub(super) fn note(&mut self, entries: &[Entry]) {
        let is_normal = |entry: &&Entry| entry.get_entry_type() == EntryType::EntryNormal;
        for entry in entries.iter().filter(is_normal) {
            for command in Commands::new(&entry.data).map_while(Result::ok) {
                if let Command::Identify { node, incarnation, .. } = command {
                    self.0.push(Announcement { index: entry.index, node, incarnation });
                }
            }
        }
    }

    /// Forgets what has been applied: the members themselves say it now.
    pub(super) fn applied(&mut self, index: u64) {
        self.0.retain(|announcement| announcement.index > index);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members, and what is announced of those whose folder is not known; the first word
    /// counts, as it will when it is applied.
    pub(super) fn complete(&self, members: &Members) -> Members {
        let mut members = members.clone();
        for &Announcement { node, incarnation, .. } in &self.0 {
            if let Some(member) = members.nodes.get_mut(&node) {
                member.incarnation.get_or_insert(incarnation);
            }
        }
        members
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_log::{change, entry, founders, identify, put};
    use super::*;
    use crate::members::Change;

    #[test]
    fn the_first_word_of_who_is_not_known_counts_until_it_is_applied() {
        let mut members = founders();
        members.nodes.get_mut(&1).unwrap().incarnation = Some(10);
        let mut announced = Announced::default();
        let damaged = Entry { index: 6, data: vec![200].into(), ..Entry::default() };
        announced.note(&[
            entry(5, &[put(b"k", b"v"), identify(1, 11), identify(2, 20), identify(9, 90)]),
            damaged,
            change(7, &[Change::Remove { node: 3 }]),
        ]);
        let found = Command::Found { cluster_id: 1 };
        announced.note(&[entry(8, &[found, identify(2, 21), identify(3, 30)])]);
        let known = |announced: &Announced| {
            let known = announced.complete(&members);
            assert_eq!(known.origin, members.origin, "the next leader may have drawn another id");
            known.nodes.values().map(|member| member.incarnation).collect::<Vec<_>>()
        };
        assert_eq!(known(&announced), [Some(10), Some(20), Some(30)]);
        announced.applied(5);
        assert_eq!(known(&announced), [Some(10), Some(21), Some(30)]);
        assert!(!announced.is_empty());
        announced.applied(8);
        assert!(announced.is_empty());
        assert_eq!(announced.complete(&members), members);
    }
}
