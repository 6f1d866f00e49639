//! For formats of one's own: fixed and variable-length integers, little endian.
//!
//! Encoders append to a `Vec<u8>`. [`Decoder`] reads a slice and never panics: each method
//! returns `None` once the bytes do not hold what was asked for, and reads nothing then.

/// The longest encoding of a `u64` as a varint (LEB128: seven bits a byte, low bits first).
pub const VARINT_LEN_MAX: usize = 10;

/// Four bytes, little endian.
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Eight bytes, little endian.
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// As few bytes as the value needs: see [`VARINT_LEN_MAX`].
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes of a value as a varint.
#[inline]
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// A varint length followed by the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads a varint off the front of `bytes`: its value and its length.
/// Refuses encodings longer than needed for 64 bits.
#[inline]
pub fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    match *bytes.first()? {
        byte if byte < 0x80 => Some((u64::from(byte), 1)),
        _ => varint_slow(bytes),
    }
}

fn varint_slow(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().take(VARINT_LEN_MAX).enumerate() {
        if i == VARINT_LEN_MAX - 1 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some((value, i + 1));
        }
    }
    None
}

/// A `u32` at `offset`, if `bytes` reaches that far.
#[inline]
pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let end = offset.checked_add(4)?;
    Some(u32::from_le_bytes(bytes.get(offset..end)?.try_into().ok()?))
}

/// A `u64` at `offset`, if `bytes` reaches that far.
#[inline]
pub fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    let end = offset.checked_add(8)?;
    Some(u64::from_le_bytes(bytes.get(offset..end)?.try_into().ok()?))
}

/// Reads values off the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Decoder<'a> {
    /// A decoder at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, len: bytes.len() }
    }

    /// Bytes read so far: the offset of what comes next.
    pub fn offset(&self) -> usize {
        self.len - self.rest.len()
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    /// What [`put_u32`] wrote.
    pub fn u32(&mut self) -> Option<u32> {
        u32_at(self.take(4)?, 0)
    }

    /// What [`put_u64`] wrote.
    pub fn u64(&mut self) -> Option<u64> {
        u64_at(self.take(8)?, 0)
    }

    /// What [`put_varint`] wrote.
    #[inline]
    pub fn varint(&mut self) -> Option<u64> {
        let (value, len) = varint(self.rest)?;
        self.rest = &self.rest[len..];
        Some(value)
    }

    /// A varint of at most 32 bits.
    pub fn varint_u32(&mut self) -> Option<u32> {
        let before = self.rest;
        let value = u32::try_from(self.varint()?).ok();
        if value.is_none() {
            self.rest = before;
        }
        value
    }

    /// What [`put_bytes`] wrote.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let before = self.rest;
        let taken = self.varint().and_then(|len| self.take(usize::try_from(len).ok()?));
        if taken.is_none() {
            self.rest = before;
        }
        taken
    }

    /// The next `len` bytes.
    #[inline]
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                assert_eq!(varint_len(value), out.len(), "{value}");
                assert_eq!(varint(&out), Some((value, out.len())));
                assert_eq!(varint(&out[..out.len() - 1]), None, "cut short");
            }
        }
    }

    #[test]
    fn over_long_varints_are_refused() {
        assert_eq!(varint(&[0x80; 20]), None);
        assert_eq!(varint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]), None);
    }

    #[test]
    fn a_failed_read_consumes_nothing() {
        let mut out = Vec::new();
        put_bytes(&mut out, b"abc");
        let mut decoder = Decoder::new(&out[..3]);
        assert_eq!(decoder.bytes(), None);
        assert_eq!(decoder.offset(), 0);
        assert_eq!(Decoder::new(&out).bytes(), Some(&b"abc"[..]));
    }
}
