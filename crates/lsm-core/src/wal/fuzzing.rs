//! Entry points for fuzzing: any bytes, read as a log.

use super::record::{CHECKSUM_AT, Claim, HEADER_LEN, Header, LOG, Lsn, salt};
use super::scan::{Base, Records, find_witness};
use crate::checksum::checksum;
use crate::coding::u64_at;
use crate::file_name::FileNumber;

/// The number of every file that is fuzzed.
pub(crate) const NUMBER: FileNumber = FileNumber(7);

/// Reads `bytes` as one segment, and searches what does not parse.
pub(crate) fn check_log(bytes: &[u8]) {
    let header = Header::decode(bytes, &LOG).ok().flatten();
    let base = header.map_or(Lsn(0), |header| header.base);
    let mut records = Records::new(bytes, NUMBER, base, 0);
    let (mut payload_bytes, mut last_sequence) = (0, 0);
    while let Ok(Some(frame)) = records.next() {
        payload_bytes += frame.payload.len();
        assert!(frame.sequence >= last_sequence, "sequences do not decrease");
        last_sequence = frame.sequence;
        assert!(payload_bytes < bytes.len(), "records do not overlap");
    }
    let end = records.offset();
    let found = find_witness(bytes, NUMBER, Base::Known(base), end, base.plus(end), last_sequence);
    if let Some(witness) = found {
        assert!((end..bytes.len()).contains(&witness), "a witness stands behind the end");
    }
}

/// The payloads of the records in `bytes`, a log or a manifest, whatever its number.
pub(crate) fn payloads(bytes: &[u8]) -> Vec<Vec<u8>> {
    let number = FileNumber(u64_at(bytes, 8).unwrap_or(0));
    let base = Lsn(u64_at(bytes, 16).unwrap_or(0));
    let mut records = Records::new(bytes, number, base, 0);
    let next = || records.next().ok().flatten().map(|frame| frame.payload.to_vec());
    std::iter::from_fn(next).collect()
}

/// Makes the checksums in `bytes`, a log or a manifest, fit what they cover, as far as lengths
/// make sense, so that a fuzzer gets behind them.
pub(crate) fn mend_checksums(bytes: &mut [u8]) {
    if bytes.len() < HEADER_LEN {
        return;
    }
    bytes[8..16].copy_from_slice(&NUMBER.0.to_le_bytes());
    let crc = checksum(0, &bytes[..CHECKSUM_AT]);
    bytes[CHECKSUM_AT..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    let mut offset = HEADER_LEN;
    while let Some(claim) = Claim::read(bytes, offset) {
        let end = offset + claim.record_len();
        let crc = checksum(salt(NUMBER, offset), &bytes[offset + 4..end]);
        bytes[offset..offset + 4].copy_from_slice(&crc.to_le_bytes());
        offset = end;
    }
}
