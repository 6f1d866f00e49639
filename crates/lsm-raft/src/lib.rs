#![doc = include_str!("../README.md")]
//!
//! # What is where
//!
//! **A running node**
//! * [`ReplicaOptions`] opens a folder and starts a [`Replica`]: requests go in, and what is
//!   committed is applied to the engine on every node. [`Config`] and [`Timing`] are its
//!   settings, [`NodeStatus`], [`PeerStatus`] and [`Room`] what it knows of itself.
//! * [`Transport`] carries messages to other nodes; the user of this crate brings it.
//!
//! **Requests and answers**
//! * [`command`] encodes what is proposed. A [`Reply`] is an [`Outcome`] of the state machine or
//!   a [`Refusal`] before it. [`StateReader`] reads the state.
//!
//! **Members**
//! * [`Members`] are all nodes, each a [`Member`] with its [`Role`]; a [`Change`] is one step of a
//!   membership change. [`Origin`] tells groups of one
//!   name apart. [`Identity`] is whose folder it is.
//!
//! **Snapshots**
//! * [`Outgoing`] reads the state of a node in [`Pieces`] for one that is far behind, which
//!   collects them in [`Incoming`] until they are [`Staged`]. [`Header`] and [`SnapshotFile`]
//!   describe it.

#![cfg_attr(
    not(feature = "testkit"),
    allow(
        dead_code,
        unreachable_pub,
        unused_imports,
        reason = "the parts that only tests drive by hand"
    )
)]

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

// Running a node.
pub use config::{Config, SESSIONS_MAX, Timing};
pub use error::{Error, Result};
pub use node::{NodeStatus, PeerStatus};
pub use raft;
pub use room::Room;
pub use runtime::{LOCK_FILE, Replica, ReplicaOptions};
pub use transport::Transport;

// Requests and answers.
pub use outcome::{Outcome, Refusal, Reply};
pub use state_machine::StateReader;

// Members.
pub use identity::{CLUSTER_LEN_MAX, Identity};
pub use members::{ADDRESS_LEN_MAX, Change, MEMBERS_MAX, Member, Members, Origin, Role};

// Snapshots.
pub use snapshot::{
    FILES_MAX, Header, Incoming, Outgoing, PIECE_BYTES_MAX, Piece, Pieces, SnapshotFile, Staged,
};

// The parts of a node, for simulations and tests that drive them step by step: see `testkit`.
#[cfg(feature = "testkit")]
pub use log_store::{LogOptions, LogStore, LogWriter};
#[cfg(feature = "testkit")]
pub use members::{decode_changes, encode_changes};
#[cfg(feature = "testkit")]
pub use node::{Apply, Input, Node, NodeStorage, Output, Persist, Restore, Wants};
#[cfg(feature = "testkit")]
pub use runtime::{Opened, Stepper};
#[cfg(feature = "testkit")]
pub use state_machine::{Checked, HashJob, StateMachine, StateOptions};
#[cfg(feature = "testkit")]
pub use storage::{GroupStorage, SnapshotSlot, snapshot_message};
