//! The engines. Each file says what a put and a synced put mean in its engine, and which settings
//! are not the engine's own defaults.

mod engine;
mod fjall_store;
mod lmdb_store;
mod lsm_store;
mod redb_store;
#[cfg(feature = "rocksdb")]
mod rocksdb_store;
mod sled_store;
mod surrealkv_store;

pub(crate) use engine::{ALL, ENGINES, Engine};
