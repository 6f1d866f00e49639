//! The replicated state: an engine that entries of the log are applied to.
//!
//! Every node that applies the same entries holds the same state, whatever happened to it in
//! between; [`HashJob`] compares. What is replicated is the default keyspace (the user's) and
//! the rows of the keyspace `raft` (ours), written together; so the state always is that of an
//! exact index. The log is the log: the engine writes nothing but tables, and after a crash the
//! entries behind the applied row are applied again.
//!
//! Left to others: reading the log, deciding what is committed, moving bytes between nodes.

mod announced;
#[cfg(test)]
mod apply_test;
mod checked;
#[cfg(test)]
mod crash_test;
mod current;
mod folder;
mod hash;
mod layout;
mod machine;
mod metadata;
mod reader;
#[cfg(test)]
mod restore_test;
mod sessions;
#[cfg(test)]
mod test_log;
#[cfg(test)]
mod test_state;

pub use checked::Checked;
pub use hash::HashJob;
pub use machine::{StateMachine, StateOptions};
pub use reader::StateReader;
