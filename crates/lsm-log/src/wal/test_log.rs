//! A log as its owner would keep it, for the tests of replay.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::reader::{Replayed, SegmentInfo, replay};
use super::record::{HEADER_LEN, Lsn, record_len};
use super::rewrite::rewrite_and_sync;
use super::segment::prepare;
use super::syncer::Syncer;
use super::writer::{WriteMode, Writer};
use crate::error::Result;
use crate::file_name::{FileName, FileNumber};
use crate::testkit::{OWNER, TestFs, nonce};

pub(super) const SEGMENT: u64 = 512;

pub(super) fn dir() -> &'static Path {
    Path::new("/db")
}

pub(super) fn path(number: u64) -> PathBuf {
    FileName::Log(FileNumber(number)).in_dir(dir())
}

/// Sequence and payload.
pub(super) type Content = Vec<(u64, Vec<u8>)>;

pub(super) fn read(
    fs: &TestFs,
    segments: &[SegmentInfo],
    start: Lsn,
    floor: Lsn,
) -> Result<(Content, Replayed)> {
    let mut content = Vec::new();
    let closed_at = (floor > Lsn(0)).then_some(floor);
    let replayed = replay(fs, dir(), OWNER, segments, start, closed_at, &mut |record| {
        content.push((record.sequence, record.payload.to_vec()));
        Ok(())
    })?;
    assert_eq!(replayed.records, content.len() as u64);
    Ok((content, replayed))
}

/// A log as its owner would keep it: a list of segments, and a writer.
pub(super) struct TestLog {
    pub(super) fs: TestFs,
    pub(super) segments: Vec<SegmentInfo>,
    pub(super) next_number: u64,
    pub(super) writer: Writer,
    pub(super) shared: Arc<Syncer>,
    /// All that was appended, with the position behind it.
    pub(super) written: Vec<(Lsn, u64, Vec<u8>)>,
}

impl TestLog {
    pub(super) fn new(fs: &TestFs) -> Self {
        let replayed = Replayed::none(Lsn(0));
        Self::resume(fs, Vec::new(), &replayed, 1)
    }

    /// What an owner does after a crash: keeps the segments that make up the log, drops the
    /// others, and starts a new one where the log ends.
    pub(super) fn resume(
        fs: &TestFs,
        mut segments: Vec<SegmentInfo>,
        found: &Replayed,
        number: u64,
    ) -> Self {
        rewrite_and_sync(fs, dir(), &segments).unwrap();
        segments.retain(|info| found.started.iter().any(|s| s.number == info.number));
        let shared = Arc::new(Syncer::new(found.end));
        let segment =
            prepare(fs, dir(), FileNumber(number), nonce(FileNumber(number)), SEGMENT, None, false)
                .unwrap();
        segments.push(SegmentInfo { number: segment.number, bytes: segment.bytes });
        let end = found.end;
        let writer =
            Writer::start(OWNER, segment, end, found.last_sequence, shared.clone()).unwrap();
        let (fs, written) = (fs.clone(), Vec::new());
        Self { fs, segments, next_number: number + 1, writer, shared, written }
    }

    pub(super) fn append(&mut self, sequence: u64, payload: &[u8]) {
        if !self.writer.has_room(payload.len()) {
            self.rotate(SEGMENT.max((HEADER_LEN + record_len(payload.len())) as u64));
        }
        let mode = if sequence.is_multiple_of(2) { WriteMode::Mmap } else { WriteMode::Pwrite };
        let end = self.writer.append(sequence, payload, mode).unwrap();
        self.written.push((end, sequence, payload.to_vec()));
    }

    pub(super) fn rotate(&mut self, bytes: u64) {
        let number = FileNumber(self.next_number);
        self.next_number += 1;
        let segment = prepare(&self.fs, dir(), number, nonce(number), bytes, None, false).unwrap();
        self.segments.push(SegmentInfo { number, bytes: segment.bytes });
        self.writer.rotate(segment).unwrap();
    }

    pub(super) fn sync(&self) {
        self.shared.sync_through(self.writer.end()).unwrap();
    }

    pub(super) fn content(&self) -> Content {
        self.written.iter().map(|(_, sequence, payload)| (*sequence, payload.clone())).collect()
    }

    pub(super) fn read(&self) -> Result<(Content, Replayed)> {
        read(&self.fs, &self.segments, Lsn(0), Lsn(0))
    }
}

pub(super) fn payload(sequence: u64) -> Vec<u8> {
    (0..40 + sequence % 30).map(|i| (sequence * 7 + i) as u8).collect()
}

/// Three segments, some records synced; the last two are not known durable by anything.
pub(super) fn sample() -> TestLog {
    let mut log = TestLog::new(&TestFs::default());
    for sequence in 1..=16 {
        log.append(sequence, &payload(sequence));
        if sequence % 3 == 2 {
            log.sync();
        }
    }
    assert_eq!(log.segments.len(), 3);
    log
}

pub(super) fn last_started(replayed: &Replayed) -> Option<FileNumber> {
    replayed.started.last().map(|started| started.number)
}
