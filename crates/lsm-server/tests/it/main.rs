//! Clusters of real processes on this machine: what a user sees of them, and what they survive.

#![allow(clippy::disallowed_methods, reason = "tests of whole processes, in real time and files")]

mod admin;
mod away;
mod catching_up;
mod crash;
mod handles;
mod harness;
mod history;
mod local;
mod partition;
mod resume;
mod room;
mod scans;
mod seed;
mod start;
mod stop;
mod tls;
