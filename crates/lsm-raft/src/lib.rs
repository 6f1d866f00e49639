//! The engine as the state machine of a raft group.

pub mod command;
mod config;
mod error;
#[cfg(feature = "testkit")]
pub mod fuzzing;
mod log_store;
mod members;
mod outcome;

pub use config::Config;
pub use error::{Error, Result};
pub use log_store::{LogOptions, LogStore, LogWriter};
pub use members::{
    ADDRESS_LEN_MAX, Change, MEMBERS_MAX, Member, Members, Role, decode_changes, encode_changes,
};
pub use outcome::{Outcome, Refusal, Reply};
