//! LMDB, through heed: one transaction an operation. A put commits into the writable mapping
//! without a sync, which survives the death of the process; a synced one calls `msync` as well.

use std::ops::Bound;
use std::path::Path;

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions};

use crate::Opened;
use common::{Data, Store, touch};

pub struct Lmdb {
    env: Env,
    database: Database<Bytes, Bytes>,
}

impl Opened for Lmdb {
    fn opened(dir: &Path, data: &Data) -> Self {
        let map_bytes = (4 * data.entries * data.entry_bytes()).next_multiple_of(1 << 20);
        let mut options = EnvOpenOptions::new();
        options.map_size(map_bytes as usize + (1 << 30)).max_readers(64);
        // SAFETY: the folder is new and ours alone, nobody else changes the file that is mapped;
        // what the flags risk on power loss does not matter to a measurement.
        let env = unsafe { options.flags(EnvFlags::WRITE_MAP | EnvFlags::NO_SYNC).open(dir) };
        let env = env.unwrap();
        let mut transaction = env.write_txn().unwrap();
        let database = env.create_database(&mut transaction, None).unwrap();
        transaction.commit().unwrap();
        Self { env, database }
    }
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

    fn settle(&self) {
        self.env.force_sync().unwrap();
    }
}
