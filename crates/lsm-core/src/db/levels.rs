//! The shape of a tree, for people and tools.

use std::sync::Arc;

use crate::version::{TableFile, Version};

/// One level of a keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Level {
    /// 0 for freshly flushed tables, which may overlap; below, tables do not.
    pub number: usize,
    /// In key order; level 0 from new to old.
    pub tables: Vec<Table>,
}

/// One table file of a level.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Table {
    /// The number in the file's name.
    pub number: u64,
    /// Length of the file.
    pub bytes: u64,
    /// Versions of keys in the table, tombstones among them.
    pub entries: u64,
    /// How many of the entries mark a key as deleted.
    pub tombstones: u64,
    /// The first key.
    pub smallest: Vec<u8>,
    /// The last key.
    pub largest: Vec<u8>,
}

impl Level {
    pub(crate) fn all(version: &Version) -> Vec<Self> {
        let tables =
            |level: &[Arc<TableFile>]| level.iter().map(|table| Table::of(table)).collect();
        let levels = version.levels.iter().enumerate();
        levels.map(|(number, level)| Self { number, tables: tables(level) }).collect()
    }

    /// Bytes of all tables of the level.
    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.bytes).sum()
    }
}

impl Table {
    fn of(table: &TableFile) -> Self {
        let meta = &table.meta;
        Self {
            number: meta.number.0,
            bytes: meta.bytes,
            entries: meta.entries,
            tombstones: meta.tombstones,
            smallest: meta.smallest.clone(),
            largest: meta.largest.clone(),
        }
    }
}
