//! One binary: a node of the cluster, or five of them on one machine.

#[allow(dead_code, unused_imports, reason = "wired with the node")]
mod config;
#[allow(dead_code, reason = "wired with the node")]
mod convert;
#[allow(dead_code, reason = "wired with the node")]
mod limits;
#[allow(dead_code, reason = "wired with the node")]
mod logging;
#[allow(dead_code, unused_imports, reason = "wired with the node")]
mod peer;
#[allow(dead_code, unused_imports, reason = "wired with the node")]
mod service;

fn main() {}
