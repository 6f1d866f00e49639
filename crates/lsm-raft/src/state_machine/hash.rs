//! A number that is the same on two nodes exactly if their states are.
//!
//! Reads everything, so it runs beside the applying, on a snapshot of the engine.

use lsm_core::{Keyspace, Snapshot};
use xxhash_rust::xxh3::Xxh3;

use crate::error::{Error, Result};

/// The state at one index, waiting to be hashed. Keeps that state's versions from being
/// compacted away: run it soon.
#[derive(Debug)]
pub struct HashJob {
    index: u64,
    user: Snapshot,
    rows: Snapshot,
}

impl HashJob {
    /// Of a snapshot taken when `index` was applied and nothing after it.
    pub(super) fn new(index: u64, user: Snapshot, rows: &Keyspace) -> Result<Self> {
        let rows = user.keyspace(rows).map_err(Error::storage("hash the state"))?;
        Ok(Self { index, user, rows })
    }

    /// Which state.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The XXH3 (128 bits) of all entries, the user's and the bookkeeping's: docs/format.md,
    /// "State hash". Takes as long as reading the whole state.
    ///
    /// # Errors
    ///
    /// `Storage`, if the state cannot be read or was replaced by a snapshot meanwhile.
    pub fn run(self) -> Result<u128> {
        let mut hash = Xxh3::new();
        for part in [&self.user, &self.rows] {
            add(&mut hash, part).map_err(Error::storage("hash the state"))?;
        }
        Ok(hash.digest128())
    }
}

fn add(hash: &mut Xxh3, part: &Snapshot) -> lsm_core::Result<()> {
    let mut count = 0_u64;
    let mut cursor = part.cursor();
    let mut found = cursor.seek_first()?;
    while found {
        if let Some((key, value)) = cursor.entry() {
            hash.update(&(key.len() as u64).to_le_bytes());
            hash.update(&(value.len() as u64).to_le_bytes());
            hash.update(key);
            hash.update(value);
            count += 1;
        }
        found = cursor.next()?;
    }
    // So that no entry of the one part can pass for one of the other.
    hash.update(&u64::MAX.to_le_bytes());
    hash.update(&count.to_le_bytes());
    Ok(())
}
