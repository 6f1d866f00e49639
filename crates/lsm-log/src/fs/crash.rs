//! A file system in memory that can lose power.
//!
//! It keeps what is durable apart from what is only in the system's cache, and makes images of
//! what a crash could leave on the disk. The model is what POSIX lets a program count on:
//!
//! * Bytes and the length of a file are durable after `sync`; until then each sector may be on
//!   disk in any of its states since, whatever became of its neighbours.
//! * Names are durable after `sync_dir` of their folder; until then each change may or may not
//!   be on disk. A rename is atomic. One that moves a file to another folder counts as a change
//!   of the target's folder.
//! * Syncing a file says nothing about its name, syncing a folder nothing about its files.
//! * New and removed folders are durable at once, as [`Fs::create_dir_all`] and
//!   [`Fs::remove_dir`] promise.
//! * After a sync that failed, [`CrashFs::lose_unsynced`] can make a file what Linux makes of it:
//!   what was not written counts as written, and no later sync brings it to disk.
//!
//! Sectors are written whole: a torn sector is not modelled.
//!
//! Threads: any. One lock for everything, a leaf; the clock of `events` ticks under it, so a
//! crash point is a point in one order of all changes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use parking_lot::Mutex;

use super::crash_content::{ByteChange, Content};
use super::mem::load;
use super::names::{Locks, Names, absolute, folder_of, normal};
use super::traits::{Access, Folder, Fs, Lock, LockMode, Mapping, ReadFile, WriteFile};

/// What a crash leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashImage {
    /// Power loss before the system wrote anything on its own: only what was synced.
    Lost,
    /// Death of the process alone: everything, synced or not.
    Kept,
    /// Power loss with some of the unsynced changes on disk, chosen by the seed.
    Torn {
        /// The same seed chooses the same changes of the same history.
        seed: u64,
    },
}

/// A file system in memory that keeps synced and unsynced state apart; clones share it.
#[derive(Clone, Debug)]
pub struct CrashFs {
    state: Arc<Mutex<CrashState>>,
    locks: Locks,
}

impl CrashFs {
    /// An empty file system.
    pub fn new() -> Self {
        Self::with_names(Names::new())
    }

    /// How many changes succeeded so far: each write, copy, allocation, sync, creation, rename,
    /// removal, link, folder sync and removal of a folder is one.
    pub fn events(&self) -> u64 {
        self.state.lock().events
    }

    /// Crashes once `events` changes have succeeded since this file system was made: all later
    /// operations fail and change nothing. At once if there were as many already.
    pub fn crash_after(&self, events: u64) {
        self.state.lock().crash_after = Some(events);
    }

    /// Whether the crash has come.
    pub fn crashed(&self) -> bool {
        self.state.lock().check_alive().is_err()
    }

    /// The disk as a crash at this moment would leave it: a file system of its own, on which
    /// everything is durable and no lock is held.
    pub fn image(&self, choice: CrashImage) -> Self {
        let state = self.state.lock();
        let mut rng = match choice {
            CrashImage::Torn { seed } => Some(Rng::with_seed(seed)),
            CrashImage::Lost | CrashImage::Kept => None,
        };
        let names = match (choice, &mut rng) {
            (CrashImage::Kept, _) => state.names.clone(),
            (_, None) => state.durable.clone(),
            (_, Some(rng)) => state.torn_names(rng),
        };
        // A file with two names stays one file, and chooses its bytes once.
        let mut made = BTreeMap::<*const CrashFile, Arc<CrashFile>>::new();
        Self::with_names(names.map_files(|file| {
            let image = made.entry(Arc::as_ptr(file)).or_insert_with(|| {
                let content = file.content.lock();
                let bytes = match (choice, &mut rng) {
                    (CrashImage::Kept, _) => content.current().to_vec(),
                    (_, None) => content.durable().to_vec(),
                    (_, Some(rng)) => content.torn(rng),
                };
                Arc::new(CrashFile::durable(bytes))
            });
            Arc::clone(image)
        }))
    }

    /// What a failed sync of a file does on Linux: its unsynced bytes stay readable until the
    /// machine dies, but are not written any more, unless somebody writes them again.
    pub fn lose_unsynced(&self, path: &Path) -> io::Result<()> {
        self.look(|state| state.names.file(&normal(path))?.content.lock().lose())
    }

    fn with_names(names: Names<CrashFile>) -> Self {
        let state = CrashState {
            durable: names.clone(),
            names,
            unsynced: Vec::new(),
            events: 0,
            crash_after: None,
        };
        Self { state: Arc::new(Mutex::new(state)), locks: Locks::default() }
    }

    /// Runs an operation that changes nothing.
    fn look<T>(&self, operation: impl FnOnce(&CrashState) -> io::Result<T>) -> io::Result<T> {
        let state = self.state.lock();
        state.check_alive()?;
        operation(&state)
    }

    /// Runs an operation that, if it succeeds, is an event.
    fn change<T>(&self, operation: impl FnOnce(&mut CrashState) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock();
        state.check_alive()?;
        let done = operation(&mut state)?;
        state.events += 1;
        Ok(done)
    }

    fn handle(&self, file: Arc<CrashFile>, len: u64) -> Arc<CrashHandle> {
        Arc::new(CrashHandle { fs: self.clone(), file, len })
    }
}

impl Default for CrashFs {
    fn default() -> Self {
        Self::new()
    }
}

impl Fs for CrashFs {
    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        absolute(path)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let dir = normal(dir);
        if self.look(|state| Ok(state.names.check_folder(&dir).is_ok()))? {
            return Ok(());
        }
        self.change(|state| {
            state.names.create_dir_all(&dir)?;
            state.durable.replay_create_dir_all(&dir);
            Ok(())
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.look(|state| state.names.list(&normal(dir)))
    }

    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.look(|state| state.names.list_dirs(&normal(dir)))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(|state| {
            let dir = normal(dir);
            state.names.remove_dir(&dir)?;
            // What was in it cannot come back without it.
            state.sync_names(&dir);
            state.durable.remove_dir(&dir)
        })
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn WriteFile>> {
        let file = Arc::new(CrashFile::durable(Vec::new()));
        self.change(|state| state.insert(normal(path), Arc::clone(&file)))?;
        Ok(self.handle(file, 0))
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn WriteFile>> {
        let file = self.look(|state| state.names.file(&normal(path)))?;
        Ok(self.handle(file, 0))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        let (file, len) = self.look(|state| {
            let file = state.names.file(&normal(path))?;
            let len = file.len();
            Ok((file, len))
        })?;
        Ok(self.handle(file, len))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.look(|state| Ok(state.names.file(&normal(path))?.len()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|state| {
            let (from, to) = (normal(from), normal(to));
            if let Some(file) = state.names.rename(&from, &to)? {
                state.unsynced.push(NameChange::Rename { from, to, file });
            }
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            let path = normal(path);
            state.names.remove(&path)?;
            state.unsynced.push(NameChange::Remove { path });
            Ok(())
        })
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|state| {
            let file = state.names.file(&normal(from))?;
            state.insert(normal(to), file)
        })
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn Folder>> {
        let dir = normal(dir);
        self.look(|state| state.names.check_folder(&dir))?;
        Ok(Box::new(CrashFolder { fs: self.clone(), dir }))
    }

    fn lock(&self, path: &Path, mode: LockMode) -> io::Result<Box<dyn Lock>> {
        match self.create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => self.locks.take(&normal(path), mode),
        }
    }
}

#[derive(Debug)]
struct CrashFolder {
    fs: CrashFs,
    dir: PathBuf,
}

impl Folder for CrashFolder {
    fn sync(&self) -> io::Result<()> {
        self.fs.change(|state| {
            state.names.check_folder(&self.dir)?;
            state.sync_names(&self.dir);
            Ok(())
        })
    }
}

/// Names on disk and in the system's cache, and the clock of events.
#[derive(Debug)]
struct CrashState {
    /// What programs see.
    names: Names<CrashFile>,
    /// What is surely on disk.
    durable: Names<CrashFile>,
    /// What happened to names since, oldest first.
    unsynced: Vec<NameChange>,
    events: u64,
    crash_after: Option<u64>,
}

impl CrashState {
    fn check_alive(&self) -> io::Result<()> {
        match self.crash_after {
            Some(end) if self.events >= end => Err(io::Error::other("the machine has crashed")),
            _ => Ok(()),
        }
    }

    fn insert(&mut self, path: PathBuf, file: Arc<CrashFile>) -> io::Result<()> {
        self.names.insert(&path, Arc::clone(&file))?;
        self.unsynced.push(NameChange::Insert { path, file });
        Ok(())
    }

    /// Makes the changes of one folder's names durable.
    fn sync_names(&mut self, dir: &Path) {
        // With a file that moved here goes whatever made it stand where it came from: had that
        // stayed behind, its old name could come back after the move is durable.
        let mut moved_from = Vec::<PathBuf>::new();
        let mut synced = vec![false; self.unsynced.len()];
        for (change, synced) in self.unsynced.iter().zip(&mut synced).rev() {
            *synced = change.folder() == dir || moved_from.iter().any(|from| change.names(from));
            if let (true, NameChange::Rename { from, .. }) = (*synced, change)
                && folder_of(from) != dir
            {
                moved_from.push(from.clone());
            }
        }
        let mut synced = synced.into_iter();
        let durable = &mut self.durable;
        self.unsynced.retain(|change| {
            let synced = synced.next().unwrap_or(false);
            if synced {
                change.replay(durable);
            }
            !synced
        });
    }

    /// The durable names and some of the changes since.
    fn torn_names(&self, rng: &mut Rng) -> Names<CrashFile> {
        let mut names = self.durable.clone();
        if rng.bool() {
            // As a journal does it: each folder up to some point.
            let mut left = BTreeMap::<&Path, usize>::new();
            for change in &self.unsynced {
                *left.entry(change.folder()).or_default() += 1;
            }
            for kept in left.values_mut() {
                *kept = rng.usize(..=*kept);
            }
            for change in &self.unsynced {
                if let Some(left) = left.get_mut(change.folder())
                    && *left > 0
                {
                    *left -= 1;
                    change.replay(&mut names);
                }
            }
        } else {
            for change in self.unsynced.iter().filter(|_| rng.bool()) {
                change.replay(&mut names);
            }
        }
        names
    }
}

/// One change of names.
#[derive(Debug)]
enum NameChange {
    /// A new file, or a second name of one.
    Insert {
        path: PathBuf,
        file: Arc<CrashFile>,
    },
    Remove {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
        file: Arc<CrashFile>,
    },
}

impl NameChange {
    /// The folder whose sync makes the change durable.
    fn folder(&self) -> &Path {
        match self {
            Self::Insert { path, .. } | Self::Remove { path } => folder_of(path),
            Self::Rename { to, .. } => folder_of(to),
        }
    }

    fn names(&self, name: &Path) -> bool {
        match self {
            Self::Insert { path, .. } | Self::Remove { path } => path == name,
            Self::Rename { from, to, .. } => from == name || to == name,
        }
    }

    fn replay(&self, names: &mut Names<CrashFile>) {
        match self {
            Self::Insert { path, file } => names.replay_insert(path, Arc::clone(file)),
            Self::Remove { path } => names.replay_remove(path),
            Self::Rename { from, to, file } => names.replay_rename(from, to, Arc::clone(file)),
        }
    }
}

#[derive(Debug)]
struct CrashFile {
    /// Locked only under the lock of the state, so never waited for.
    content: Mutex<Content>,
}

impl CrashFile {
    fn durable(bytes: Vec<u8>) -> Self {
        Self { content: Mutex::new(Content::synced(bytes)) }
    }

    fn len(&self) -> u64 {
        self.content.lock().current().len() as u64
    }
}

/// An open file.
#[derive(Debug)]
struct CrashHandle {
    fs: CrashFs,
    file: Arc<CrashFile>,
    /// As of the opening for reading.
    len: u64,
}

impl WriteFile for CrashHandle {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let change = ByteChange::Write { offset, bytes: bytes.to_vec() };
        self.fs.change(|_| self.file.content.lock().apply(change))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.fs.change(|_| self.file.content.lock().apply(ByteChange::Grow { len }))
    }

    fn sync(&self) -> io::Result<()> {
        self.fs.change(|_| self.file.content.lock().sync())
    }
}

impl ReadFile for CrashHandle {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.fs.look(|_| load(self.file.content.lock().current(), offset, buf))
    }

    fn map(&self) -> io::Result<Mapping> {
        self.fs.look(|_| {
            // Files do not shrink, so the length at the opening is still there.
            let content = self.file.content.lock();
            Ok(Mapping::Memory(Bytes::copy_from_slice(&content.current()[..self.len as usize])))
        })
    }

    fn advise(&self, _access: Access) {}
}

#[cfg(test)]
#[path = "crash_test.rs"]
mod tests;
