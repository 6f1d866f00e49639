//! What tests of a group are made of. Not for production use.

mod history;
mod linear;
mod search;
mod violation;

pub use history::{Action, Call, History, Operation, Recorder, Reply, Text, Ticket};
pub use linear::{Failure, STEPS_MAX, check, check_within};
pub use violation::Violation;
