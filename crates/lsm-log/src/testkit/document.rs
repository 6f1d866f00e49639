//! What `docs/format.md` shows of framed files.

use super::OWNER;
use crate::file_name::FileNumber;
use crate::wal::{
    ALIGN, HEADER_LEN, Header, LOG, Lsn, Nonce, PAYLOAD_LEN_MAX, RECORD_HEADER_LEN, RecordPlace,
    SEGMENT_BYTES_MAX, encode,
};

/// The bytes under the names of the document's examples.
pub fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let (number, nonce) = (FileNumber(7), Nonce(0xfedc_ba98_7654_3210));
    let mut header = Vec::new();
    Header { number, base: Lsn(4096), synced: Lsn(4000), owner: OWNER }.encode(&LOG, &mut header);
    nonce.encode(number, &mut header);
    let mut record = Vec::new();
    encode(&mut record, RecordPlace { number, nonce, offset: HEADER_LEN }, 3, Lsn(4000), b"hello");
    vec![("log-header", header), ("log-record", record)]
}

/// The numbers of the document.
pub fn numbers() -> Vec<(&'static str, u64)> {
    vec![
        ("LOG_VERSION", LOG.version.into()),
        ("FRAME_HEADER_LEN", HEADER_LEN as u64),
        ("RECORD_HEADER_LEN", RECORD_HEADER_LEN as u64),
        ("RECORD_ALIGN", ALIGN as u64),
        ("PAYLOAD_LEN_MAX", PAYLOAD_LEN_MAX as u64),
        ("POSITION_MAX", Lsn::MAX.0),
        ("SEGMENT_BYTES_MAX", SEGMENT_BYTES_MAX),
    ]
}
