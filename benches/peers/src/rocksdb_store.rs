//! RocksDB: a put is in the operating system's hands when it returns; a synced one sets
//! `sync`. LZ4, ten filter bits a key, two background threads; cache and memtable as ours.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Options, WaitForCompactOptions, WriteOptions,
};

use crate::{CACHE_BYTES, Opened, WRITE_BUFFER_BYTES};
use common::{Data, Store, touch};

pub struct Rocks {
    db: DB,
}

impl Opened for Rocks {
    fn opened(dir: &Path, _: &Data) -> Self {
        let mut tables = BlockBasedOptions::default();
        tables.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
        tables.set_bloom_filter(10.0, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.increase_parallelism(2);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        options.set_max_write_buffer_number(4);
        options.set_block_based_table_factory(&tables);
        Self { db: DB::open(&options, dir).unwrap() }
    }
}

impl Store for Rocks {
    fn put(&self, key: &[u8], value: &[u8]) {
        self.db.put(key, value).unwrap();
    }

    fn sync_put(&self, key: &[u8], value: &[u8]) {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.put_opt(key, value, &options).unwrap();
    }

    fn get(&self, key: &[u8]) -> Option<usize> {
        self.db.get_pinned(key).unwrap().map(|value| touch(&value))
    }

    fn scan(&self, key: &[u8], count: usize) -> usize {
        let mut iterator = self.db.raw_iterator();
        iterator.seek(key);
        let mut bytes = 0;
        for n in 1..=count {
            let Some((key, value)) = iterator.item() else { break };
            bytes += key.len() + touch(value);
            if n < count {
                iterator.next();
            }
        }
        bytes
    }

    fn settle(&self) {
        self.db.flush().unwrap();
        self.db.wait_for_compact(&WaitForCompactOptions::default()).unwrap();
    }
}
