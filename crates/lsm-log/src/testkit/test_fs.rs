//! A file system for the tests of the log and the manifest: memory that counts syncs, fails
//! when told to, lets its bytes be taken, damaged and cut, and can lose what was not synced.
//! Names are durable at once: the order of renames is seen in the list of calls.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::file_name::FileNumber;
use crate::fs::{Access, Folder, Fs, Lock, LockMode, Mapping, ReadFile, WriteFile};
use crate::wal::{Nonce, Nonces};

/// Whose logs the tests write.
pub const OWNER: u64 = 0x0123_4567_89ab_cdef;

/// That of a file which the tests make.
pub fn nonce(number: FileNumber) -> Nonce {
    Nonces::new(Some(OWNER)).draw(number)
}

/// Files in memory; clones share them.
#[derive(Clone, Debug, Default)]
pub struct TestFs {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    files: Mutex<BTreeMap<PathBuf, Arc<Mutex<State>>>>,
    /// Every call that changes or syncs anything, in order.
    calls: Mutex<Vec<String>>,
    syncs: AtomicU64,
    fail_writes: AtomicBool,
    fail_syncs: AtomicBool,
    slow_syncs: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    /// What the last sync made durable.
    synced: Vec<u8>,
}

impl TestFs {
    /// What is in a file now.
    pub fn bytes(&self, path: &Path) -> Vec<u8> {
        self.shared.files.lock()[path].lock().bytes.clone()
    }

    /// What a power loss leaves at least.
    pub fn synced_bytes(&self, path: &Path) -> Vec<u8> {
        self.shared.files.lock()[path].lock().synced.clone()
    }

    /// Makes a file, durably, of these bytes.
    pub fn set(&self, path: &Path, bytes: &[u8]) {
        let state = State { bytes: bytes.to_vec(), synced: bytes.to_vec() };
        self.shared.files.lock().insert(path.to_owned(), Arc::new(Mutex::new(state)));
    }

    /// All files.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.shared.files.lock().keys().cloned().collect()
    }

    /// A copy that shares nothing.
    pub fn image(&self) -> Self {
        let image = Self::default();
        for path in self.paths() {
            image.set(&path, &self.bytes(&path));
        }
        image
    }

    /// What a power loss may leave: of every sector either what was synced last, or what is
    /// there now.
    pub fn crash_image(&self, sector: usize, rng: &mut fastrand::Rng) -> Self {
        let image = Self::default();
        let keep = rng.f64();
        for (path, state) in &*self.shared.files.lock() {
            let state = state.lock();
            let mut bytes = state.bytes.clone();
            for (index, now) in bytes.chunks_mut(sector).enumerate() {
                if rng.f64() >= keep {
                    let old = state.synced.get(index * sector..).unwrap_or_default();
                    let old_len = old.len().min(now.len());
                    now[..old_len].copy_from_slice(&old[..old_len]);
                    now[old_len..].fill(0);
                }
            }
            image.set(path, &bytes);
        }
        image
    }

    /// How often a file was synced.
    pub fn syncs(&self) -> u64 {
        self.shared.syncs.load(Ordering::SeqCst)
    }

    /// The calls since this was asked last, in order.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.calls.lock())
    }

    /// Whether writes fail from here on.
    pub fn fail_writes(&self, fail: bool) {
        self.shared.fail_writes.store(fail, Ordering::SeqCst);
    }

    /// Whether syncs fail from here on.
    pub fn fail_syncs(&self, fail: bool) {
        self.shared.fail_syncs.store(fail, Ordering::SeqCst);
    }

    /// Syncs take a while from here on.
    pub fn slow_syncs(&self) {
        self.shared.slow_syncs.store(true, Ordering::SeqCst);
    }

    fn open(&self, path: &Path) -> io::Result<TestFile> {
        let state = self.shared.files.lock().get(path).cloned();
        let state = state.ok_or(io::ErrorKind::NotFound)?;
        let len = state.lock().bytes.len() as u64;
        Ok(TestFile { path: path.to_owned(), state, len, shared: self.shared.clone() })
    }
}

impl Shared {
    fn call(&self, what: &str, path: &Path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.calls.lock().push(format!("{what} {name}"));
    }

    fn write(&self) -> io::Result<()> {
        match self.fail_writes.load(Ordering::SeqCst) {
            true => Err(io::Error::other("told to fail")),
            false => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        if self.slow_syncs.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        self.syncs.fetch_add(1, Ordering::SeqCst);
        match self.fail_syncs.load(Ordering::SeqCst) {
            true => Err(io::Error::other("told to fail")),
            false => Ok(()),
        }
    }
}

impl Fs for TestFs {
    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = self.shared.files.lock();
        let inside = files.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn list_dirs(&self, _: &Path) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn WriteFile>> {
        self.shared.write()?;
        self.shared.call("create", path);
        if self.shared.files.lock().contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.set(path, &[]);
        self.open_write(path)
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn WriteFile>> {
        Ok(Arc::new(self.open(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        Ok(Arc::new(self.open(path)?))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(self.open(path)?.len)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.shared.write()?;
        self.shared.call("rename to", to);
        let mut files = self.shared.files.lock();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.shared.files.lock().remove(path).ok_or(io::ErrorKind::NotFound)?;
        self.shared.call("remove", path);
        Ok(())
    }

    fn hard_link(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn Folder>> {
        Ok(Box::new(TestFolder { path: dir.to_owned(), shared: Arc::clone(&self.shared) }))
    }

    fn lock(&self, _: &Path, _: LockMode) -> io::Result<Box<dyn Lock>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[derive(Debug)]
struct TestFolder {
    path: PathBuf,
    shared: Arc<Shared>,
}

impl Folder for TestFolder {
    fn sync(&self) -> io::Result<()> {
        self.shared.call("sync folder", &self.path);
        self.shared.sync()
    }
}

#[derive(Debug)]
struct TestFile {
    path: PathBuf,
    state: Arc<Mutex<State>>,
    len: u64,
    shared: Arc<Shared>,
}

impl ReadFile for TestFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let state = self.state.lock();
        let from = state.bytes.get(offset as usize..).and_then(|rest| rest.get(..buf.len()));
        buf.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn map(&self) -> io::Result<Mapping> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn advise(&self, _: Access) {}
}

impl WriteFile for TestFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.shared.write()?;
        self.shared.call("write", &self.path);
        let file = &mut self.state.lock().bytes;
        let end = offset as usize + bytes.len();
        if file.len() < end {
            file.resize(end, 0);
        }
        file[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn copy_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let reserved = self.state.lock().bytes.len() as u64;
        assert!(offset + bytes.len() as u64 <= reserved, "copies stay inside the allocation");
        self.write_at(offset, bytes)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.shared.write()?;
        self.shared.call("allocate", &self.path);
        self.state.lock().bytes.resize(len as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.shared.call("sync", &self.path);
        // As it is when the sync begins: what comes later may or may not be covered.
        let bytes = self.state.lock().bytes.clone();
        self.shared.sync()?;
        self.state.lock().synced = bytes;
        Ok(())
    }
}
