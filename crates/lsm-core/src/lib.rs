#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Db`] is the database, a [`Keyspace`] one named map of it, a [`Snapshot`] the state of one
//! moment. Settings are in [`Options`] and [`KeyspaceOptions`]; what a failed call means, and what
//! to do next, is in [`ErrorKind`].
//!
//! Batches, keyspaces and snapshots:
//!
//! ```
//! # fn main() -> lsm_core::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use lsm_core::{Db, Durability, KeyspaceOptions, WriteBatch};
//!
//! let db = Db::open(dir.path())?;
//! let users = db.keyspace("users", KeyspaceOptions::default())?;
//!
//! let mut batch = WriteBatch::new();
//! batch.put_in(&users, "ada", "countess");
//! batch.put("users/count", "1");
//! db.write_with(batch, Durability::Sync)?; // all of it or nothing, and it survives power loss
//!
//! let snapshot = db.snapshot();
//! users.delete("ada")?;
//! assert!(snapshot.keyspace(&users)?.get("ada")?.is_some());
//! # drop(users); drop(snapshot); db.close()
//! # }
//! ```
//!
//! The modules [`coding`], [`fs`] and [`wal`] are for those who build a store of their own beside
//! the engine, as `lsm-raft` does, or who bring a file system. Users of [`Db`] need none of them.

mod batch;
mod cache;
mod checksum;
mod clock;
pub mod coding;
mod compaction;
mod db;
#[cfg(test)]
mod document_test;
mod error;
mod event;
mod file_name;
pub mod fs;
#[cfg(feature = "testkit")]
pub mod fuzzing;
mod iter;
mod key;
mod memtable;
mod metrics;
mod options;
mod sstable;
mod sync;
#[cfg(feature = "testkit")]
pub mod testkit;
mod value;
mod version;
pub mod wal;

pub use batch::{KeyspaceRef, WriteBatch};
pub use clock::{Clock, ManualClock, SystemClock};
pub use db::{
    Cursor, Db, Keyspace, Level, Range, Readable, Snapshot, StallReason, Stats, Table, Verified,
};
pub use error::{Error, ErrorKind, Result};
pub use event::{BackgroundJob, Event};
pub use key::{KeyspaceId, SeqNo};
pub use options::{
    BATCH_BYTES_MAX, Compression, Durability, KEY_LEN_MAX, KEYSPACE_NAME_LEN_MAX, KEYSPACES_MAX,
    KeyspaceOptions, Options, TableAccess, VALUE_LEN_MAX, Verification,
};
pub use value::Value;
