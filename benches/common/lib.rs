//! What all measurements share: data sets, folders, stores, threads, the workloads.
//!
//! `peers` uses it too, so that every engine gets the same keys, values and order of operations.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the real clock and files")]
#![allow(missing_docs, clippy::new_without_default, reason = "for the measurements beside it")]

mod data;
mod figure;
mod folder;
mod lsm;
mod measured;
mod memory;
mod process;
mod report;
mod rows;
mod scenes;
mod stage;
mod store;
mod threads;
mod zipf;

#[cfg(test)]
mod scenes_test;

pub use data::{Data, KEY_LEN, Key, bench_entries};
pub use figure::{digits, rate, rounds, time};
pub use folder::Folder;
pub use lsm::Lsm;
pub use measured::{Measured, spread};
pub use memory::AnonPeak;
pub use process::anon_bytes;
pub use report::Report;
pub use scenes::{SCENES, Scene, Section, rows};
pub use stage::{Sizes, fill};
pub use store::{Change, Store, settle, touch};
pub use threads::split;
