//! fjall: a put is in the operating system's hands when it returns; a synced one calls
//! `persist(SyncData)`, an fdatasync. Set: the cache, the compression.

use std::path::Path;

use common::{Change, Store, touch};
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::engine::CACHE_BYTES;

struct Fjall {
    db: Database,
    keyspace: Keyspace,
}

pub(crate) fn open(dir: &Path, lz4: bool) -> Option<Box<dyn Store>> {
    let db = Database::builder(dir).cache_size(CACHE_BYTES as u64).open().unwrap();
    let compression = || match lz4 {
        true => CompressionPolicy::all(CompressionType::Lz4),
        false => CompressionPolicy::disabled(),
    };
    let options = || KeyspaceCreateOptions::default().data_block_compression_policy(compression());
    let keyspace = db.keyspace("bench", options).unwrap();
    Some(Box::new(Fjall { db, keyspace }))
}

impl Store for Fjall {
    fn put(&self, key: &[u8], value: &[u8]) {
        self.keyspace.insert(key, value).unwrap();
    }

    fn sync_put(&self, key: &[u8], value: &[u8]) {
        self.keyspace.insert(key, value).unwrap();
        self.db.persist(PersistMode::SyncData).unwrap();
    }

    fn delete(&self, key: &[u8]) {
        self.keyspace.remove(key).unwrap();
    }

    fn write(&self, changes: &[Change<'_>]) {
        let mut batch = self.db.batch();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&self.keyspace, key, *value),
                None => batch.remove(&self.keyspace, key),
            }
        }
        batch.commit().unwrap();
    }

    fn get(&self, key: &[u8]) -> Option<usize> {
        self.keyspace.get(key).unwrap().map(|value| touch(&value))
    }

    fn scan(&self, key: &[u8], count: usize) -> usize {
        let entries = self.keyspace.range(key..).take(count);
        let entries = entries.map(|guard| guard.into_inner().unwrap());
        entries.map(|(key, value)| key.len() + touch(&value)).sum()
    }

    fn flush(&self) {
        self.keyspace.rotate_memtable_and_wait().unwrap();
    }

    fn is_busy(&self) -> bool {
        self.db.outstanding_flushes() + self.db.active_compactions() > 0
    }

    /// Hidden in its documentation, but there.
    fn compact(&self) -> bool {
        self.keyspace.major_compact().unwrap();
        true
    }
}
