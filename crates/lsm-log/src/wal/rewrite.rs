//! Makes what is about to be replayed durable.
//!
//! After the death of a process its log may be in the system's cache only. A sync does not always
//! change that: once one has failed, the system counts the pages that it could not write as
//! written; they stay readable, and the next sync succeeds without them. Opening a log again would
//! be the retry that the syncer forbids. So all that can be read is written once more, as it is,
//! and then synced.
//!
//! Memory: one segment at a time. Threads: none of its own.

use std::io;
use std::path::Path;

use super::reader::{SegmentInfo, read_segment};
use super::record::HEADER_LEN;
use super::scan::Records;
use super::segment_state::SegmentHeader;
use crate::error::{Error, ErrorKind, Result};
use crate::file_name::FileName;
use crate::fs::Fs;

/// Makes the records of the listed segments durable as they are. To be called before
/// [`replay`](super::replay), by whoever builds on what it reads: a new segment must not begin
/// behind bytes that can still be lost.
///
/// # Errors
///
/// `Io` if a file cannot be read, written or synced. What is missing or damaged is left to `replay`.
pub fn rewrite_and_sync(fs: &dyn Fs, dir: &Path, segments: &[SegmentInfo]) -> Result<()> {
    let mut buffer = Vec::new();
    for segment in segments {
        let path = FileName::Log(segment.number).in_dir(dir);
        let file = match fs.open_write(&path) {
            // Replay says which one is missing, and that this is damage.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(|e| Error::io("open the log segment", &path, e))?,
        };
        let len = read_records(fs, &path, segment, &mut buffer)?;
        if len > 0 {
            let written = file.write_at(0, &buffer[..len]);
            written.map_err(|e| Error::io("write the log segment again", &path, e).at(0))?;
        }
        file.sync().map_err(|e| Error::io("sync the log segment", &path, e))?;
    }
    Ok(())
}

/// Reads a segment, and returns where its records end; 0 if it has no header, or none of ours.
fn read_records(
    fs: &dyn Fs,
    path: &Path,
    segment: &SegmentInfo,
    buffer: &mut Vec<u8>,
) -> Result<usize> {
    let file = fs.open_read(path).map_err(|e| Error::io("open the log segment", path, e))?;
    if file.len() < segment.bytes.max(HEADER_LEN as u64) {
        return Ok(0);
    }
    // A segment made ahead is long and holds nothing.
    let found = match SegmentHeader::read(&*file, path, segment.number) {
        Err(error) if error.kind() == ErrorKind::Io => return Err(error),
        found => found.ok(),
    };
    let found = found.and_then(|found| Some((found.header?, found.nonce()?)));
    let Some((header, nonce)) = found else { return Ok(0) };
    read_segment(&*file, path, segment.bytes, buffer)?;
    let mut records = Records::new(buffer, segment.number, nonce, header.base, 0);
    while let Ok(Some(_)) = records.read_next() {}
    Ok(records.offset())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::file_name::FileNumber;
    use crate::fs::{CrashFs, CrashImage};
    use crate::testkit::{OWNER, nonce};
    use crate::wal::test_log::{SEGMENT, dir, path};
    use crate::wal::writer::Writer;
    use crate::wal::{Lsn, Syncer, WriteMode, prepare, replay};

    #[test]
    fn what_a_failed_sync_left_in_the_cache_is_written_again() {
        let fs = CrashFs::new();
        fs.create_dir_all(dir()).unwrap();
        let segment =
            prepare(&fs, dir(), FileNumber(1), nonce(FileNumber(1)), SEGMENT, None, false).unwrap();
        let listed = [SegmentInfo { number: segment.number, bytes: segment.bytes }];
        let syncer = Arc::new(Syncer::new(Lsn(0)));
        let mut writer = Writer::start(OWNER, segment, Lsn(0), 0, syncer).unwrap();
        writer.append(1, b"payload", WriteMode::Mmap).unwrap();
        fs.lose_unsynced(&path(1)).unwrap();
        let records = |image: &CrashFs| {
            let replayed = replay(image, dir(), OWNER, &listed, Lsn(0), None, &mut |_| Ok(()));
            replayed.unwrap().records
        };
        fs.open_write(&path(1)).unwrap().sync().unwrap();
        assert_eq!(records(&fs), 1, "it can be read");
        assert_eq!(records(&fs.image(CrashImage::Lost)), 0, "and is lost with the power");
        rewrite_and_sync(&fs, dir(), &listed).unwrap();
        assert_eq!(records(&fs.image(CrashImage::Lost)), 1);
    }
}
