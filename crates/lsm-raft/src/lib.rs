//! The engine as the state machine of a raft group.
//!
//! A [`Replica`] is one node of a group, with its threads: requests go in, and what is
//! committed is applied to the engine on every node. Its parts stand alone, so that a test can
//! drive them step by step: [`Node`] decides, [`LogStore`] keeps the log, [`StateMachine`]
//! applies it, [`Outgoing`] and [`Incoming`] carry a whole state to a node that is far behind.
//!
//! Messages between nodes go through a [`Transport`], which the user of this crate brings.

pub mod command;
mod config;
mod error;
#[cfg(feature = "testkit")]
pub mod fuzzing;
mod identity;
mod log_store;
mod members;
mod node;
mod outcome;
mod room;
mod runtime;
mod snapshot;
mod state_machine;
mod storage;
#[cfg(feature = "testkit")]
pub mod testkit;
mod transport;

pub use config::{Config, Timing};
pub use error::{Error, Result};
pub use identity::{CLUSTER_LEN_MAX, Identity};
pub use log_store::{LogOptions, LogStore, LogWriter, SegmentJob, SegmentPromise};
pub use members::{
    ADDRESS_LEN_MAX, Change, MEMBERS_MAX, Member, Members, Origin, Role, decode_changes,
    encode_changes,
};
pub use node::{
    Apply, Input, Node, NodeStatus, NodeStorage, Output, PeerStatus, Persist, Restore, Wants,
};
pub use outcome::{Outcome, Refusal, Reply};
pub use raft;
pub use room::Room;
pub use runtime::{LOCK_FILE, Opened, Replica, ReplicaOptions, Stepper};
pub use snapshot::{
    FILES_MAX, Header, Incoming, Outgoing, PIECE_BYTES_MAX, Piece, Pieces, SnapshotFile, Staged,
};
pub use state_machine::{Checked, HashJob, SESSIONS_MAX, StateMachine, StateOptions, StateReader};
pub use storage::{GroupStorage, SnapshotSlot, snapshot_message};
pub use transport::Transport;
