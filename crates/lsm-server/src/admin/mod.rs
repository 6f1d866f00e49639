//! What operators ask of a running cluster, and a way to try it by hand.
//!
//! Leaves to others: starting nodes (`node`, `local`). Everything goes through the client that
//! programs use.

mod command;
mod escape;
mod failure;
mod group;
mod keys;
mod load;
mod status;
mod storage;
mod to;

pub(crate) use command::{AdminCommand, run};
