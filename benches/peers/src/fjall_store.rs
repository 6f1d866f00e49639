//! fjall: a put is in the operating system's hands when it returns; a synced one calls
//! `persist(SyncData)`, an fdatasync. Default compression; cache and memtable as large as ours.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::{CACHE_BYTES, Opened, WRITE_BUFFER_BYTES};
use common::{Data, Store, touch};

const REST: Duration = Duration::from_millis(300);

pub struct Fjall {
    db: Database,
    keyspace: Keyspace,
}

impl Opened for Fjall {
    fn opened(dir: &Path, _: &Data) -> Self {
        let db = Database::builder(dir).cache_size(CACHE_BYTES as u64).open().unwrap();
        let options =
            || KeyspaceCreateOptions::default().max_memtable_size(WRITE_BUFFER_BYTES as u64);
        let keyspace = db.keyspace("bench", options).unwrap();
        Self { db, keyspace }
    }
}

impl Store for Fjall {
    fn put(&self, key: &[u8], value: &[u8]) {
        self.keyspace.insert(key, value).unwrap();
    }

    fn sync_put(&self, key: &[u8], value: &[u8]) {
        self.keyspace.insert(key, value).unwrap();
        self.db.persist(PersistMode::SyncData).unwrap();
    }

    fn get(&self, key: &[u8]) -> Option<usize> {
        self.keyspace.get(key).unwrap().map(|value| touch(&value))
    }

    fn scan(&self, key: &[u8], count: usize) -> usize {
        let entries = self.keyspace.range(key..).take(count);
        let entries = entries.map(|guard| guard.into_inner().unwrap());
        entries.map(|(key, value)| key.len() + touch(&value)).sum()
    }

    fn settle(&self) {
        self.keyspace.rotate_memtable_and_wait().unwrap();
        let state = || (self.db.compactions_completed(), self.keyspace.table_count());
        let (mut last, mut since) = (state(), Instant::now());
        while since.elapsed() < REST {
            thread::sleep(Duration::from_millis(20));
            let busy = self.db.outstanding_flushes() + self.db.active_compactions() > 0;
            if busy || state() != last {
                (last, since) = (state(), Instant::now());
            }
        }
    }
}
