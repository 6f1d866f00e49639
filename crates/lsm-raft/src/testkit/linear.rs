//! Decides whether a history could be that of one atomic register a key.
//!
//! A history is *linearizable* (Herlihy & Wing 1990) if each operation can be given one moment
//! between its call and its reply, so that everything read is what was written last. Keys are
//! independent of each other; a batch over several keys is no operation here. How it is searched
//! and what bounds it is told in `search.rs`.

use std::collections::HashMap;

use super::history::{Action, History, Operation, Text};
use super::search::{Found, Op, search};
use super::violation::{self, Violation};

/// Steps for one key until [`check`] gives up; some ten million bytes.
pub const STEPS_MAX: usize = 500_000;

/// Why a history was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No order of the operations explains what was read.
    #[error("{0}")]
    Violation(Violation),
    /// The search was given up, and no other key has a violation. Less concurrency, more
    /// distinct values and fewer deletes make it shorter.
    #[error("key {key}: undecided after {steps} steps")]
    Undecided {
        /// The key.
        key: Text,
        /// How far the search went.
        steps: usize,
    },
}

/// Whether every key was a register that is empty at first. Takes some ten microseconds an
/// operation where no value is written twice, so let each put have its own; deletes and writes of
/// unknown outcome do no harm. In the worst case, which [`STEPS_MAX`] cuts short, the time is
/// exponential in the number of concurrent operations.
///
/// # Errors
///
/// The first violation in the order of keys; else the first key that is undecided.
pub fn check(history: &History) -> Result<(), Failure> {
    check_within(history, STEPS_MAX)
}

/// [`check`] with a limit of steps for each key. A step takes some 50 bytes of memory.
///
/// # Errors
///
/// Those of [`check`].
pub fn check_within(history: &History, steps_max: usize) -> Result<(), Failure> {
    let mut undecided = None;
    for (key, operations) in history.keys() {
        let (ops, values) = number(operations);
        let (found, steps) = search(&ops, values, steps_max);
        match found {
            Found::Order => {}
            Found::NoOrder => {
                let window = violation::shrink(&ops, values, steps_max);
                let window = window
                    .iter()
                    .map(|op| Operation { end: op.end, ..operations[op.source].clone() });
                let violation = Violation::new(key.clone(), window.collect());
                return Err(Failure::Violation(violation));
            }
            Found::Undecided => {
                undecided.get_or_insert(Failure::Undecided { key: key.clone(), steps });
            }
        }
    }
    undecided.map_or(Ok(()), Err)
}

/// Gives values numbers, from zero for none; also returns how many there are.
fn number(operations: &[Operation]) -> (Vec<Op>, usize) {
    let mut numbers = HashMap::from([(&None, 0)]);
    let ops = operations.iter().enumerate().map(|(source, operation)| {
        let Operation { start, end, action, .. } = operation;
        let (is_read, value) = match action {
            Action::Read(value) => (true, value),
            Action::Write(value) => (false, value),
        };
        let next = numbers.len();
        let value = *numbers.entry(value).or_insert(next);
        Op { source, is_read, value, start: *start, end: *end }
    });
    let ops = ops.collect();
    (ops, numbers.len())
}

#[cfg(test)]
#[path = "linear_test.rs"]
mod tests;
