//! Which batches may follow each other in the log.

use std::path::Path;

use super::*;
use crate::batch::WriteBatch;
use lsm_log::error::ErrorKind;

/// Reads a batch of two writes whose first number is `first` behind `last`, with everything up to
/// `flushed` in tables.
fn follows(first: u64, last: u64, flushed: u64) -> Result<()> {
    let mut batch = WriteBatch::new();
    batch.put("a", "1");
    batch.put("b", "2");
    let mut payload = Vec::new();
    batch.encode(SeqNo(first), &mut payload);
    let (payload, file) = (&*payload, Path::new("log"));
    let record = LogRecord { sequence: first, payload, segment: FileNumber(1), file, offset: 48 };
    decode(&record, SeqNo(last), SeqNo(flushed)).map(drop)
}

#[test]
fn numbers_are_missing_only_where_tables_have_them() {
    follows(1, 0, 0).unwrap();
    follows(6, 5, 0).unwrap();
    follows(6, 5, 9).unwrap();
    // They were given to writes in no log, which had to be in tables before the next in the log.
    follows(8, 5, 7).unwrap();
    follows(8, 5, 10).unwrap();
    for (first, last, flushed) in [(7, 5, 0), (8, 5, 6), (5, 5, 9), (4, 5, 9), (2, 0, 0)] {
        let error = follows(first, last, flushed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{first} {last} {flushed}");
        assert_eq!(error.offset(), Some(48));
    }
}
