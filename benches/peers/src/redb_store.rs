//! redb: one transaction an operation. A put commits with `Durability::None`, which the death
//! of the process undoes: the nearest it has. A synced one commits with `Immediate`.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, TableDefinition};

use crate::{CACHE_BYTES, Opened};
use common::{Data, Store, touch};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("bench");

pub struct Redb {
    db: Database,
}

impl Redb {
    fn write(&self, key: &[u8], value: &[u8], durability: Durability) {
        let mut transaction = self.db.begin_write().unwrap();
        transaction.set_durability(durability).unwrap();
        transaction.open_table(TABLE).unwrap().insert(key, value).unwrap();
        transaction.commit().unwrap();
    }
}

impl Opened for Redb {
    fn opened(dir: &Path, _: &Data) -> Self {
        let path = dir.join("redb");
        Self { db: Database::builder().set_cache_size(CACHE_BYTES).create(path).unwrap() }
    }
}

impl Store for Redb {
    fn put(&self, key: &[u8], value: &[u8]) {
        self.write(key, value, Durability::None);
    }

    fn sync_put(&self, key: &[u8], value: &[u8]) {
        self.write(key, value, Durability::Immediate);
    }

    fn get(&self, key: &[u8]) -> Option<usize> {
        let table = self.db.begin_read().unwrap().open_table(TABLE).unwrap();
        redb::ReadableTable::get(&table, key).unwrap().map(|value| touch(value.value()))
    }

    fn scan(&self, key: &[u8], count: usize) -> usize {
        let table = self.db.begin_read().unwrap().open_table(TABLE).unwrap();
        let entries = table.range::<&[u8]>(key..).unwrap().take(count).map(Result::unwrap);
        entries.map(|(key, value)| key.value().len() + touch(value.value())).sum()
    }

    fn settle(&self) {
        let transaction = self.db.begin_write().unwrap();
        transaction.commit().unwrap();
    }
}
