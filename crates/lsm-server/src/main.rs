//! One binary: a node of the cluster, or five of them on one machine.

mod limits;
mod peer;

fn main() {}
