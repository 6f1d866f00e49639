//! One binary: a node of the cluster, or five of them on one machine.

fn main() {}
