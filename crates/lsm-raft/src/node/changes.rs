//! Membership changes: those that wait for their turn, and those in the log.
//!
//! Raft allows one at a time, from its proposal until the leader has applied it and has left the
//! joint configuration that it may go through (thesis of D. Ongaro, chapter 4). A new leader
//! also has to apply what it found in its log, in which there may be one. Who asks meanwhile
//! waits: it cannot see that a change it was told the end of is not quite over here.

use std::collections::VecDeque;

use crate::members::Change;
use crate::outcome::Refusal;

/// Changes that wait at a time. Operators make few, one after the other.
const WAITING_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Changes<W> {
    waiting: VecDeque<(Vec<Change>, W)>,
    proposed: VecDeque<ProposedChange<W>>,
}

#[derive(Debug)]
struct ProposedChange<W> {
    index: u64,
    term: u64,
    waiter: W,
}

impl<W> Changes<W> {
    pub(super) fn new() -> Self {
        Self { waiting: VecDeque::new(), proposed: VecDeque::new() }
    }

    pub(super) fn push(&mut self, changes: Vec<Change>, waiter: W) -> Result<(), (W, Refusal)> {
        if self.waiting.len() >= WAITING_MAX {
            let what = format!("{WAITING_MAX} membership changes are waiting");
            return Err((waiter, Refusal::Busy { what }));
        }
        self.waiting.push_back((changes, waiter));
        Ok(())
    }

    /// The one whose turn is next.
    pub(super) fn next(&self) -> Option<&[Change]> {
        self.waiting.front().map(|(changes, _)| &changes[..])
    }

    /// The next one will not be proposed; returns who waits for it.
    pub(super) fn void_next(&mut self) -> Option<W> {
        self.waiting.pop_front().map(|(_, waiter)| waiter)
    }

    /// The next one is in the log, there.
    pub(super) fn proposed(&mut self, index: u64, term: u64) {
        if let Some((_, waiter)) = self.waiting.pop_front() {
            self.proposed.push_back(ProposedChange { index, term, waiter });
        }
    }

    /// The entry there is committed. Returns who waits for it, if it is a change that was
    /// proposed here; puts those whose change another leader's entry replaced into `lost`.
    pub(super) fn committed(&mut self, index: u64, term: u64, lost: &mut Vec<W>) -> Option<W> {
        while self.proposed.front().is_some_and(|change| change.index <= index) {
            let change = self.proposed.pop_front()?;
            if (change.index, change.term) == (index, term) {
                return Some(change.waiter);
            }
            lost.push(change.waiter);
        }
        None
    }

    /// Gives back who waits for a change that `is_there` does not find in the log.
    pub(super) fn take_replaced(&mut self, is_there: impl Fn(u64, u64) -> bool) -> Vec<W> {
        let (kept, replaced) = std::mem::take(&mut self.proposed)
            .into_iter()
            .partition(|change| is_there(change.index, change.term));
        self.proposed = kept;
        VecDeque::into_iter(replaced).map(|change: ProposedChange<W>| change.waiter).collect()
    }

    /// What becomes of the entries through there will not be known here.
    pub(super) fn passed(&mut self, index: u64) -> Vec<W> {
        let count = self.proposed.partition_point(|change| change.index <= index);
        self.proposed.drain(..count).map(|change| change.waiter).collect()
    }

    pub(super) fn take_waiting(&mut self) -> Vec<W> {
        self.waiting.drain(..).map(|(_, waiter)| waiter).collect()
    }

    pub(super) fn take_proposed(&mut self) -> Vec<W> {
        self.passed(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_an_entry_that_another_replaced_is_told() {
        let (mut changes, mut lost) = (Changes::new(), Vec::new());
        for (waiter, index) in [(1, 5), (2, 6), (3, 8)] {
            changes.push(vec![Change::Remove { node: 9 }], waiter).unwrap();
            changes.proposed(index, 1);
        }
        assert_eq!(changes.committed(4, 1, &mut lost), None);
        assert_eq!(changes.committed(5, 1, &mut lost), Some(1));
        assert_eq!((changes.committed(6, 2, &mut lost), &lost[..]), (None, &[2][..]));
        assert_eq!((changes.committed(9, 2, &mut lost), &lost[..]), (None, &[2, 3][..]));
    }
}
