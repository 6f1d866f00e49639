//! A received state that is open, and was found to be what its header says: all that is left to
//! do is to switch to it.
//!
//! Checking reads the whole state, and may take as long as receiving it did: it comes before raft
//! hears of the snapshot, in the thread that received it.

use lsm_core::Options;

use super::current::{Current, open_engine};
use super::metadata::Metadata;
use crate::error::{Error, Result};
use crate::snapshot::{Header, Staged};

/// A snapshot that was received and checked, and waits to be put in force. Its folder goes when
/// it is dropped.
#[derive(Debug)]
pub struct Checked {
    // Closed before the folder goes.
    pub(super) current: Current,
    pub(super) metadata: Metadata,
    pub(super) staged: Staged,
}

impl Checked {
    pub(super) fn new(engine: &Options, staged: Staged) -> Result<Self> {
        let header = staged.header();
        let engine = engine.clone().create_if_missing(false);
        let (current, metadata) = open_engine(engine, staged.dir())?;
        let found = (metadata.applied(), metadata.conf());
        if found != ((header.index, header.term), &header.conf_state) {
            let ((index, term), conf) = found;
            let reason = format!("it is of index {index}, term {term}, {conf:?}: not {header:?}");
            return Err(Error::corrupt("a snapshot", reason));
        }
        current.db.verify().map_err(Error::storage("check a snapshot"))?;
        Ok(Self { current, metadata, staged })
    }

    /// What it is of.
    pub fn header(&self) -> &Header {
        self.staged.header()
    }
}
