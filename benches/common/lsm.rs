//! This project's engine as a [`Store`].

use std::path::Path;
use std::time::Duration;

use lsm_core::{Db, Durability, Options, WriteBatch};

use crate::data::Key;
use crate::store::{Change, Store, settle, touch};

#[derive(Debug)]
pub struct Lsm {
    pub db: Db,
}

impl Lsm {
    /// Opens the database with the default options.
    pub fn open(dir: &Path) -> Self {
        Self::open_with(Options::default(), dir)
    }

    pub fn open_with(options: Options, dir: &Path) -> Self {
        Self { db: options.open(dir).unwrap() }
    }

    /// Flushes, and waits until nothing is due any more. What the engine does of itself later is
    /// not waited for.
    pub fn settle(&self) {
        settle(self, Duration::from_millis(300));
    }
}

impl Store for Lsm {
    #[inline]
    fn put(&self, key: &[u8], value: &[u8]) {
        self.db.put(key, value).unwrap();
    }

    #[inline]
    fn sync_put(&self, key: &[u8], value: &[u8]) {
        self.db.put_with(key, value, Durability::Sync).unwrap();
    }

    #[inline]
    fn delete(&self, key: &[u8]) {
        self.db.delete(key).unwrap();
    }

    fn write(&self, changes: &[Change<'_>]) {
        let mut batch = WriteBatch::new();
        for (key, value) in changes {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            };
        }
        self.db.write(&batch).unwrap();
    }

    #[inline]
    fn get(&self, key: &[u8]) -> Option<usize> {
        self.db.get(key).unwrap().map(|value| touch(&value))
    }

    fn multi_get(&self, keys: &[Key]) -> usize {
        let values = self.db.multi_get(keys).unwrap();
        values.iter().flatten().inspect(|value| _ = touch(value)).count()
    }

    #[inline]
    fn scan(&self, key: &[u8], count: usize) -> usize {
        let mut cursor = self.db.cursor();
        let mut bytes = 0;
        let mut there = cursor.seek(key).unwrap();
        for n in 1..=count {
            let Some((key, value)) = cursor.entry().filter(|_| there) else { break };
            bytes += key.len() + touch(value);
            if n < count {
                there = cursor.next().unwrap();
            }
        }
        bytes
    }

    fn flush(&self) {
        self.db.flush().unwrap();
    }

    /// A long merge changes nothing until it is done: the debt tells that it is still running.
    fn is_busy(&self) -> bool {
        self.db.stats().debt_bytes > 0
    }

    fn compact(&self) -> bool {
        self.db.compact_range::<&[u8]>(..).unwrap();
        true
    }
}
