//! A database folder as bytes, to be damaged: taken from one file system, put into another.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lsm_core::fs::{Fs, MemFs};

/// Where every database in memory lives.
pub(crate) const DIR: &str = "/db";

/// Files by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Folder(pub(crate) BTreeMap<String, Vec<u8>>);

impl Folder {
    /// Every file in `dir` as it is now.
    pub(crate) fn take(fs: &dyn Fs, dir: &Path) -> Self {
        let names = fs.list(dir).unwrap();
        Self(names.into_iter().map(|name| (name.clone(), read(fs, &dir.join(name)))).collect())
    }

    /// Writes every file into `dir`.
    pub(crate) fn put(&self, fs: &dyn Fs, dir: &Path) {
        fs.create_dir_all(dir).unwrap();
        for (name, bytes) in &self.0 {
            write(fs, &dir.join(name), bytes);
        }
    }

    /// A file system with these files in [`DIR`].
    pub(crate) fn in_memory(&self) -> Arc<MemFs> {
        let fs = Arc::new(MemFs::new());
        self.put(&*fs, Path::new(DIR));
        fs
    }

    /// Panics unless [`DIR`] holds exactly these files, whether there is a lock file or not.
    #[track_caller]
    pub(crate) fn is_in(&self, fs: &dyn Fs, what: &str) {
        let (mut before, mut now) = (self.clone(), Self::take(fs, Path::new(DIR)));
        for folder in [&mut before, &mut now] {
            folder.0.remove("LOCK");
        }
        assert_eq!(before.names(""), now.names(""), "{what}: files came or went");
        let changed = before.0.iter().find(|(name, bytes)| now.0[*name] != **bytes);
        assert!(changed.is_none(), "{what}: {} has changed", changed.unwrap().0);
    }

    /// The names that end with `suffix`, in order.
    pub(crate) fn names(&self, suffix: &str) -> Vec<String> {
        self.0.keys().filter(|name| name.ends_with(suffix)).cloned().collect()
    }

    /// The same with the bytes of `name` changed.
    pub(crate) fn with(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut changed = self.clone();
        change(changed.0.get_mut(name).expect("the file is there"));
        changed
    }

    /// The same without `name`.
    pub(crate) fn without(&self, name: &str) -> Self {
        let mut changed = self.clone();
        changed.0.remove(name).expect("the file was there");
        changed
    }

    /// The same with the contents of two files exchanged.
    pub(crate) fn swapped(&self, a: &str, b: &str) -> Self {
        let mut changed = self.clone();
        let (bytes_a, bytes_b) = (self.0[a].clone(), self.0[b].clone());
        changed.0.insert(a.to_owned(), bytes_b);
        changed.0.insert(b.to_owned(), bytes_a);
        changed
    }
}

pub(crate) fn read(fs: &dyn Fs, path: &Path) -> Vec<u8> {
    let file = fs.open_read(path).unwrap();
    let mut bytes = vec![0; file.len() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

pub(crate) fn write(fs: &dyn Fs, path: &Path, bytes: &[u8]) {
    let file = fs.create(path).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync().unwrap();
}
