//! The facade: what users hold, and what happens when they call it. The only place that
//! starts threads.

mod admin;
mod checkpoint;
mod flush;
mod handle;
mod health;
mod idle;
mod keyspace;
mod levels;
mod open;
mod publish;
mod range_iter;
mod read;
mod reads;
mod removal;
mod replay;
mod rest;
mod retry;
mod scan;
mod shared;
mod snapshot;
mod stall;
mod state;
mod stats;
mod threads;
mod tree;
mod trees;
mod verify;
mod work;
mod write;

pub use handle::Db;
pub use keyspace::{Keyspace, Snapshot};
pub use levels::{Level, Table};
pub use range_iter::Range;
pub use reads::Readable;
pub use scan::Cursor;
pub use stall::StallReason;
pub use stats::Stats;
pub use verify::Verified;
