//! LMDB, through heed: one transaction an operation. A put commits into the writable mapping
//! without a sync, which survives the death of the process; after a power loss the file may be
//! damaged, unlike in the other engines. A synced put calls `msync` as well. The pages are the
//! system's cache; there is no compression.

use std::ops::Bound;
use std::path::Path;

use common::{Change, Store, touch};
use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions};

/// Room for any data set; the file is sparse.
const MAP_BYTES: usize = 64 << 30;

struct Lmdb {
    env: Env,
    database: Database<Bytes, Bytes>,
}

pub(crate) fn open(dir: &Path, lz4: bool) -> Option<Box<dyn Store>> {
    if lz4 {
        return None;
    }
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES);
    // SAFETY: the folder is new and ours alone, nobody else changes the file that is mapped;
    // what the flags risk on power loss does not matter to a measurement.
    let env = unsafe { options.flags(EnvFlags::WRITE_MAP | EnvFlags::NO_SYNC).open(dir) };
    let env = env.unwrap();
    let mut transaction = env.write_txn().unwrap();
    let database = env.create_database(&mut transaction, None).unwrap();
    transaction.commit().unwrap();
    Some(Box::new(Lmdb { env, database }))
}

impl Store for Lmdb {
    fn put(&self, key: &[u8], value: &[u8]) {
        let mut transaction = self.env.write_txn().unwrap();
        self.database.put(&mut transaction, key, value).unwrap();
        transaction.commit().unwrap();
    }

    fn sync_put(&self, key: &[u8], value: &[u8]) {
        self.put(key, value);
        self.env.force_sync().unwrap();
    }

    fn delete(&self, key: &[u8]) {
        let mut transaction = self.env.write_txn().unwrap();
        self.database.delete(&mut transaction, key).unwrap();
        transaction.commit().unwrap();
    }

    fn write(&self, changes: &[Change<'_>]) {
        let mut transaction = self.env.write_txn().unwrap();
        for (key, value) in changes {
            match value {
                Some(value) => self.database.put(&mut transaction, key, value).unwrap(),
                None => _ = self.database.delete(&mut transaction, key).unwrap(),
            }
        }
        transaction.commit().unwrap();
    }

    fn get(&self, key: &[u8]) -> Option<usize> {
        let transaction = self.env.read_txn().unwrap();
        self.database.get(&transaction, key).unwrap().map(touch)
    }

    fn scan(&self, key: &[u8], count: usize) -> usize {
        let transaction = self.env.read_txn().unwrap();
        // LMDB has no empty keys: one zero byte comes before all of ours.
        let start = if key.is_empty() { &[0][..] } else { key };
        let entries =
            self.database.range(&transaction, &(Bound::Included(start), Bound::Unbounded)).unwrap();
        let entries = entries.take(count).map(Result::unwrap);
        entries.map(|(key, value)| key.len() + touch(value)).sum()
    }

    fn flush(&self) {
        self.env.force_sync().unwrap();
    }
}
