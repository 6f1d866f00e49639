//! A history that no order explains, reduced to the few operations that show it.

use std::fmt;

use super::history::{Action, Operation, Text};
use super::search::{Found, Op, search};

/// Operations printed.
const LINES_MAX: usize = 40;
/// The picture of the times has two columns for each, and is left out if it gets too wide.
const COLUMNS_MAX: usize = 80;

/// Operations of one key that cannot have been those of a register. Each is needed: without any
/// one of the reads, or of the writes that nobody read, there is an order, or the search for it
/// was given up. What was answered after the last of them is cut there: its end is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    key: Text,
    window: Vec<Operation>,
}

impl Violation {
    pub(super) fn new(key: Text, mut window: Vec<Operation>) -> Self {
        window.sort_by_key(|operation| (operation.start, operation.end.unwrap_or(u64::MAX)));
        Self { key, window }
    }

    /// The key.
    pub fn key(&self) -> &Text {
        &self.key
    }

    /// The operations, by the time of their call.
    pub fn window(&self) -> &[Operation] {
        &self.window
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, window } = self;
        let count = window.len();
        write!(f, "key {key}: no order of these {count} operations explains what was read")?;
        let mut times: Vec<_> = window.iter().map(|operation| operation.start).collect();
        times.extend(window.iter().filter_map(|operation| operation.end));
        times.sort_unstable();
        times.dedup();
        let column = |time: u64| 2 * times.partition_point(|&earlier| earlier < time);
        let columns = 2 * times.len();
        let lines = || window.iter().take(LINES_MAX);
        let width = |text: fn(&Operation) -> String| lines().map(|o| text(o).len()).max();
        let (name, time) = (width(what).unwrap_or(0), width(when).unwrap_or(0));
        for operation in lines() {
            let Operation { client, start, end, .. } = operation;
            let (what, when) = (what(operation), when(operation));
            write!(f, "\n  client {client:<3} {what:name$}  {when:>time$}")?;
            if columns <= COLUMNS_MAX {
                let (from, to) = (column(*start), end.map_or(columns, column));
                let bar = "-".repeat((to - from).saturating_sub(1));
                let tip = if end.is_none() {
                    " ?"
                } else if from < to {
                    "|"
                } else {
                    ""
                };
                write!(f, "  {:from$}|{bar}{tip}", "")?;
            }
        }
        match count.saturating_sub(LINES_MAX) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

fn what(operation: &Operation) -> String {
    match &operation.action {
        Action::Write(Some(value)) => format!("put {value}"),
        Action::Write(None) => "delete".into(),
        Action::Read(Some(value)) => format!("get -> {value}"),
        Action::Read(None) => "get -> nothing".into(),
    }
}

fn when(operation: &Operation) -> String {
    let end = operation.end.map_or("?".into(), |end| end.to_string());
    format!("{} .. {end}", operation.start)
}

/// Leaves out what is not needed for there to be no order. Each thing left out would leave an
/// order of the whole an order of the rest: what happened later, reads, unread writes.
pub(super) fn shrink(ops: &[Op], values: usize, steps_max: usize) -> Vec<Op> {
    let impossible = |ops: &[Op]| search(ops, values, steps_max).0 == Found::NoOrder;
    let mut ends: Vec<_> = ops.iter().filter_map(|op| op.end).collect();
    ends.sort_unstable();
    // The shortest beginning that is impossible: all shorter ones are possible.
    let (mut possible, mut end) = (0, ends.len().saturating_sub(1));
    while possible < end {
        let middle = (possible + end) / 2;
        if impossible(&until(ops, ends[middle])) {
            end = middle;
        } else {
            possible = middle + 1;
        }
    }
    let mut kept = match ends.get(end) {
        Some(&end) if impossible(&until(ops, end)) => until(ops, end),
        _ => ops.to_vec(),
    };
    kept = thin(kept, |op, _| op.is_read, impossible);
    thin(kept, |op, read| !op.is_read && !read[op.value], impossible)
}

/// What was known at this time: writes without an answer may follow, or not.
fn until(ops: &[Op], time: u64) -> Vec<Op> {
    let known = ops.iter().filter(|op| op.start <= time);
    let known = known.map(|op| Op { end: op.end.filter(|&end| end <= time), ..*op });
    known.filter(|op| !op.is_read || op.end.is_some()).collect()
}

/// Leaves out operations of a kind, in ever smaller pieces, as long as `impossible` holds.
fn thin(
    mut kept: Vec<Op>,
    kind: impl Fn(&Op, &[bool]) -> bool,
    impossible: impl Fn(&[Op]) -> bool,
) -> Vec<Op> {
    let values = kept.iter().map(|op| op.value + 1).max().unwrap_or(0);
    let mut read = vec![false; values];
    for op in kept.iter().filter(|op| op.is_read) {
        read[op.value] = true;
    }
    let mut piece = kept.iter().filter(|op| kind(op, &read)).count();
    while piece > 0 {
        let mut from = 0;
        loop {
            // The positions, among those of the kind, that this attempt leaves out.
            let (mut at, piece_range) = (0, from..from + piece);
            let mut rest = Vec::with_capacity(kept.len());
            for op in &kept {
                if !kind(op, &read) || !piece_range.contains(&at) {
                    rest.push(*op);
                }
                at += usize::from(kind(op, &read));
            }
            if from >= at {
                break;
            }
            if impossible(&rest) {
                kept = rest;
            } else {
                from += piece;
            }
        }
        piece /= 2;
    }
    kept
}
