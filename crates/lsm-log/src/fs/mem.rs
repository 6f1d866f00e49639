//! A file system in memory.
//!
//! Clones share one tree. Nothing is durable, so syncing does nothing; a removed file lives as
//! long as a handle of it.
//!
//! Threads: any. One lock for the names, one for each file's bytes; both are leaves, and no
//! thread holds two.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::names::{Locks, Names, absolute, normal};
use super::traits::{Access, Folder, Fs, Lock, LockMode, Mapping, ReadFile, WriteFile};

/// A file system in memory; clones share it.
#[derive(Clone, Debug)]
pub struct MemFs {
    names: Arc<Mutex<Names<MemFile>>>,
    locks: Locks,
}

impl MemFs {
    /// An empty file system.
    pub fn new() -> Self {
        Self { names: Arc::new(Mutex::new(Names::new())), locks: Locks::default() }
    }

    fn file(&self, path: &Path) -> io::Result<Arc<MemFile>> {
        self.names.lock().file(&normal(path))
    }
}

impl Default for MemFs {
    fn default() -> Self {
        Self::new()
    }
}

impl Fs for MemFs {
    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        absolute(path)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.names.lock().create_dir_all(&normal(dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.names.lock().list(&normal(dir))
    }

    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.names.lock().list_dirs(&normal(dir))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.names.lock().remove_dir(&normal(dir))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn WriteFile>> {
        let file = Arc::new(MemFile::default());
        self.names.lock().insert(&normal(path), Arc::clone(&file))?;
        Ok(file)
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn WriteFile>> {
        Ok(self.file(path)?)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        let file = self.file(path)?;
        let len = file.len();
        Ok(Arc::new(MemReadFile { file, len }))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(self.file(path)?.len())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.names.lock().rename(&normal(from), &normal(to)).map(drop)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.names.lock().remove(&normal(path))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = self.names.lock();
        let file = names.file(&normal(from))?;
        names.insert(&normal(to), file)
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn Folder>> {
        self.names.lock().check_folder(&normal(dir))?;
        Ok(Box::new(MemFolder))
    }

    fn lock(&self, path: &Path, mode: LockMode) -> io::Result<Box<dyn Lock>> {
        match self.create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => self.locks.take(&normal(path), mode),
        }
    }
}

#[derive(Debug)]
struct MemFolder;

impl Folder for MemFolder {
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct MemFile {
    content: RwLock<Content>,
}

#[derive(Debug)]
enum Content {
    /// Being written.
    Open(Vec<u8>),
    /// Shared with mappings, until the next write.
    Mapped(Bytes),
}

impl Default for Content {
    fn default() -> Self {
        Self::Open(Vec::new())
    }
}

impl Content {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Open(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }

    /// The bytes for writing; mappings keep what they have.
    fn open(&mut self) -> &mut Vec<u8> {
        if let Self::Mapped(bytes) = self {
            *self = Self::Open(Vec::from(std::mem::take(bytes)));
        }
        match self {
            Self::Open(bytes) => bytes,
            Self::Mapped(_) => unreachable!("was opened above"),
        }
    }
}

impl MemFile {
    fn len(&self) -> u64 {
        self.content.read().bytes().len() as u64
    }
}

impl WriteFile for MemFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        store(self.content.write().open(), offset, bytes)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        grow(self.content.write().open(), len)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct MemReadFile {
    file: Arc<MemFile>,
    /// As of the opening.
    len: u64,
}

impl ReadFile for MemReadFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        load(self.file.content.read().bytes(), offset, buf)
    }

    fn map(&self) -> io::Result<Mapping> {
        let mut content = self.file.content.write();
        let bytes = match &mut *content {
            Content::Open(bytes) => {
                let bytes = Bytes::from(std::mem::take(bytes));
                *content = Content::Mapped(bytes.clone());
                bytes
            }
            Content::Mapped(bytes) => bytes.clone(),
        };
        // Files do not shrink, so the length at the opening is still there.
        Ok(Mapping::Memory(bytes.slice(..self.len as usize)))
    }

    fn advise(&self, _access: Access) {}
}

/// Fills `buf` from `offset` on.
pub(super) fn load(bytes: &[u8], offset: u64, buf: &mut [u8]) -> io::Result<()> {
    let found = usize::try_from(offset)
        .ok()
        .and_then(|start| bytes.get(start..)?.get(..buf.len()))
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    buf.copy_from_slice(found);
    Ok(())
}

/// Writes `new` at `offset`, with zeros between if that is past the end.
pub(super) fn store(bytes: &mut Vec<u8>, offset: u64, new: &[u8]) -> io::Result<()> {
    if new.is_empty() {
        // As `pwrite` does: nothing written, nothing grown.
        return Ok(());
    }
    let end = offset.checked_add(new.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
    grow(bytes, end)?;
    // `grow` made the end a valid index, so the offset is one.
    let start = offset as usize;
    bytes[start..start + new.len()].copy_from_slice(new);
    Ok(())
}

/// Makes the bytes at least `len` long.
pub(super) fn grow(bytes: &mut Vec<u8>, len: u64) -> io::Result<()> {
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
    if len > bytes.len() {
        bytes.try_reserve(len - bytes.len()).map_err(|_| io::ErrorKind::StorageFull)?;
        bytes.resize(len, 0);
    }
    Ok(())
}
