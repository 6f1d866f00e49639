//! What the engine asks of a file system.
//!
//! Every method may be called from any thread. Errors are the system's own; the caller adds
//! which file and what for. Durability is explicit: bytes are durable after
//! [`WriteFile::sync`], names (created, renamed, linked, removed) after [`Folder::sync`].

use std::fmt::Debug;
use std::io;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

/// A file system: names, and the files behind them.
pub trait Fs: Debug + Send + Sync + 'static {
    /// The path that goes on naming what `path` names now, wherever the process changes its
    /// working directory to, and whatever the links on the way are made to point at later.
    /// What is not there yet stays in the path as it is. Refuses the empty path.
    ///
    /// Whoever uses a path of a caller more than once asks here first.
    fn absolute(&self, path: &Path) -> io::Result<PathBuf>;

    /// Creates a folder and all its missing parents; fine if it exists. What it creates is
    /// durable when it returns.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// The names of the files (not folders) in a folder, in no order. Names that are not
    /// UTF-8 are left out: no file of ours has one.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// The names of the folders in a folder, in no order. Names that are not UTF-8 are left out.
    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Removes a folder; `DirectoryNotEmpty` while anything is in it. It is gone for good when
    /// this returns, with all names it ever held.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Creates an empty file for writing; `AlreadyExists` if the name is taken.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn WriteFile>>;

    /// Opens an existing file for writing; its bytes stay.
    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn WriteFile>>;

    /// Opens an existing file for reading.
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>>;

    /// The length of a file in bytes.
    fn len(&self, path: &Path) -> io::Result<u64>;

    /// Renames a file, replacing the target, atomically. Does nothing if both are names of one
    /// file.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Gives a file a second name; `AlreadyExists` if that is taken.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// The room on the disk that holds this folder; `Unsupported` where that cannot be told.
    fn space(&self, _dir: &Path) -> io::Result<Space> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Opens a folder, to make the names in it durable. Whoever must not fail in between, for want of
    /// a file handle, does so before the first name is changed.
    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn Folder>>;

    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.open_dir(dir)?.sync()
    }

    /// Locks a folder through the lock file at `path`, without waiting: `WouldBlock` while
    /// anyone, in this process or another, holds it in a mode that excludes this one.
    ///
    /// An exclusive lock creates the file if need be. A shared lock on media that cannot be
    /// written, where no lock file exists, is granted: nobody can write there.
    fn lock(&self, path: &Path, mode: LockMode) -> io::Result<Box<dyn Lock>>;
}

/// The room on a disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total: u64,
    /// What this process may still fill.
    pub free: u64,
}

/// Who else may hold the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Nobody.
    Exclusive,
    /// Other holders in shared mode.
    Shared,
}

/// An open folder.
pub trait Folder: Debug + Send + Sync {
    /// Makes the names in it durable: what was created, renamed, linked and removed so far.
    fn sync(&self) -> io::Result<()>;
}

/// A held lock, released when dropped.
pub trait Lock: Debug + Send + Sync {}

/// How a file's bytes are about to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Small reads anywhere: reading ahead is a waste.
    Random,
    /// From front to back.
    Sequential,
    /// Not again soon: the system may forget its copy of the whole file.
    Done,
}

/// A file open for reading at any offset.
pub trait ReadFile: Debug + Send + Sync {
    /// The length in bytes when the file was opened.
    fn len(&self) -> u64;

    /// Whether the file is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` from `offset` on; `UnexpectedEof` if the file ends before that.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// The whole file as memory. The file must not change or shrink while it is mapped; the
    /// engine maps only tables, which are complete and never written again.
    fn map(&self) -> io::Result<Mapping>;

    /// A hint about coming reads of this handle; never fails.
    fn advise(&self, access: Access);

    /// A hint that these bytes will be read soon; never fails.
    fn will_need(&self, _range: Range<u64>) {}
}

/// A file open for writing at any offset.
pub trait WriteFile: Debug + Send + Sync {
    /// Writes all of `bytes` at `offset`, growing the file if needed. Survives the death of
    /// the process once it returns.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Like [`write_at`](Self::write_at). Inside a range that was [allocated](Self::allocate)
    /// through this handle it may copy into a mapping instead of calling the system.
    fn copy_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_at(offset, bytes)
    }

    /// Makes the file at least `len` bytes long, never shorter, and reserves room for all of
    /// them where the file system can, so that writing them does not run out of space. New
    /// bytes read as zero. For a file that was opened again and has its length already, this
    /// is what [`copy_at`](Self::copy_at) needs to be fast.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Makes all bytes written so far, and the file's length, durable. After an error nothing
    /// is known about what reached the disk: the caller must not retry and trust.
    fn sync(&self) -> io::Result<()>;
}

/// A file's bytes as memory.
#[derive(Debug)]
pub enum Mapping {
    /// Mapped by the operating system.
    File(memmap2::Mmap),
    /// Held in memory.
    Memory(Bytes),
}

impl Mapping {
    /// A hint that these bytes will be read soon; never fails.
    pub fn will_need(&self, range: Range<u64>) {
        #[cfg(unix)]
        if let Self::File(map) = self {
            let end = range.end.min(map.len() as u64);
            if let Some(len) = end.checked_sub(range.start).filter(|&len| len > 0) {
                let (start, len) = (range.start as usize, len as usize);
                let _ = map.advise_range(memmap2::Advice::WillNeed, start, len);
            }
        }
        #[cfg(not(unix))]
        let _ = range;
    }

    /// A hint about coming reads of this mapping; never fails.
    pub fn advise(&self, access: Access) {
        #[cfg(unix)]
        if let Self::File(map) = self {
            let advice = match access {
                Access::Random => memmap2::Advice::Random,
                Access::Sequential => memmap2::Advice::Sequential,
                Access::Done => memmap2::Advice::Normal,
            };
            // A hint: what the system makes of it changes no result.
            let _ = map.advise(advice);
        }
        #[cfg(not(unix))]
        let _ = access;
    }
}

impl Deref for Mapping {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::File(map) => map,
            Self::Memory(bytes) => bytes,
        }
    }
}
