//! Single looks at segments: names, the header, one record.
//!
//! For owners that keep no list of their segments, and for reading records again after replay.
//! Threads: any.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::nonce::{Found, Nonce};
use super::record::{
    Claim, HEADER_LEN, Header, LOG, Lsn, PAYLOAD_LEN_MAX, Place, RECORD_HEADER_LEN, RECORD_LEN_MIN,
    find_nonce, record_len,
};
use super::segment::no_nonce;
use crate::coding::u32_at;
use crate::error::{Error, Result};
use crate::file_name::{FileName, FileNumber};
use crate::fs::{Fs, ReadFile};

/// A file is looked through in pieces of this length.
const PIECE_LEN: u64 = 1 << 20;

/// What the first bytes of a segment file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
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

/// Reads the first bytes of a segment of `owner`'s log; all of them, if it was not prepared.
///
/// # Errors
///
/// `Corrupt` if the header is another owner's, or of another kind of file, or if what every segment
/// has that was prepared is not there; `Unsupported` if it is another version's; `Io`.
pub fn front(file: &dyn ReadFile, path: &Path, number: FileNumber, owner: u64) -> Result<Front> {
    if file.len() < HEADER_LEN as u64 {
        return Ok(Front::Unmade);
    }
    let mut bytes = [0; HEADER_LEN];
    file.read_at(0, &mut bytes).map_err(|e| Error::io("read", path, e).at(0))?;
    let header = Header::decode(&bytes, &LOG).map_err(|e| e.in_file(path))?;
    if let Some(header) = header {
        header.check(header.number, owner, &LOG).map_err(|e| e.in_file(path))?;
        if header.number != number {
            return Ok(Front::Renamed);
        }
    }
    match (header, find_nonce(&bytes, number)) {
        (Some(header), Found::Nonce(_)) => Ok(Front::Started(header.base)),
        (None, Found::Nonce(_)) => Ok(Front::Blank),
        (None, Found::Earlier) => Ok(Front::Renamed),
        (None, Found::Nothing) if is_zero(file, path)? => Ok(Front::Unmade),
        _ => Err(no_nonce(path)),
    }
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

/// Reads records of one segment again, by their place.
#[derive(Clone, Debug)]
pub struct RecordReader {
    file: Arc<dyn ReadFile>,
    path: PathBuf,
    number: FileNumber,
    nonce: Nonce,
    base: Lsn,
}

impl RecordReader {
    /// Opens a segment that was started.
    ///
    /// # Errors
    ///
    /// `Corrupt` if its header or its nonce is damaged, or those of another number; `Io`.
    pub fn open(fs: &dyn Fs, dir: &Path, number: FileNumber) -> Result<Self> {
        let path = segment_path(dir, number);
        let file = fs.open_read(&path).map_err(|e| Error::io("open the log segment", &path, e))?;
        let mut bytes = [0; HEADER_LEN];
        let bytes = &mut bytes[..file.len().min(HEADER_LEN as u64) as usize];
        file.read_at(0, bytes).map_err(|e| Error::io("read", &path, e).at(0))?;
        let header = Header::decode(bytes, &LOG).map_err(|e| e.in_file(&path))?;
        let Some(header) = header.filter(|header| header.number == number) else {
            return Err(Error::corrupt("the log segment has lost its header").in_file(&path).at(0));
        };
        match find_nonce(bytes, number) {
            Found::Nonce(nonce) => Ok(Self { file, path, number, nonce, base: header.base }),
            Found::Earlier | Found::Nothing => Err(no_nonce(&path)),
        }
    }

    /// The segment's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the record at `offset`: its payload, or `None` if no valid record is there.
    ///
    /// `payload_len` is what the payload's length is expected to be: if it is right, one read
    /// suffices.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn read(&self, offset: u64, payload_len: usize) -> Result<Option<Bytes>> {
        let rest = usize::try_from(self.file.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        let read = |at: usize, buffer: &mut [u8]| {
            let offset = offset + at as u64;
            self.file
                .read_at(offset, buffer)
                .map_err(|e| Error::io("read", &self.path, e).at(offset))
        };
        if rest < RECORD_LEN_MIN {
            return Ok(None);
        }
        // Never more than the file holds, whatever the lengths claim.
        let mut bytes = vec![0; record_len(payload_len.min(PAYLOAD_LEN_MAX)).min(rest)];
        read(0, &mut bytes)?;
        let Some(len) = u32_at(&bytes, 4).map(|len| len as usize) else {
            return Ok(None);
        };
        if len == 0 || len > PAYLOAD_LEN_MAX || record_len(len) > rest {
            return Ok(None);
        }
        if let Some(missing) = record_len(len).checked_sub(bytes.len()).filter(|&more| more > 0) {
            let at = bytes.len();
            bytes.resize(at + missing, 0);
            read(at, &mut bytes[at..])?;
        }
        let place = Place { number: self.number, nonce: self.nonce, offset: offset as usize };
        let claim = Claim::read(&bytes, place, self.base.plus(place.offset));
        if claim.and_then(|claim| claim.verify(&bytes, place)).is_none() {
            return Ok(None);
        }
        Ok(Some(Bytes::from(bytes).slice(RECORD_HEADER_LEN..RECORD_HEADER_LEN + len)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::testkit::{OWNER, TestFs};
    use crate::wal::prepare;
    use crate::wal::record::NONCE_AT;
    use crate::wal::test_log::{Log, dir, path, payload, sample};

    fn open(log: &Log, number: u64) -> Arc<dyn ReadFile> {
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
            front(&*open(&log, number), &path(number), FileNumber(as_number), owner)
        };
        assert_eq!(look(1, 1, OWNER).unwrap(), Front::Started(Lsn(0)));
        assert!(matches!(look(2, 2, OWNER).unwrap(), Front::Started(base) if base > Lsn(0)));
        assert_eq!(look(2, 9, OWNER).unwrap(), Front::Renamed);
        assert_eq!(look(2, 2, OWNER + 1).unwrap_err().kind(), ErrorKind::Corrupt);
        for len in [0, HEADER_LEN - 1, HEADER_LEN, 480, PIECE_LEN as usize + 5] {
            log.fs.set(&path(1), &vec![0; len]);
            assert_eq!(look(1, 1, OWNER).unwrap(), Front::Unmade, "{len}");
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
            front(&*open(&log, 2), &path(2), FileNumber(as_number), OWNER)
        };
        assert_eq!(look(0..NONCE_AT, 2).unwrap(), Front::Blank);
        assert_eq!(look(0..NONCE_AT, 3).unwrap(), Front::Renamed);
        for lost in [NONCE_AT..HEADER_LEN, 0..HEADER_LEN] {
            let error = look(lost, 2).unwrap_err();
            let found = (error.kind(), error.offset());
            assert_eq!(found, (ErrorKind::Corrupt, Some(NONCE_AT as u64)));
        }
    }

    #[test]
    fn a_record_is_read_again_whatever_its_length_was_thought_to_be() {
        let mut log = Log::new(&TestFs::default());
        log.append(1, &payload(1));
        let at = log.writer.end().0;
        log.append(2, &payload(2));
        let file = open(&log, 1);
        let reader = RecordReader::open(&log.fs, dir(), FileNumber(1)).unwrap();
        assert_eq!(reader.path(), path(1));
        let read = |offset, len| reader.read(offset, len).unwrap();
        for len in [0, 1, payload(2).len(), 100, 1 << 40] {
            assert_eq!(read(at, len).as_deref(), Some(&*payload(2)), "{len}");
        }
        // Elsewhere: between records, in what was never written, behind the end.
        for offset in [at + 8, log.writer.end().0, file.len() - 8, file.len(), 1 << 40] {
            assert_eq!(read(offset, 40), None, "{offset}");
        }
        // The file's earlier life, and a segment that was prepared and not started.
        log.fs.set(&path(2), &log.fs.bytes(&path(1)));
        prepare(&log.fs, dir(), FileNumber(3), Nonce(3), 512, None, false).unwrap();
        for number in [2, 3].map(FileNumber) {
            let error = RecordReader::open(&log.fs, dir(), number).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_noticed() {
        let mut log = Log::new(&TestFs::default());
        log.append(1, b"payload");
        let intact = log.fs.bytes(&path(1));
        for byte in HEADER_LEN..log.writer.end().0 as usize {
            for bit in 0..8 {
                let mut bytes = intact.clone();
                bytes[byte] ^= 1 << bit;
                log.fs.set(&path(1), &bytes);
                let reader = RecordReader::open(&log.fs, dir(), FileNumber(1)).unwrap();
                assert_eq!(reader.read(HEADER_LEN as u64, 7).unwrap(), None, "{byte} {bit}");
            }
        }
    }
}
