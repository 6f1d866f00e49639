//! lsm-core: a put is `Buffered`, in the operating system's hands when it returns; a synced one is
//! `Sync`, an fdatasync that is shared with others who wait. Set: the cache, the compression.

use std::path::Path;

use common::{Lsm, Store};
use lsm_core::{Compression, Options};

use super::engine::CACHE_BYTES;

pub(crate) fn open(dir: &Path, lz4: bool) -> Option<Box<dyn Store>> {
    let compression = if lz4 { Compression::Lz4 } else { Compression::None };
    let options = Options::default().block_cache_bytes(CACHE_BYTES).compression(compression);
    Some(Box::new(Lsm::open_with(options, dir)))
}
