//! An engine that holds a state: the keyspaces of its users and of the bookkeeping.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use lsm_core::{Db, Keyspace, Options};

use super::metadata::Metadata;
use crate::error::{Error, Result};

/// An open engine; one of them is in force.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) db: Db,
    /// The keyspace of the bookkeeping.
    pub(super) rows: Keyspace,
    pub(super) dir: PathBuf,
    /// Something in it was found to be.
    pub(super) is_damaged: AtomicBool,
}

/// Opens it, and reads its metadata.
pub(super) fn open_engine(engine: Options, dir: &Path) -> Result<(Current, Metadata)> {
    let db = engine.open(dir).map_err(Error::storage("open the state"))?;
    let (rows, metadata) = Metadata::load(&db)?;
    Ok((Current { db, rows, dir: dir.to_owned(), is_damaged: AtomicBool::new(false) }, metadata))
}
