//! The log of edits, and `CURRENT`, which says which one is in force.
//!
//! Leaves to others: what edits add up to, when to begin a new manifest, and removing old
//! ones. Layouts are in `docs/format.md`.
//!
//! Invariants:
//! * An edit is durable when [`Manifest::append`] returns; so each record says that all edits
//!   before it were durable, and damage to one in front of a valid record is an error. A record
//!   says nothing of the proof right before it, which a crash may lose and keep the record.
//! * `CURRENT` names a manifest that was durable before: write, sync, rename, sync folder. So its
//!   snapshot, which is several records if it is long, is there to its end.
//! * The manifest is the first file of a new database, and `CURRENT` the second. So a folder
//!   with tables or logs but no `CURRENT` is damaged, and one with neither was never used.
//! * After a failed write or sync nothing is written again, but for a write that found no room:
//!   nothing was synced since, and not all of its record is there.
//!
//! Threads: one at a time, under the caller's lock, which is held over I/O.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_log::checksum::checksum;
use lsm_log::error::{Error, Result};
use lsm_log::file_name::{FileName, FileNumber};
use lsm_log::fs::{
    Folder, Fs, WriteFile, open_folder, remove_left_over, switch_file, write_new_file,
};
use lsm_log::wal::{
    self, FileBase, Format, FoundNonce, HEADER_LEN, Header, Lsn, Nonce, PAYLOAD_LEN_MAX,
    RecordPlace, Records, find_nonce, find_witness, read_whole,
};

use super::edit::Edit;

pub(super) const MANIFEST: Format = Format { magic: *b"lsm-man\n", version: 2, name: "manifest" };

/// An edit that changes nothing, in a field that every reader may skip. One is written, not
/// synced, behind each edit: where it arrives, it proves that the edit in front was durable, so
/// that later damage to even the last edit is noticed.
const PROOF: [u8; 2] = [64, 0];

/// `CURRENT` is a name of at most 20 digits, an extension and a checksum: two short lines.
pub(super) const CURRENT_LEN_MAX: u64 = 64;

/// The manifest in force, open for appending.
#[derive(Debug)]
pub(crate) struct Manifest {
    number: FileNumber,
    nonce: Nonce,
    path: PathBuf,
    file: Arc<dyn WriteFile>,
    /// Length of the file: where the next record goes.
    end: usize,
    /// Where what is known to be durable ends: in front of the last proof, which is not.
    synced: Lsn,
    /// Of the next record: they are counted.
    sequence: u64,
    failure: Option<Error>,
}

/// What a manifest held when the database was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub(crate) number: FileNumber,
    /// In order; the first ones are the snapshot that the manifest began with.
    pub(crate) edits: Vec<Edit>,
    /// Where the last valid record ends.
    pub(crate) end: u64,
}

impl Manifest {
    /// Writes manifest `number`, which begins with `snapshot`, and puts it in force.
    pub(crate) fn create(
        fs: &dyn Fs,
        dir: &Path,
        named: (FileNumber, Nonce),
        snapshot: impl Iterator<Item = Edit>,
    ) -> Result<Self> {
        let folder = open_folder(fs, dir)?;
        let manifest = Self::prepare(fs, dir, named, snapshot)?;
        manifest.put_in_force(fs, &*folder, dir)?;
        Ok(manifest)
    }

    /// Writes manifest `number`, which begins with `snapshot`: a failure leaves the one in force
    /// as it is. One piece of the snapshot is in memory at a time.
    pub(crate) fn prepare(
        fs: &dyn Fs,
        dir: &Path,
        (number, nonce): (FileNumber, Nonce),
        snapshot: impl Iterator<Item = Edit>,
    ) -> Result<Self> {
        let path = FileName::Manifest(number).in_dir(dir);
        if read_current(fs, dir)? == Some(number) {
            return Err(Error::invalid("this manifest is in force already").in_file(&path));
        }
        // One that is not in force was left behind by a crash right here.
        remove_left_over(fs, &path)?;
        let file = fs.create(&path).map_err(|e| Error::io("create the manifest", &path, e))?;
        let (synced, failure) = (Lsn(0), None);
        let mut manifest = Self { number, nonce, path, file, end: 0, synced, sequence: 0, failure };
        manifest.begin(snapshot)?;
        write_new_file(fs, &FileName::CurrentNew.in_dir(dir), encode_current(number).as_bytes())?;
        Ok(manifest)
    }

    /// Has `CURRENT` name this manifest, which was prepared right before. After a failure it is
    /// unknown which one is in force.
    pub(crate) fn put_in_force(&self, fs: &dyn Fs, folder: &dyn Folder, dir: &Path) -> Result<()> {
        let [new, current] = [FileName::CurrentNew, FileName::Current].map(|name| name.in_dir(dir));
        switch_file(fs, folder, &new, &current)
    }

    /// Writes header and snapshot.
    fn begin(&mut self, snapshot: impl Iterator<Item = Edit>) -> Result<()> {
        let mut pieces = snapshot.peekable();
        let owner = pieces.peek().and_then(|first| first.database_id).unwrap_or_default();
        let (number, mut bytes) = (self.number, Vec::new());
        Header { number, base: Lsn(0), synced: Lsn(0), owner }.encode(&MANIFEST, &mut bytes);
        self.nonce.encode(number, &mut bytes);
        while let Some(mut piece) = pieces.next() {
            piece.snapshot_end = pieces.peek().is_none();
            let mut payload = Vec::new();
            piece.encode(&mut payload);
            self.encode_record(&payload, &mut bytes)?;
            self.write_record(&bytes)?;
            bytes.clear();
        }
        self.sync_and_prove()
    }

    /// Reads the manifest in force; `None` if the folder holds no database.
    pub(crate) fn load(fs: &dyn Fs, dir: &Path) -> Result<Option<Loaded>> {
        let Some(number) = read_current(fs, dir)? else {
            return no_current(fs, dir).map(|()| None);
        };
        let path = FileName::Manifest(number).in_dir(dir);
        let file = fs.open_read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Error::corrupt("the manifest that CURRENT names is missing").in_file(&path)
            }
            _ => Error::io("open the manifest", &path, error),
        })?;
        let mut bytes = Vec::new();
        read_whole(&*file, &path, file.len(), &mut bytes)?;
        let (edits, end) = decode(&bytes, number).map_err(|e| e.in_file(&path))?;
        Ok(Some(Loaded { number, edits, end: end as u64 }))
    }

    /// Appends one encoded edit, durable before it returns.
    pub(crate) fn append(&mut self, edit: &[u8]) -> Result<()> {
        if let Some(first) = &self.failure {
            return Err(Error::failed(first));
        }
        let mut bytes = Vec::new();
        self.encode_record(if edit.is_empty() { &PROOF } else { edit }, &mut bytes)?;
        let written = self.write_record(&bytes);
        if written.as_ref().is_err_and(Error::found_no_room) {
            return written;
        }
        let written = written.and_then(|()| self.sync_and_prove());
        if let Err(error) = &written {
            self.failure = Some(error.clone());
        }
        written
    }

    /// Whether it is unknown what the file holds. It is not after an edit that found no room: a part
    /// of its record is no record, and the next one takes its place.
    pub(crate) fn is_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Length of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.end as u64
    }

    /// Appends the next record to `out`, which will stand at the end of the file.
    fn encode_record(&self, payload: &[u8], out: &mut Vec<u8>) -> Result<()> {
        if payload.len() > PAYLOAD_LEN_MAX {
            let message = format!("an edit of {} bytes is too long", payload.len());
            return Err(Error::invalid(message).in_file(&self.path));
        }
        let (number, nonce, offset) = (self.number, self.nonce, self.end + out.len());
        wal::encode(
            out,
            RecordPlace { number, nonce, offset },
            self.sequence,
            self.synced,
            payload,
        );
        Ok(())
    }

    /// Syncs what was written, then writes the proof of that.
    fn sync_and_prove(&mut self) -> Result<()> {
        self.file.sync().map_err(|e| Error::io("sync the manifest", &self.path, e))?;
        self.synced = Lsn(self.end as u64);
        let mut proof = Vec::new();
        self.encode_record(&PROOF, &mut proof)?;
        match self.write_record(&proof) {
            // What it would prove is true without it.
            Err(error) if error.found_no_room() => Ok(()),
            written => written,
        }
    }

    fn write_record(&mut self, bytes: &[u8]) -> Result<()> {
        let offset = self.end as u64;
        self.file
            .write_at(offset, bytes)
            .map_err(|e| Error::io("write the manifest", &self.path, e).at(offset))?;
        self.end += bytes.len();
        self.sequence += 1;
        Ok(())
    }
}

/// The edits in the bytes of a manifest, and where they end.
pub(super) fn decode(bytes: &[u8], number: FileNumber) -> Result<(Vec<Edit>, usize)> {
    // A manifest is durable before it is named: its front can be damaged, but not torn.
    let Some(header) = Header::decode(bytes, &MANIFEST)? else {
        return Err(Error::corrupt("manifest header is damaged").at(0));
    };
    header.check(number, header.owner, &MANIFEST)?;
    let FoundNonce::Nonce(nonce) = find_nonce(bytes, number) else {
        return Err(Error::corrupt("the nonce of the manifest is damaged").at(HEADER_LEN as u64));
    };
    let mut records = Records::new(bytes, number, nonce, Lsn(0), 0);
    let (mut edits, mut expected, mut complete) = (Vec::new(), 0, false);
    while let Some(frame) = records.read_next()? {
        let offset = frame.offset as u64;
        if frame.sequence != expected {
            let error = Error::mismatch("count of the manifest record", expected, frame.sequence);
            return Err(error.at(offset));
        }
        expected += 1;
        let within = frame.payload_offset() as u64;
        let edit = Edit::decode(frame.payload).map_err(|e| e.within(within))?;
        if edit.snapshot_end && complete {
            return Err(Error::corrupt("the snapshot in the manifest ends twice").at(within));
        }
        complete |= edit.snapshot_end;
        if edit != Edit::default() || edits.is_empty() {
            edits.push(edit);
        }
    }
    let end = records.offset();
    if !complete {
        return Err(Error::corrupt("the snapshot in the manifest is damaged").at(end as u64));
    }
    header.check(number, edits[0].database_id.unwrap_or_default(), &MANIFEST)?;
    let at = Lsn(end as u64);
    let base = FileBase::Known(Lsn(0));
    if let Some(witness) = find_witness(bytes, number, nonce, base, end, at, expected) {
        let message =
            format!("edit is damaged: the record at offset {witness} shows that it was durable");
        return Err(Error::corrupt(message).at(end as u64));
    }
    Ok((edits, end))
}

/// The number of the manifest in force; `None` if there is no `CURRENT`.
fn read_current(fs: &dyn Fs, dir: &Path) -> Result<Option<FileNumber>> {
    let path = FileName::Current.in_dir(dir);
    let file = match fs.open_read(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", &path, error)),
    };
    let mut bytes = Vec::new();
    read_whole(&*file, &path, file.len().min(CURRENT_LEN_MAX), &mut bytes)?;
    match decode_current(&bytes).filter(|_| file.len() <= CURRENT_LEN_MAX) {
        Some(number) => Ok(Some(number)),
        None => Err(Error::corrupt("CURRENT is damaged").in_file(&path).at(0)),
    }
}

pub(super) fn encode_current(number: FileNumber) -> String {
    let name = FileName::Manifest(number).to_string();
    format!("{name}\n{:08x}\n", checksum(0, name.as_bytes()))
}

fn decode_current(bytes: &[u8]) -> Option<FileNumber> {
    let text = std::str::from_utf8(bytes).ok()?;
    match FileName::parse(text.lines().next()?)? {
        // Comparing with what would have been written checks every byte.
        FileName::Manifest(number) if encode_current(number) == text => Some(number),
        _ => None,
    }
}

/// Fine if nothing in the folder says that there was a `CURRENT` once.
fn no_current(fs: &dyn Fs, dir: &Path) -> Result<()> {
    let names = match fs.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        names => names.map_err(|e| Error::io("list the folder", dir, e))?,
    };
    let data = names
        .iter()
        .find(|name| matches!(FileName::parse(name), Some(FileName::Log(_) | FileName::Table(_))));
    match data {
        None => Ok(()),
        Some(name) => Err(Error::corrupt(format!("CURRENT is missing, but {name} is there"))
            .in_file(&FileName::Current.in_dir(dir))),
    }
}

#[cfg(test)]
#[path = "manifest_test.rs"]
mod tests;
