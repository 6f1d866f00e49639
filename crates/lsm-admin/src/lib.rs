#![doc = include_str!("../README.md")]

mod command;
mod escape;
mod failure;
mod group;
mod keys;
mod load;
mod status;
mod storage;
mod to;

pub use command::{Command, run};
pub use failure::Failure;
pub use keys::{Escapes, Value};
pub use storage::StorageCommand;
pub use to::To;
