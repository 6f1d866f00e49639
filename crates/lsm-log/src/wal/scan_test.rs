use super::*;
use crate::error::ErrorKind;
use crate::wal::record::{Header, LOG, encode};

const NUMBER: FileNumber = FileNumber(7);
const NONCE: Nonce = Nonce(0x0fed_cba9_8765_4321);
const BASE: Lsn = Lsn(4096);

struct File(Vec<u8>);

impl File {
    fn new() -> Self {
        let mut bytes = Vec::new();
        Header { number: NUMBER, base: BASE, synced: Lsn(0), owner: 0 }.encode(&LOG, &mut bytes);
        NONCE.encode(NUMBER, &mut bytes);
        Self(bytes)
    }

    /// Appends a record and returns where it starts.
    fn push(&mut self, sequence: u64, synced: Lsn, payload: &[u8]) -> usize {
        self.push_with(NONCE, sequence, synced, payload)
    }

    fn push_with(&mut self, nonce: Nonce, sequence: u64, synced: Lsn, payload: &[u8]) -> usize {
        let offset = self.0.len();
        encode(
            &mut self.0,
            RecordPlace { number: NUMBER, nonce, offset },
            sequence,
            synced,
            payload,
        );
        offset
    }

    fn witness(&self, from: usize, at: Lsn) -> Option<usize> {
        find_witness(&self.0, NUMBER, NONCE, FileBase::Known(BASE), from, at, 5)
    }
}

#[test]
fn a_witness_claims_more_than_what_is_asked() {
    let mut file = File::new();
    let position = BASE.plus(HEADER_LEN);
    file.push(5, position, b"first");
    let second = file.push(6, position, b"second");
    let third = file.push(7, BASE.plus(second), b"third");
    assert_eq!(file.witness(HEADER_LEN, position), Some(third));
    assert_eq!(file.witness(second, position), Some(third));
    assert_eq!(file.witness(HEADER_LEN, BASE), Some(HEADER_LEN));
    assert_eq!(file.witness(HEADER_LEN, BASE.plus(second)), None);
    assert_eq!(file.witness(third + 8, position), None);
}

#[test]
fn records_of_another_order_or_place_are_no_witness() {
    let mut file = File::new();
    let old = file.push(4, BASE.plus(HEADER_LEN), b"an earlier sequence");
    let ahead = file.push(9, BASE.plus(4000), b"claims what came later");
    assert_eq!(file.witness(old, BASE), None);
    // Without a header nobody knows where the file begins.
    let found = find_witness(&file.0, NUMBER, NONCE, FileBase::AtMost(Lsn(u64::MAX)), old, BASE, 5);
    assert_eq!(found, Some(ahead));
}

#[test]
fn false_claims_cost_little_and_hide_no_true_one() {
    // Each 8 bytes of this begin a record of a MiB, and some of them would show what is asked if
    // there were no nonce: their checksums, read one by one, would be half a TiB.
    const LEN: usize = 4 << 20;
    let claim = (1u64 << 52 | 0x1234).to_le_bytes();
    let search = |file: &File| {
        let base = FileBase::AtMost(Lsn(1 << 60));
        find_witness(&file.0, NUMBER, NONCE, base, HEADER_LEN, BASE, 5)
    };
    let mut file = File::new();
    file.0.extend(claim.iter().cycle().take(LEN));
    assert_eq!(search(&file), None);
    let mut payload = vec![0; 1 << 20];
    payload.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&claim));
    let witness = file.push(6, BASE.plus(8), &payload);
    file.0.extend(claim.iter().cycle().take(LEN));
    assert_eq!(search(&file), Some(witness));
}

/// All that a writer of values can know is right, at every place behind the end.
#[test]
fn records_under_another_nonce_are_neither_records_nor_witnesses() {
    let forge = |nonce| {
        let mut file = File::new();
        file.push(5, BASE.plus(HEADER_LEN), b"the last one");
        let end = file.0.len();
        for sequence in [6, 6, 7, 1 << 50] {
            let at = file.0.len();
            file.push_with(nonce, sequence, BASE.plus(at), b"forged");
        }
        let mut records = Records::new(&file.0, NUMBER, NONCE, BASE, 0);
        let mut count = 0;
        while records.read_next().unwrap().is_some() {
            count += 1;
        }
        (count, file.witness(end, BASE.plus(end)))
    };
    assert!(matches!(forge(NONCE), (5, Some(_))), "whoever knows the nonce is believed");
    for bit in 0..64 {
        assert_eq!(forge(Nonce(NONCE.0 ^ 1 << bit)), (1, None), "bit {bit}");
    }
}

#[test]
fn what_no_writer_writes_is_an_error() {
    let mut file = File::new();
    file.push(5, Lsn(0), b"one");
    let backwards = file.push(4, Lsn(0), b"two");
    let mut records = Records::new(&file.0, NUMBER, NONCE, BASE, 0);
    assert!(records.read_next().unwrap().is_some());
    let error = records.read_next().unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Corrupt, Some(backwards as u64)));
}

/// A checksum may hold by chance: what it covers is not taken for a writer's then.
#[test]
fn an_impossible_position_is_the_end() {
    let mut file = File::new();
    file.push(1, BASE.plus(HEADER_LEN), b"one");
    let second = file.push(2, BASE.plus(4000), b"claims what came later");
    file.push(3, BASE, b"behind the end");
    let mut records = Records::new(&file.0, NUMBER, NONCE, BASE, 0);
    assert!(records.read_next().unwrap().is_some());
    assert!(records.read_next().unwrap().is_none());
    assert_eq!(records.offset(), second);
}

#[test]
fn any_bytes_are_read_and_mended() {
    use crate::fuzzing::{check_log, mend_checksums};
    for seed in 0..2000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut file = File::new();
        for sequence in 0..rng.u64(0..6) {
            let payload = vec![rng.u8(..); rng.usize(1..60)];
            file.push(sequence, BASE, &payload);
        }
        for _ in 0..rng.usize(0..4) {
            let at = rng.usize(0..file.0.len());
            file.0[at] = rng.u8(..);
        }
        file.0.truncate(rng.usize(0..=file.0.len()));
        check_log(&file.0);
        mend_checksums(&mut file.0);
        check_log(&file.0);
    }
}
