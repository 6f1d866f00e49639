//! The operating system's files.
//!
//! What differs between systems stands in `linux.rs` (and `portable.rs`, its stand-in
//! elsewhere); what errors mean is left to the callers.
//!
//! Invariants:
//! * Nothing here makes a file shorter, so a mapping never loses its bytes to this process.
//!   Another process that truncates or rewrites a file of ours is outside the contract: the
//!   system then answers a mapped access with a signal.
//! * A file is written through a mapping only where its blocks are reserved: elsewhere a full
//!   disk would be a signal instead of an error.
//!
//! Threads: any. Each file has one lock, a leaf, taken only around a copy into its mapping;
//! it is held over the page faults of that copy and over making the mapping.

#![expect(clippy::disallowed_methods, reason = "the one file that calls the operating system")]

use std::fs::{self, File, FileType, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions, MmapRaw};
use parking_lot::Mutex;

use super::linux;
use super::traits::{Access, Folder, Fs, Lock, LockMode, Mapping, ReadFile, Space, WriteFile};

/// How much of a mapping is made ready for writing at a time. Small, because all of it is
/// written out by the next sync, whether it was copied into or not.
const PREFAULT_BYTES: usize = 64 << 10;

/// The file system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFs;

impl Fs for OsFs {
    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        // The working directory is looked at once, here.
        let path = std::path::absolute(path)?;
        let resolve =
            |known: &Path| Some((fs::canonicalize(known).ok()?, path.strip_prefix(known)));
        match path.ancestors().find_map(resolve) {
            Some((known, Ok(rest))) if !rest.as_os_str().is_empty() => Ok(known.join(rest)),
            Some((known, _)) => Ok(known),
            None => Ok(path),
        }
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if dir.as_os_str().is_empty() || dir.is_dir() {
            return Ok(());
        }
        let parent = parent_of(dir);
        self.create_dir_all(parent)?;
        let names = self.open_dir(parent)?;
        match fs::create_dir(dir) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
            other => other,
        }?;
        names.sync()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        names_of(dir, FileType::is_file)
    }

    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        names_of(dir, FileType::is_dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let names = self.open_dir(parent_of(dir))?;
        fs::remove_dir(dir)?;
        names.sync()
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn WriteFile>> {
        // Readable too: a shared writable mapping needs both.
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Arc::new(OsWriteFile::new(file)))
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn WriteFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(OsWriteFile::new(file)))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        let file = File::open(path)?;
        let len = file_len(&file.metadata()?)?;
        Ok(Arc::new(OsReadFile { file, len }))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        file_len(&fs::metadata(path)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        linux::space(or_current(dir))
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn Folder>> {
        // Elsewhere folders cannot be opened as files, and the system offers no other way.
        let file = cfg!(unix).then(|| File::open(or_current(dir))).transpose()?;
        Ok(Box::new(OsFolder(file)))
    }

    fn lock(&self, path: &Path, mode: LockMode) -> io::Result<Box<dyn Lock>> {
        let file = match mode {
            LockMode::Exclusive => Some(open_lock_file(path)?),
            LockMode::Shared => open_shared_lock_file(path)?,
        };
        if let Some(file) = &file {
            // Each lock opens the file anew, so two of one process exclude each other as well.
            let outcome = match mode {
                LockMode::Exclusive => file.try_lock(),
                LockMode::Shared => file.try_lock_shared(),
            };
            outcome.map_err(|error| match error {
                TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
                TryLockError::Error(error) => error,
            })?;
        }
        Ok(Box::new(OsLock { file, process: std::process::id() }))
    }
}

/// The names in a folder of what is of the wanted type.
fn names_of(dir: &Path, wanted: impl Fn(&FileType) -> bool) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if wanted(&entry.file_type()?)
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// Opens the lock file of an exclusive lock, made if need be.
fn open_lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// Opens the lock file of a shared lock; `None` where nobody could ever hold it exclusively.
fn open_shared_lock_file(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other.map(Some),
    }
    // Without the right to write here (`PermissionDenied`) another user may still have it, so
    // only media that nobody can write are safe to read unlocked.
    match open_lock_file(path) {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(None),
        other => other.map(Some),
    }
}

/// The folder that holds `path`.
fn parent_of(path: &Path) -> &Path {
    or_current(path.parent().unwrap_or(Path::new("")))
}

/// The empty path means the current folder, but the system does not know it by that name.
fn or_current(dir: &Path) -> &Path {
    if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
}

fn file_len(metadata: &fs::Metadata) -> io::Result<u64> {
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(metadata.len())
}

/// Open where a folder can be opened.
#[derive(Debug)]
struct OsFolder(Option<File>);

impl Folder for OsFolder {
    fn sync(&self) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), File::sync_all)
    }
}

/// A held lock. The system releases it with the last handle of the opened file; a process that was
/// forked from this one, if only to start a program, has such a handle too, and may live longer.
#[derive(Debug)]
struct OsLock {
    file: Option<File>,
    process: u32,
}

impl Lock for OsLock {}

impl Drop for OsLock {
    fn drop(&mut self) {
        // A forked process must not release what the other one holds.
        if let Some(file) = self.file.as_ref().filter(|_| self.process == std::process::id()) {
            // Where that fails, closing the file releases it.
            let _ = file.unlock();
        }
    }
}

#[derive(Debug)]
struct OsReadFile {
    file: File,
    /// As of the opening.
    len: u64,
}

impl ReadFile for OsReadFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        positional::read_exact_at(&self.file, buf, offset)
    }

    fn map(&self) -> io::Result<Mapping> {
        if self.len == 0 {
            // The system refuses to map nothing.
            return Ok(Mapping::Memory(Bytes::new()));
        }
        if self.file.metadata()?.len() < self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let len = usize::try_from(self.len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        map_file(&self.file, len).map(Mapping::File)
    }

    fn advise(&self, access: Access) {
        linux::advise(&self.file, access);
    }

    fn will_need(&self, range: Range<u64>) {
        linux::will_need(&self.file, range);
    }
}

/// Maps the first `len` bytes of a file that is at least that long.
#[expect(unsafe_code, reason = "a mapping is memory that the system could change")]
fn map_file(file: &File, len: usize) -> io::Result<Mmap> {
    // SAFETY: `ReadFile::map` is for files that are complete: the engine maps a table after it
    // was synced and its writer dropped, and nothing in this crate writes to or shortens a file
    // with a table's name again. What other processes do to it is outside the contract.
    unsafe { MmapOptions::new().len(len).map(file) }
}

#[derive(Debug)]
struct OsWriteFile {
    file: File,
    window: Mutex<CopyWindow>,
}

impl OsWriteFile {
    fn new(file: File) -> Self {
        Self { file, window: Mutex::new(CopyWindow::default()) }
    }
}

impl WriteFile for OsWriteFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        // The system keeps mapping and file coherent: this may run beside a copy.
        positional::write_all_at(&self.file, bytes, offset)
    }

    fn copy_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.window.lock().copy(&self.file, offset, bytes)? {
            return Ok(());
        }
        self.write_at(offset, bytes)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let reserved = linux::reserve(&self.file, len)?;
        if reserved {
            self.window.lock().reserve(len);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        // Where mappings are written to at all (Linux), this writes them out as well: they are
        // the same pages of the system's cache.
        self.file.sync_data()
    }
}

/// The reserved front of a file, mapped for writing at the first copy into it.
#[derive(Debug, Default)]
struct CopyWindow {
    /// The file's first bytes whose blocks are reserved; 0 if copies are not worth trying.
    reserved: u64,
    map: Option<MmapRaw>,
    /// The part of the mapping that was last made ready for writing.
    ready: Range<usize>,
}

impl CopyWindow {
    fn reserve(&mut self, len: u64) {
        if len > self.reserved {
            // The next copy maps the longer range; what was copied is in the file already.
            *self = Self { reserved: len, ..Self::default() };
        }
    }

    /// Copies `bytes` into the mapping; `false` if they do not lie within one.
    #[inline]
    fn copy(&mut self, file: &File, offset: u64, bytes: &[u8]) -> io::Result<bool> {
        // `reserved` is 0 or the length of the mapping, which is a `usize`.
        let Some(end) = offset.checked_add(bytes.len() as u64) else {
            return Ok(false);
        };
        if end > self.reserved || bytes.is_empty() {
            return Ok(false);
        }
        if self.map.is_none() {
            self.map = self.open(file);
        }
        let Some(map) = &self.map else {
            return Ok(false);
        };
        let (start, end) = (offset as usize, end as usize);
        if start < self.ready.start || end > self.ready.end {
            let page_start = start - start % PREFAULT_BYTES;
            let ready = page_start..map.len().min(end.next_multiple_of(PREFAULT_BYTES));
            linux::prefault(map, ready.clone())?;
            self.ready = ready;
        }
        copy_into(map, start, bytes);
        Ok(true)
    }

    /// Maps the reserved range; without a mapping, later copies become writes.
    #[cold]
    fn open(&mut self, file: &File) -> Option<MmapRaw> {
        let map = usize::try_from(self.reserved)
            .ok()
            .and_then(|len| MmapOptions::new().len(len).map_raw(file).ok());
        if map.is_none() {
            self.reserved = 0;
        }
        map
    }
}

/// Copies `bytes` to `start` of a writable mapping.
#[inline]
#[expect(unsafe_code, reason = "the write path's copy into the mapped log")]
fn copy_into(map: &MmapRaw, start: usize, bytes: &[u8]) {
    assert!(start <= map.len() && bytes.len() <= map.len() - start, "copy outside the mapping");
    // SAFETY: the target lies within the mapping (asserted above), which is writable, being made
    // by `map_raw`, and lives as long as the borrow of `map`. No other code of this process sees
    // that memory: the pointer never leaves this function, no reference into the mapping is ever
    // made, so `bytes` cannot overlap it, and copies exclude each other because `MmapRaw` is
    // reached only through `&mut CopyWindow`, behind the file's lock. Reads, writes and other
    // mappings of the same file happen in the system or at other addresses; the system keeps
    // them coherent. The file is never shortened below the mapping (see the module header).
    unsafe {
        map.as_mut_ptr().add(start).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
    }
}

#[cfg(unix)]
mod positional {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    pub(super) fn read_exact_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<()> {
        file.read_exact_at(buf, offset)
    }

    pub(super) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }
}

#[cfg(windows)]
mod positional {
    use std::fs::File;
    use std::io;
    use std::os::windows::fs::FileExt;

    pub(super) fn read_exact_at(
        file: &File,
        mut buf: &mut [u8],
        mut offset: u64,
    ) -> io::Result<()> {
        while !buf.is_empty() {
            match file.seek_read(buf, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    buf = &mut buf[read..];
                    offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match file.seek_write(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    offset += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "os_test.rs"]
mod tests;
