use super::*;
use crate::error::ErrorKind;
use crate::testkit::OWNER;

const NUMBER: FileNumber = FileNumber(7);
const NONCE: Nonce = Nonce(0xfedc_ba98_7654_3210);
/// Of the first record.
const PLACE: RecordPlace = RecordPlace { number: NUMBER, nonce: NONCE, offset: HEADER_LEN };
const SYNCED: Lsn = Lsn(4000);

fn hex(bytes: &[u8]) -> String {
    let words = bytes.chunks(8).map(|word| word.iter().map(|b| format!("{b:02x}")).collect());
    words.collect::<Vec<String>>().join(" ")
}

fn header() -> Vec<u8> {
    let mut out = Vec::new();
    Header { number: NUMBER, base: Lsn(4096), synced: Lsn(4000), owner: OWNER }
        .encode(&LOG, &mut out);
    out
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out, PLACE, 3, SYNCED, payload);
    out
}

fn decode(bytes: &[u8], place: RecordPlace) -> Option<Frame<'_>> {
    let rest = bytes.get(place.offset..)?;
    UnverifiedHeader::read(rest, place, SYNCED)?.verify(rest, place)
}

/// The bytes of `docs/format.md`.
#[test]
fn header_bytes_are_golden() {
    assert_eq!(
        hex(&header()),
        "6c736d2d6c6f670a 0700000000000000 0010000000000000 a00f000000000000 efcdab8967452301 02000000410b9eef"
    );
}

#[test]
fn record_bytes_are_golden() {
    assert_eq!(
        hex(&frame(b"hello")),
        "a07e676205000000 0300000000000000 b03d547698badcfe 68656c6c6f000000"
    );
}

#[test]
fn header_comes_back() {
    let found = Header::decode(&header(), &LOG).unwrap();
    assert_eq!(
        found,
        Some(Header { number: NUMBER, base: Lsn(4096), synced: Lsn(4000), owner: OWNER })
    );
}

#[test]
fn a_damaged_or_cut_header_is_none() {
    let intact = header();
    for bit in 0..intact.len() * 8 {
        let mut bytes = intact.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Header::decode(&bytes, &LOG).unwrap(), None, "bit {bit}");
    }
    for len in 0..intact.len() {
        assert_eq!(Header::decode(&intact[..len], &LOG).unwrap(), None, "length {len}");
    }
    assert_eq!(Header::decode(&[0; NONCE_AT], &LOG).unwrap(), None);
}

#[test]
fn intact_headers_of_others_are_told_apart() {
    let other = Format { magic: *b"another\n", version: 1, name: "log segment" };
    assert_eq!(Header::decode(&header(), &other).unwrap_err().kind(), ErrorKind::Corrupt);
    for version in [LOG.version - 1, LOG.version + 1] {
        let format = Format { version, ..LOG };
        let mut bytes = Vec::new();
        Header { number: NUMBER, base: Lsn(0), synced: Lsn(0), owner: OWNER }
            .encode(&format, &mut bytes);
        assert_eq!(Header::decode(&bytes, &LOG).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn headers_of_another_file_or_owner_are_told_apart() {
    let found = Header::decode(&header(), &LOG).unwrap().unwrap();
    found.check(NUMBER, OWNER, &LOG).unwrap();
    let wrong = [(FileNumber(8), OWNER, 8, "000008"), (NUMBER, 1, 32, "0000000000000001")];
    for (number, owner, offset, expected) in wrong {
        let error = found.check(number, owner, &LOG).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Corrupt, Some(offset)));
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn impossible_positions_are_refused() {
    for (base, synced) in [(1 << 63, 0), (4, 0), (8, 16), (u64::MAX, u64::MAX)] {
        let mut bytes = Vec::new();
        Header { number: NUMBER, base: Lsn(base), synced: Lsn(synced), owner: OWNER }
            .encode(&LOG, &mut bytes);
        let error = Header::decode(&bytes, &LOG).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Corrupt, Some(16)));
    }
}

#[test]
fn records_come_back_and_start_aligned() {
    for len in (1..=40).chain([1000, 65_536, 1 << 20]) {
        let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let mut bytes = vec![0; HEADER_LEN];
        bytes.extend(frame(&payload));
        assert_eq!(bytes.len() - HEADER_LEN, record_len(len));
        assert!(bytes.len().is_multiple_of(ALIGN));
        let frame = decode(&bytes, PLACE).unwrap();
        assert_eq!((frame.sequence, frame.synced, frame.payload), (3, SYNCED, &payload[..]));
        assert_eq!(frame.payload_offset(), HEADER_LEN + RECORD_HEADER_LEN);
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_seen() {
    let mut intact = vec![0; HEADER_LEN];
    intact.extend(frame(b"hello"));
    for bit in HEADER_LEN * 8..intact.len() * 8 {
        let mut bytes = intact.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode(&bytes, PLACE), None, "bit {bit}");
    }
    for len in 0..intact.len() {
        assert_eq!(decode(&intact[..len], PLACE), None, "length {len}");
    }
}

#[test]
fn an_intact_record_in_another_place_is_not_valid() {
    let mut bytes = vec![0; HEADER_LEN];
    bytes.extend(frame(b"hello"));
    bytes.extend(frame(b"hello"));
    let second = HEADER_LEN + record_len(5);
    assert!(decode(&bytes, PLACE).is_some());
    assert!(decode(&bytes, PLACE.at(second)).is_none(), "another offset");
    for number in (0..1000).chain([1 << 24, u64::MAX]).map(FileNumber).filter(|n| *n != NUMBER) {
        assert!(decode(&bytes, RecordPlace { number, ..PLACE }).is_none(), "another file");
    }
}

/// Nobody who does not know the nonce makes a record, whatever else is right.
#[test]
fn a_record_under_another_nonce_is_not_valid() {
    let mut bytes = vec![0; HEADER_LEN];
    bytes.extend(frame(b"hello"));
    for bit in 0..64 {
        let place = RecordPlace { nonce: Nonce(NONCE.0 ^ 1 << bit), ..PLACE };
        assert!(decode(&bytes, place).is_none(), "bit {bit}");
        // A wrong bit makes most positions impossible, before any checksum is looked at.
        let possible = bit >= 3 && SYNCED.0 & 1 << bit != 0;
        let claim = UnverifiedHeader::read(&bytes[HEADER_LEN..], place, SYNCED);
        assert_eq!(claim.is_some(), possible, "bit {bit}");
    }
}

#[test]
fn impossible_positions_make_no_record() {
    let bytes = frame(b"hello");
    let read = |highest| UnverifiedHeader::read(&bytes, PLACE, highest);
    assert!(read(SYNCED).is_some() && read(Lsn::MAX).is_some());
    assert!(read(Lsn(SYNCED.0 - 1)).is_none(), "beyond the highest");
    let mut odd = bytes.clone();
    odd[16] ^= 4;
    assert!(UnverifiedHeader::read(&odd, PLACE, Lsn::MAX).is_none(), "where no record ends");
}

#[test]
fn zeros_and_wild_lengths_are_no_record() {
    let read = |bytes: &[u8]| UnverifiedHeader::read(bytes, PLACE, Lsn(u64::MAX)).is_none();
    assert!(read(&[0; 64]));
    assert!(read(&[0xff; 64]));
    assert!(read(&[1; 64]));
    assert!(read(&frame(b"hello")[..RECORD_HEADER_LEN]));
}
