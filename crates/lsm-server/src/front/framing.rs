//! Where messages begin in the body of a request, and how long each says it is. Pure.
//!
//! The pieces of a body come as the network cut them: a header may be split, and one piece may
//! hold many messages. Leaves to others: what a message means, and whether a body may end here.

/// What stands before each message: a flag, and the length, most significant byte first.
const HEADER_LEN: usize = 5;

/// Follows a body, piece by piece.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    /// Bytes of the header that came.
    header_len: usize,
    /// The length, as far as its bytes came.
    len: u32,
    /// Bytes of the message that are still to come.
    missing: usize,
}

impl Framing {
    /// Takes the next piece, and hands on what of it belongs to messages.
    ///
    /// # Errors
    ///
    /// The length of the first message that says it is longer than `bytes_max`. The body must
    /// not be followed further.
    pub(crate) fn feed(
        &mut self,
        mut piece: &[u8],
        bytes_max: usize,
        mut content: impl FnMut(&[u8]),
    ) -> Result<(), u32> {
        loop {
            let (inside, behind) = piece.split_at(self.missing.min(piece.len()));
            self.missing -= inside.len();
            content(inside);
            piece = behind;
            let Some((&byte, rest)) = piece.split_first() else { return Ok(()) };
            piece = rest;
            if self.header_len > 0 {
                self.len = self.len << 8 | u32::from(byte);
            }
            self.header_len += 1;
            if self.header_len == HEADER_LEN {
                let len = self.len as usize;
                if len > bytes_max {
                    return Err(self.len);
                }
                *self = Self { missing: len, ..Self::default() };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(len.to_be_bytes());
        // Bytes that would be a huge length, if they were taken for one.
        bytes.resize(HEADER_LEN + len as usize, 0xff);
        bytes
    }

    /// What comes out if the body is cut into pieces of this length.
    fn follow(body: &[u8], piece_len: usize, bytes_max: usize) -> Result<Framing, u32> {
        let mut framing = Framing::default();
        for piece in body.chunks(piece_len) {
            framing.feed(piece, bytes_max, |_| ())?;
        }
        Ok(framing)
    }

    #[test]
    fn a_message_may_have_the_limit_and_not_one_byte_more() {
        for len in [0, 1, 255, 256, 65_536] {
            follow(&message(len), usize::MAX, len as usize).unwrap();
            let longer = follow(&message(len + 1), usize::MAX, len as usize).unwrap_err();
            assert_eq!(longer, len + 1);
        }
        let most = [0, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(follow(&most, usize::MAX, 1 << 24).unwrap_err(), u32::MAX);
    }

    #[test]
    fn it_does_not_matter_how_the_body_was_cut() {
        let good = [message(3), message(0), message(0), message(300), message(7)].concat();
        let bad = [&good[..], &message(301)].concat();
        for piece_len in 1..=bad.len() {
            let framing = follow(&good, piece_len, 300).unwrap();
            assert_eq!((framing.header_len, framing.missing), (0, 0));
            assert_eq!(follow(&bad, piece_len, 300).unwrap_err(), 301);
        }
    }

    #[test]
    fn what_belongs_to_messages_is_handed_on() {
        let body = b"\0\0\0\0\x03abc\0\0\0\0\0\0\0\0\0\x02de";
        for piece_len in 1..=body.len() {
            let (mut framing, mut inside) = (Framing::default(), Vec::new());
            for piece in body.chunks(piece_len) {
                framing.feed(piece, 3, |content| inside.extend_from_slice(content)).unwrap();
            }
            assert_eq!(inside, b"abcde");
        }
    }

    #[test]
    fn a_message_is_refused_with_the_last_byte_of_its_header() {
        let mut framing = Framing::default();
        framing.feed(&[], 8, |_| ()).unwrap();
        framing.feed(&[1, 0, 0, 0], 8, |_| ()).unwrap();
        assert_eq!(framing.feed(&[9], 8, |_| ()), Err(9));
    }
}
