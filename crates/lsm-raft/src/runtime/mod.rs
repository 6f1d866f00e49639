//! Carries out what a node decides: three threads and the queues between them.
//!
//! ```text
//!   requests, messages            Persist              fdatasync
//!  -------------------> raft thread ----> log thread ------------> messages, Persisted
//!                        ^   |   Apply                answers
//!                        |   +----------> apply thread -------> those who wait
//!                        +--- Applied, Flushed ---+
//! ```
//!
//! Each thread works in turns, and so does a simulation, which takes these turns itself in an order
//! of its own, with a [`Stepper`].
//!
//! Leaves to others: decisions (`node`), and the way to other nodes (a
//! [`Transport`](crate::Transport)).
//!
//! Invariants:
//! * What a node promises leaves it only after it is durable, in order.
//! * After a failed write or sync nothing more is persisted: the node hands over if it leads,
//!   and stops.
//!
//! Threads: any number of callers of [`Replica`]; every queue is bounded.

mod apply_thread;
mod beside;
mod busy;
mod handle;
mod hashes;
mod inbox;
mod jobs;
mod log_thread;
mod open;
mod queues;
mod raft_thread;
mod restoring;
mod shared;
mod stepper;

#[cfg(test)]
mod thread_test;

pub use handle::Replica;
pub use open::{LOCK_FILE, Opened, ReplicaOptions};
pub use stepper::Stepper;
