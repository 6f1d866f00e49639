//! What the first bytes of a segment file say, read in one place.
//!
//! For replay, for reading records again, and for owners that keep no list of their segments.
//! Threads: any.

use std::path::{Path, PathBuf};

use super::nonce::{FoundNonce, Nonce};
use super::record::{HEADER_LEN, Header, LOG, Lsn, find_nonce};
use super::segment::no_nonce;
use crate::error::{Error, Result};
use crate::file_name::{FileName, FileNumber};
use crate::fs::{Fs, ReadFile};

/// A file is looked through in pieces of this length.
const PIECE_LEN: u64 = 1 << 20;

/// Header and nonce of a segment file, each as far as it is intact.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentHeader {
    /// `None`: never started, or the header is lost. Its number may be an earlier one.
    pub(super) header: Option<Header>,
    pub(super) nonce: FoundNonce,
}

impl SegmentHeader {
    /// Reads the front of segment `number`; a file that is too short has nothing.
    pub(super) fn read(file: &dyn ReadFile, path: &Path, number: FileNumber) -> Result<Self> {
        let mut bytes = [0; HEADER_LEN];
        if file.len() < HEADER_LEN as u64 {
            return Ok(Self { header: None, nonce: FoundNonce::Nothing });
        }
        file.read_at(0, &mut bytes).map_err(|e| Error::io("read", path, e).at(0))?;
        let header = Header::decode(&bytes, &LOG).map_err(|e| e.in_file(path))?;
        Ok(Self { header, nonce: find_nonce(&bytes, number) })
    }

    pub(super) fn nonce(&self) -> Option<Nonce> {
        match self.nonce {
            FoundNonce::Nonce(nonce) => Some(nonce),
            FoundNonce::Earlier | FoundNonce::Nothing => None,
        }
    }

    /// The header, if the segment was started under this number.
    pub(super) fn started_as(&self, number: FileNumber) -> Option<Header> {
        self.header.filter(|header| header.number == number)
    }
}

/// What became of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// It was started, and begins at this position.
    Started(Lsn),
    /// It is prepared, and has no valid header: it was never started, or its header is lost.
    Blank,
    /// It carries an earlier number: a crash came while it was renamed to be recycled, and nothing
    /// was ever written to it under its new number.
    Renamed,
    /// It is shorter than a header, or nothing but zeros: a crash came while it was made.
    Unmade,
}

impl SegmentState {
    /// Of segment `number` of `owner`'s log. Reads the whole file if it was not prepared.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the header is another owner's, or of another kind of file, or if what every
    /// segment has that was prepared is not there; `Unsupported` if it is another version's; `Io`.
    pub fn read(file: &dyn ReadFile, path: &Path, number: FileNumber, owner: u64) -> Result<Self> {
        let SegmentHeader { header, nonce } = SegmentHeader::read(file, path, number)?;
        if let Some(header) = header {
            header.check(header.number, owner, &LOG).map_err(|e| e.in_file(path))?;
            if header.number != number {
                return Ok(Self::Renamed);
            }
        }
        match (header, nonce) {
            (Some(header), FoundNonce::Nonce(_)) => Ok(Self::Started(header.base)),
            (None, FoundNonce::Nonce(_)) => Ok(Self::Blank),
            (None, FoundNonce::Earlier) => Ok(Self::Renamed),
            (None, FoundNonce::Nothing) if file.len() < HEADER_LEN as u64 => Ok(Self::Unmade),
            (None, FoundNonce::Nothing) if is_zero(file, path)? => Ok(Self::Unmade),
            _ => Err(no_nonce(path)),
        }
    }
}

/// The number of the segment with this file name; `None` if it is no name of a segment.
pub fn segment_number(name: &str) -> Option<FileNumber> {
    match FileName::parse(name)? {
        FileName::Log(number) => Some(number),
        _ => None,
    }
}

/// The file of a segment.
pub fn segment_path(dir: &Path, number: FileNumber) -> PathBuf {
    FileName::Log(number).in_dir(dir)
}

/// Whether a segment was ever written to under this number.
pub fn is_started(fs: &dyn Fs, dir: &Path, number: FileNumber) -> Result<bool> {
    let path = FileName::Log(number).in_dir(dir);
    let file = fs.open_read(&path).map_err(|e| Error::io("open the log segment", &path, e))?;
    // One that was renamed to be recycled carries its old number until its header is cleared.
    Ok(SegmentHeader::read(&*file, &path, number)?.started_as(number).is_some())
}

fn is_zero(file: &dyn ReadFile, path: &Path) -> Result<bool> {
    let mut buffer = vec![0; PIECE_LEN.min(file.len()) as usize];
    let mut offset = 0;
    while offset < file.len() {
        let piece = &mut buffer[..PIECE_LEN.min(file.len() - offset) as usize];
        file.read_at(offset, piece).map_err(|e| Error::io("read", path, e).at(offset))?;
        if piece.iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        offset += piece.len() as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::ErrorKind;
    use crate::testkit::OWNER;
    use crate::wal::record::NONCE_AT;
    use crate::wal::test_log::{TestLog, dir, path, sample};

    fn open(log: &TestLog, number: u64) -> Arc<dyn ReadFile> {
        log.fs.open_read(&path(number)).unwrap()
    }

    #[test]
    fn names_come_back() {
        let file = segment_path(dir(), FileNumber(7));
        assert_eq!(file, path(7));
        let name = file.file_name().unwrap().to_str().unwrap();
        assert_eq!(segment_number(name), Some(FileNumber(7)));
        assert_eq!(segment_number("000007.table"), None);
    }

    #[test]
    fn the_header_tells_what_became_of_a_segment() {
        let log = sample();
        let look = |number: u64, as_number: u64, owner| {
            SegmentState::read(&*open(&log, number), &path(number), FileNumber(as_number), owner)
        };
        assert_eq!(look(1, 1, OWNER).unwrap(), SegmentState::Started(Lsn(0)));
        assert!(matches!(look(2, 2, OWNER).unwrap(), SegmentState::Started(base) if base > Lsn(0)));
        assert_eq!(look(2, 9, OWNER).unwrap(), SegmentState::Renamed);
        assert_eq!(look(2, 2, OWNER + 1).unwrap_err().kind(), ErrorKind::Corrupt);
        for len in [0, HEADER_LEN - 1, HEADER_LEN, 480, PIECE_LEN as usize + 5] {
            log.fs.set(&path(1), &vec![0; len]);
            assert_eq!(look(1, 1, OWNER).unwrap(), SegmentState::Unmade, "{len}");
        }
    }

    #[test]
    fn what_is_lost_of_a_front_is_not_taken_for_a_segment_in_the_making() {
        let log = sample();
        let intact = log.fs.bytes(&path(2));
        let look = |zeroed: std::ops::Range<usize>, as_number: u64| {
            let mut bytes = intact.clone();
            bytes[zeroed].fill(0);
            log.fs.set(&path(2), &bytes);
            SegmentState::read(&*open(&log, 2), &path(2), FileNumber(as_number), OWNER)
        };
        assert_eq!(look(0..NONCE_AT, 2).unwrap(), SegmentState::Blank);
        assert_eq!(look(0..NONCE_AT, 3).unwrap(), SegmentState::Renamed);
        for lost in [NONCE_AT..HEADER_LEN, 0..HEADER_LEN] {
            let error = look(lost, 2).unwrap_err();
            let found = (error.kind(), error.offset());
            assert_eq!(found, (ErrorKind::Corrupt, Some(NONCE_AT as u64)));
        }
    }
}
