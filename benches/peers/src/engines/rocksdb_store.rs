//! RocksDB: a put is in the operating system's hands when it returns; a synced one sets `sync`.
//! Set: the cache, ten filter bits a key (its default is no filter), as many background jobs as
//! there are processors, up to four memtables, as lsm-core has (its default is two, of the same 64 MiB), the compression.

use std::path::Path;

use common::{Change, Key, Store, touch};
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Options, WaitForCompactOptions, WriteBatch,
    WriteOptions,
};

use super::engine::CACHE_BYTES;

struct Rocks {
    db: DB,
}

pub(crate) fn open(dir: &Path, lz4: bool) -> Option<Box<dyn Store>> {
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
    tables.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.increase_parallelism(2);
    let compression = if lz4 { DBCompressionType::Lz4 } else { DBCompressionType::None };
    options.set_compression_type(compression);
    options.set_max_write_buffer_number(4);
    options.set_block_based_table_factory(&tables);
    Some(Box::new(Rocks { db: DB::open(&options, dir).unwrap() }))
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

    fn delete(&self, key: &[u8]) {
        self.db.delete(key).unwrap();
    }

    fn write(&self, changes: &[Change<'_>]) {
        let mut batch = WriteBatch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        self.db.write(batch).unwrap();
    }

    fn get(&self, key: &[u8]) -> Option<usize> {
        self.db.get_pinned(key).unwrap().map(|value| touch(&value))
    }

    fn multi_get(&self, keys: &[Key]) -> usize {
        let values = self.db.multi_get(keys).into_iter().map(Result::unwrap);
        values.flatten().inspect(|value| _ = touch(value)).count()
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

    fn flush(&self) {
        self.db.flush().unwrap();
        self.db.wait_for_compact(&WaitForCompactOptions::default()).unwrap();
    }

    fn compact(&self) -> bool {
        self.db.compact_range::<&[u8], &[u8]>(None, None);
        true
    }
}
