//! Entries in order -> the bytes of one data block. The inverse of `block`.
//!
//! Keys are kept whole until the block is finished, because only then it is known what all of
//! them have in common.

use lsm_log::coding::{put_u32, put_varint, varint_len};

use super::block::{HEADER_LEN, RESTART_LEN, RUN_LEN};
use super::format::word;
use crate::key::Tag;

/// One block in the making; empty again after each [`finish`](Self::finish).
#[derive(Debug, Default)]
pub(super) struct BlockBuilder {
    entries: Vec<Pending>,
    /// All keys, back to back and whole.
    keys: Vec<u8>,
    values: Vec<u8>,
    size: Size,
    /// The encoded keys; here for its memory only.
    encoded: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    key_len: usize,
    /// Bytes that the key has in common with the one before it.
    shared: usize,
    value_len: usize,
    tag: Tag,
}

/// What the length of a block depends on.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    count: usize,
    /// Bytes that all keys start with.
    prefix_len: usize,
    /// The whole keys of all restarts.
    restart_keys: usize,
    /// What the other keys do not share, and the numbers in front of all.
    rest: usize,
    values: usize,
}

impl Size {
    fn with(mut self, entry: &Pending) -> Self {
        let restart = self.count.is_multiple_of(RUN_LEN);
        self.prefix_len = match self.count {
            0 => entry.key_len,
            _ => self.prefix_len.min(entry.shared),
        };
        if restart {
            self.restart_keys += entry.key_len;
        } else {
            self.rest += entry.key_len - entry.shared;
        }
        // Not less than what the numbers will take: taking off the prefix only shortens them.
        let shared = if restart { 0 } else { entry.shared };
        self.rest += varint_len(shared as u64)
            + varint_len((entry.key_len - shared) as u64)
            + varint_len(entry.value_len as u64)
            + varint_len(entry.tag.0);
        self.values += entry.value_len;
        self.count += 1;
        self
    }

    fn len(&self) -> usize {
        let restarts = self.count.div_ceil(RUN_LEN);
        // The prefix is stored once instead of once a restart.
        let restart_keys = self.restart_keys - restarts * self.prefix_len;
        HEADER_LEN
            + restarts * RESTART_LEN
            + self.prefix_len
            + restart_keys
            + self.rest
            + self.values
    }
}

impl BlockBuilder {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The length of the finished block, or a little more.
    pub(super) fn len(&self) -> usize {
        self.size.len()
    }

    /// The length, or a little more, if this entry were added.
    pub(super) fn len_with(&self, key: &[u8], shared: usize, tag: Tag, value_len: usize) -> usize {
        self.size.with(&Pending { key_len: key.len(), shared, value_len, tag }).len()
    }

    /// Adds an entry behind all others, whose key has `shared` bytes in common with the last.
    pub(super) fn add(&mut self, key: &[u8], shared: usize, tag: Tag, value: &[u8]) {
        let entry = Pending { key_len: key.len(), shared, value_len: value.len(), tag };
        debug_assert!(shared <= key.len());
        self.size = self.size.with(&entry);
        self.entries.push(entry);
        self.keys.extend_from_slice(key);
        self.values.extend_from_slice(value);
    }

    /// Appends the block to `out`, and starts the next.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        debug_assert!(!self.is_empty(), "a block holds at least one entry");
        let expected_len = self.len();
        let start = out.len();
        let prefix_len = self.size.prefix_len;
        let restarts = self.entries.len().div_ceil(RUN_LEN);
        let keys = HEADER_LEN + restarts * RESTART_LEN + prefix_len;

        let mut places = Vec::with_capacity(restarts * 8);
        let mut words = Vec::with_capacity(restarts * 8);
        self.encoded.clear();
        let (mut key_at, mut value_at) = (0, 0);
        for (i, entry) in self.entries.iter().enumerate() {
            let key = &self.keys[key_at..key_at + entry.key_len];
            let shared = if i.is_multiple_of(RUN_LEN) { prefix_len } else { entry.shared };
            if i.is_multiple_of(RUN_LEN) {
                words.extend_from_slice(&word(&key[prefix_len..]).to_le_bytes());
                put_u32(&mut places, offset(keys + self.encoded.len()));
                // Completed below, once it is known where the values start.
                put_u32(&mut places, offset(value_at));
            }
            put_varint(&mut self.encoded, (shared - prefix_len) as u64);
            put_varint(&mut self.encoded, (entry.key_len - shared) as u64);
            put_varint(&mut self.encoded, entry.value_len as u64);
            put_varint(&mut self.encoded, entry.tag.0);
            self.encoded.extend_from_slice(&key[shared..]);
            key_at += entry.key_len;
            value_at += entry.value_len;
        }
        let values = keys + self.encoded.len();
        for place in places.as_chunks_mut::<8>().0 {
            let [.., a, b, c, d] = place;
            let whole = offset(values + u32::from_le_bytes([*a, *b, *c, *d]) as usize);
            place[4..].copy_from_slice(&whole.to_le_bytes());
        }

        put_u32(out, offset(self.entries.len()));
        put_u32(out, offset(values));
        put_u32(out, offset(prefix_len));
        out.extend_from_slice(&words);
        out.extend_from_slice(&places);
        out.extend_from_slice(&self.keys[..prefix_len]);
        out.extend_from_slice(&self.encoded);
        out.extend_from_slice(&self.values);
        assert!(out.len() - start <= expected_len, "a block must not outgrow its estimate");
        self.clear();
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.keys.clear();
        self.values.clear();
        self.size = Size::default();
    }
}

/// Offsets fit: a block is at most one entry over the block size, and both have limits.
fn offset(at: usize) -> u32 {
    u32::try_from(at).expect("blocks are far below 4 GiB")
}
