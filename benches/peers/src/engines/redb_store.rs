//! redb: one transaction an operation. A put commits with `Durability::None`, which the death
//! of the process undoes: the nearest it has. A synced one commits with `Immediate`. Set: the
//! cache. There is no compression; it compacts only while nothing else uses it.

use std::path::Path;

use common::{Change, Store, touch};
use redb::{Database, Durability, ReadableDatabase, TableDefinition};

use super::engine::CACHE_BYTES;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("bench");

struct Redb {
    db: Database,
}

pub(crate) fn open(dir: &Path, lz4: bool) -> Option<Box<dyn Store>> {
    if lz4 {
        return None;
    }
    let path = dir.join("redb");
    let db = Database::builder().set_cache_size(CACHE_BYTES).create(path).unwrap();
    let store = Redb { db };
    // Readers find no table before the first write.
    store.commit(&[], Durability::Immediate);
    Some(Box::new(store))
}

impl Redb {
    fn commit(&self, changes: &[(&[u8], Option<&[u8]>)], durability: Durability) {
        let mut transaction = self.db.begin_write().unwrap();
        transaction.set_durability(durability).unwrap();
        {
            let mut table = transaction.open_table(TABLE).unwrap();
            for (key, value) in changes {
                match value {
                    Some(value) => drop(table.insert(key, value).unwrap()),
                    None => drop(table.remove(key).unwrap()),
                }
            }
        }
        transaction.commit().unwrap();
    }
}

impl Store for Redb {
    fn put(&self, key: &[u8], value: &[u8]) {
        self.commit(&[(key, Some(value))], Durability::None);
    }

    fn sync_put(&self, key: &[u8], value: &[u8]) {
        self.commit(&[(key, Some(value))], Durability::Immediate);
    }

    fn delete(&self, key: &[u8]) {
        self.commit(&[(key, None)], Durability::None);
    }

    fn write(&self, changes: &[Change<'_>]) {
        let changes: Vec<_> = changes.iter().map(|(key, value)| (&key[..], *value)).collect();
        self.commit(&changes, Durability::None);
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

    fn flush(&self) {
        self.commit(&[], Durability::Immediate);
    }
}
