//! Answers that a connection has not taken yet: none may wait for ever.
//!
//! Time is cut into turns, and of an answer only the turn in which it was made is remembered. It
//! is too old when a second turn ends, after one to two turns. So an answer costs two additions,
//! and a connection one timer.
//!
//! ```text
//! turn   0   |   1   |   2   |
//!          a |   b   | a is too old, b is not
//! ```
//!
//! Threads: any number; there is no lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The answers of one connection.
#[derive(Debug, Default)]
pub(crate) struct SlowReaders {
    turn: AtomicUsize,
    /// By the turn in which they were made: even, odd.
    counts: [AtomicUsize; 2],
}

impl SlowReaders {
    /// An answer was made. It is taken when what is returned is dropped.
    pub(crate) fn add(self: &Arc<Self>) -> PendingAnswer {
        let turn = self.turn.load(Ordering::Relaxed);
        self.counts[turn % 2].fetch_add(1, Ordering::Relaxed);
        PendingAnswer { slow_readers: Arc::clone(self), turn }
    }

    /// Begins the next turn. False if an answer from before the present one still waits.
    pub(crate) fn turn(&self) -> bool {
        let turn = self.turn.load(Ordering::Relaxed) + 1;
        let is_taken = self.counts[turn % 2].load(Ordering::Relaxed) == 0;
        self.turn.store(turn, Ordering::Relaxed);
        is_taken
    }
}

/// An answer, or a piece of one, that is on its way.
#[derive(Debug)]
pub(crate) struct PendingAnswer {
    slow_readers: Arc<SlowReaders>,
    turn: usize,
}

impl Drop for PendingAnswer {
    fn drop(&mut self) {
        self.slow_readers.counts[self.turn % 2].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_may_wait_for_the_end_of_one_turn_and_not_of_two() {
        let slow_readers = Arc::new(SlowReaders::default());
        for _ in 0..3 {
            let old = slow_readers.add();
            assert!(slow_readers.turn());
            let young = slow_readers.add();
            assert!(!slow_readers.turn());
            drop(old);
            assert!(!slow_readers.turn(), "now the other is too old");
            drop(young);
            assert!(slow_readers.turn() && slow_readers.turn());
        }
    }

    #[test]
    fn answers_that_are_taken_do_no_harm_however_many() {
        let slow_readers = Arc::new(SlowReaders::default());
        let mut last = slow_readers.add();
        for _ in 0..10 {
            assert!(slow_readers.turn());
            last = std::mem::replace(&mut last, slow_readers.add());
            drop(std::mem::replace(&mut last, slow_readers.add()));
        }
    }
}
