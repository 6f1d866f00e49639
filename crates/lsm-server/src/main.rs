//! One binary: a node of the cluster, or five of them on one machine.

mod config;
mod limits;
mod logging;

fn main() {}
