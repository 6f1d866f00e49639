//! A state on its way to another node: the files of a checkpoint, in checked pieces.
//!
//! The sender makes an [`Outgoing`], describes it with its [`Header`] and sends its [`Piece`]s
//! in order. The receiver writes them through an [`Incoming`] into a folder of their own, which
//! becomes a [`Staged`] once it is complete and durable; the state machine puts that in force.
//! Nothing here knows what is in the files.
//!
//! Invariants:
//! * Only files with names of an engine's are written, in the folder given, in the order and
//!   of the lengths that the header declares.
//! * The folder of each of the three goes when it is dropped, except a staged one in force.
//!
//! Threads: any number may read one [`Outgoing`]; an [`Incoming`] is one thread's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use lsm_log::fs::{Access, Fs, ReadFile, WriteFile};
use raft::eraftpb::ConfState;

use crate::error::{Error, Result};

/// Most bytes of one piece.
pub const PIECE_BYTES_MAX: usize = 256 << 10;
/// Most files of one snapshot.
pub const FILES_MAX: usize = 100_000;

/// What a snapshot is of, and what it consists of.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// The last entry that is in it.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// Who decided, right after that entry; ids ascending.
    pub conf_state: ConfState,
    /// The files, in the order they are sent in.
    pub files: Vec<SnapshotFile>,
}

/// One file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Its name, without a folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// A part of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Position of the file in the header's list.
    pub file: u32,
    /// Where in the file.
    pub offset: u64,
    /// 1 to [`PIECE_BYTES_MAX`] bytes.
    pub data: Bytes,
    /// Of the data.
    pub crc32c: u32,
}

impl Header {
    /// Length of all files, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// `Invalid` if it is of nothing that a state at index `applied` has not.
    pub(crate) fn check_ahead_of(&self, applied: u64) -> Result<()> {
        if self.index > applied {
            return Ok(());
        }
        let index = self.index;
        let message =
            format!("a snapshot of index {index} is not ahead of the state, at {applied}");
        Err(Error::Invalid(message))
    }

    /// The header is one that a sender may send: whatever it says, writing such files into an
    /// empty folder harms nothing else.
    fn check(&self) -> Result<()> {
        let refuse = |reason: String| Err(Error::corrupt("a snapshot's header", reason));
        if self.index == 0 || self.term == 0 {
            return refuse("it is of no index or term".into());
        }
        if self.files.len() > FILES_MAX {
            return refuse(format!("it has more than {FILES_MAX} files"));
        }
        if let Some(file) = self.files.iter().find(|file| !is_file_of_checkpoint(&file.name)) {
            return refuse(format!("{:?} is no file of a checkpoint", file.name));
        }
        if let Some(file) = self.files.iter().find(|file| file.bytes == 0) {
            return refuse(format!("{} is empty", file.name));
        }
        let mut names: Vec<_> = self.files.iter().map(|file| &file.name).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return refuse(format!("{} is there twice", pair[0]));
        }
        Ok(())
    }
}

/// Whether a checkpoint of the engine may hold a file of this name.
fn is_file_of_checkpoint(name: &str) -> bool {
    let Some((number, "manifest" | "table")) = name.split_once('.') else {
        return name == "CURRENT";
    };
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    // One spelling a number: with zeros in front up to six digits, and none beyond.
    digits && (number.len() == 6 || (7..=20).contains(&number.len()) && !number.starts_with('0'))
}

/// A checkpoint that is being sent, to any number of receivers; its folder goes when the last
/// lets go of it.
#[derive(Debug)]
pub struct Outgoing {
    header: Header,
    folder: Temporary,
}

impl Outgoing {
    /// Of the checkpoint in a folder, which it takes over.
    pub(crate) fn new(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        (index, term): (u64, u64),
        conf_state: ConfState,
    ) -> Result<Self> {
        let folder = Temporary { fs: Arc::clone(fs), dir: dir.to_owned(), kept: false };
        let names = fs.list(dir).map_err(Error::file("list a checkpoint", dir))?;
        let mut files = Vec::with_capacity(names.len());
        for name in names.into_iter().filter(|name| is_file_of_checkpoint(name)) {
            let path = dir.join(&name);
            let bytes = fs.len(&path).map_err(Error::file("look at a checkpoint", &path))?;
            files.push(SnapshotFile { name, bytes });
        }
        // `CURRENT`, which makes it a database, comes last.
        files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let header = Header { index, term, conf_state, files };
        header.check()?;
        Ok(Self { header, folder })
    }

    /// What to send first.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// All pieces in order; from the front for each who asks. After an error there are no more.
    pub fn pieces(self: &Arc<Self>) -> Pieces {
        Pieces { outgoing: Arc::clone(self), file: 0, offset: 0, open: None }
    }

    /// The piece of a file that starts at `offset`: [`PIECE_BYTES_MAX`] bytes, or up to the end.
    ///
    /// # Errors
    ///
    /// `Invalid` if the file does not reach beyond `offset`; `Storage`.
    pub fn piece(&self, file: u32, offset: u64) -> Result<Piece> {
        let open = self.open(file)?;
        self.read(file, offset, &*open)
    }

    fn open(&self, file: u32) -> Result<Arc<dyn ReadFile>> {
        let Some(entry) = self.header.files.get(file as usize) else {
            return Err(Error::Invalid(format!("the snapshot has no file {file}")));
        };
        let path = self.folder.dir.join(&entry.name);
        let open = self.folder.fs.open_read(&path);
        open.map_err(Error::file("open a file of a snapshot", &path))
    }

    fn read(&self, file: u32, offset: u64, open: &dyn ReadFile) -> Result<Piece> {
        let entry = &self.header.files[file as usize];
        let left = entry.bytes.saturating_sub(offset);
        if left == 0 {
            return Err(Error::Invalid(format!("{} has nothing at {offset}", entry.name)));
        }
        let mut data = vec![0; left.min(PIECE_BYTES_MAX as u64) as usize];
        let path = self.folder.dir.join(&entry.name);
        open.read_at(offset, &mut data).map_err(Error::file("read a snapshot", &path))?;
        let crc32c = crc32c::crc32c(&data);
        Ok(Piece { file, offset, data: data.into(), crc32c })
    }
}

/// The pieces of a snapshot, in the order they are sent in.
#[derive(Debug)]
pub struct Pieces {
    outgoing: Arc<Outgoing>,
    file: u32,
    offset: u64,
    /// The current file, once something was read from it.
    open: Option<Arc<dyn ReadFile>>,
}

impl Pieces {
    fn read(&mut self) -> Result<Piece> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.outgoing.open(self.file)?,
        };
        let piece = self.outgoing.read(self.file, self.offset, &*open)?;
        self.offset += piece.data.len() as u64;
        if self.offset < self.outgoing.header.files[self.file as usize].bytes {
            self.open = Some(open);
        } else {
            open.advise(Access::Done);
            (self.file, self.offset) = (self.file + 1, 0);
        }
        Ok(piece)
    }
}

impl Iterator for Pieces {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Result<Piece>> {
        if self.file as usize >= self.outgoing.header.files.len() {
            return None;
        }
        let piece = self.read();
        if piece.is_err() {
            self.file = u32::MAX;
        }
        Some(piece)
    }
}

/// A snapshot that is being received.
#[derive(Debug)]
pub struct Incoming {
    header: Header,
    folder: Temporary,
    /// Position of the file that comes next, or is being written.
    file: usize,
    offset: u64,
    open: Option<Arc<dyn WriteFile>>,
    failed: bool,
}

impl Incoming {
    /// Starts to receive into folder `dir`, which is emptied first.
    pub(crate) fn start(fs: &Arc<dyn Fs>, dir: PathBuf, header: Header) -> Result<Self> {
        header.check()?;
        remove_folder(&**fs, &dir)?;
        fs.create_dir_all(&dir).map_err(Error::file("create a folder", &dir))?;
        let folder = Temporary { fs: Arc::clone(fs), dir, kept: false };
        Ok(Self { header, folder, file: 0, offset: 0, open: None, failed: false })
    }

    /// What is being received.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How many bytes there are already.
    pub fn received(&self) -> u64 {
        let whole: u64 = self.header.files[..self.file].iter().map(|file| file.bytes).sum();
        whole + self.offset
    }

    /// Writes the next piece. After an error the snapshot is of no use.
    ///
    /// # Errors
    ///
    /// `Corrupt` for a piece that is damaged, not the next, or longer than its file; `Storage`.
    pub fn write(&mut self, piece: &Piece) -> Result<()> {
        if self.failed {
            return Err(Error::Invalid("the snapshot has failed already".into()));
        }
        let written = self.check(piece).and_then(|()| self.write_checked(piece));
        self.failed = written.is_err();
        written
    }

    fn check(&self, piece: &Piece) -> Result<()> {
        let refuse = |reason: String| {
            let what = format!("the piece of a snapshot, file {}, {}", piece.file, piece.offset);
            Err(Error::corrupt(what, reason))
        };
        let Some(file) = self.header.files.get(self.file) else {
            return refuse("the snapshot is complete already".into());
        };
        if (piece.file as usize, piece.offset) != (self.file, self.offset) {
            return refuse(format!("the next is file {}, {}", self.file, self.offset));
        }
        let len = piece.data.len();
        if len == 0 || len > PIECE_BYTES_MAX || len as u64 > file.bytes - self.offset {
            return refuse(format!("it has {len} bytes, in a file of {}", file.bytes));
        }
        let found = crc32c::crc32c(&piece.data);
        if found != piece.crc32c {
            return refuse(format!("checksum: expected {:08x}, found {found:08x}", piece.crc32c));
        }
        Ok(())
    }

    fn write_checked(&mut self, piece: &Piece) -> Result<()> {
        let file = &self.header.files[self.file];
        let path = self.folder.dir.join(&file.name);
        let failed = || Error::file("write a snapshot", &path);
        let open = match self.open.take() {
            Some(open) => open,
            None => self.folder.fs.create(&path).map_err(failed())?,
        };
        open.write_at(self.offset, &piece.data).map_err(failed())?;
        self.offset += piece.data.len() as u64;
        if self.offset < file.bytes {
            self.open = Some(open);
        } else {
            open.sync().map_err(failed())?;
            (self.file, self.offset) = (self.file + 1, 0);
        }
        Ok(())
    }

    /// Ends the snapshot: complete and durable, under a name that nobody uses yet.
    ///
    /// # Errors
    ///
    /// `Corrupt` if something is missing; `Storage`.
    pub fn finish(self) -> Result<Staged> {
        if self.failed || self.file < self.header.files.len() {
            let reason = format!("it broke off after {} bytes", self.received());
            return Err(Error::corrupt("a snapshot", reason));
        }
        let dir = &self.folder.dir;
        self.folder.fs.sync_dir(dir).map_err(Error::file("sync a snapshot", dir))?;
        Ok(Staged { header: self.header, folder: self.folder })
    }
}

/// A snapshot that was received, and waits to be put in force.
#[derive(Debug)]
pub struct Staged {
    header: Header,
    folder: Temporary,
}

impl Staged {
    /// What it is of.
    pub fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.folder.dir
    }

    /// The folder has found its use.
    pub(crate) fn keep(mut self) {
        self.folder.kept = true;
    }
}

/// A folder that goes when it is dropped.
#[derive(Debug)]
struct Temporary {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    kept: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            // What stays behind is removed at the next start.
            let _ = remove_folder(&*self.fs, &self.dir);
        }
    }
}

/// Removes a folder with the files in it; fine if it is not there.
pub(crate) fn remove_folder(fs: &dyn Fs, dir: &Path) -> Result<()> {
    let names = match fs.list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        names => names.map_err(Error::file("list a folder", dir))?,
    };
    for name in names {
        let path = dir.join(name);
        fs.remove(&path).map_err(Error::file("remove a file", &path))?;
    }
    fs.remove_dir(dir).map_err(Error::file("remove a folder", dir))
}

#[cfg(test)]
#[path = "snapshot_test.rs"]
mod tests;
