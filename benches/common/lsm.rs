//! This project's engine as a [`Store`].

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use lsm_core::{Db, Durability, Options, WriteBatch};

use crate::data::Data;
use crate::store::{Store, touch};

/// Background work is at rest once nothing changed for this long.
const REST: Duration = Duration::from_millis(300);

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
    fn get(&self, key: &[u8]) -> Option<usize> {
        self.db.get(key).unwrap().map(|value| touch(&value))
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

    fn settle(&self) {
        settle(&self.db);
    }

    fn log_bytes(&self) -> Option<u64> {
        Some(self.db.stats().log_bytes)
    }
}

/// Flushes, and waits until compaction has nothing left to do.
pub fn settle(db: &Db) {
    db.flush().unwrap();
    let state = || {
        let stats = db.stats();
        (stats.compactions, stats.moves, stats.compaction_read_bytes, db.levels())
    };
    let (mut last, mut since) = (state(), Instant::now());
    // A long merge changes nothing until it is done: the debt tells that it is still running.
    while since.elapsed() < REST || db.stats().debt_bytes > 0 {
        thread::sleep(Duration::from_millis(20));
        let now = state();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
}

/// Writes the whole data set in random order, in batches, and settles it.
pub fn fill(db: &Db, data: &Data) {
    const BATCH: u64 = 1000;
    for first in (0..data.entries).step_by(BATCH as usize) {
        let mut batch = WriteBatch::with_capacity((BATCH * (data.entry_bytes() + 8)) as usize);
        for number in first..(first + BATCH).min(data.entries) {
            batch.put(data.key(number), data.value(number));
        }
        db.write(&batch).unwrap();
    }
    settle(db);
}
