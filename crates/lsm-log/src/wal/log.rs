//! A log as its owner holds it: the end that it appends to, the full segments behind, the segment
//! that it goes on in, and files kept to be recycled.
//!
//! Leaves to others: what records mean, which segments are still needed, and who makes the next
//! one. Its zeros and their sync take as long as hundreds of appends, which would all wait: so the
//! owner takes a [`SegmentJob`] out of the log ahead of need, has it run anywhere, and leaves a
//! [`SegmentPromise`], which is waited for when the log goes on. After a crash a segment made ahead
//! is one that was never started: the next open removes it.
//!
//! Invariants:
//! * Segments are entered in the order of their numbers.
//! * A file is recycled only after its owner has given it up.
//!
//! Threads: one owner, which may append under a lock. Others wait in the [`Syncer`].

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::nonce::Nonce;
use super::record::{HEADER_LEN, Lsn};
use super::segment::{Segment, prepare};
use super::segment_state::segment_path;
use super::syncer::Syncer;
use super::writer::{WriteMode, Writer};
use crate::error::Result;
use crate::file_name::FileNumber;
use crate::fs::Fs;

/// The first segment after an open is zeroed while its owner waits: no more than this, in bytes.
const FIRST_SEGMENT_BYTES_MAX: u64 = 1 << 20;
/// Files kept to be recycled.
const SPARES_MAX: usize = 4;

/// Where a log is, and how long its segments are.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Where its files are.
    pub fs: Arc<dyn Fs>,
    /// The folder of its files.
    pub dir: PathBuf,
    /// Whose log it is, so that another's segments are noticed.
    pub owner: u64,
    /// Length of a segment file in bytes. One with a longer record is longer, the first after an
    /// open may be shorter.
    pub segment_bytes: u64,
}

impl LogConfig {
    /// The segment that a log goes on in after it was opened.
    pub fn first_job(&self, number: FileNumber, nonce: Nonce) -> SegmentJob {
        let bytes = self.segment_bytes.min(FIRST_SEGMENT_BYTES_MAX);
        self.job(number, nonce, bytes, None, true)
    }

    fn job(
        &self,
        number: FileNumber,
        nonce: Nonce,
        bytes: u64,
        recycled: Option<FileNumber>,
        zero: bool,
    ) -> SegmentJob {
        let (fs, dir) = (Arc::clone(&self.fs), self.dir.clone());
        SegmentJob { fs, dir, number, nonce, bytes, recycled, zero }
    }
}

/// A segment that the log has left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FullSegment {
    /// The number in its name.
    pub number: FileNumber,
    /// Where it begins in the log.
    pub base: Lsn,
    /// Length of its file.
    pub bytes: u64,
    /// The greatest sequence number that was appended before the log left it.
    pub last: u64,
}

/// An open log.
#[derive(Debug)]
pub struct Log {
    config: LogConfig,
    syncer: Arc<Syncer>,
    writer: Writer,
    /// Sequence number of the last thing in the last record.
    last: u64,
    /// Oldest first.
    full: VecDeque<FullSegment>,
    ahead: Ahead,
    /// When the log comes to here, it asks for the next segment.
    next_wanted: Option<Lsn>,
    spares: Vec<FileNumber>,
}

impl Log {
    /// Starts `segment` at `base`, the end of the log so far, which is durable. Its last record was
    /// numbered `last_sequence`; zero for none. `full` are the segments before, oldest first.
    ///
    /// # Errors
    ///
    /// `Io` if the header cannot be written.
    pub fn start(
        config: LogConfig,
        segment: Segment,
        base: Lsn,
        last_sequence: u64,
        full: impl IntoIterator<Item = FullSegment>,
    ) -> Result<Self> {
        let syncer = Arc::new(Syncer::new(base));
        // A run that writes little needs no second one.
        let next_wanted = Some(base.plus(segment.bytes as usize / 2));
        let writer =
            Writer::start(config.owner, segment, base, last_sequence, Arc::clone(&syncer))?;
        let (full, last) = (full.into_iter().collect(), last_sequence);
        let (ahead, spares) = (Ahead::default(), Vec::with_capacity(SPARES_MAX));
        Ok(Self { config, syncer, writer, last, full, ahead, next_wanted, spares })
    }

    /// What makes the log durable.
    pub fn syncer(&self) -> &Arc<Syncer> {
        &self.syncer
    }

    /// Position behind the last record.
    #[inline]
    pub fn end(&self) -> Lsn {
        self.writer.end()
    }

    /// Where the segment begins that is written to.
    pub fn base(&self) -> Lsn {
        self.writer.base()
    }

    /// Number of the segment that is written to.
    pub fn number(&self) -> FileNumber {
        self.writer.segment().number
    }

    /// The segments behind, oldest first.
    pub fn full(&self) -> impl Iterator<Item = &FullSegment> {
        self.full.iter()
    }

    /// Length of all files, in bytes: those of the log, those kept, and the one made ahead.
    pub fn disk_bytes(&self) -> u64 {
        let full: u64 = self.full.iter().map(|segment| segment.bytes).sum();
        let others = self.spares.len() as u64 + u64::from(self.has_ahead());
        full + self.writer.segment().bytes + others * self.config.segment_bytes
    }

    /// Whether a payload of this length fits into the segment.
    #[inline]
    pub fn has_room(&self, payload_len: usize) -> bool {
        self.writer.has_room(payload_len)
    }

    /// Appends one record, numbered `sequence`, about things numbered up to `last`. Returns the
    /// position behind it, which is what [`Syncer::sync_through`] takes. `fill` appends the
    /// payload, `payload_len` bytes, to what is then written in one call.
    ///
    /// # Errors
    ///
    /// `Io` if the write failed, `Failed` if anything failed before.
    ///
    /// # Panics
    ///
    /// If the payload is empty or has another length, if there is no [room](Self::has_room), or if
    /// `sequence` is below that of the record before.
    #[inline]
    pub fn append_with(
        &mut self,
        sequence: u64,
        last: u64,
        mode: WriteMode,
        payload_len: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Lsn> {
        let end = self.writer.append_with(sequence, mode, payload_len, fill)?;
        self.last = last;
        Ok(end)
    }

    /// Whether it is time to have the next segment made: true once for each.
    #[inline]
    pub fn wants_segment(&mut self) -> bool {
        self.next_wanted.take_if(|at| *at <= self.writer.end()).is_some()
    }

    /// The next segment, with room for `record_bytes` of records. It must be entered before any of
    /// which the job is taken later. Without `zero`, what was never written holds no zeros: syncs
    /// are slower then.
    pub fn job(
        &mut self,
        number: FileNumber,
        nonce: Nonce,
        record_bytes: usize,
        zero: bool,
    ) -> SegmentJob {
        let usual = self.config.segment_bytes;
        let bytes = usual.max((HEADER_LEN + record_bytes) as u64);
        let recycled = if bytes == usual { self.spares.pop() } else { None };
        self.config.job(number, nonce, bytes, recycled, zero)
    }

    /// Whether the next segment is made, or being made.
    pub fn has_ahead(&self) -> bool {
        self.ahead.0.is_some()
    }

    /// The next segment, which has this number, is being made.
    pub fn put_ahead(&mut self, number: FileNumber, promise: SegmentPromise) {
        self.ahead.0 = Some((number, promise));
    }

    /// Segment `number` is not to come, if nobody has noticed yet.
    pub fn cancel_ahead(&mut self, number: FileNumber) {
        self.ahead.0.take_if(|(promised, _)| *promised == number);
    }

    /// The segment that was made ahead, waited for if need be; `None` if there is none.
    ///
    /// # Errors
    ///
    /// What kept it from being made.
    pub fn take_ahead(&mut self) -> Option<Result<Segment>> {
        self.ahead.0.take().map(|(_, promise)| promise())
    }

    /// Goes on in `segment`. The one so far is synced before, or together with, anything that is
    /// appended from here on.
    ///
    /// # Errors
    ///
    /// `Io` if its header cannot be written, `Failed` if anything failed before.
    pub fn enter(&mut self, segment: Segment) -> Result<()> {
        assert!(
            segment.number > self.number(),
            "segments are entered in the order of their numbers"
        );
        let (before, base) = (self.writer.segment(), self.writer.base());
        let (number, bytes, last) = (before.number, before.bytes, self.last);
        self.writer.rotate(segment)?;
        self.full.push_back(FullSegment { number, base, bytes, last });
        self.next_wanted = Some(self.writer.base());
        Ok(())
    }

    /// Lets go of the segments below `number`, unsynced as they may be: they are not needed any
    /// more. Their files are the caller's, to be [kept](Self::keep_spare) or removed.
    pub fn give_up_below(&mut self, number: FileNumber) -> Vec<FullSegment> {
        self.syncer.forget_below(number);
        let count = self.full.iter().take_while(|segment| segment.number < number).count();
        self.full.drain(..count).collect()
    }

    /// Whether there is room to give back once nothing in the log is needed: files kept or made
    /// ahead, or a segment longer than the first after an open.
    pub fn holds_more_than_it_needs(&self) -> bool {
        let least = self.config.segment_bytes.min(FIRST_SEGMENT_BYTES_MAX);
        !self.spares.is_empty() || self.has_ahead() || self.writer.segment().bytes > least
    }

    /// The segment for a log at rest: as short as the first after an open.
    pub fn short_job(&self, number: FileNumber, nonce: Nonce) -> SegmentJob {
        self.config.first_job(number, nonce)
    }

    /// Gives up what was kept to be recycled. The files are the caller's to remove.
    pub fn take_spares(&mut self) -> Vec<FileNumber> {
        std::mem::take(&mut self.spares)
    }

    /// Whether a file of this length is worth keeping.
    pub fn needs_spare(&self, bytes: u64) -> bool {
        bytes == self.config.segment_bytes && self.spares.len() < SPARES_MAX
    }

    /// Keeps the file of a segment that was given up, to be recycled.
    pub fn keep_spare(&mut self, number: FileNumber) {
        self.spares.push(number);
    }
}

/// A segment to be made.
#[derive(Debug)]
pub struct SegmentJob {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    /// The number that its name will have.
    pub number: FileNumber,
    nonce: Nonce,
    bytes: u64,
    /// Whose file is used again.
    pub recycled: Option<FileNumber>,
    zero: bool,
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
struct Ahead(Option<(FileNumber, SegmentPromise)>);

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ahead").field(&self.0.as_ref().map(|(number, _)| number)).finish()
    }
}

#[cfg(test)]
#[path = "log_test.rs"]
mod tests;
