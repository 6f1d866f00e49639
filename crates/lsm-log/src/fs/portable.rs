//! Stands in for `linux.rs` on other systems: the same functions, with what the standard
//! library offers. As nothing is ever truly reserved, no file is written through a mapping.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use memmap2::MmapRaw;

use super::traits::{Access, Space};
use crate::error::{Error, Result};

/// Makes the file at least `len` bytes long. `false`: no blocks are reserved.
pub(super) fn reserve(file: &File, len: u64) -> io::Result<bool> {
    if file.metadata()?.len() < len {
        file.set_len(len)?;
    }
    Ok(false)
}

/// Never needed: see the module header.
pub(super) fn prefault(_map: &MmapRaw, _range: Range<usize>) -> io::Result<()> {
    Ok(())
}

/// No hints here.
pub(super) fn advise(_file: &File, _access: Access) {}

/// Not told by the standard library.
pub(super) fn space(_path: &Path) -> io::Result<Space> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nor here.
pub(super) fn will_need(_file: &File, _range: Range<u64>) {}

/// Tells the process that made it from those that were forked from it.
#[derive(Debug)]
pub struct ProcessMark {
    process: u32,
}

impl ProcessMark {
    /// That of the process that calls.
    pub fn here() -> Self {
        Self { process: std::process::id() }
    }

    /// Refuses whatever is asked in another process than the one that made the mark.
    #[inline]
    pub fn check(&self) -> Result<()> {
        match self.is_here() {
            true => Ok(()),
            false => Err(Error::forked()),
        }
    }

    /// Whether this is the process that made the mark.
    #[inline]
    fn is_here(&self) -> bool {
        std::process::id() == self.process
    }
}
