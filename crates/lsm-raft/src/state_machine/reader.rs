//! The state as readers see it, and as snapshots are made of it, beside the thread that
//! applies.
//!
//! A restore puts another engine in force and closes the one before: reads that are under way
//! on the old one are answered by the new one, long iterators may end with an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use lsm_core::{Db, Options, Snapshot, Value};

use super::checked::Checked;
use super::current::Current;
use super::folder::Folder;
use super::metadata::Metadata;
use crate::error::{Error, Result};
use crate::members::Members;
use crate::snapshot::{Header, Incoming, Outgoing, Staged, remove_folder};

/// What the machine and its readers share.
#[derive(Debug)]
pub(super) struct ReaderShared {
    pub(super) current: ArcSwap<Current>,
    /// Index of the last entry whose effects readers see.
    pub(super) applied: AtomicU64,
    pub(super) members: ArcSwap<Members>,
    pub(super) known_members: ArcSwap<Members>,
    pub(super) folder: Folder,
    pub(super) engine: Options,
}

/// Reads the state; clones are cheap, and any thread may hold one.
#[derive(Clone, Debug)]
pub struct StateReader {
    pub(super) shared: Arc<ReaderShared>,
}

impl StateReader {
    /// The value of a key in the state of this moment.
    ///
    /// # Errors
    ///
    /// `Storage`: see [`Db::get`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let key = key.as_ref();
        loop {
            let current = self.shared.current.load();
            let read = current.db.get(key);
            // An engine that was replaced while it was read is closed, and its files are gone.
            if read.is_ok() || Arc::ptr_eq(&current, &self.shared.current.load()) {
                return read.map_err(|error| {
                    self.note_error(&error);
                    Error::storage("read the state")(error)
                });
            }
        }
    }

    /// Pins the state of this moment, for several reads of one point.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.current.load().db.snapshot()
    }

    /// Whoever reads the state by other means than these is to tell of errors here: one that says
    /// that the state is damaged lets the node fetch a good copy from the leader.
    pub fn note_error(&self, error: &lsm_core::Error) {
        let current = self.shared.current.load();
        if error.kind() == lsm_core::ErrorKind::Corrupt
            && !current.is_damaged.swap(true, Ordering::Relaxed)
        {
            tracing::error!(%error, "the state is damaged; a good copy is fetched from the leader");
        }
    }

    /// Whether anything in the state in force was found to be damaged.
    pub fn is_damaged(&self) -> bool {
        self.shared.current.load().is_damaged.load(Ordering::Relaxed)
    }

    /// The engine in force: to flush, compact and look at. Writing to it would tear the state
    /// from the log. Fetch it anew each time: a restore closes it.
    pub fn db(&self) -> Db {
        self.shared.current.load().db.clone()
    }

    /// Index of the last entry that reads see.
    pub fn applied(&self) -> u64 {
        self.shared.applied.load(Ordering::Acquire)
    }

    /// The members, as of about [`applied`](Self::applied).
    pub fn members(&self) -> Arc<Members> {
        self.shared.members.load_full()
    }

    /// The [`members`](Self::members), with what the log said of their data folders when the node was
    /// started, applied or not. To tell by who may come in; anything else must wait until it is
    /// applied.
    pub fn known_members(&self) -> Arc<Members> {
        self.shared.known_members.load_full()
    }

    /// Makes a copy of the state to be sent, of an index that its header names. Flushes, so it
    /// takes a while; applying goes on meanwhile.
    ///
    /// # Errors
    ///
    /// `Invalid` if nothing was applied yet; `Storage`, also if a restore comes in between.
    pub fn checkpoint(&self) -> Result<Outgoing> {
        if self.applied() == 0 {
            return Err(Error::Invalid("there is no state yet to make a snapshot of".into()));
        }
        let shared = &self.shared;
        let dir = shared.folder.fresh_checkpoint();
        let outgoing = self.checkpoint_in(&dir);
        if outgoing.is_err() {
            // What stays behind is removed at the next start.
            let _ = remove_folder(&**shared.folder.fs(), &dir);
        }
        outgoing
    }

    fn checkpoint_in(&self, dir: &std::path::Path) -> Result<Outgoing> {
        let shared = &self.shared;
        let storage = || Error::storage("make a snapshot");
        self.db().checkpoint(dir).map_err(storage())?;
        // Of which index it is, the copy knows best.
        let copy = shared.engine.clone().open_read_only(dir).map_err(storage())?;
        let (_, metadata) = Metadata::load(&copy)?;
        // Whoever receives it reads all of it, too, and would refuse it for ever.
        copy.verify().map_err(|error| {
            self.note_error(&error);
            storage()(error)
        })?;
        copy.close().map_err(storage())?;
        Outgoing::new(shared.folder.fs(), dir, metadata.applied(), metadata.conf().clone())
    }

    /// Starts to receive a snapshot, into a folder of its own.
    ///
    /// # Errors
    ///
    /// `Corrupt` for a header that no sender makes; `Storage`.
    pub fn receive(&self, header: Header) -> Result<Incoming> {
        let folder = &self.shared.folder;
        Incoming::start(folder.fs(), folder.fresh_state(), header)
    }

    /// Opens a received state and reads all of it.
    ///
    /// # Errors
    ///
    /// `Invalid` if it is not ahead of this state, or behind it if this one is damaged; `Corrupt` if
    /// it is not what its header says, or damaged; `Storage`.
    pub fn check(&self, staged: Staged) -> Result<Checked> {
        self.check_useful(staged.header())?;
        Checked::new(&self.shared.engine, staged)
    }

    pub(super) fn check_useful(&self, header: &Header) -> Result<()> {
        let applied = self.applied();
        // A damaged state is no better than a good one of the same index.
        header.check_ahead_of(applied.saturating_sub(u64::from(self.is_damaged())))
    }
}
