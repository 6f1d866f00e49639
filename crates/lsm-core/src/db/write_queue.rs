//! The path of many writers: one at a time is given its sequence numbers and appends to the log.
//!
//! Logged and unlogged writes take turns; see [`Engine::logged`](super::engine::Engine::logged).
//!
//! Threads: any. The lock is held over an append to the log, never over a sync.

use lsm_log::wal::Log;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::key::SeqNo;

/// Where writers wait for each other.
#[derive(Debug, Default)]
pub(crate) struct WriteQueue {
    commit: Mutex<Commit>,
    /// Somebody's turn to write has come.
    turn: Condvar,
}

impl WriteQueue {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Commit> {
        self.commit.lock()
    }

    #[cfg(test)]
    pub(crate) fn is_locked(&self) -> bool {
        self.commit.is_locked()
    }

    /// Waits until others have had their turn.
    pub(crate) fn wait(&self, commit: &mut MutexGuard<'_, Commit>) {
        self.turn.wait(commit);
    }

    /// The turn goes to whoever waits for it.
    pub(crate) fn pass_on(&self) {
        self.turn.notify_all();
    }
}

/// The write path: who holds it gives out sequence numbers and appends to the log.
#[derive(Debug, Default)]
pub(crate) struct Commit {
    /// `None` when the database was opened to be read only.
    pub(crate) log: Option<Log>,
    pub(crate) last_seq: SeqNo,
    /// The greatest sequence number that was given to a write in no log.
    pub(crate) unlogged: SeqNo,
    /// Every write waits for everything up to here to be flushed: a logged one has asked for it.
    pub(crate) barrier: SeqNo,
    /// Logged writes that wait for the barrier to fall, or have not taken their turn since.
    pub(crate) logged_waiting: usize,
    /// The same of unlogged writes, whose turn comes after theirs.
    pub(crate) unlogged_waiting: usize,
}
