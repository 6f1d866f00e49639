#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Db`] is the database, a [`Keyspace`] one named map of it, a [`Snapshot`] the state of one
//! moment. Writes that depend on reads are [`transact`](Db::transact)ed. Settings are in [`Options`] and [`KeyspaceOptions`]; what a failed call means, and what
//! to do next, is in [`ErrorKind`].
//!
//! Batches, keyspaces and snapshots:
//!
//! ```
//! # fn main() -> lsm_core::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use lsm_core::{Db, Durability, WriteBatch};
//!
//! let db = Db::open(dir.path())?;
//! let users = db.keyspace("users", None)?;
//!
//! let mut batch = WriteBatch::new();
//! batch.put_in(&users, "ada", "countess");
//! batch.put("users/count", "1");
//! db.write_with(&batch, Durability::Sync)?; // all of it or nothing, and it survives power loss
//!
//! let snapshot = db.snapshot();
//! users.delete("ada")?;
//! assert!(snapshot.keyspace(&users)?.get("ada")?.is_some());
//! # drop(users); drop(snapshot); db.close()
//! # }
//! ```
//!
//! [`fs`] is for those who bring a file system of their own, or test with one that fails or crashes.

mod batch;
mod cache;
mod clock;
mod compaction;
mod db;
#[cfg(test)]
mod document_test;
mod event;
#[cfg(feature = "testkit")]
pub mod fuzzing;
mod iter;
mod key;
mod memtable;
mod metrics;
mod options;
mod sstable;
#[cfg(feature = "testkit")]
pub mod testkit;
mod value;
mod version;

pub use batch::{KeyspaceRef, WriteBatch};
pub use clock::{Clock, ManualClock, SystemClock};
pub use db::{
    CompareAndSwapError, Cursor, Db, Keyspace, Level, Range, Readable, Snapshot, StallReason,
    Stats, TRANSACTION_READS_BYTES_MAX, Table, Transaction, TransactionSavepoint, Verified,
};
pub use event::{BackgroundJob, Event};
pub use key::{Key, KeyspaceId, SeqNo, prefix_end};
pub use lsm_log::error::{Error, ErrorKind, Result};
pub use lsm_log::fs;
pub use options::{
    BATCH_BYTES_MAX, Compression, Durability, KEY_LEN_MAX, KEYSPACE_NAME_LEN_MAX, KEYSPACES_MAX,
    KeyspaceOptions, Options, TableAccess, VALUE_LEN_MAX, Verification,
};
pub use value::Value;
