//! What all measurements share: data sets, folders, stores, threads, the workloads.
//!
//! `peers` uses it too, so that every engine gets the same keys, values and order of operations.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the real clock and files")]
#![allow(missing_docs, clippy::new_without_default, reason = "for the measurements beside it")]

mod data;
mod figure;
mod folder;
mod lsm;
mod memory;
mod report;
mod store;
mod threads;
mod workload;

pub use data::{Data, KEY_LEN, Key, bench_entries};
pub use figure::{digits, rate, rounds};
pub use folder::Folder;
pub use lsm::{Lsm, fill, settle};
pub use memory::{AnonPeak, anon_bytes};
pub use report::Report;
pub use store::{Store, touch};
pub use threads::split;
pub use workload::{Measured, Sizes, run_round};
