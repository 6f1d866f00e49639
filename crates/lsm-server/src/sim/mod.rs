//! A simulation of what a node decides beside raft: whom to pass a request on to, what to make of
//! an answer that does not come, when a read may be answered, what a session makes safe, and whom
//! to let in.
//!
//! Every node is a production replica, whose threads take their turns when the simulation says so,
//! with the production services in front of it and the production transport behind. Requests,
//! messages and snapshots go through real gRPC, from clients to nodes and from node to node, over
//! pipes in memory. Simulated are the pipes, the disks, which lose what was not synced when a node
//! crashes, and the time: a seed takes half a minute of it, and about a second of a processor.
//!
//! `LSM_SIM_SEED=7` runs one seed; `LSM_SIM_SEEDS=1000` that many, from `LSM_SIM_FIRST` on. A run
//! is nearly a function of its seed: only the order in which tokio looks at what happens at the
//! same moment is not.
//!
//! Threads: one a seed, and now and then one of tokio's that reads a page of a scan or a piece of a
//! snapshot; the time stands still meanwhile.

mod client;
mod faults;
mod fleet;
mod group;
mod history;
mod host;
mod net;
mod operator;
mod pair;
mod report;
mod scenes;
mod seeds;
mod sessions;
mod stub;
