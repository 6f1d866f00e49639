//! What tests of a group are made of. Not for production use.
//!
//! With it come the parts of a node, for simulations and tests that drive them step by step:
//! * [`Node`](crate::Node) decides: an [`Input`](crate::Input) gives an [`Output`](crate::Output), such as [`Persist`](crate::Persist) and [`Apply`](crate::Apply). It writes
//!   nothing, and has neither clock nor threads. [`NodeStorage`](crate::NodeStorage) is what it reads;
//!   [`GroupStorage`](crate::GroupStorage) with its [`SnapshotSlot`](crate::SnapshotSlot) is the real one.
//! * [`LogStore`](crate::LogStore) keeps the log and [`LogWriter`](crate::LogWriter) writes it; [`StateMachine`](crate::StateMachine) applies it.
//! * [`Stepper`](crate::Stepper) runs a whole node by hand.

mod history;
mod linear;
mod search;
mod violation;

pub use history::{Action, Call, History, Operation, Recorder, Reply, Text, Ticket};
pub use linear::{Failure, STEPS_MAX, check, check_within};
pub use violation::Violation;
