//! Where a database under test lives, and what it sees of that.

use std::io;
use std::sync::Arc;

use lsm_log::fs::{CrashFs, FaultFs, Fs};

/// Where a database lives.
#[derive(Clone, Debug)]
pub enum Disk {
    /// On a file system that can crash; the engine may see it through another one.
    Crash {
        /// Makes the images.
        disk: CrashFs,
        /// What the engine sees.
        seen: Arc<dyn Fs>,
    },
    /// On one that cannot: a crash becomes a clean reopen.
    Plain(Arc<dyn Fs>),
}

impl Disk {
    /// A disk that can crash, with nothing in between.
    pub fn crash(disk: CrashFs) -> Self {
        let seen = Arc::new(disk.clone());
        Self::Crash { disk, seen }
    }

    pub(super) fn seen(&self) -> &Arc<dyn Fs> {
        match self {
            Self::Crash { seen, .. } | Self::Plain(seen) => seen,
        }
    }
}

/// How the links of checkpoints are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// As the disk makes them.
    Quick,
    /// Background work runs in front of each: it may let go of what is still to be linked.
    Slow,
    /// With this error, and so by copying; background work runs in front of each.
    Refused(io::ErrorKind),
}

impl Links {
    /// What to see a disk through to have such links; `None` for the disk as it is.
    pub(super) fn over(self, disk: &Arc<dyn Fs>) -> Option<FaultFs> {
        (self != Self::Quick).then(|| FaultFs::new(Arc::clone(disk)))
    }
}
