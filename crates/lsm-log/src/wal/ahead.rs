//! Segments made before they are needed: their zeros and their sync take as long as hundreds of
//! appends, which would all wait.
//!
//! Leaves to others: where the work is done. The owner of a log takes a [`SegmentJob`] out of it,
//! has it run anywhere, and leaves a [`SegmentPromise`], which is waited for when the log goes on.
//!
//! After a crash a segment made ahead is one that was never started: the next open removes it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::nonce::Nonce;
use super::segment::{Segment, prepare};
use super::segment_state::segment_path;
use crate::error::Result;
use crate::file_name::FileNumber;
use crate::fs::Fs;

/// A segment to be made.
#[derive(Debug)]
pub struct SegmentJob {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) dir: PathBuf,
    /// The number that its name will have.
    pub number: FileNumber,
    pub(super) nonce: Nonce,
    pub(super) bytes: u64,
    /// Whose file is used again.
    pub recycled: Option<FileNumber>,
    pub(super) zero: bool,
}

impl SegmentJob {
    /// Where it will be.
    pub fn path(&self) -> PathBuf {
        segment_path(&self.dir, self.number)
    }

    /// Makes the segment, durable when it returns.
    ///
    /// # Errors
    ///
    /// As of [`prepare`].
    pub fn run(self) -> Result<Segment> {
        let Self { fs, dir, number, nonce, bytes, recycled, zero } = self;
        prepare(&*fs, &dir, number, nonce, bytes, recycled, zero)
    }

    /// Makes the segment now, in this thread.
    pub fn at_once(self) -> SegmentPromise {
        let made = self.run();
        Box::new(|| made)
    }
}

/// Waits for a segment. A promise that is dropped must leave nobody behind who still makes the
/// segment.
pub type SegmentPromise = Box<dyn FnOnce() -> Result<Segment> + Send>;

/// The promise of a segment with this number, or none.
#[derive(Default)]
pub(super) struct Ahead(pub(super) Option<(FileNumber, SegmentPromise)>);

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ahead").field(&self.0.as_ref().map(|(number, _)| number)).finish()
    }
}
