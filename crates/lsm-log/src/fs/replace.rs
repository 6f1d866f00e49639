//! Replaces a small file as a whole: after a crash the old one is there, or the new one.

use std::io;
use std::path::Path;

use super::traits::{Folder, Fs};
use crate::error::{Error, Result};

/// Makes `path` a file of these bytes, durably. They are written to `new` first, in the same folder.
///
/// # Errors
///
/// `Io`. If it comes from [`switch_file`], nobody knows which of the two is there after a crash.
pub fn replace_file(fs: &dyn Fs, new: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = open_folder(fs, folder_of(path))?;
    write_new_file(fs, new, bytes)?;
    switch_file(fs, &*folder, new, path)
}

/// Opens the folder whose names are about to be changed and [synced](Folder::sync).
///
/// # Errors
///
/// `Io`; nothing was changed.
pub fn open_folder(fs: &dyn Fs, dir: &Path) -> Result<Box<dyn Folder>> {
    fs.open_dir(dir).map_err(|e| Error::io("open the folder", dir, e))
}

/// Writes and syncs a file; one that a crash left under this name goes. Its name is not durable yet.
///
/// # Errors
///
/// `Io`.
pub fn write_new_file(fs: &dyn Fs, new: &Path, bytes: &[u8]) -> Result<()> {
    remove_left_over(fs, new)?;
    let file = fs.create(new).map_err(|e| Error::io("create", new, e))?;
    let written = file.write_at(0, bytes).and_then(|()| file.sync());
    written.map_err(|e| Error::io("write", new, e))
}

/// Puts `new` in the place of `path`, durably. What else was made in their folder is durable before.
///
/// # Errors
///
/// `Io`; nobody knows then which of the two is there after a crash.
pub fn switch_file(fs: &dyn Fs, folder: &dyn Folder, new: &Path, path: &Path) -> Result<()> {
    let sync = || folder.sync().map_err(|e| Error::io("sync the folder", folder_of(path), e));
    sync()?;
    fs.rename(new, path).map_err(|e| Error::io("rename", new, e))?;
    sync()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Removes a file, if it is there.
///
/// # Errors
///
/// `Io`.
pub fn remove_left_over(fs: &dyn Fs, path: &Path) -> Result<()> {
    match fs.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove the left-over", path, error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::CrashFs;

    fn read(fs: &dyn Fs, path: &Path) -> Option<Vec<u8>> {
        let file = fs.open_read(path).ok()?;
        let mut bytes = vec![0; file.len() as usize];
        file.read_at(0, &mut bytes).unwrap();
        Some(bytes)
    }

    #[test]
    fn after_a_crash_there_is_the_old_one_or_the_new_one() {
        let (dir, new, path) = (Path::new("/d"), Path::new("/d/new"), Path::new("/d/file"));
        let fs = CrashFs::new();
        fs.create_dir_all(dir).unwrap();
        replace_file(&fs, new, path, b"old").unwrap();
        assert_eq!(read(&fs, path).unwrap(), b"old");
        // As a crash left it.
        write_new_file(&fs, new, b"half of it").unwrap();
        replace_file(&fs, new, path, b"new").unwrap();
        assert_eq!(read(&fs, path).unwrap(), b"new");
        assert!(read(&fs, new).is_none());
        remove_left_over(&fs, new).unwrap();
    }
}
