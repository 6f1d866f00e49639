//! What a node is started with: flags, environment, a file and defaults, in this order of
//! precedence, checked as a whole before anything is opened.
//!
//! Leaves to others: binding the addresses and opening the folder, and what certificates mean.
//!
//! Invariants:
//! * Every setting has one name: `--name`, `LSM_NAME` and `name` in the file.
//! * An error names the setting, what it is, and what it may be.

mod error;
mod filter;
mod given;
mod nodes;
mod settings;
mod tls;

pub(crate) use given::{LogFormat, StartArgs};
pub(crate) use nodes::Address;
pub(crate) use settings::{Log, Settings};
