//! surrealkv: one transaction an operation. A put commits with `Durability::Eventual`, its default,
//! which is in the operating system's hands; a synced one with `Immediate`. Commits are
//! asynchronous: each is waited for where it was made. Set: the cache, no compression; it has Snappy
//! and zstd, no LZ4.

use std::path::Path;

use common::{Change, Store, touch};
use surrealkv::{CompactRangeOptions, Durability, LSMIterator, Mode, Tree, TreeBuilder};
use tokio::runtime::{Builder, Runtime};

use super::engine::CACHE_BYTES;

struct Surreal {
    tree: Tree,
    runtime: Runtime,
}

pub(crate) fn open(dir: &Path, lz4: bool) -> Option<Box<dyn Store>> {
    if lz4 {
        return None;
    }
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let builder = TreeBuilder::new().with_path(dir.to_owned()).without_compression();
    let builder = builder.with_block_cache_capacity(CACHE_BYTES as u64);
    let tree = runtime.block_on(async { builder.build() }).unwrap();
    Some(Box::new(Surreal { tree, runtime }))
}

impl Surreal {
    fn commit(&self, changes: &[(&[u8], Option<&[u8]>)], durability: Durability) {
        let mut transaction = self.tree.begin_with_mode(Mode::WriteOnly).unwrap();
        transaction.set_durability(durability);
        for (key, value) in changes {
            match value {
                Some(value) => transaction.set(*key, *value).unwrap(),
                None => transaction.delete(*key).unwrap(),
            }
        }
        self.runtime.block_on(transaction.commit()).unwrap();
    }

    fn compact_to(&self, level: Option<u8>) {
        let options = CompactRangeOptions { target_level: level, ..CompactRangeOptions::default() };
        self.tree.compact_range(None, None, &options).unwrap();
    }
}

impl Store for Surreal {
    fn put(&self, key: &[u8], value: &[u8]) {
        self.commit(&[(key, Some(value))], Durability::Eventual);
    }

    fn sync_put(&self, key: &[u8], value: &[u8]) {
        self.commit(&[(key, Some(value))], Durability::Immediate);
    }

    fn delete(&self, key: &[u8]) {
        self.commit(&[(key, None)], Durability::Eventual);
    }

    fn write(&self, changes: &[Change<'_>]) {
        let changes: Vec<_> = changes.iter().map(|(key, value)| (&key[..], *value)).collect();
        self.commit(&changes, Durability::Eventual);
    }

    fn get(&self, key: &[u8]) -> Option<usize> {
        let transaction = self.tree.begin_with_mode(Mode::ReadOnly).unwrap();
        transaction.get(key).unwrap().map(|value| touch(&value))
    }

    fn scan(&self, key: &[u8], count: usize) -> usize {
        let transaction = self.tree.begin_with_mode(Mode::ReadOnly).unwrap();
        let mut entries = transaction.scan(key..).unwrap();
        let mut bytes = 0;
        let mut there = entries.seek_first().unwrap();
        for n in 1..=count {
            if !there {
                break;
            }
            bytes += entries.key().user_key().len() + touch(&entries.value_ref().unwrap());
            if n < count {
                there = entries.next().unwrap();
            }
        }
        bytes
    }

    fn flush(&self) {
        self.compact_to(Some(0));
    }

    fn compact(&self) -> bool {
        self.compact_to(None);
        true
    }
}
