//! sled 0.34, the last that is not an alpha version: a put reaches the operating system within half
//! a second, the death of the process undoes what has not. A synced one calls `flush`, and then
//! fdatasync: on Linux `flush` ends in sync_file_range, which neither makes the file's new size
//! durable nor empties the disk's own cache. Set: the cache. It compresses with zstd only; it has
//! no compaction to call.

use std::fs::File;
use std::path::Path;

use common::{Change, Store, touch};
use sled::{Batch, Config, Db};

use super::engine::CACHE_BYTES;

struct Sled {
    db: Db,
    file: File,
}

pub(crate) fn open(dir: &Path, lz4: bool) -> Option<Box<dyn Store>> {
    if lz4 {
        return None;
    }
    let config = Config::new().path(dir).cache_capacity(CACHE_BYTES as u64);
    let db = config.open().unwrap();
    let file = File::open(dir.join("db")).unwrap();
    Some(Box::new(Sled { db, file }))
}

impl Store for Sled {
    fn put(&self, key: &[u8], value: &[u8]) {
        self.db.insert(key, value).unwrap();
    }

    fn sync_put(&self, key: &[u8], value: &[u8]) {
        self.put(key, value);
        self.db.flush().unwrap();
        self.file.sync_data().unwrap();
    }

    fn delete(&self, key: &[u8]) {
        self.db.remove(key).unwrap();
    }

    fn write(&self, changes: &[Change<'_>]) {
        let mut batch = Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, *value),
                None => batch.remove(key),
            }
        }
        self.db.apply_batch(batch).unwrap();
    }

    fn get(&self, key: &[u8]) -> Option<usize> {
        self.db.get(key).unwrap().map(|value| touch(&value))
    }

    fn scan(&self, key: &[u8], count: usize) -> usize {
        let entries = self.db.range(key..).take(count).map(Result::unwrap);
        entries.map(|(key, value)| key.len() + touch(&value)).sum()
    }

    fn flush(&self) {
        self.db.flush().unwrap();
    }
}
