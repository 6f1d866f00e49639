//! Opening a log: which segments make it up, what they hold, and a new segment to go on in.
//!
//! There is no list of segments; each begins with a state record that names the oldest one that
//! was needed when it began. The newest segment whose state record is part of the log decides,
//! and all below what it names is garbage, whether it is still there or not.
//!
//! Atomic steps, in order: make what is about to be read durable; remove the segments behind the
//! log's end, the newest first, and sync the folder after each, since a new segment behind them would be cut off with them;
//! begin the new segment and sync it; give up what is not needed. A crash between any two leaves
//! a log that opens again.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use lsm_core::Error as CoreError;
use lsm_log::file_name::FileNumber;
use lsm_log::fs::{Fs, Lock, LockMode, OsFs, ReadFile};
use lsm_log::wal::{
    self, FullSegment, HEADER_LEN, Log, LogConfig, Lsn, Nonces, RecordReader, SegmentInfo,
    SegmentState, StartedSegment,
};
use parking_lot::Mutex;

use super::record::{Record, StateRecord};
use super::replay::Replay;
use super::store::{LogStore, StoreShared, StoreState};
use super::writer::LogWriter;
use crate::error::{Error, Result};

/// Locked by whoever has the log open.
const LOCK_NAME: &str = "LOCK";
/// So much of a segment without a state record is looked through, in bytes: one of the first.
const LOOK_BYTES_MAX: u64 = 1 << 20;
/// Limits of the segment size, in bytes.
const SEGMENT_BYTES_MIN: u64 = 512;
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// A state record is about this long.
const STATE_LEN_HINT: usize = 64;

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Where its files are.
    pub fs: Arc<dyn Fs>,
    /// Whose log it is, so that another node's segments are noticed.
    pub owner: u64,
    /// Length of a segment file: 512 bytes to 1 GiB. One with a longer record is longer.
    pub segment_bytes: u64,
    /// Newest entries held in memory, in bytes. More is held while it is not yet written.
    pub cache_bytes: usize,
    /// For simulations: what would be random follows from it.
    pub seed: Option<u64>,
}

impl LogOptions {
    /// Settings for production, on the operating system's files.
    pub fn new(owner: u64) -> Self {
        let (segment_bytes, cache_bytes) = (16 << 20, 32 << 20);
        Self { fs: Arc::new(OsFs), owner, segment_bytes, cache_bytes, seed: None }
    }
}

impl LogStore {
    /// Opens the log in `dir`, or makes an empty one. A torn tail is cut off, and so is what lies
    /// behind damage in the last segment: then the log says what it [lost](Self::lost_through).
    ///
    /// # Errors
    ///
    /// `Storage` with file and offset if bytes that were durable are damaged or missing, or if the
    /// file system refuses; `Folder` if another process has the log open; `Invalid` if an option
    /// is outside its limits.
    pub fn open(options: LogOptions, dir: &Path) -> Result<(Self, LogWriter)> {
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&options.segment_bytes) {
            return Err(Error::Invalid(format!(
                "a segment of the raft log has {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX} bytes"
            )));
        }
        let action = "open the raft log";
        let dir = &*options.fs.absolute(dir).map_err(Error::file("find the folder", dir))?;
        let lock = lock_folder(&*options.fs, dir)?;
        let folder = Folder { fs: &*options.fs, dir, owner: options.owner };
        let listed = folder.list().map_err(Error::storage(action))?;
        let found = folder.recover(&listed, options.cache_bytes).map_err(Error::storage(action))?;
        folder.drop_cut_off(&listed, &found).map_err(Error::storage(action))?;
        start(options, dir, lock, &listed, found)
    }
}

fn lock_folder(fs: &dyn Fs, dir: &Path) -> Result<Box<dyn Lock>> {
    let failed = |action: &str, path: &Path, error| {
        let error = CoreError::io(action, path, error);
        Error::storage("open the raft log")(error)
    };
    fs.create_dir_all(dir).map_err(|e| failed("create the folder", dir, e))?;
    let path = dir.join(LOCK_NAME);
    fs.lock(&path, LockMode::Exclusive).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            let reason = "another process has this raft log open".to_owned();
            Error::Folder { dir: dir.to_owned(), reason }
        }
        _ => failed("lock the folder", &path, error),
    })
}

/// A segment file in the folder.
#[derive(Debug)]
struct Listed {
    number: FileNumber,
    path: PathBuf,
    bytes: u64,
    front: SegmentState,
    /// `None` if there is no valid state record.
    state: Option<StateRecord>,
}

/// What the segments hold.
struct RecoveredLog {
    /// The oldest needed segment; those below are garbage.
    first: FileNumber,
    started: Vec<StartedSegment>,
    end: Lsn,
    last_sequence: u64,
    replay: Replay,
}

struct Folder<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    owner: u64,
}

impl Folder<'_> {
    /// The segments in the folder, oldest first.
    fn list(&self) -> lsm_core::Result<Vec<Listed>> {
        let names = self.fs.list(self.dir).map_err(|e| CoreError::io("list", self.dir, e))?;
        let mut numbers: Vec<_> = names.iter().filter_map(|n| wal::segment_number(n)).collect();
        numbers.sort_unstable();
        numbers.into_iter().map(|number| self.look(number)).collect()
    }

    fn look(&self, number: FileNumber) -> lsm_core::Result<Listed> {
        let path = wal::segment_path(self.dir, number);
        let file = self.open(&path)?;
        let front = SegmentState::read(&*file, &path, number, self.owner)?;
        let mut state = None;
        if let SegmentState::Started(_) = front {
            let at = HEADER_LEN as u64;
            let reader = RecordReader::open(self.fs, self.dir, number)?;
            if let Some(payload) = reader.read(at, STATE_LEN_HINT)? {
                let Ok(Record::State(found)) = Record::decode(&payload) else {
                    let message = "the segment does not begin with a state record";
                    return Err(CoreError::corrupt(message).in_file(&path).at(at));
                };
                state = Some(found);
            }
        }
        Ok(Listed { number, bytes: file.len(), front, state, path })
    }

    fn open(&self, path: &Path) -> lsm_core::Result<Arc<dyn ReadFile>> {
        self.fs.open_read(path).map_err(|e| CoreError::io("open the log segment", path, e))
    }

    fn recover(&self, listed: &[Listed], cache_bytes: usize) -> lsm_core::Result<RecoveredLog> {
        for newest in listed.iter().rev() {
            let Some(state) = newest.state else { continue };
            if let Some(found) = self.replay(listed, newest, &state, cache_bytes)? {
                return Ok(found);
            }
        }
        self.check_never_used(listed)?;
        let replay = Replay::new(cache_bytes).finish()?;
        let (first, started) = (FileNumber(0), Vec::new());
        Ok(RecoveredLog { first, started, end: Lsn(0), last_sequence: 0, replay })
    }

    /// Replays the log whose newest segment `newest` claims to be; `None` if it was cut off with a
    /// torn tail, so that its claim was never acted upon.
    fn replay(
        &self,
        listed: &[Listed],
        newest: &Listed,
        state: &StateRecord,
        cache_bytes: usize,
    ) -> lsm_core::Result<Option<RecoveredLog>> {
        let first = state.first_segment;
        // A file that was being made, or renamed, when a crash came holds nothing.
        let is_part = |segment: &&Listed| {
            let made = matches!(segment.front, SegmentState::Started(_) | SegmentState::Blank);
            made && segment.number >= first
        };
        let chain: Vec<&Listed> = listed.iter().filter(is_part).collect();
        let start = match chain.first().map(|oldest| (oldest.number, oldest.front)) {
            Some((number, SegmentState::Started(base))) if number == first => base,
            // Two segments were begun after one another, and neither was synced: the older one's
            // word still stands, and whether that is so its replay says.
            _ if listed.iter().any(|older| older.number < first && older.state.is_some()) => {
                return Ok(None);
            }
            _ => {
                let message = format!("segment {first} of the raft log is missing or damaged");
                let path = wal::segment_path(self.dir, first);
                return Err(CoreError::corrupt(message).in_file(&path).at(0));
            }
        };
        let info = |segment: &&Listed| SegmentInfo { number: segment.number, bytes: segment.bytes };
        let segments: Vec<SegmentInfo> = chain.iter().map(info).collect();
        wal::rewrite_and_sync(self.fs, self.dir, &segments)?;
        let mut replay = Replay::new(cache_bytes);
        let visit = &mut |record: wal::LogRecord<'_>| replay.visit(&record);
        let (fs, dir, owner) = (self.fs, self.dir, self.owner);
        let (replayed, damage) =
            wal::replay_to_damage(fs, dir, owner, &segments, start, None, visit)?;
        if !replayed.started.iter().any(|started| started.number == newest.number) {
            return damage.map_or(Ok(None), |damage| Err(damage.error));
        }
        let is_damaged = damage.is_some();
        if let Some(damage) = damage {
            // Without its word nobody knows what was promised.
            if !replay.behind_damage(&damage.behind)? {
                return Err(damage.error);
            }
            tracing::error!(error = %damage.error, "a part of the raft log is lost");
        }
        let replay = replay.finish().map_err(|error| error.in_file(&newest.path))?;
        report_losses(&replay, &newest.path, is_damaged, replayed.torn);
        let (end, last_sequence) = (replayed.end, replayed.last_sequence);
        Ok(Some(RecoveredLog { first, started: replayed.started, end, last_sequence, replay }))
    }

    /// Without a state record, there is no log yet: then nothing was ever written behind one.
    fn check_never_used(&self, listed: &[Listed]) -> lsm_core::Result<()> {
        for segment in listed {
            let file = self.open(&segment.path)?;
            let mut bytes = vec![0; file.len().min(LOOK_BYTES_MAX) as usize];
            let read = file.read_at(0, &mut bytes);
            read.map_err(|e| CoreError::io("read", &segment.path, e).at(0))?;
            // A segment that was prepared has its nonce, and maybe a header.
            let header = match segment.front {
                SegmentState::Started(Lsn(0)) | SegmentState::Blank => HEADER_LEN,
                SegmentState::Started(_) | SegmentState::Renamed | SegmentState::Unmade => 0,
            };
            if let Some(at) = bytes[header..].iter().position(|&byte| byte != 0) {
                let message = "the raft log has lost the beginning of its newest segment";
                let offset = (header + at) as u64;
                return Err(CoreError::corrupt(message).in_file(&segment.path).at(offset));
            }
        }
        Ok(())
    }

    /// Removes the segments that are not part of the log, and not garbage from before it.
    fn drop_cut_off(&self, listed: &[Listed], found: &RecoveredLog) -> lsm_core::Result<()> {
        let cut_off = |segment: &&Listed| {
            let started = found.started.iter().any(|started| started.number == segment.number);
            segment.number >= found.first && !started
        };
        // From the end: a segment behind a gap would look like damage.
        for segment in listed.iter().rev().filter(cut_off) {
            let done = self.fs.remove(&segment.path);
            done.map_err(|e| CoreError::io("remove a cut off segment", &segment.path, e))?;
            let synced = self.fs.sync_dir(self.dir);
            synced.map_err(|e| CoreError::io("sync the folder", self.dir, e))?;
        }
        Ok(())
    }
}

fn report_losses(replay: &Replay, path: &Path, is_damaged: bool, is_torn: bool) {
    let (last, lost_through) = (replay.index.last(), replay.lost_through);
    if lost_through > 0 {
        tracing::error!(
            path = %path.display(),
            last,
            lost_through,
            "entries that this node had vouched for are lost; it takes no part in elections until \
             the leader has sent them again"
        );
    } else if is_torn && !is_damaged {
        tracing::warn!(
            path = %path.display(),
            last,
            "cut the unfinished end off the raft log, as after a loss of power: nobody was told of it"
        );
    }
}

/// Goes on with the log in a new segment, which begins where the old ones end.
fn start(
    options: LogOptions,
    dir: &Path,
    lock: Box<dyn Lock>,
    listed: &[Listed],
    found: RecoveredLog,
) -> Result<(LogStore, LogWriter)> {
    let action = "begin a segment of the raft log";
    let LogOptions { fs, owner, segment_bytes, seed, .. } = options;
    let Replay { hard, truncated, index, live, lost_through, .. } = found.replay;
    // Above every number that is in use, and that a file that was just removed had.
    let number = listed.last().map_or(Some(1), |newest| newest.number.0.checked_add(1));
    let number = number.map(FileNumber).ok_or_else(|| Error::Folder {
        dir: dir.to_owned(),
        reason: "a segment has the greatest number there is: it is none of ours".to_owned(),
    })?;
    let shared = Arc::new(StoreShared {
        fs,
        dir: dir.to_owned(),
        state: Mutex::new(StoreState::new(hard, index)),
        disk_bytes: AtomicU64::new(0),
        lost_through,
    });
    let nonces = Nonces::new(seed);
    let (fs, dir) = (Arc::clone(&shared.fs), dir.to_owned());
    let config = LogConfig { fs, dir, owner, segment_bytes };
    let segment = config.first_job(number, nonces.draw(number)).run();
    let segment = segment.map_err(Error::storage(action))?;
    let full = found.started.iter().map(|&StartedSegment { number, base }| {
        let same = listed.iter().find(|segment| segment.number == number);
        // What of its records is needed is known otherwise.
        FullSegment { number, base, bytes: same.map_or(0, |segment| segment.bytes), last: 0 }
    });
    let sequence = found.last_sequence;
    let log = Log::start(config, segment, found.end, sequence, full);
    let mut writer = LogWriter {
        shared: Arc::clone(&shared),
        segment_bytes,
        log: log.map_err(Error::storage(action))?,
        sequence,
        next_number: FileNumber(number.0 + 1),
        nonces,
        live,
        hard,
        truncated,
        unvouched: None,
        lost_through,
        claims: VecDeque::new(),
        _lock: lock,
    };
    let state = writer.state_record(number);
    writer.begin(&state)?;
    writer.sync()?;
    for garbage in listed.iter().filter(|segment| segment.number < found.first) {
        writer.give_up(garbage.number, garbage.bytes);
    }
    writer.give_up_segments();
    Ok((LogStore { shared }, writer))
}

#[cfg(test)]
#[path = "open_test.rs"]
mod tests;
