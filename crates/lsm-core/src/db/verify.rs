//! Reads everything once, to find damage before a reader does.

use lsm_log::error::{Error, Result};
use lsm_log::file_name::FileName;

use super::engine::Engine;
use crate::version::TableFile;

/// What [`Db::verify`](crate::Db::verify) has read and found intact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Tables of all keyspaces.
    pub tables: u64,
    /// Versions of keys in them.
    pub entries: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl Engine {
    pub(crate) fn verify(&self) -> Result<Verified> {
        self.lifecycle.check_open()?;
        let mut verified = Verified::default();
        for tree in self.live_trees() {
            let view = tree.pinned();
            for (_, table) in view.version.tables() {
                self.lifecycle.check_open()?;
                self.verify_table(table)?;
                verified.tables += 1;
                verified.entries += table.meta.entries;
                verified.bytes += table.meta.bytes;
            }
        }
        Ok(verified)
    }

    /// The table is intact, and it is the one that the manifest means.
    fn verify_table(&self, table: &TableFile) -> Result<()> {
        let found = self.tables.verify(&table.handle)?;
        let meta = &table.meta;
        let same = (found.entries, found.tombstones, found.seq_max, found.shadowed)
            == (meta.entries, meta.tombstones, meta.seq_max, meta.shadowed)
            && found.smallest == meta.smallest
            && found.largest == meta.largest;
        if same {
            return Ok(());
        }
        let path = FileName::Table(meta.number).in_dir(&self.dir);
        Err(Error::corrupt("the table is not the one that the manifest describes").in_file(&path))
    }
}
