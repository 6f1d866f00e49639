//! Segment files before they are started: created or recycled, reserved on disk, durable.
//!
//! Leaves to others: which numbers are free, and when an old segment may be recycled.
//!
//! Invariants:
//! * A prepared segment has its full length and its nonce on disk and no header: if the caller
//!   lists it and then crashes, it reads as never started.
//! * A number is prepared once. A segment that was listed and found not started after a crash
//!   is dropped, because records under its number may have reached it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::nonce::Nonce;
use super::record::{HEADER_LEN, NONCE_AT};
use crate::error::{Error, Result};
use crate::file_name::{FileName, FileNumber};
use crate::fs::{Fs, WriteFile};

/// The largest segment file, in bytes: one record of the greatest length fits.
pub const SEGMENT_BYTES_MAX: u64 = 2 << 30;

/// Zeros are written in pieces of this length.
const ZEROS_LEN: usize = 1 << 20;

/// A segment file that is ready to be started.
#[derive(Debug)]
pub struct Segment {
    /// The number in its name.
    pub number: FileNumber,
    /// The file.
    pub path: PathBuf,
    /// Length of the file in bytes; all of it is reserved.
    pub bytes: u64,
    pub(super) nonce: Nonce,
    pub(super) file: Arc<dyn WriteFile>,
}

/// Makes segment `number` of at least `bytes` bytes, durable before it returns. `nonce` was drawn for
/// this number.
///
/// `recycle` names a segment that no one reads any more; its file takes the new name and
/// keeps its length if that is greater. `zero` writes zeros over what was never written, so that
/// later syncs find their blocks allocated and initialised.
///
/// # Errors
///
/// `Invalid` if `bytes` is outside the limits; `Io` if the file system refuses, or if the number
/// is taken. What was made of the file is removed then.
pub fn prepare(
    fs: &dyn Fs,
    dir: &Path,
    number: FileNumber,
    nonce: Nonce,
    bytes: u64,
    recycle: Option<FileNumber>,
    zero: bool,
) -> Result<Segment> {
    if !(HEADER_LEN as u64..=SEGMENT_BYTES_MAX).contains(&bytes) {
        let message = format!("a log segment of {bytes} bytes is outside the limits");
        return Err(Error::invalid(message));
    }
    let path = FileName::Log(number).in_dir(dir);
    let cannot_create = |error| Error::io("create the log segment", &path, error);
    // First: once there is a new name, only a sync that fails is in its way.
    let folder = fs.open_dir(dir).map_err(cannot_create)?;
    let (file, old_bytes) = match recycle {
        Some(old) => reopen(fs, &FileName::Log(old).in_dir(dir), &path)?,
        None => (fs.create(&path).map_err(cannot_create)?, 0),
    };
    let bytes = bytes.max(old_bytes);
    // Without the zeros, a file that was swapped for another could not be told from one that was
    // recycled and not started.
    let mut front = vec![0; NONCE_AT];
    nonce.encode(number, &mut front);
    let reserved = reserve(&*file, &front, old_bytes, bytes, zero)
        .map_err(|e| Error::io("reserve the log segment", &path, e))
        .and_then(|()| folder.sync().map_err(|e| Error::io("sync the folder", dir, e)));
    if let Err(error) = reserved {
        // Gives the room back; if that fails too, the caller removes files it does not list.
        let _ = fs.remove(&path);
        return Err(error);
    }
    Ok(Segment { number, path, bytes, nonce, file })
}

/// Takes the header off a segment that is not needed any more, so that it cannot be taken for a part
/// of the log before it is recycled. Not synced.
///
/// # Errors
///
/// What the file system says.
pub fn clear_header(file: &dyn WriteFile) -> io::Result<()> {
    file.write_at(0, &[0; NONCE_AT])
}

/// The error of a segment that has not what every one has that was prepared.
pub(super) fn no_nonce(path: &Path) -> Error {
    Error::corrupt("the nonce of the log segment is damaged").in_file(path).at(NONCE_AT as u64)
}

fn reopen(fs: &dyn Fs, from: &Path, to: &Path) -> Result<(Arc<dyn WriteFile>, u64)> {
    // A rename replaces its target: make sure that there is none.
    match fs.len(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("look for the log segment", to, error)),
        Ok(_) => {
            let taken = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(Error::io("recycle into the log segment", to, taken));
        }
    }
    let bytes = fs.len(from).map_err(|e| Error::io("measure the log segment", from, e))?;
    fs.rename(from, to).map_err(|e| Error::io("rename the log segment", from, e))?;
    let file = fs.open_write(to).map_err(|e| Error::io("open the log segment", to, e))?;
    Ok((file, bytes))
}

/// Leaves `bytes` durable bytes that begin with `front`.
fn reserve(
    file: &dyn WriteFile,
    front: &[u8],
    old_bytes: u64,
    bytes: u64,
    zero: bool,
) -> io::Result<()> {
    file.allocate(bytes)?;
    if zero {
        let zeros = vec![0; ZEROS_LEN.min((bytes - old_bytes) as usize)];
        let mut offset = old_bytes;
        while offset < bytes {
            let len = (bytes - offset).min(ZEROS_LEN as u64) as usize;
            file.write_at(offset, &zeros[..len])?;
            offset += len as u64;
        }
    }
    file.write_at(0, front)?;
    file.sync()
}
