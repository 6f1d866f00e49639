//! The facade: what users hold, and what happens when they call it. The only place that
//! starts threads.
//!
//! # Locks
//!
//! There is one order in which they may be taken. A thread that holds a lock may take only locks
//! further down this list:
//!
//! 0. `engine` contended: the turn of transactions, held over what they call; waited for only for a
//!    while.
//! 1. `open_db` threads: held over a close.
//! 2. `engine` caller jobs: shared by jobs in callers' threads, which may nest; a close waits
//!    for it and lets go again.
//! 3. `engine` idle: held over a job that brings a keyspace to rest; never waited for.
//! 4. `engine` flushing: held over a flush and its I/O, which are one at a time, and while a log at
//!    rest shrinks.
//! 5. `write_queue`: the write path; held over an append to the log.
//! 6. `version::set`: the manifest and the file tables; held over a manifest sync.
//! 7. `db::tree` super-versions: the memtables and version of one keyspace, swapped as a whole.
//! 8. a table handle's: held while the table is opened, over I/O.
//! 9. leaf locks, which take no other: snapshots, transactions, jobs, pacing, the sync queue of the log, the
//!    memtable's chunk and charge, the keyspaces' index, the ring of open tables, the slots of
//!    counters, the first failure, retries, the fall-back file systems.
//! 10. obsolete files: taken by whoever lets go of a table last, if need be under one of the leaves:
//!     who looks at a super-version under it may be the last to hold that.
//!
//! Locks are not poisoned: a panic while one is held is a bug of ours, and the database's
//! lifecycle, not the lock, is what refuses later writes.

mod background;
mod checkpoint;
mod cold_reads;
mod compact;
mod conditional;
mod conflict;
mod engine;
mod flush;
mod handle;
mod idle;
mod keyspace;
mod keyspaces;
mod levels;
mod lifecycle;
mod log;
mod multi_get;
mod open;
mod open_db;
mod open_transaction;
mod pacing;
mod range_iter;
mod read;
mod read_charge;
mod read_set;
mod reads;
mod removal;
mod replay;
mod rest;
mod retry;
mod scan;
mod snapshot;
mod stall;
mod stats;
mod threads;
mod transaction;
mod tree;
mod trees;
mod verify;
mod visible_seq;
mod visible_seq_sync;
mod work;
mod write;
mod write_queue;

#[cfg(test)]
mod visible_seq_model;
#[cfg(test)]
mod visible_seq_test;

pub use conditional::CompareAndSwapError;
pub use handle::Db;
pub use keyspace::{Keyspace, Snapshot};
pub use levels::{Level, Table};
pub use range_iter::Range;
pub use read_set::TRANSACTION_READS_BYTES_MAX;
pub use reads::Readable;
pub use scan::Cursor;
pub use stall::StallReason;
pub use stats::Stats;
pub use transaction::{Transaction, TransactionSavepoint};
pub use verify::Verified;
