//! Reads records of a segment again after replay, each by its place.
//!
//! Threads: any.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::nonce::Nonce;
use super::record::{
    Lsn, PAYLOAD_LEN_MAX, RECORD_HEADER_LEN, RECORD_LEN_MIN, RecordPlace, UnverifiedHeader,
    record_len,
};
use super::segment::no_nonce;
use super::segment_state::{SegmentHeader, segment_path};
use crate::coding::u32_at;
use crate::error::{Error, Result};
use crate::file_name::FileNumber;
use crate::fs::{Fs, ReadFile};

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
        let found = SegmentHeader::read(&*file, &path, number)?;
        let Some(header) = found.started_as(number) else {
            return Err(Error::corrupt("the log segment has lost its header").in_file(&path).at(0));
        };
        let nonce = found.nonce().ok_or_else(|| no_nonce(&path))?;
        Ok(Self { file, path, number, nonce, base: header.base })
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
        let place = RecordPlace { number: self.number, nonce: self.nonce, offset: offset as usize };
        let claim = UnverifiedHeader::read(&bytes, place, self.base.plus(place.offset));
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
    use crate::testkit::TestFs;
    use crate::wal::prepare;
    use crate::wal::record::HEADER_LEN;
    use crate::wal::test_log::{TestLog, dir, path, payload};

    fn open(log: &TestLog, number: u64) -> Arc<dyn ReadFile> {
        log.fs.open_read(&path(number)).unwrap()
    }

    #[test]
    fn a_record_is_read_again_whatever_its_length_was_thought_to_be() {
        let mut log = TestLog::new(&TestFs::default());
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
        let mut log = TestLog::new(&TestFs::default());
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
