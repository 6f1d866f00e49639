//! The hashes of the state that this node was asked for lately.
//!
//! One state at a time is hashed: each reads everything, and keeps all that it reads from being
//! compacted away. Who asks for another meanwhile is told so; nothing of it is part of the
//! replicated state, in which a hash leaves no trace.

use std::collections::VecDeque;

/// Hashes that are remembered.
const HASHES_MAX: usize = 16;

/// The hash of a state, or why there is none.
pub(super) type Hash = Result<[u8; 16], String>;

#[derive(Debug)]
pub(super) struct Hashes {
    /// By index, youngest last.
    known: VecDeque<(u64, Hash)>,
    /// The state that is being hashed.
    running: Option<u64>,
    /// Every state through this index that had to be hashed was begun or refused.
    through: u64,
}

impl Hashes {
    /// Of a node that has applied `through` and has no hash of it, or of any before.
    pub(super) fn new(through: u64) -> Self {
        Self { known: VecDeque::new(), running: None, through }
    }

    /// Whether the state at `index` may be hashed now. If not, that is its answer.
    #[must_use]
    pub(super) fn begin(&mut self, index: u64) -> bool {
        match self.running {
            None => self.running = Some(index),
            Some(running) => {
                let reason = format!("it still hashes its state at {running}; try again later");
                self.add(index, Err(reason));
            }
        }
        self.running == Some(index)
    }

    /// What came of the state that was being hashed.
    pub(super) fn end(&mut self, index: u64, hash: Hash) {
        self.running = None;
        self.add(index, hash);
    }

    fn add(&mut self, index: u64, hash: Hash) {
        if self.known.len() == HASHES_MAX {
            self.known.pop_front();
        }
        self.known.push_back((index, hash));
    }

    /// No state through `index` will be begun any more.
    pub(super) fn passed(&mut self, index: u64) {
        self.through = self.through.max(index);
    }

    /// The hash at `index`; none as long as there may be one later.
    pub(super) fn get(&self, index: u64) -> Option<Hash> {
        if let Some((_, hash)) = self.known.iter().find(|(known, _)| *known == index) {
            return Some(hash.clone());
        }
        if self.running == Some(index) || index > self.through {
            return None;
        }
        Some(Err(format!(
            "it has no hash of its state at {index}: it started again or took a snapshot since"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_state_at_a_time_is_hashed() {
        let mut hashes = Hashes::new(0);
        assert!(hashes.begin(5));
        for index in 6..100 {
            assert!(!hashes.begin(index));
            assert!(
                hashes.get(index).unwrap().unwrap_err().contains("still hashes its state at 5")
            );
        }
        hashes.passed(99);
        assert_eq!(hashes.get(5), None, "it runs");
        hashes.end(5, Ok([7; 16]));
        assert_eq!(hashes.get(5), Some(Ok([7; 16])));
        assert!(hashes.begin(100));
    }

    #[test]
    fn what_cannot_come_any_more_is_not_waited_for() {
        let mut hashes = Hashes::new(10);
        assert_eq!(hashes.get(11), None, "it is not applied yet");
        assert!(hashes.get(10).unwrap().unwrap_err().contains("started again"));
        hashes.passed(20);
        assert!(hashes.get(11).unwrap().is_err());
        assert_eq!(hashes.get(21), None);
        hashes.passed(15);
        assert!(hashes.get(20).unwrap().is_err());
    }

    #[test]
    fn few_are_remembered() {
        let mut hashes = Hashes::new(0);
        for index in 1..=100 {
            assert!(hashes.begin(index));
            hashes.end(index, Ok([1; 16]));
        }
        assert_eq!(hashes.known.len(), HASHES_MAX);
        assert!(hashes.get(100).unwrap().is_ok());
    }
}
