//! Drives a node by hand instead of by threads: for simulations, in which one seed decides what
//! happens when. What each thread does in a turn is the same code.

use std::time::Duration;

use lsm_log::fs::Lock;

use super::apply_thread::ApplyThread;
use super::log_thread::LogThread;
use super::queues::{Event, JOBS_MAX};
use super::raft_thread::RaftThread;
use crate::log_store::LogStore;
use crate::node::NodeStatus;

const NOW: Duration = Duration::ZERO;

/// The threads of one node, of which each goes on when it is told to.
///
/// Dropping it ends the node as a crash of the process does.
pub struct Stepper {
    raft: Option<RaftThread>,
    log: Option<LogThread>,
    apply: Option<ApplyThread>,
    store: LogStore,
    _lock: Box<dyn Lock>,
}

impl std::fmt::Debug for Stepper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stepper").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Stepper {
    pub(super) fn new(
        raft: RaftThread,
        log: LogThread,
        apply: ApplyThread,
        lock: Box<dyn Lock>,
    ) -> Self {
        let store = raft.shared.log.clone();
        Self { raft: Some(raft), log: Some(log), apply: Some(apply), store, _lock: lock }
    }

    /// Lets the raft thread take what waits for it, and its tick if it is time. It does nothing
    /// while it waits for the others, and has ended once the node was told to stop, or failed.
    pub fn raft(&mut self) {
        let Some(raft) = &mut self.raft else { return };
        if raft.log.len() >= JOBS_MAX || raft.apply.len() >= JOBS_MAX {
            return;
        }
        let error = match raft.turn(false) {
            Ok(true) => return,
            Ok(false) => None,
            Err(error) => Some(error),
        };
        if let Some(raft) = self.raft.take() {
            raft.end(error);
        }
    }

    /// Lets the log thread do the jobs that wait, with one sync.
    pub fn log(&mut self) {
        if self.log.as_mut().is_some_and(|log| !log.turn(NOW)) {
            self.log = None;
        }
    }

    /// Lets the apply thread do the jobs that wait. At the end of the node it closes the state.
    pub fn apply(&mut self) {
        if self.apply.as_mut().is_some_and(|apply| !apply.turn(NOW))
            && let Some(apply) = self.apply.take()
        {
            apply.end();
        }
    }

    /// Does one piece of the work beside the threads, such as making a snapshot; false if there
    /// was none.
    pub fn beside(&mut self) -> bool {
        self.raft.as_ref().is_some_and(|raft| raft.shared.beside.step())
    }

    /// When the raft thread takes its next tick, by the node's clock; never once it has ended.
    pub fn next_tick(&self) -> Duration {
        self.raft.as_ref().map_or(Duration::MAX, |raft| raft.next_tick)
    }

    /// Tells the node to stop. Its threads do so in their next turns.
    pub fn stop(&self) {
        if let Some(raft) = &self.raft {
            raft.shared.inbox.tell(Event::Stop);
        }
    }

    /// Whether the raft thread would wake up for what waits for it.
    pub fn raft_is_due(&self) -> bool {
        self.raft.as_ref().is_some_and(RaftThread::is_due)
    }

    /// Whether the raft thread waits until the others have switched to a snapshot.
    pub fn is_restoring(&self) -> bool {
        self.raft.as_ref().is_some_and(|raft| raft.restoring.is_some())
    }

    /// Whether jobs wait for the log thread, or it is to end.
    pub fn log_is_due(&self) -> bool {
        self.log.is_some() && self.raft.as_ref().is_none_or(|raft| raft.log.len() > 0)
    }

    /// As [`log_is_due`](Self::log_is_due), for the apply thread.
    pub fn apply_is_due(&self) -> bool {
        self.apply.is_some() && self.raft.as_ref().is_none_or(|raft| raft.apply.len() > 0)
    }

    /// Whether all threads have ended.
    pub fn has_ended(&self) -> bool {
        self.raft.is_none() && self.log.is_none() && self.apply.is_none()
    }

    /// What the node knows of itself at this moment; none once it has ended.
    pub fn status(&self) -> Option<NodeStatus> {
        self.raft.as_ref().map(|raft| raft.node.status())
    }

    /// The log.
    pub fn store(&self) -> &LogStore {
        &self.store
    }
}
