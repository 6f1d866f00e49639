//! How many fields the messages in the body of a request have, counted while they come. Pure.
//!
//! A field of two bytes on the wire may be a whole message once it is decoded: what decoding
//! costs must be known before. Leaves to others: which fields those are. A message that cannot
//! be decoded is counted wrongly, but never below the fields that a decoder takes in until it
//! finds out.

/// Follows the messages of a body, piece by piece.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    next: NextByte,
    /// How the value of the field is coded: the last bits of its key.
    kind: u8,
    /// The length of the value, as far as its bytes came.
    len: u64,
    len_bits: u32,
    /// Bytes of the value that are still to come.
    missing: u64,
}

/// What the next byte belongs to, once nothing is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum NextByte {
    #[default]
    Key,
    /// The second byte of a key, or a later one.
    KeyRest,
    Number,
    Len,
}

impl Fields {
    /// Takes the next piece of a message: how many fields begin in it, those of groups too.
    pub(crate) fn feed(&mut self, mut piece: &[u8]) -> usize {
        let mut began = 0;
        loop {
            let skipped = self.missing.min(piece.len() as u64);
            self.missing -= skipped;
            piece = &piece[skipped as usize..];
            let Some((&byte, rest)) = piece.split_first() else { return began };
            piece = rest;
            if self.next == NextByte::Key {
                began += 1;
                self.kind = byte & 7;
            }
            self.next = self.step(byte);
        }
    }

    /// All but the values themselves are numbers whose last byte is the first below 128.
    fn step(&mut self, byte: u8) -> NextByte {
        let is_last = byte & 0x80 == 0;
        match self.next {
            NextByte::Key | NextByte::KeyRest if !is_last => NextByte::KeyRest,
            NextByte::Key | NextByte::KeyRest => self.value(),
            NextByte::Number if is_last => NextByte::Key,
            NextByte::Number => NextByte::Number,
            NextByte::Len => {
                self.len |= u64::from(byte & 0x7f).checked_shl(self.len_bits).unwrap_or(0);
                self.len_bits += 7;
                if !is_last {
                    return NextByte::Len;
                }
                self.missing = self.len;
                NextByte::Key
            }
        }
    }

    fn value(&mut self) -> NextByte {
        match self.kind {
            0 => return NextByte::Number,
            1 => self.missing = 8,
            2 => {
                (self.len, self.len_bits) = (0, 0);
                return NextByte::Len;
            }
            5 => self.missing = 4,
            // A group begins or ends: what is in it follows as fields. Others are no kinds.
            _ => {}
        }
        NextByte::Key
    }
}

#[cfg(test)]
mod tests {
    use lsm_proto::v1::{BatchWriteRequest, DeleteOp, PutOp, Session, Write, write};
    use prost::Message;

    use super::*;

    fn count(message: &[u8], piece_len: usize) -> usize {
        let mut fields = Fields::default();
        message.chunks(piece_len).map(|piece| fields.feed(piece)).sum()
    }

    fn batch(writes: Vec<Write>) -> Vec<u8> {
        let session = Some(Session { id: 1 << 40, sequence: 7 });
        BatchWriteRequest { writes, session }.encode_to_vec()
    }

    #[test]
    fn a_batch_has_a_field_a_write_and_one_for_its_session() {
        assert_eq!(count(&batch(vec![Write::default(); 300]), 512), 301);
        let put = |bytes| PutOp { key: vec![0x80; 3].into(), value: vec![0x0a; bytes].into() };
        let put = |bytes| Write { op: Some(write::Op::Put(put(bytes))) };
        let delete = Write { op: Some(write::Op::Delete(DeleteOp { key: "k".into() })) };
        let message = batch(vec![put(0), delete, put(100), put(200), put(70_000)]);
        for piece_len in [1, 2, 3, 5, 100, message.len()] {
            assert_eq!(count(&message, piece_len), 6, "in pieces of {piece_len}");
        }
    }

    #[test]
    fn fields_of_every_kind_are_followed() {
        let message = [
            &[0x08, 0xff, 0xff, 0x01][..],   // a number
            &[0x09, 1, 2, 3, 4, 5, 6, 7, 8], // eight bytes
            &[0xfa, 0x01, 0x80, 0x00],       // a key of two bytes, a length of two
            &[0x0d, 0xff, 0xff, 0xff, 0xff], // four bytes
            &[0x0b, 0x0a, 0x01, 0x0a, 0x0c], // a group with one field in it
            &[0x0a, 0x02, 0x0a, 0x00],       // a message
        ]
        .concat();
        for piece_len in 1..=message.len() {
            assert_eq!(count(&message, piece_len), 8);
        }
    }

    /// Whatever a decoder made of the bytes before it gave up was counted.
    #[test]
    fn garbage_counts_at_least_what_a_decoder_takes_in() {
        let mut dice = fastrand::Rng::with_seed(3);
        for _ in 0..20_000 {
            let len = dice.usize(..60);
            let some = [0x0a, 0, 1, 2, 0x0b, 0x0c, 0x80, 0xff, 0x12];
            let bytes: Vec<_> = (0..len).map(|_| some[dice.usize(..some.len())]).collect();
            let mut decoded = BatchWriteRequest::default();
            let _ = decoded.merge(&bytes[..]);
            assert!(count(&bytes, 1 + dice.usize(..9)) >= decoded.writes.len(), "{bytes:?}");
        }
    }

    #[test]
    fn lengths_that_no_message_has_do_no_harm() {
        let message = [&[0x0a][..], &[0xff; 300], &[0x01]].concat();
        assert_eq!(count(&message, 7), 1);
    }
}
