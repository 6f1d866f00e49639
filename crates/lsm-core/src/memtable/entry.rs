//! The key of a memtable node: its first bytes held in place, so that almost every comparison
//! of a search is decided without leaving the node.

use std::cmp::Ordering;

use bytes::Bytes;

use crate::key::Tag;

/// Key bytes held in the node.
const HEAD_LEN: usize = 16;

/// One version of a key, in the internal order.
///
/// The order is that of `(head, key, tag descending)`, where the head is the key's first bytes
/// as a big-endian number, padded with zeros. That is the key order: a smaller head is a
/// smaller key; equal heads leave it to the whole keys.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    head: u128,
    tag: Tag,
    /// The key, followed by the value. A probe for a key that fits the head has no record.
    record: Bytes,
    key_len: u32,
}

impl Entry {
    /// A version whose `record` is the key, `key_len` bytes long, and the value behind it.
    pub(super) fn new(record: Bytes, key_len: usize, tag: Tag) -> Self {
        Self { head: head(&record[..key_len]), tag, record, key_len: key_len as u32 }
    }

    /// A place to search for. Copies only keys that the head cannot hold.
    #[inline]
    pub(super) fn probe(key: &[u8], tag: Tag) -> Self {
        let record = if key.len() > HEAD_LEN { Bytes::copy_from_slice(key) } else { Bytes::new() };
        Self { head: head(key), tag, record, key_len: key.len() as u32 }
    }

    #[inline]
    pub(super) fn has_key(&self, key: &[u8]) -> bool {
        self.key_len as usize == key.len()
            && (self.head == head(key))
            && (key.len() <= HEAD_LEN || self.key() == key)
    }

    /// The user key. Not for probes.
    #[inline]
    pub(super) fn key(&self) -> &[u8] {
        &self.record[..self.key_len as usize]
    }

    #[inline]
    pub(super) fn tag(&self) -> Tag {
        self.tag
    }

    #[inline]
    pub(super) fn value(&self) -> &[u8] {
        &self.record[self.key_len as usize..]
    }

    /// The value, sharing the record's memory.
    #[inline]
    pub(super) fn value_bytes(&self) -> Bytes {
        self.record.slice(self.key_len as usize..)
    }

    #[cold]
    fn compare_long(&self, other: &Self) -> Ordering {
        // A key of at most HEAD_LEN bytes may be a probe without a record: rebuild it.
        let (a, b) = (self.head.to_be_bytes(), other.head.to_be_bytes());
        let key = |entry: &Self| entry.key_len as usize > HEAD_LEN;
        let a = if key(self) { self.key() } else { &a[..self.key_len as usize] };
        let b = if key(other) { other.key() } else { &b[..other.key_len as usize] };
        a.cmp(b)
    }
}

#[inline]
fn head(key: &[u8]) -> u128 {
    if let Some(bytes) = key.first_chunk::<HEAD_LEN>() {
        return u128::from_be_bytes(*bytes);
    }
    let mut bytes = [0; HEAD_LEN];
    bytes[..key.len()].copy_from_slice(key);
    u128::from_be_bytes(bytes)
}

impl Ord for Entry {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.head
            .cmp(&other.head)
            .then_with(|| {
                if self.key_len.max(other.key_len) as usize <= HEAD_LEN {
                    // The heads differ in nothing but padding: the shorter key comes first.
                    self.key_len.cmp(&other.key_len)
                } else {
                    self.compare_long(other)
                }
            })
            .then_with(|| other.tag.cmp(&self.tag))
    }
}

impl PartialOrd for Entry {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Kind, SeqNo};

    #[test]
    fn the_order_is_the_internal_order() {
        let mut keys: Vec<Vec<u8>> =
            vec![vec![], vec![0], vec![0, 0], b"a".to_vec(), b"a\0".to_vec()];
        for len in [15, 16, 17, 40] {
            for last in [0, 1, 0xff] {
                keys.push([vec![7; len], vec![last]].concat());
            }
            keys.push(vec![0; len]);
            keys.push(vec![0xff; len]);
        }
        let entries: Vec<(Vec<u8>, Tag, [Entry; 2])> = keys
            .iter()
            .flat_map(|key| [1, 2].map(|seq| (key.clone(), Tag::new(SeqNo(seq), Kind::Put))))
            .map(|(key, tag)| {
                let stored = Entry::new([key.as_slice(), b"value"].concat().into(), key.len(), tag);
                let probe = Entry::probe(&key, tag);
                (key, tag, [stored, probe])
            })
            .collect();
        for (a_key, a_tag, a) in &entries {
            for (b_key, b_tag, b) in &entries {
                let expected = crate::key::compare((a_key, *a_tag), (b_key, *b_tag));
                for (a, b) in a.iter().flat_map(|a| b.iter().map(move |b| (a, b))) {
                    assert_eq!(a.cmp(b), expected, "{a_key:?} {b_key:?}");
                    assert_eq!(a.has_key(b_key), a_key == b_key);
                }
            }
        }
    }
}
