//! What an engine is here, and all of them.

use std::path::Path;

use common::Store;

use super::{fjall_store, lmdb_store, lsm_store, redb_store, sled_store, surrealkv_store};

/// Memory for blocks, for every engine that has such a cache.
pub(super) const CACHE_BYTES: usize = 256 << 20;

/// An engine, and how a store of it begins.
#[derive(Clone, Copy)]
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    /// The package whose version is that of the engine.
    pub(crate) package: &'static str,
    /// In an empty folder. With LZ4, `None` if the engine does not have it.
    pub(crate) open: fn(dir: &Path, lz4: bool) -> Option<Box<dyn Store>>,
}

/// In the order of the columns.
pub(crate) const ENGINES: &[Engine] = &[
    Engine { name: "lsm-core", package: "lsm-core", open: lsm_store::open },
    #[cfg(feature = "rocksdb")]
    Engine { name: "RocksDB", package: "librocksdb-sys", open: super::rocksdb_store::open },
    Engine { name: "fjall", package: "fjall", open: fjall_store::open },
    Engine { name: "LMDB", package: "lmdb-master-sys", open: lmdb_store::open },
    Engine { name: "redb", package: "redb", open: redb_store::open },
    Engine { name: "sled", package: "sled", open: sled_store::open },
    Engine { name: "surrealkv", package: "surrealkv", open: surrealkv_store::open },
];

/// The names of all, also of those that this program was built without.
pub(crate) const ALL: [&str; 7] =
    ["lsm-core", "RocksDB", "fjall", "LMDB", "redb", "sled", "surrealkv"];
