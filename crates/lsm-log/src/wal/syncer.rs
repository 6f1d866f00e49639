//! Group commit: one thread syncs for all that wait.
//!
//! Leaves to others: writing. The writer tells how far it has appended and which files it
//! has started.
//!
//! ```text
//! synced <= appended
//! ```
//!
//! Invariants:
//! * `synced` moves only after every file that held bytes below it was synced, oldest first.
//! * The first failure is kept for ever: nothing is acknowledged after it, and no sync is
//!   tried again, because the system may have dropped the pages it could not write.
//! * The files waiting for their sync are open. Whoever writes without syncing bounds their number
//!   with [`Syncer::sync_if_many`], and lets go of those that are not needed any more with
//!   [`Syncer::forget_below`].
//!
//! Threads: any number in [`Syncer::sync_through`], of which one leads at a time. The lock is
//! a leaf, and is not held over I/O.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};

use super::record::Lsn;
use crate::error::{Error, Result};
use crate::file_name::FileNumber;
use crate::fs::WriteFile;

/// How many segments may be waiting for their sync, each with a handle open: a process may have no
/// more than 1024 on many systems.
pub(super) const UNSYNCED_MAX: usize = 32;

/// What is appended, what is durable, and the first failure of a log.
#[derive(Debug)]
pub struct Syncer {
    /// Where this process began to write.
    start: Lsn,
    /// Everything below has been handed to the file system.
    appended: AtomicU64,
    /// Everything below is durable.
    synced: AtomicU64,
    /// How many times a file was synced.
    syncs: AtomicU64,
    /// Set once `SyncState::failure` is; saves the lock while all is well.
    failed: AtomicBool,
    state: Mutex<SyncState>,
    turn: Condvar,
}

#[derive(Debug, Default)]
struct SyncState {
    /// Oldest first; the last one is being written.
    files: Vec<Arc<StartedFile>>,
    leading: bool,
    failure: Option<Error>,
}

#[derive(Debug)]
struct StartedFile {
    number: FileNumber,
    path: PathBuf,
    base: Lsn,
    file: Arc<dyn WriteFile>,
}

impl Syncer {
    /// For a log that is durable up to `position`, where its next segment will start.
    pub fn new(position: Lsn) -> Self {
        Self {
            start: position,
            appended: AtomicU64::new(position.0),
            synced: AtomicU64::new(position.0),
            syncs: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            state: Mutex::default(),
            turn: Condvar::new(),
        }
    }

    /// Everything below this position is durable.
    #[inline]
    pub fn synced(&self) -> Lsn {
        Lsn(self.synced.load(Ordering::Acquire))
    }

    /// Everything below this position has been appended.
    #[inline]
    pub fn appended(&self) -> Lsn {
        Lsn(self.appended.load(Ordering::Acquire))
    }

    /// Bytes appended since the log was opened, its framing included.
    pub fn written(&self) -> u64 {
        self.appended().0 - self.start.0
    }

    /// How many times a segment was synced since the log was opened.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Returns once everything below `position` is durable. Covers with one sync all that was
    /// appended before that sync began, whoever appended it.
    ///
    /// # Errors
    ///
    /// `Io` if this sync failed, `Failed` if anything failed before.
    ///
    /// # Panics
    ///
    /// If `position` was not appended yet.
    pub fn sync_through(&self, position: Lsn) -> Result<()> {
        assert!(position <= self.appended(), "a position is synced after it was appended");
        let mut state = self.state.lock();
        loop {
            if let Some(first) = &state.failure {
                return Err(Error::failed(first));
            }
            if self.synced() >= position {
                return Ok(());
            }
            if !state.leading {
                break;
            }
            self.turn.wait(&mut state);
        }
        state.leading = true;
        // Under the lock, so that every file with bytes below `target` is in the list.
        let target = self.appended();
        let files = state.files.clone();
        drop(state);

        let outcome = self.sync_in_order(&files);

        let mut state = self.state.lock();
        state.leading = false;
        if outcome.is_ok() && state.failure.is_none() {
            self.synced.fetch_max(target.0, Ordering::Release);
            retire(&mut state.files, target);
        }
        let outcome = match (outcome, &state.failure) {
            (Ok(()), Some(first)) => Err(Error::failed(first)),
            (Err(error), _) => {
                self.fail_locked(&mut state, &error);
                Err(error)
            }
            (Ok(()), None) => Ok(()),
        };
        drop(state);
        self.turn.notify_all();
        outcome
    }

    /// To be called before each new segment: syncs what was appended if too many segments wait.
    ///
    /// # Errors
    ///
    /// As of [`sync_through`](Self::sync_through).
    pub fn sync_if_many(&self) -> Result<()> {
        let waiting = self.state.lock().files.len();
        if waiting < UNSYNCED_MAX { Ok(()) } else { self.sync_through(self.appended()) }
    }

    /// Syncs the older file first: a record that is durable in one segment implies all
    /// segments before it.
    fn sync_in_order(&self, files: &[Arc<StartedFile>]) -> Result<()> {
        files.iter().try_for_each(|started| {
            self.syncs.fetch_add(1, Ordering::Relaxed);
            started.file.sync().map_err(|e| Error::io("sync the log", &started.path, e))
        })
    }

    /// Lets go of segments below `number`, unsynced as they may be: what they held is durable
    /// elsewhere, and no recovery will read them.
    pub fn forget_below(&self, number: FileNumber) {
        let mut state = self.state.lock();
        let last = state.files.last().map(|started| started.number);
        state.files.retain(|started| started.number >= number || Some(started.number) == last);
    }

    /// # Errors
    ///
    /// `Failed` if anything failed before.
    #[inline]
    pub fn check(&self) -> Result<()> {
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        match &self.state.lock().failure {
            Some(first) => Err(Error::failed(first)),
            None => Ok(()),
        }
    }

    /// Refuses everything from here on because of `error`, unless something failed before.
    pub fn fail(&self, error: &Error) {
        self.fail_locked(&mut self.state.lock(), error);
        self.turn.notify_all();
    }

    fn fail_locked(&self, state: &mut SyncState, error: &Error) {
        state.failure.get_or_insert_with(|| error.clone());
        self.failed.store(true, Ordering::Release);
    }

    /// The writer continues in this file.
    pub(super) fn started(
        &self,
        number: FileNumber,
        path: PathBuf,
        base: Lsn,
        file: Arc<dyn WriteFile>,
    ) {
        let started = StartedFile { number, path, base, file };
        self.state.lock().files.push(Arc::new(started));
    }

    /// The writer has written everything below `position`.
    #[inline]
    pub(super) fn set_appended(&self, position: Lsn) {
        self.appended.store(position.0, Ordering::Release);
    }
}

/// Drops the files that end at or before `position`.
fn retire(files: &mut Vec<Arc<StartedFile>>, position: Lsn) {
    let done = files.iter().skip(1).take_while(|next| next.base <= position).count();
    files.drain(..done);
}

#[cfg(test)]
#[path = "syncer_test.rs"]
mod tests;
