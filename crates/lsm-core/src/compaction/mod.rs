//! What to merge, and how.
//!
//! [`pick`], [`rest`] and [`ManualCompaction`] decide, from a version alone, which tables to merge into
//! which level; [`OutputSplitter`] and [`DropPolicy`] decide, entry by entry, what comes out. None of them
//! touches a file, a lock or a clock; [`flush`] and [`merge`] carry the decisions out, no faster than a
//! [`RateLimit`] allows.

mod busy;
mod drop_policy;
mod effort;
mod job;
mod levels;
mod manual;
mod output_splitter;
mod picker;
mod plan;
mod rate_limit;
mod rest;
#[cfg(test)]
mod simulation_test;

pub(crate) use busy::BusyTables;

pub(crate) use effort::{IDLE_TIME_CHEAP, IDLE_TIME_MAX, IDLE_TIME_MIN};
pub(crate) use job::{Job, flush, merge, sync_names};
pub(crate) use levels::{codec_for, debt};
pub(crate) use manual::{ManualCompaction, ManualStep};
pub(crate) use picker::{pick, urgency};
pub(crate) use plan::{Plan, PlanKind};
pub(crate) use rate_limit::RateLimit;
pub(crate) use rest::{flush_effort, held_until, rest};
