//! One node of the group as a pure step: inputs in, ordered outputs out.
//!
//! Writes no file, sends nothing, reads no clock and starts no thread: whoever drives a
//! [`Node`] carries its outputs out, in order, and tells it when they are done.
//!
//! ```text
//!            Message Propose Read Tick                Persisted Applied Restored
//!                  \    |    |   /                          |
//!                   v   v    v  v                           v
//!                  +---------------+   in order   Send, Persist, Apply, Read,
//!                  |     Node      | -----------> Restore, Truncate, Refuse, ...
//!                  +---------------+
//!
//! applied <= persisted, applied <= committed <= last
//! ```
//!
//! Leaves to others: what commands mean (`state_machine`), where the log lives (any
//! [`NodeStorage`]), and the threads (`runtime`).

mod catching_up;
mod changes;
mod disk;
mod elections;
mod guard;
mod io;
mod last_contact;
mod leadership;
mod leases;
mod losses;
mod membership;
mod proposals;
mod reads;
mod ready;
#[cfg(test)]
mod script_test;
mod status;
mod step;
#[cfg(test)]
mod step_test;
#[cfg(test)]
mod test_group;
#[cfg(test)]
mod test_trace;
mod truncation;

pub use io::{Apply, Input, NodeStatus, NodeStorage, Output, PeerStatus, Persist, Restore, Wants};
pub use step::Node;
