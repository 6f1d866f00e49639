//! A file system that calls back right before each hard link: what a test wants to happen in the
//! middle of a checkpoint then does, on every machine.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_core::fs::{Folder, Fs, Lock, LockMode, ReadFile, WriteFile};

#[derive(Clone)]
pub(crate) struct HookedFs {
    inner: Arc<dyn Fs>,
    hook: Arc<dyn Fn() + Send + Sync>,
}

impl HookedFs {
    pub(crate) fn new(inner: impl Fs, hook: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { inner: Arc::new(inner), hook: Arc::new(hook) })
    }
}

impl fmt::Debug for HookedFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookedFs").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Fs for HookedFs {
    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        self.inner.absolute(path)
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }
    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list_dirs(dir)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.remove_dir(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn WriteFile>> {
        self.inner.create(path)
    }
    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn WriteFile>> {
        self.inner.open_write(path)
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        self.inner.open_read(path)
    }
    fn len(&self, path: &Path) -> io::Result<u64> {
        self.inner.len(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.hook)();
        self.inner.hard_link(from, to)
    }
    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn Folder>> {
        self.inner.open_dir(dir)
    }
    fn lock(&self, path: &Path, mode: LockMode) -> io::Result<Box<dyn Lock>> {
        self.inner.lock(path, mode)
    }
}
