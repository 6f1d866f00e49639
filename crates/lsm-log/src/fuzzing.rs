//! Entry points for fuzzing: any bytes, read as a log.

use crate::checksum::checksum;
use crate::coding::{u32_at, u64_at};
use crate::file_name::FileNumber;
use crate::wal::{
    CHECKSUM_AT, FileBase, FoundNonce, HEADER_LEN, Header, LOG, Lsn, NONCE_AT, Nonce,
    RECORD_HEADER_LEN, RecordPlace, Records, find_nonce, find_witness, record_len,
};

/// The number of every file that is fuzzed.
pub const NUMBER: FileNumber = FileNumber(7);

/// Reads `bytes` as one segment, and searches what does not parse.
pub fn check_log(bytes: &[u8]) {
    let header = Header::decode(bytes, &LOG).ok().flatten();
    let base = header.map_or(Lsn(0), |header| header.base);
    let FoundNonce::Nonce(nonce) = find_nonce(bytes, NUMBER) else { return };
    let mut records = Records::new(bytes, NUMBER, nonce, base, 0);
    let (mut payload_bytes, mut last_sequence) = (0, 0);
    while let Ok(Some(frame)) = records.read_next() {
        payload_bytes += frame.payload.len();
        assert!(frame.sequence >= last_sequence, "sequences do not decrease");
        last_sequence = frame.sequence;
        assert!(payload_bytes < bytes.len(), "records do not overlap");
    }
    let (end, base) = (records.offset(), FileBase::Known(base));
    let at = records.position();
    if let Some(witness) = find_witness(bytes, NUMBER, nonce, base, end, at, last_sequence) {
        assert!((end..bytes.len()).contains(&witness), "a witness stands behind the end");
    }
}

/// The payloads of the records in `bytes`, a log or a manifest, whatever its number.
pub fn payloads(bytes: &[u8]) -> Vec<Vec<u8>> {
    let number = FileNumber(u64_at(bytes, 8).unwrap_or(0));
    let base = Lsn(u64_at(bytes, 16).unwrap_or(0));
    let FoundNonce::Nonce(nonce) = find_nonce(bytes, number) else { return Vec::new() };
    let mut records = Records::new(bytes, number, nonce, base, 0);
    let next = || records.read_next().ok().flatten().map(|frame| frame.payload.to_vec());
    std::iter::from_fn(next).collect()
}

/// Makes the checksums in `bytes`, a log or a manifest, fit what they cover, as far as lengths
/// make sense, so that a fuzzer gets behind them.
pub fn mend_checksums(bytes: &mut [u8]) {
    if bytes.len() < HEADER_LEN {
        return;
    }
    bytes[8..16].copy_from_slice(&NUMBER.0.to_le_bytes());
    let crc = checksum(0, &bytes[..CHECKSUM_AT]);
    bytes[CHECKSUM_AT..NONCE_AT].copy_from_slice(&crc.to_le_bytes());
    let nonce = Nonce(u64_at(bytes, NONCE_AT).unwrap_or_default());
    let mut front = Vec::new();
    nonce.encode(NUMBER, &mut front);
    bytes[NONCE_AT..HEADER_LEN].copy_from_slice(&front);
    let mut place = RecordPlace { number: NUMBER, nonce, offset: HEADER_LEN };
    while let Some(len) = u32_at(bytes, place.offset + 4).filter(|&len| len > 0) {
        let end = place.offset.saturating_add(record_len(len as usize));
        if end > bytes.len() {
            return;
        }
        mend_synced(&mut bytes[..end], place);
        let crc = checksum(place.salt(), &bytes[place.offset + 4..end]);
        bytes[place.offset..place.offset + 4].copy_from_slice(&crc.to_le_bytes());
        place.offset = end;
    }
}

/// A mutated nonce must not make an end of every record: what was said to be durable is made a
/// possible position again, mostly.
fn mend_synced(record: &mut [u8], place: RecordPlace) {
    let field = place.offset + RECORD_HEADER_LEN - 8..place.offset + RECORD_HEADER_LEN;
    let Some(masked) = u64_at(record, field.start) else { return };
    let synced = masked ^ place.nonce.0;
    if synced > Lsn::MAX.0 {
        let possible = (synced % place.offset as u64) & !7;
        record[field].copy_from_slice(&(possible ^ place.nonce.0).to_le_bytes());
    }
}
