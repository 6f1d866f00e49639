//! What the threads tell each other.

use std::sync::mpsc::Sender;

use raft::eraftpb::{HardState, Message};
use tokio::sync::oneshot;

use crate::error::Result;
use crate::members::Members;
use crate::node::{Apply, Input, Persist};
use crate::outcome::{Refusal, Reply};
use crate::state_machine::Checked;

/// Work of the log and apply threads that waits. The raft thread waits for room: it has gone
/// too far ahead.
pub(super) const JOBS_MAX: usize = 1 << 12;

/// Who waits for an answer. One that is dropped unanswered says that the node stopped.
#[derive(Debug)]
pub(super) struct Waiter(pub(super) oneshot::Sender<Reply>);

impl Waiter {
    pub(super) fn answer(self, reply: Reply) {
        // Whoever waited may have gone.
        let _ = self.0.send(reply);
    }

    pub(super) fn refuse(self, refusal: Refusal) {
        self.answer(Err(refusal));
    }
}

/// What the raft thread reacts to.
#[derive(Debug)]
pub(super) enum Event {
    Input(Input<Waiter>),
    Messages(Vec<Message>),
    /// A snapshot was received whole, and this message announces it.
    Snapshot(Box<Message>, Box<Checked>),
    Stop,
}

/// For the log thread.
#[derive(Debug)]
pub(super) enum LogJob {
    Persist(Persist),
    Truncate { index: u64, term: u64 },
    Reset { index: u64, term: u64, hard_state: HardState, done: Sender<Result<()>> },
}

/// For the apply thread.
#[derive(Debug)]
pub(super) enum ApplyJob {
    Apply(Apply<Waiter>),
    Read { index: u64, waiters: Vec<Waiter> },
    MakeSnapshot,
    Restore { checked: Box<Checked>, done: Sender<Result<Members>> },
}
