//! Single looks at segments: names, the header, one record.
//!
//! For owners that keep no list of their segments, and for reading records again after replay.
//! Threads: any.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::record::{
    HEADER_LEN, Header, LOG, Lsn, PAYLOAD_LEN_MAX, RECORD_HEADER_LEN, RECORD_LEN_MIN, record_len,
    salt,
};
use crate::checksum::checksum;
use crate::coding::u32_at;
use crate::error::{Error, Result};
use crate::file_name::{FileName, FileNumber};
use crate::fs::ReadFile;

/// What the first bytes of a segment file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// It was started, and begins at this position.
    Started(Lsn),
    /// It has no valid header: it was never started, or its header is lost.
    Blank,
    /// It carries the header of an earlier number: a crash came while it was renamed to be
    /// recycled, and nothing was ever written to it under its new number.
    Renamed,
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

/// Reads the header of a segment of `owner`'s log.
///
/// # Errors
///
/// `Corrupt` if the header is another owner's, or of another kind of file; `Unsupported` if it is
/// a newer program's; `Io`.
pub fn front(file: &dyn ReadFile, path: &Path, number: FileNumber, owner: u64) -> Result<Front> {
    if file.len() < HEADER_LEN as u64 {
        return Ok(Front::Blank);
    }
    let mut bytes = [0; HEADER_LEN];
    file.read_at(0, &mut bytes).map_err(|e| Error::io("read", path, e).at(0))?;
    let Some(header) = Header::decode(&bytes, &LOG).map_err(|e| e.in_file(path))? else {
        return Ok(Front::Blank);
    };
    header.check(header.number, owner, &LOG).map_err(|e| e.in_file(path))?;
    match header.number == number {
        true => Ok(Front::Started(header.base)),
        false => Ok(Front::Renamed),
    }
}

/// Reads the record at `offset` of a segment: its payload, or `None` if no valid record is there.
///
/// `payload_len` is what the payload's length is expected to be: if it is right, one read suffices.
///
/// # Errors
///
/// `Io`.
pub fn read_record(
    file: &dyn ReadFile,
    path: &Path,
    number: FileNumber,
    offset: u64,
    payload_len: usize,
) -> Result<Option<Bytes>> {
    let rest = usize::try_from(file.len().saturating_sub(offset)).unwrap_or(usize::MAX);
    let read = |at: usize, buffer: &mut [u8]| {
        let offset = offset + at as u64;
        file.read_at(offset, buffer).map_err(|e| Error::io("read", path, e).at(offset))
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
    let crc = checksum(salt(number, offset as usize), &bytes[4..record_len(len)]);
    if u32_at(&bytes, 0) != Some(crc) {
        return Ok(None);
    }
    Ok(Some(Bytes::from(bytes).slice(RECORD_HEADER_LEN..RECORD_HEADER_LEN + len)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::fs::Fs;
    use crate::wal::test_fs::{OWNER, TestFs};
    use crate::wal::test_log::{Log, dir, path, payload, sample};

    fn open(log: &Log, number: u64) -> std::sync::Arc<dyn ReadFile> {
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
        log.fs.set(&path(1), &[0; 47]);
        assert_eq!(look(1, 1, OWNER).unwrap(), Front::Blank);
        log.fs.set(&path(1), &[0; 480]);
        assert_eq!(look(1, 1, OWNER).unwrap(), Front::Blank);
    }

    #[test]
    fn a_record_is_read_again_whatever_its_length_was_thought_to_be() {
        let mut log = Log::new(&TestFs::default());
        log.append(1, &payload(1));
        let at = log.writer.end().0;
        log.append(2, &payload(2));
        let file = open(&log, 1);
        let read = |offset, len| read_record(&*file, &path(1), FileNumber(1), offset, len).unwrap();
        for len in [0, 1, payload(2).len(), 100, 1 << 40] {
            assert_eq!(read(at, len).as_deref(), Some(&*payload(2)), "{len}");
        }
        // Elsewhere: between records, in what was never written, behind the end.
        for offset in [at + 8, log.writer.end().0, file.len() - 8, file.len(), 1 << 40] {
            assert_eq!(read(offset, 40), None, "{offset}");
        }
        let other = read_record(&*file, &path(1), FileNumber(2), at, 40).unwrap();
        assert_eq!(other, None, "a record of a file's earlier life");
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
                let (file, at) = (open(&log, 1), HEADER_LEN as u64);
                let read = read_record(&*file, &path(1), FileNumber(1), at, 7).unwrap();
                assert_eq!(read, None, "{byte} {bit}");
            }
        }
    }
}
