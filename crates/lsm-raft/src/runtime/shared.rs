//! What all threads and callers of one replica see.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::beside::Beside;
use super::busy::Busy;
use super::hashes::Hashes;
use super::inbox::Inbox;
use super::queues::Event;
use crate::config::Timing;
use crate::error::Error;
use crate::identity::Identity;
use crate::log_store::LogStore;
use crate::node::{Input, NodeStatus};
use crate::room::Room;
use crate::state_machine::StateReader;
use crate::storage::SnapshotSlot;
use crate::transport::Transport;

/// Where a replica stands in its life.
#[derive(Clone, Debug)]
pub(super) enum RunState {
    Running,
    /// It cannot persist; it hands over what it leads.
    Failing(Error),
    Stopped(Option<Error>),
}

pub(super) struct RuntimeShared {
    pub(super) identity: Identity,
    /// The node's folder.
    pub(super) dir: PathBuf,
    pub(super) timing: Timing,
    pub(super) status: watch::Sender<NodeStatus>,
    pub(super) life: watch::Sender<RunState>,
    pub(super) reader: StateReader,
    pub(super) log: LogStore,
    pub(super) slot: SnapshotSlot,
    pub(super) transport: Arc<dyn Transport>,
    /// What waits for the raft thread.
    pub(super) inbox: Inbox,
    pub(super) beside: Beside,
    pub(super) hashes: Mutex<Hashes>,
    /// What the log thread has under way.
    pub(super) log_busy: Busy,
    /// On the disk, as of the last look.
    pub(super) room: Mutex<Room>,
    /// Bytes that may still be filled, as of that look.
    pub(super) free: AtomicU64,
}

impl RuntimeShared {
    /// The node can persist nothing any more: lets it hand over and stop. The first reason
    /// stays.
    pub(super) fn fail(&self, error: &Error) {
        let first = self.life.send_if_modified(|life| {
            let running = matches!(life, RunState::Running);
            if running {
                *life = RunState::Failing(error.clone());
            }
            running
        });
        if first {
            // Before anything else: where the disk is full, so may be that of the log lines.
            self.inbox.tell(Event::Input(Input::Fail { reason: error.to_string() }));
            tracing::error!(node = self.identity.node, %error, "cannot go on; handing over and stopping");
        }
    }

    pub(super) fn room(&self) -> Room {
        *self.room.lock()
    }

    pub(super) fn set_room(&self, room: Room, free: u64) {
        *self.room.lock() = room;
        self.free.store(free, Ordering::Relaxed);
    }

    /// The raft thread has ended.
    pub(super) fn stopped(&self, error: Option<Error>) {
        self.life.send_modify(|life| {
            *life = match std::mem::replace(life, RunState::Running) {
                RunState::Failing(first) => RunState::Stopped(Some(first)),
                RunState::Stopped(first) => RunState::Stopped(first.or(error)),
                RunState::Running => RunState::Stopped(error),
            };
        });
    }
}

/// Notices a thread that panicked: the node must not look alive without it.
pub(super) struct PanicGuard(pub(super) Arc<RuntimeShared>, pub(super) &'static str);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(&Error::Raft(format!("the {} thread panicked: this is a bug", self.1)));
            if self.1 == "raft" {
                self.0.inbox.close();
                self.0.stopped(None);
            }
        }
    }
}
