//! The engine as the state machine of a raft group.

pub mod command;
mod config;
mod error;
mod members;
mod node;
mod outcome;
mod snapshot;
mod state_machine;

pub use config::Config;
pub use error::{Error, Result};
pub use members::{
    ADDRESS_LEN_MAX, Change, MEMBERS_MAX, Member, Members, Role, decode_changes, encode_changes,
};
pub use node::{Apply, Input, Node, NodeStatus, NodeStorage, Output, PeerStatus, Persist, Restore};
pub use outcome::{Outcome, Refusal, Reply};
pub use snapshot::{
    FILES_MAX, Header, Incoming, Outgoing, PIECE_BYTES_MAX, Piece, Pieces, SnapshotFile, Staged,
};
pub use state_machine::{HashJob, SESSIONS_MAX, StateMachine, StateOptions, StateReader};
