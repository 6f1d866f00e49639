//! The segment that the log goes on in, made before it is needed: its zeros and their sync take
//! as long as hundreds of appends, which would all wait.
//!
//! Leaves to others: where the work is done. The writer hands it out as a [`SegmentJob`] and gets
//! a [`SegmentPromise`] for it, which it keeps until it has to go on.
//!
//! After a crash a segment made ahead is one that was never started: the next open removes it.

use std::path::PathBuf;
use std::sync::Arc;

use lsm_log::file_name::FileNumber;
use lsm_log::fs::Fs;
use lsm_log::wal::{self, Nonce, Segment};

/// A segment to be made.
#[derive(Debug)]
pub struct SegmentJob {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) dir: PathBuf,
    pub(super) number: FileNumber,
    pub(super) nonce: Nonce,
    pub(super) bytes: u64,
    /// Whose file may be used again.
    pub(super) recycled: Option<FileNumber>,
}

/// Waits for a segment. One that is dropped must leave nobody behind who still makes it.
pub type SegmentPromise = Box<dyn FnOnce() -> lsm_core::Result<Segment> + Send>;

impl SegmentJob {
    /// Where it will be.
    pub fn path(&self) -> PathBuf {
        wal::segment_path(&self.dir, self.number)
    }

    /// Makes the segment, durable when it returns.
    ///
    /// # Errors
    ///
    /// If the file system refuses.
    pub fn run(self) -> lsm_core::Result<Segment> {
        let Self { fs, dir, number, nonce, bytes, recycled } = self;
        wal::prepare(&*fs, &dir, number, nonce, bytes, recycled, true)
    }

    /// Makes the segment now, in this thread.
    pub fn at_once(self) -> SegmentPromise {
        let made = self.run();
        Box::new(|| made)
    }
}

/// A promise, or none.
#[derive(Default)]
pub(super) struct Ahead(Option<SegmentPromise>);

impl std::fmt::Debug for Ahead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ahead").field(&self.is_promised()).finish()
    }
}

impl Ahead {
    pub(super) fn is_promised(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn put(&mut self, promise: SegmentPromise) {
        self.0 = Some(promise);
    }

    pub(super) fn take(&mut self) -> Option<SegmentPromise> {
        self.0.take()
    }
}
