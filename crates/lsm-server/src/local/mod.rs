//! A whole cluster on this machine, for trying it out: each node is a process of its own, so
//! that one can be killed and started again.
//!
//! Invariants:
//! * No node outlives this process, however it ends: each stops when its standard input does.
//! * A folder that was made for the occasion is removed at the end; one that was given is not.

mod plan;
mod processes;
mod run;
mod view;

pub(crate) use run::{LocalArgs, run};
