//! Locks, and the one order in which they may be taken.
//!
//! A thread that holds a lock may take only locks further down this list:
//!
//! 1. `db::state::Commit`: the write path; held over an append to the log (see `db::write`).
//! 2. `db::state` next segment: held while a log segment is made.
//! 3. `version::set`: the manifest and the file tables; held over a manifest sync.
//! 4. `db::tree` views: the memtables and version of one keyspace, swapped as a whole.
//! 5. leaf locks, which take no other: snapshots, jobs, pacing, the sync queue of the log, the memtable's
//!    chunk, the open tables, health, the fall-back file systems.
//!
//! Locks are not poisoned: a panic while one is held is a bug of ours, and the database's
//! health, not the lock, is what refuses later writes.

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
