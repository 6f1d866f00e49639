//! One binary: a node of the cluster, or five of them on one machine.

#[allow(dead_code, reason = "the wiring comes with the node")]
mod convert;
mod limits;
mod peer;
#[allow(dead_code, unused_imports, reason = "the wiring comes with the node")]
mod service;

fn main() {}
