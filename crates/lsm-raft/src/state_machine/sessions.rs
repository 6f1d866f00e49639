//! Who is known to retry, and what each did last.
//!
//! Pure: what happens depends on the log alone, so it is the same on every node. The rows that
//! changed are handed out to be written with the entries that changed them.
//!
//! Invariants:
//! * `by_use` holds each session of `by_id` once, under the index of its last applied request.
//! * At most `max` sessions are held; ids are given out once, from 1 up.

use std::collections::{BTreeSet, HashMap};

use super::layout::{SessionRow, ids_of_group, session_group};
use crate::command::Session;

/// What a session says about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is no such session.
    Unknown,
    /// It has gone on to a later request.
    Passed {
        /// Number of its last request.
        last: u64,
    },
    /// The request was applied before.
    Repeated {
        /// Where in the log.
        index: u64,
    },
    /// To be applied.
    New,
}

/// All sessions that are kept.
#[derive(Debug)]
pub(super) struct Sessions {
    max: usize,
    opened: u64,
    by_id: HashMap<u64, SessionRow>,
    /// Index of the last use and id; of several in one entry, the oldest session goes first.
    by_use: BTreeSet<(u64, u64)>,
    /// Groups of sessions whose row is to be written.
    changed: BTreeSet<u64>,
}

impl Sessions {
    /// No sessions; at most `max` will be kept.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            opened: 0,
            by_id: HashMap::new(),
            by_use: BTreeSet::new(),
            changed: BTreeSet::new(),
        }
    }

    /// The sessions of stored rows.
    pub(super) fn load(max: usize, opened: u64, rows: Vec<(u64, SessionRow)>) -> Self {
        let by_use = rows.iter().map(|(id, row)| (row.index, *id)).collect();
        let by_id = rows.into_iter().collect();
        Self { max, opened, by_id, by_use, changed: BTreeSet::new() }
    }

    /// Keeps at most so many from now on.
    pub(super) fn limit(&mut self, max: usize) {
        self.max = max;
    }

    /// How many were ever opened.
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    /// Opens a session in the entry at `index`, and gives one up if there are too many.
    pub(super) fn open(&mut self, index: u64) -> u64 {
        while self.by_id.len() >= self.max
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.by_id.remove(&oldest);
            self.changed.insert(session_group(oldest));
        }
        self.opened += 1;
        self.set(self.opened, SessionRow { sequence: 0, index });
        self.opened
    }

    /// Whether a request is to be applied.
    pub(super) fn judge(&self, session: Session) -> Verdict {
        let Some(row) = self.by_id.get(&session.id) else { return Verdict::Unknown };
        if session.sequence > row.sequence {
            Verdict::New
        } else if session.sequence == row.sequence && session.sequence > 0 {
            Verdict::Repeated { index: row.index }
        } else {
            // Requests count from 1: number 0 is behind even a session that made none.
            Verdict::Passed { last: row.sequence }
        }
    }

    /// Notes that a request was applied in the entry at `index`. Does nothing for a session
    /// that is not there.
    pub(super) fn applied(&mut self, session: Session, index: u64) {
        if let Some(row) = self.by_id.get(&session.id) {
            self.by_use.remove(&(row.index, session.id));
            self.set(session.id, SessionRow { sequence: session.sequence, index });
        }
    }

    fn set(&mut self, id: u64, row: SessionRow) {
        self.by_id.insert(id, row);
        self.by_use.insert((row.index, id));
        self.changed.insert(session_group(id));
    }

    /// The groups that changed since they were last taken, with all their sessions in order; a
    /// group without any is gone.
    pub(super) fn take_changed(&mut self) -> Vec<(u64, Vec<(u64, SessionRow)>)> {
        let groups = std::mem::take(&mut self.changed).into_iter();
        let sessions = |group: u64| {
            ids_of_group(group).filter_map(|id| Some((id, *self.by_id.get(&id)?))).collect()
        };
        groups.map(|group| (group, sessions(group))).collect()
    }
}

#[cfg(test)]
#[path = "sessions_test.rs"]
mod tests;
