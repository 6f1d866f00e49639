//! What all measurements share: data sets, folders, stores, threads, the workloads.
//!
//! Included by path into each bench and into `peers`, so that every engine gets the same keys,
//! values and order of operations. Each includer uses a part of it.

#![allow(dead_code, unreachable_pub, reason = "each bench uses a part")]
#![allow(unused_imports, reason = "each bench uses a part")]

mod data;
mod figure;
mod folder;
mod lsm;
mod memory;
mod report;
mod store;
mod threads;
mod workload;

pub(crate) use data::{Data, KEY_LEN, Key, bench_entries};
pub(crate) use figure::{digits, rate, rounds};
pub(crate) use folder::Folder;
pub(crate) use lsm::{Lsm, fill, settle};
pub(crate) use memory::{AnonPeak, anon_bytes};
pub(crate) use report::Report;
pub(crate) use store::{Store, touch};
pub(crate) use threads::split;
pub(crate) use workload::{Measured, Sizes, run_round};
