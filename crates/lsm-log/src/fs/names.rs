//! Folders, names and locks of the file systems that live in memory.
//!
//! Decides only what names mean; what a file holds is the type parameter's business. Paths are
//! taken relative to one root, which is also the current folder: `/a`, `a` and `./a` are one.
//!
//! Threads: `Names` is plain data, behind its owner's lock; `Locks` has a leaf lock of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::traits::{Lock, LockMode};

/// The one spelling of a path.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    normal
}

/// What [`Fs::absolute`](super::traits::Fs::absolute) answers: there are no links, and nothing
/// changes what is the current folder.
pub(super) fn absolute(path: &Path) -> io::Result<PathBuf> {
    match path.as_os_str().is_empty() {
        true => Err(io::ErrorKind::InvalidInput.into()),
        false => Ok(path.to_owned()),
    }
}

/// The folder of a [`normal`] path.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// A tree of folders with files in them. All paths are [`normal`].
#[derive(Debug)]
pub(super) struct Names<F> {
    /// With the root, whose path is empty.
    folders: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Arc<F>>,
}

// By hand, because the files are shared and need not be `Clone` themselves.
impl<F> Clone for Names<F> {
    fn clone(&self) -> Self {
        Self { folders: self.folders.clone(), files: self.files.clone() }
    }
}

impl<F> Names<F> {
    pub(super) fn new() -> Self {
        Self { folders: BTreeSet::from([PathBuf::new()]), files: BTreeMap::new() }
    }

    /// Creates a folder and its parents; fine if it exists.
    pub(super) fn create_dir_all(&mut self, dir: &Path) -> io::Result<()> {
        if dir.ancestors().any(|path| self.files.contains_key(path)) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        self.folders.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    /// Fails unless `dir` is a folder.
    pub(super) fn check_folder(&self, dir: &Path) -> io::Result<()> {
        if self.folders.contains(dir) {
            Ok(())
        } else if self.files.contains_key(dir) {
            Err(io::ErrorKind::NotADirectory.into())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    /// The names of the files that lie directly in a folder.
    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.check_folder(dir)?;
        let direct = self.files.keys().filter(|path| folder_of(path) == dir);
        Ok(direct.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    /// The names of the folders that lie directly in a folder.
    pub(super) fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.check_folder(dir)?;
        let direct = self.folders.iter().filter(|path| path.parent() == Some(dir));
        Ok(direct.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    /// Removes an empty folder.
    pub(super) fn remove_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.check_folder(dir)?;
        let mut inside = self.folders.iter().chain(self.files.keys());
        // The root, which lies in nothing, stays.
        if dir.parent().is_none() || inside.any(|path| path.parent() == Some(dir)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.folders.remove(dir);
        Ok(())
    }

    /// The file of a name.
    pub(super) fn file(&self, path: &Path) -> io::Result<Arc<F>> {
        if self.folders.contains(path) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Gives a file a name that is not taken yet.
    pub(super) fn insert(&mut self, path: &Path, file: Arc<F>) -> io::Result<()> {
        self.check_folder(folder_of(path))?;
        if self.folders.contains(path) || self.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.files.insert(path.to_owned(), file);
        Ok(())
    }

    /// Takes a name away.
    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        self.files.remove(path);
        Ok(())
    }

    /// Renames a file, replacing the target. `None` if both names are of one file: then, as
    /// POSIX has it, nothing happens and both stay.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<Option<Arc<F>>> {
        let file = self.file(from)?;
        self.check_folder(folder_of(to))?;
        match self.file(to) {
            Ok(target) if Arc::ptr_eq(&target, &file) => return Ok(None),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.replay_rename(from, to, Arc::clone(&file));
        Ok(Some(file))
    }

    /// Clears one name and sets the other. For replays: checks nothing.
    pub(super) fn replay_rename(&mut self, from: &Path, to: &Path, file: Arc<F>) {
        self.files.remove(from);
        self.files.insert(to.to_owned(), file);
    }
}

/// For file systems that crash: changes that were checked before, made again.
#[cfg(feature = "testkit")]
impl<F> Names<F> {
    /// Creates a folder and its parents, whatever stood there.
    pub(super) fn replay_create_dir_all(&mut self, dir: &Path) {
        for path in dir.ancestors() {
            self.files.remove(path);
            self.folders.insert(path.to_owned());
        }
    }

    /// Sets a name, whatever it stood for.
    pub(super) fn replay_insert(&mut self, path: &Path, file: Arc<F>) {
        self.files.insert(path.to_owned(), file);
    }

    /// Clears a name, if it stood for anything.
    pub(super) fn replay_remove(&mut self, path: &Path) {
        self.files.remove(path);
    }

    /// The same tree with other files; called for each name, in the order of the paths.
    pub(super) fn map_files<G>(&self, mut map: impl FnMut(&Arc<F>) -> Arc<G>) -> Names<G> {
        let files = self.files.iter().map(|(path, file)| (path.clone(), map(file))).collect();
        Names { folders: self.folders.clone(), files }
    }
}

/// Who holds which lock file.
#[derive(Clone, Debug, Default)]
pub(super) struct Locks {
    /// How many hold a path in shared mode; 0 stands for one exclusive holder.
    held: Arc<Mutex<HashMap<PathBuf, usize>>>,
}

impl Locks {
    /// Takes the lock of a [`normal`] path, or fails with `WouldBlock`.
    pub(super) fn take(&self, path: &Path, mode: LockMode) -> io::Result<Box<dyn Lock>> {
        let mut held = self.held.lock();
        match (held.get_mut(path), mode) {
            (None, LockMode::Exclusive) => {
                held.insert(path.to_owned(), 0);
            }
            (None, LockMode::Shared) => {
                held.insert(path.to_owned(), 1);
            }
            (Some(holders), LockMode::Shared) if *holders > 0 => *holders += 1,
            _ => return Err(io::ErrorKind::WouldBlock.into()),
        }
        Ok(Box::new(HeldLock { locks: self.clone(), path: path.to_owned() }))
    }
}

#[derive(Debug)]
struct HeldLock {
    locks: Locks,
    path: PathBuf,
}

impl Lock for HeldLock {}

impl Drop for HeldLock {
    fn drop(&mut self) {
        let mut held = self.locks.held.lock();
        match held.get_mut(&self.path) {
            Some(holders) if *holders > 1 => *holders -= 1,
            _ => {
                held.remove(&self.path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_one_spelling() {
        for path in ["a/b", "/a/b", "./a//b", "a/x/../b", "../a/b"] {
            assert_eq!(normal(Path::new(path)), Path::new("a/b"), "{path}");
        }
        assert_eq!(normal(Path::new("/")), Path::new(""));
    }
}
