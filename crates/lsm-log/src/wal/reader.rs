//! Replay: reads segments in order, visits their records, and decides where the log ends.
//!
//! Leaves to others: what records mean, and dropping the segments behind the end.
//!
//! The decision, case by case, is the table "Where a log ends" in `docs/format.md`. In short:
//! reading goes on while each segment begins exactly where the records before it end. At the
//! first place where that fails, everything after is a torn tail, unless anything written
//! later (a record, a header, the position of a clean close) says that the log was durable beyond that
//! place: then bytes that were promised are gone, and that is an error.
//!
//! Memory: one segment at a time, in one buffer. Threads: none of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::nonce::Nonce;
use super::record::{HEADER_LEN, Header, LOG, Lsn, RECORD_LEN_MIN, RecordPlace};
use super::scan::{FileBase, Records, find_witness, records_behind};
use super::segment::{SEGMENT_BYTES_MAX, no_nonce};
use super::segment_state::SegmentHeader;
use crate::error::{Error, Result};
use crate::file_name::{FileName, FileNumber};
use crate::fs::{Access, Fs, ReadFile};

/// A segment as its owner listed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The number in its name.
    pub number: FileNumber,
    /// Least length of the file in bytes: what [`Segment::bytes`](super::Segment::bytes) said.
    pub bytes: u64,
}

/// A record on its way back to whoever wrote it.
#[derive(Clone, Copy, Debug)]
pub struct LogRecord<'a> {
    /// What the writer numbered it with.
    pub sequence: u64,
    /// The bytes that were appended.
    pub payload: &'a [u8],
    /// Number of the segment.
    pub segment: FileNumber,
    /// The segment's file.
    pub file: &'a Path,
    /// Where the record starts in the file.
    pub offset: u64,
}

/// A segment that holds a part of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartedSegment {
    /// The number in its name.
    pub number: FileNumber,
    /// Where it begins in the log: what `start` has to be, once it is the first.
    pub base: Lsn,
}

/// What a replay found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Position behind the last record: where the next segment starts.
    pub end: Lsn,
    /// Sequence of the last record; zero if there is none.
    pub last_sequence: u64,
    /// How many records were visited.
    pub records: u64,
    /// Length of all payloads.
    pub bytes: u64,
    /// The segments that make up the log, in order. All others that were listed hold nothing,
    /// and must leave the list in the same step in which a new segment enters it; their
    /// numbers are not used again.
    pub started: Vec<StartedSegment>,
    /// Something was cut off the end. A guess, for reports: a tail may be lost without trace.
    pub torn: bool,
}

/// Bytes of the last segment that were durable and are gone.
#[derive(Debug)]
pub struct Damage {
    /// Says where they were, and what shows it.
    pub error: Error,
    /// Payloads of the records behind them that are whole, in order.
    pub behind: Vec<Vec<u8>>,
}

impl Replayed {
    pub(super) fn none(end: Lsn) -> Self {
        Self { end, last_sequence: 0, records: 0, bytes: 0, started: Vec::new(), torn: false }
    }
}

/// Reads the log of `owner` that `segments` make up, oldest first, and hands each record to
/// `visit`.
///
/// `start` is the position at which the first segment begins. `closed_at` is where the log ended
/// when it was closed cleanly, if it was, and nothing was written since: it ends exactly there then,
/// and nothing behind is looked at.
///
/// # Errors
///
/// `Corrupt` with file and offset if bytes that were durable are gone, or if the segments do not
/// belong together; `Unsupported` if a newer program wrote them; `Io`; and whatever `visit` returns.
pub fn replay(
    fs: &dyn Fs,
    dir: &Path,
    owner: u64,
    segments: &[SegmentInfo],
    start: Lsn,
    closed_at: Option<Lsn>,
    visit: &mut dyn FnMut(LogRecord<'_>) -> Result<()>,
) -> Result<Replayed> {
    let (found, damage) = replay_to_damage(fs, dir, owner, segments, start, closed_at, visit)?;
    damage.map_or(Ok(found), |damage| Err(damage.error))
}

/// As [`replay`], for an owner who can get back from elsewhere what is lost: damage in the last
/// segment that was started is no error, but returned beside what lies before it.
///
/// # Errors
///
/// As for [`replay`], for all other damage.
pub fn replay_to_damage(
    fs: &dyn Fs,
    dir: &Path,
    owner: u64,
    segments: &[SegmentInfo],
    start: Lsn,
    closed_at: Option<Lsn>,
    visit: &mut dyn FnMut(LogRecord<'_>) -> Result<()>,
) -> Result<(Replayed, Option<Damage>)> {
    if let Some(closed) = closed_at.filter(|&closed| closed < start) {
        let message = format!("the log was closed at position {closed}, but begins at {start}");
        return Err(Error::corrupt(message).in_file(dir));
    }
    // The owner's list may claim any lengths.
    let lengths = segments.iter().map(|segment| segment.bytes);
    let highest = Lsn(lengths.fold(start.0, u64::saturating_add));
    let (buffer, found) = (Vec::new(), Replayed::none(start));
    let synced = Lsn(0);
    let mut replay = Replay { fs, dir, owner, closed_at, buffer, found, synced, highest };
    let mut rest = segments.iter();
    let mut next = replay.open_next(&mut rest)?;
    let mut stop = None;
    while let Some(segment) = next.take() {
        next = replay.open_next(&mut rest)?;
        stop = Some(replay.read(&segment, next.as_ref(), visit)?);
        let end = replay.found.end;
        // The next segment begins where this one ends: nothing is missing between them.
        if closed_at == Some(end) || !next.as_ref().is_some_and(|next| next.starts_at(end)) {
            break;
        }
    }
    let mut damage = None;
    if let Some(stop) = stop {
        damage = replay.judge(stop, next, rest)?;
    } else if let Some(closed) = closed_at.filter(|&closed| closed > start) {
        let message = format!("no log is listed, but it was closed at position {closed}");
        return Err(Error::corrupt(message).in_file(dir));
    }
    Ok((replay.found, damage))
}

/// Fills `buffer` with a listed segment.
pub(super) fn read_segment(
    file: &dyn ReadFile,
    path: &Path,
    bytes: u64,
    buffer: &mut Vec<u8>,
) -> Result<()> {
    if bytes > SEGMENT_BYTES_MAX {
        let message = format!("file is longer ({bytes} bytes) than this program writes");
        return Err(Error::corrupt(message).in_file(path));
    }
    read_whole(file, path, bytes, buffer)
}

/// Fills `buffer` with the first `bytes` bytes of a file.
pub fn read_whole(
    file: &dyn ReadFile,
    path: &Path,
    bytes: u64,
    buffer: &mut Vec<u8>,
) -> Result<()> {
    let failed = |error| Error::io("read", path, error);
    let len = usize::try_from(bytes).unwrap_or(usize::MAX);
    // Not more than the file really holds, but that may be more than memory does.
    let more = len.saturating_sub(buffer.len());
    buffer.try_reserve_exact(more).map_err(|_| failed(io::ErrorKind::OutOfMemory.into()))?;
    buffer.resize(len, 0);
    file.advise(Access::Sequential);
    file.read_at(0, buffer).map_err(failed)
}

/// A listed segment that exists in its full length.
#[derive(Debug)]
struct Opened {
    info: SegmentInfo,
    path: PathBuf,
    file: Arc<dyn ReadFile>,
    /// `None`: never started, or the header is lost.
    header: Option<Header>,
    /// Every segment that is listed was prepared: `None` is damage, once it is needed.
    nonce: Option<Nonce>,
}

impl Opened {
    fn nonce(&self) -> Result<Nonce> {
        self.nonce.ok_or_else(|| no_nonce(&self.path))
    }

    fn starts_at(&self, position: Lsn) -> bool {
        self.header.is_some_and(|header| header.base == position)
    }
}

/// The place where the records end.
#[derive(Debug)]
struct LogEnd {
    path: PathBuf,
    offset: usize,
    /// A later record of the same segment that shows that there was more.
    witness: Option<usize>,
    /// What is whole behind the stop, if there is a witness.
    behind: Vec<Vec<u8>>,
}

struct Replay<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    owner: u64,
    closed_at: Option<Lsn>,
    buffer: Vec<u8>,
    found: Replayed,
    /// The highest position that a record visited so far calls durable.
    synced: Lsn,
    /// No position in these segments lies beyond: each begins where the one before ends.
    highest: Lsn,
}

impl Replay<'_> {
    fn open_next(&self, rest: &mut std::slice::Iter<'_, SegmentInfo>) -> Result<Option<Opened>> {
        rest.next().map(|&info| self.open(info)).transpose()
    }

    fn open(&self, info: SegmentInfo) -> Result<Opened> {
        let path = FileName::Log(info.number).in_dir(self.dir);
        let file = self.fs.open_read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::corrupt("log segment is missing").in_file(&path),
            _ => Error::io("open the log segment", &path, error),
        })?;
        if file.len() < info.bytes.max(HEADER_LEN as u64) {
            return Err(Error::mismatch("log segment is truncated: bytes", info.bytes, file.len())
                .in_file(&path)
                .at(file.len()));
        }
        let found = SegmentHeader::read(&*file, &path, info.number)?;
        if let Some(header) = &found.header {
            header.check(info.number, self.owner, &LOG).map_err(|e| e.in_file(&path))?;
        }
        Ok(Opened { info, path, file, header: found.header, nonce: found.nonce() })
    }

    fn load(&mut self, segment: &Opened) -> Result<()> {
        read_segment(&*segment.file, &segment.path, segment.info.bytes, &mut self.buffer)
    }

    /// Visits the records of one segment, up to where `next` begins at the latest.
    fn read(
        &mut self,
        segment: &Opened,
        next: Option<&Opened>,
        visit: &mut dyn FnMut(LogRecord<'_>) -> Result<()>,
    ) -> Result<LogEnd> {
        self.load(segment)?;
        let Some(header) = segment.header else {
            return self.stop(segment, None, HEADER_LEN, 0);
        };
        if header.base != self.found.end {
            // Only the first segment: others are read because they begin here.
            return Err(Error::mismatch(
                "position of the first segment",
                self.found.end,
                header.base,
            )
            .in_file(&segment.path)
            .at(16));
        }
        let limit = self.limit(segment, header, next)?;
        let (number, last_sequence) = (segment.info.number, self.found.last_sequence);
        let (bytes, nonce) = (&self.buffer[..limit], segment.nonce()?);
        let mut records = Records::new(bytes, number, nonce, header.base, last_sequence);
        self.found.started.push(StartedSegment { number, base: header.base });
        while let Some(frame) = records.read_next().map_err(|e| e.in_file(&segment.path))? {
            let offset = frame.offset as u64;
            let (sequence, payload) = (frame.sequence, frame.payload);
            let file = &*segment.path;
            let record = LogRecord { sequence, payload, segment: number, file, offset };
            visit(record).map_err(|e| e.in_file(&segment.path).at(offset))?;
            self.synced = self.synced.max(frame.synced);
            self.found.records += 1;
            self.found.bytes += payload.len() as u64;
        }
        self.found.last_sequence = records.last_sequence();
        self.found.end = records.position();
        self.found.torn = records.is_cut(self.synced);
        let offset = records.offset();
        if next.is_some_and(|next| next.starts_at(self.found.end)) {
            return Ok(LogEnd {
                path: segment.path.clone(),
                offset,
                witness: None,
                behind: Vec::new(),
            });
        }
        self.buffer.truncate(limit);
        self.stop(segment, Some(header.base), offset, offset)
    }

    /// Where the records of a segment end at the latest. Behind where the next one begins they were
    /// cut off by an earlier recovery; behind a clean close nothing was ever written.
    fn limit(&self, segment: &Opened, header: Header, next: Option<&Opened>) -> Result<usize> {
        let mut limit = self.buffer.len();
        if let Some(closed) = self.closed_at {
            // Not below the header: a close is behind one.
            let len = closed.0.saturating_sub(header.base.0).max(HEADER_LEN as u64);
            limit = limit.min(usize::try_from(len).unwrap_or(usize::MAX));
        }
        let next_header = next.and_then(|next| Some((next, next.header?)));
        let before_close = |base: Lsn| self.closed_at.is_none_or(|closed| base < closed);
        let Some((next, next_header)) = next_header.filter(|(_, h)| before_close(h.base)) else {
            return Ok(limit);
        };
        let len = next_header.base.0.checked_sub(header.base.0);
        match len.filter(|len| (HEADER_LEN as u64..=segment.info.bytes).contains(len)) {
            Some(len) => Ok(len as usize),
            None => Err(Error::corrupt(format!(
                "log segment begins at position {}, but the one before at {} and has {} bytes",
                next_header.base, header.base, segment.info.bytes
            ))
            .in_file(&next.path)
            .at(16)),
        }
    }

    /// The log ends in `segment`, unless the bytes in the buffer from `from` on say otherwise.
    fn stop(
        &self,
        segment: &Opened,
        base: Option<Lsn>,
        from: usize,
        offset: usize,
    ) -> Result<LogEnd> {
        // A close says all there is to say.
        let witness = match self.closed_at {
            Some(_) => None,
            None => self.witness(segment, base, from)?,
        };
        let behind = match witness {
            Some(_) => self.records_behind(segment, base, from)?,
            None => Vec::new(),
        };
        Ok(LogEnd { path: segment.path.clone(), offset, witness, behind })
    }

    fn witness(&self, segment: &Opened, base: Option<Lsn>, from: usize) -> Result<Option<usize>> {
        let (at, last_sequence) = (self.found.end, self.found.last_sequence);
        let base = base.map_or(FileBase::AtMost(self.highest), FileBase::Known);
        let (number, nonce) = (segment.info.number, segment.nonce()?);
        Ok(find_witness(&self.buffer, number, nonce, base, from, at, last_sequence))
    }

    fn records_behind(
        &self,
        segment: &Opened,
        base: Option<Lsn>,
        from: usize,
    ) -> Result<Vec<Vec<u8>>> {
        // Without a header nothing of the segment is a part of the log.
        let Some(base) = base else { return Ok(Vec::new()) };
        let (number, nonce) = (segment.info.number, segment.nonce()?);
        let first = RecordPlace { number, nonce, offset: from };
        Ok(records_behind(&self.buffer, first, base, self.found.last_sequence))
    }

    /// Tells a torn tail from damage, by everything that was written after `stop`. Damage is an
    /// error unless nothing of the log lies in later segments.
    fn judge(
        &mut self,
        stop: LogEnd,
        next: Option<Opened>,
        mut rest: std::slice::Iter<'_, SegmentInfo>,
    ) -> Result<Option<Damage>> {
        let end = self.found.end;
        // If nothing fits at the stop, what is missing is the start of the next segment.
        let full = stop.offset + RECORD_LEN_MIN > self.buffer.len();
        let (path, offset) = match &next {
            Some(next) if full && next.header.is_none() => (next.path.clone(), 0),
            _ => (stop.path.clone(), stop.offset as u64),
        };
        let damaged = |witness: String| {
            let message =
                format!("log record is damaged or missing: {witness} shows that it was durable");
            Error::corrupt(message).in_file(&path).at(offset)
        };
        if let Some(closed) = self.closed_at {
            // What lies behind is nobody's: not read, not judged.
            return match closed == end {
                true => Ok(None),
                false => {
                    Err(damaged(format!("a clean close at position {closed}, against {end},")))
                }
            };
        }
        if let Some(offset) = stop.witness {
            let error =
                damaged(format!("the record at offset {offset} of {}", stop.path.display()));
            let mut later = next;
            while let Some(segment) = later.take() {
                if segment.header.is_some() {
                    return Err(error);
                }
                later = self.open_next(&mut rest)?;
            }
            return Ok(Some(Damage { error, behind: stop.behind }));
        }
        let mut later = next;
        while let Some(segment) = later.take() {
            let started = segment.header.is_some();
            self.found.torn |= started;
            if segment.header.is_some_and(|header| header.synced > end) {
                return Err(damaged(format!("the header of {}", segment.path.display())));
            }
            self.load(&segment)?;
            let base = segment.header.map(|header| header.base);
            if let Some(offset) = self.witness(&segment, base, HEADER_LEN)? {
                return Err(damaged(format!(
                    "the record at offset {offset} of {}",
                    segment.path.display()
                )));
            }
            later = self.open_next(&mut rest)?;
        }
        Ok(None)
    }
}

#[cfg(test)]
#[path = "reader_test.rs"]
mod tests;
