//! One binary: a node of the cluster, or five of them on one machine.

#[allow(dead_code, unused_imports, reason = "wired with the node")]
mod config;
mod limits;
#[allow(dead_code, reason = "wired with the node")]
mod logging;
#[allow(dead_code, unused_imports, reason = "wired with the node")]
mod peer;

fn main() {}
