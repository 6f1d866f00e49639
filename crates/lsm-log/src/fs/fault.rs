//! A file system that fails and dawdles on purpose.
//!
//! Wraps another one. Which operations fail, take long, or have something else run in their
//! middle, is chosen by [`Fault`]s; how much fits on the disk by [`FaultFs::set_free_bytes`].
//! What the wrapped file system does with the operations that pass is its own business.
//!
//! Threads: any. Two leaf locks, of the faults and of the budget; neither is held while the
//! wrapped file system is called, or a delay or a hook runs.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::fault_plan::{Fault, FaultPlan, Op, Strike};
use super::names::normal;
use super::traits::{Access, Folder, Fs, Lock, LockMode, Mapping, ReadFile, Space, WriteFile};

/// A file system that wraps another and fails on purpose; clones share their faults.
#[derive(Clone, Debug)]
pub struct FaultFs {
    inner: Arc<dyn Fs>,
    plan: Arc<Mutex<FaultPlan>>,
    disk: Arc<Mutex<Disk>>,
}

/// The space on the disk.
#[derive(Debug, Default)]
struct Disk {
    /// `None` without a bound.
    free_bytes: Option<u64>,
    files: HashMap<PathBuf, Arc<FileSpace>>,
}

impl FaultFs {
    /// Wraps a file system; nothing fails yet.
    pub fn new(inner: Arc<dyn Fs>) -> Self {
        Self { inner, plan: Arc::default(), disk: Arc::default() }
    }

    /// Adds a fault. If several strike one operation, all delays add up and the error added
    /// first wins.
    pub fn inject(&self, fault: Fault) {
        self.plan.lock().add(fault);
    }

    /// Forgets all faults.
    pub fn clear(&self) {
        self.plan.lock().clear();
    }

    /// How often an operation was asked for, whether it failed or not.
    pub fn count(&self, op: Op) -> u64 {
        self.plan.lock().count(op)
    }

    /// Bounds by how much files may still grow; `None` lifts the bound. Past it, allocations
    /// fail with `StorageFull`, and so do writes, after writing what fits. The space of a file
    /// comes back when its last name is removed and its last write handle closed. Files from
    /// before the wrapping count as well, but their hard links as files of their own.
    pub fn set_free_bytes(&self, free_bytes: Option<u64>) {
        self.disk.lock().free_bytes = free_bytes;
    }

    /// How much files may still grow; `None` without a bound.
    pub fn free_bytes(&self) -> Option<u64> {
        self.disk.lock().free_bytes
    }

    /// Counts an operation and lets the faults strike.
    fn pass(&self, op: Op, paths: &[&Path]) -> io::Result<()> {
        self.pass_or_short(op, paths).map_err(|(error, _)| error)
    }

    /// The same; with an error comes how many bytes are to be written despite it.
    #[expect(clippy::disallowed_methods, reason = "a slow disk is slow by any clock")]
    fn pass_or_short(&self, op: Op, paths: &[&Path]) -> Result<(), (io::Error, usize)> {
        let Strike { delay, hooks, outcome } = self.plan.lock().strike(op, paths);
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        hooks.iter().for_each(|hook| hook());
        outcome
    }

    /// The space that a file takes, known from now on; `None` if there is no such file.
    fn space(&self, path: &Path) -> Option<Arc<FileSpace>> {
        let name = normal(path);
        if let Some(known) = self.disk.lock().files.get(&name) {
            return Some(Arc::clone(known));
        }
        let len = self.inner.len(path).ok()?;
        Some(self.enter(name, len))
    }

    /// Enters a file that takes `len` bytes, unless another thread just did.
    fn enter(&self, name: PathBuf, len: u64) -> Arc<FileSpace> {
        let mut disk = self.disk.lock();
        let space = disk.files.entry(name).or_insert_with(|| {
            Arc::new(FileSpace { len: AtomicU64::new(len), disk: Arc::clone(&self.disk) })
        });
        Arc::clone(space)
    }

    fn write_handle(&self, path: &Path, inner: Arc<dyn WriteFile>) -> Arc<dyn WriteFile> {
        let space = self.space(path).unwrap_or_else(|| self.enter(normal(path), 0));
        Arc::new(FaultWriteFile { fs: self.clone(), path: path.to_owned(), inner, space })
    }
}

impl Fs for FaultFs {
    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        self.inner.absolute(path)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.pass(Op::CreateDir, &[dir])?;
        self.inner.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.pass(Op::List, &[dir])?;
        self.inner.list(dir)
    }

    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.pass(Op::List, &[dir])?;
        self.inner.list_dirs(dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.pass(Op::RemoveDir, &[dir])?;
        self.inner.remove_dir(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn WriteFile>> {
        self.pass(Op::Create, &[path])?;
        Ok(self.write_handle(path, self.inner.create(path)?))
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn WriteFile>> {
        self.pass(Op::OpenWrite, &[path])?;
        Ok(self.write_handle(path, self.inner.open_write(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        self.pass(Op::OpenRead, &[path])?;
        let inner = self.inner.open_read(path)?;
        Ok(Arc::new(FaultReadFile { fs: self.clone(), path: path.to_owned(), inner }))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.pass(Op::Len, &[path])?;
        self.inner.len(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass(Op::Rename, &[from, to])?;
        let (moved, replaced) = (self.space(from), self.space(to));
        self.inner.rename(from, to)?;
        if let Some(moved) = moved
            && !replaced.as_ref().is_some_and(|replaced| Arc::ptr_eq(replaced, &moved))
        {
            // What is gone gives its space back when dropped, which takes the lock.
            let _gone = {
                let files = &mut self.disk.lock().files;
                (files.remove(&normal(from)), files.insert(normal(to), moved))
            };
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.pass(Op::Remove, &[path])?;
        // Known before it goes, to give the right space back.
        self.space(path);
        self.inner.remove(path)?;
        let _gone = self.disk.lock().files.remove(&normal(path));
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass(Op::HardLink, &[from, to])?;
        let space = self.space(from);
        self.inner.hard_link(from, to)?;
        if let Some(space) = space {
            let _gone = self.disk.lock().files.insert(normal(to), space);
        }
        Ok(())
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        match self.free_bytes() {
            Some(free) => Ok(Space { total: free, free }),
            None => self.inner.space(dir),
        }
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn Folder>> {
        self.pass(Op::OpenDir, &[dir])?;
        let inner = self.inner.open_dir(dir)?;
        Ok(Box::new(FaultFolder { fs: self.clone(), path: dir.to_owned(), inner }))
    }

    fn lock(&self, path: &Path, mode: LockMode) -> io::Result<Box<dyn Lock>> {
        self.pass(Op::Lock, &[path])?;
        self.inner.lock(path, mode)
    }
}

#[derive(Debug)]
struct FaultFolder {
    fs: FaultFs,
    path: PathBuf,
    inner: Box<dyn Folder>,
}

impl Folder for FaultFolder {
    fn sync(&self) -> io::Result<()> {
        self.fs.pass(Op::SyncDir, &[&self.path])?;
        self.inner.sync()
    }
}

#[derive(Debug)]
struct FaultReadFile {
    fs: FaultFs,
    path: PathBuf,
    inner: Arc<dyn ReadFile>,
}

impl Drop for FaultReadFile {
    fn drop(&mut self) {
        let _ = self.fs.pass(Op::Close, &[&self.path]);
    }
}

impl ReadFile for FaultReadFile {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.fs.pass(Op::Read, &[&self.path])?;
        self.inner.read_at(offset, buf)
    }

    fn map(&self) -> io::Result<Mapping> {
        self.fs.pass(Op::Map, &[&self.path])?;
        self.inner.map()
    }

    fn advise(&self, access: Access) {
        self.inner.advise(access);
    }

    fn will_need(&self, range: Range<u64>) {
        self.inner.will_need(range);
    }
}

#[derive(Debug)]
struct FaultWriteFile {
    fs: FaultFs,
    path: PathBuf,
    inner: Arc<dyn WriteFile>,
    space: Arc<FileSpace>,
}

impl FaultWriteFile {
    /// Writes what faults and free space let through.
    fn write(
        &self,
        op: Op,
        offset: u64,
        bytes: &[u8],
        write: impl Fn(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        let (wanted, failure) = match self.fs.pass_or_short(op, &[&self.path]) {
            Ok(()) => (end, None),
            Err((error, short)) => (end.min(offset.saturating_add(short as u64)), Some(error)),
        };
        let granted = self.space.claim(offset, wanted);
        // No more than `bytes.len()`, as `granted <= wanted <= end`.
        let fits = granted.saturating_sub(offset) as usize;
        if fits > 0 || bytes.is_empty() {
            write(offset, &bytes[..fits])?;
        }
        match failure {
            Some(error) => Err(error),
            None if fits < bytes.len() => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }
}

impl WriteFile for FaultWriteFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(Op::Write, offset, bytes, |at, part| self.inner.write_at(at, part))
    }

    fn copy_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(Op::Copy, offset, bytes, |at, part| self.inner.copy_at(at, part))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.fs.pass(Op::Allocate, &[&self.path])?;
        // All or nothing: a claim that reaches the last byte, or none.
        if self.space.claim(len.saturating_sub(1), len) < len {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.inner.allocate(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.fs.pass(Op::Sync, &[&self.path])?;
        self.inner.sync()
    }
}

/// What one file takes of the disk; gives it back with its last name and write handle. A write
/// that claims space and then fails below keeps it.
#[derive(Debug)]
struct FileSpace {
    /// Changed only under the lock of `disk`, so it needs no ordering of its own.
    len: AtomicU64,
    disk: Arc<Mutex<Disk>>,
}

impl FileSpace {
    /// Makes room for the bytes from `start` to `end`; up to where there is room. Claims
    /// nothing unless it reaches past `start`.
    fn claim(&self, start: u64, end: u64) -> u64 {
        let mut disk = self.disk.lock();
        let len = self.len.load(Relaxed);
        let Some(missing) = end.checked_sub(len) else {
            return end;
        };
        let granted = missing.min(disk.free_bytes.unwrap_or(u64::MAX));
        if granted == 0 || len + granted <= start {
            return len;
        }
        if let Some(free) = &mut disk.free_bytes {
            *free -= granted;
        }
        self.len.store(len + granted, Relaxed);
        len + granted
    }
}

impl Drop for FileSpace {
    fn drop(&mut self) {
        if let Some(free) = &mut self.disk.lock().free_bytes {
            *free = free.saturating_add(*self.len.get_mut());
        }
    }
}

/// Damages one byte of a file in place: `xor` says which bits flip.
pub fn corrupt(fs: &dyn Fs, path: &Path, offset: u64, xor: u8) -> io::Result<()> {
    let mut byte = [0];
    fs.open_read(path)?.read_at(offset, &mut byte)?;
    fs.open_write(path)?.write_at(offset, &[byte[0] ^ xor])
}

/// Replaces a file by its first `len` bytes, synced. Open handles and other names keep the
/// whole file.
pub fn truncate(fs: &dyn Fs, path: &Path, len: u64) -> io::Result<()> {
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::UnexpectedEof)?;
    let mut bytes = vec![0; len];
    fs.open_read(path)?.read_at(0, &mut bytes)?;
    fs.remove(path)?;
    let file = fs.create(path)?;
    file.write_at(0, &bytes)?;
    file.sync()?;
    fs.sync_dir(path.parent().unwrap_or(Path::new("")))
}

#[cfg(test)]
#[path = "fault_test.rs"]
mod tests;
