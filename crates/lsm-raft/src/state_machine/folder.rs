//! The folders of a state machine, and which of them is in force.
//!
//! ```text
//! CURRENT             names the folder in force; switched by one rename
//! state-000003/       the engine in force
//! state-000004/       a snapshot that is being received, or waits to be put in force
//! checkpoint-000005/  a snapshot that is being sent
//! ```
//!
//! Numbers are never used twice while the process lives, so a late reader of one folder cannot
//! meet another's files. What a crash leaves behind is removed at the next start, once the engine in
//! force has opened: until then it may be all that is left.
//!
//! Threads: any; switching is the state machine's alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lsm_log::fs::{Fs, replace_file};

use crate::error::{Error, Result};
use crate::snapshot::remove_folder;

const CURRENT: &str = "CURRENT";
const CURRENT_NEW: &str = "CURRENT.new";
const STATE: &str = "state-";
const CHECKPOINT: &str = "checkpoint-";
/// Longest pointer: `state-`, twenty digits, a checksum of eight, two line ends.
const POINTER_LEN_MAX: u64 = 64;

/// The folder that holds all others.
#[derive(Debug)]
pub(super) struct Folder {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    /// The next number that no folder has.
    next: AtomicU64,
}

impl Folder {
    /// Opens or makes the folder. Returns which engine is in force, and whether it may have to be
    /// made.
    pub(super) fn open(fs: Arc<dyn Fs>, dir: &Path) -> Result<(Self, PathBuf, bool)> {
        let dir = &*fs.absolute(dir).map_err(Error::file("find the folder", dir))?;
        fs.create_dir_all(dir).map_err(Error::file("create the folder", dir))?;
        let folders = fs.list_dirs(dir).map_err(Error::file("list the folder", dir))?;
        let current = match read_pointer(&*fs, dir)? {
            Some(name) => name,
            None if folders.iter().any(|name| name.starts_with(STATE)) => {
                let reason = "CURRENT is missing: which state is in force is not known; \
                              take the node out of its group and add it as a new one";
                return Err(Error::Folder { dir: dir.to_owned(), reason: reason.into() });
            }
            // The pointer comes first: so a state without one is never a half-made beginning.
            None => {
                let name = format!("{STATE}{:06}", 1);
                write_pointer(&*fs, dir, &name)?;
                name
            }
        };
        let number = number_of(&current, STATE).expect("the pointer was checked");
        let path = dir.join(current);
        Ok((Self { fs, dir: dir.to_owned(), next: AtomicU64::new(number + 1) }, path, number == 1))
    }

    /// Clears what a crash left behind: all folders of ours but the engine in force.
    pub(super) fn remove_strays(&self, in_force: &Path) -> Result<()> {
        let folders =
            self.fs.list_dirs(&self.dir).map_err(Error::file("list the folder", &self.dir))?;
        let paths = folders.iter().filter(|name| is_ours(name)).map(|name| self.dir.join(name));
        paths.filter(|path| path != in_force).try_for_each(|path| remove_folder(&*self.fs, &path))
    }

    pub(super) fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }

    /// A path for a snapshot to be received into.
    pub(super) fn fresh_state(&self) -> PathBuf {
        self.fresh(STATE)
    }

    /// A path for a snapshot to be sent.
    pub(super) fn fresh_checkpoint(&self) -> PathBuf {
        self.fresh(CHECKPOINT)
    }

    fn fresh(&self, kind: &str) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("{kind}{number:06}"))
    }

    /// The name of a path of [`fresh_state`](Self::fresh_state); any other is `Invalid`.
    pub(super) fn state_name(&self, path: &Path) -> Result<String> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.filter(|name| number_of(name, STATE).is_some());
        let name = name.filter(|_| path.parent() == Some(&self.dir)).map(str::to_owned);
        name.ok_or_else(|| Error::Invalid(format!("{} is no state of ours", path.display())))
    }

    /// Puts the state of a [name](Self::state_name) in force, for good when this returns. It
    /// must be complete and durable.
    pub(super) fn switch(&self, name: &str) -> Result<()> {
        write_pointer(&*self.fs, &self.dir, name)
    }
}

fn is_ours(name: &str) -> bool {
    number_of(name, STATE).or_else(|| number_of(name, CHECKPOINT)).is_some()
}

/// The number in a name that [`Folder::fresh`] made; `None` for other names.
fn number_of(name: &str, kind: &str) -> Option<u64> {
    let number = name.strip_prefix(kind)?.parse().ok().filter(|number| *number < u64::MAX)?;
    (format!("{kind}{number:06}") == name).then_some(number)
}

fn read_pointer(fs: &dyn Fs, dir: &Path) -> Result<Option<String>> {
    let path = dir.join(CURRENT);
    let file = match fs.open_read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(Error::file("open the pointer to the state", &path))?,
    };
    let mut bytes = vec![0; file.len().min(POINTER_LEN_MAX) as usize];
    file.read_at(0, &mut bytes).map_err(Error::file("read the pointer to the state", &path))?;
    let name = decode_pointer(&bytes).map(str::to_owned);
    let damaged = || Error::corrupt(path.display().to_string(), "it names no state");
    name.map(Some).ok_or_else(damaged)
}

fn write_pointer(fs: &dyn Fs, dir: &Path, name: &str) -> Result<()> {
    let bytes = encode_pointer(name);
    replace_file(fs, &dir.join(CURRENT_NEW), &dir.join(CURRENT), bytes.as_bytes())
        .map_err(Error::storage("switch the pointer to the state"))
}

fn encode_pointer(name: &str) -> String {
    format!("{name}\n{:08x}\n", crc32c::crc32c(name.as_bytes()))
}

fn decode_pointer(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let name = text.split('\n').next().filter(|name| number_of(name, STATE).is_some())?;
    (encode_pointer(name) == text).then_some(name)
}

#[cfg(test)]
mod tests {
    use lsm_log::fs::MemFs;

    use super::*;

    #[test]
    fn pointers_come_back() {
        for number in [1, 999_999, 1_000_000, u64::MAX - 1] {
            let name = format!("{STATE}{number:06}");
            let text = encode_pointer(&name);
            assert!(text.len() as u64 <= POINTER_LEN_MAX);
            assert_eq!(decode_pointer(text.as_bytes()), Some(name.as_str()));
            for len in 0..text.len() {
                assert_eq!(decode_pointer(&text.as_bytes()[..len]), None);
            }
            for at in 0..text.len() {
                let mut bad = text.clone().into_bytes();
                bad[at] ^= 1;
                assert_eq!(decode_pointer(&bad), None, "byte {at}");
            }
        }
        for name in
            ["", "state-1", "state-+00001", "checkpoint-000001", "state-18446744073709551615"]
        {
            assert_eq!(decode_pointer(encode_pointer(name).as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn strays_go_and_strangers_stay() {
        let (fs, dir) = (Arc::new(MemFs::new()), Path::new("node"));
        let open = || Folder::open(fs.clone(), dir);
        let (folder, path, may_be_new) = open().unwrap();
        assert_eq!((path, may_be_new), (dir.join("state-000001"), true));
        fs.create_dir_all(&dir.join("state-000001")).unwrap();
        fs.create_dir_all(&dir.join("stranger")).unwrap();
        for path in [folder.fresh_state(), folder.fresh_checkpoint()] {
            fs.create_dir_all(&path).unwrap();
            fs.create(&path.join("file")).unwrap();
        }
        let next = folder.fresh_state();
        assert_eq!(next, dir.join("state-000004"));
        fs.create_dir_all(&next).unwrap();
        folder.switch(&folder.state_name(&next).unwrap()).unwrap();
        assert!(folder.state_name(&dir.join("checkpoint-000009")).is_err());
        assert!(folder.state_name(Path::new("other/state-000009")).is_err());
        let (folder, path, may_be_new) = open().unwrap();
        assert_eq!((&path, may_be_new), (&next, false));
        assert_eq!(fs.list_dirs(dir).unwrap().len(), 5, "until the engine has opened");
        folder.remove_strays(&path).unwrap();
        let mut left = fs.list_dirs(dir).unwrap();
        left.sort();
        assert_eq!(left, ["state-000004", "stranger"]);
        assert_eq!(folder.fresh_checkpoint(), dir.join("checkpoint-000005"));
    }

    #[test]
    fn a_lost_or_damaged_pointer_is_an_error() {
        let (fs, dir) = (Arc::new(MemFs::new()), Path::new("node"));
        let (_, path, _) = Folder::open(fs.clone(), dir).unwrap();
        fs.create_dir_all(&path).unwrap();
        let pointer = dir.join(CURRENT);
        fs.open_write(&pointer).unwrap().write_at(0, b"x").unwrap();
        let error = Folder::open(fs.clone(), dir).unwrap_err();
        assert!(error.to_string().contains("CURRENT is damaged"), "{error}");
        fs.remove(&pointer).unwrap();
        let error = Folder::open(fs.clone(), dir).unwrap_err();
        assert!(matches!(error, Error::Folder { .. }), "{error}");
        assert!(fs.len(&path).is_err(), "it is still there");
    }
}
