//! The internal order: user key ascending, then newest version first.
//!
//! Every stored version of a key carries a [`Tag`]: its sequence number in the upper 56 bits
//! and its [`Kind`] in the lower 8. Of two versions of a key, the one with the greater tag is
//! the newer and comes first.

use std::cmp::Ordering;
use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

/// A position in the write order of a database. Every put and delete gets the next one; zero
/// is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqNo(pub(crate) u64);

impl SeqNo {
    /// The position as a number, below 2^56.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The position that `number` stands for: the inverse of [`get`](Self::get).
    ///
    /// # Panics
    ///
    /// If `number` is 2^56 or more, which no database reaches.
    pub fn new(number: u64) -> Self {
        assert!(number <= SEQ_MAX.0, "sequence numbers have 56 bits");
        Self(number)
    }
}

impl fmt::Display for SeqNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The greatest sequence number: sees everything.
pub(crate) const SEQ_MAX: SeqNo = SeqNo((1 << 56) - 1);

/// From here on numbers are those of a transaction's own writes while nobody else sees them: newer
/// than all that is written, one for each write of the longest batch.
pub(crate) const OWN_SEQ_MIN: SeqNo = SeqNo(SEQ_MAX.0 + 1 - (1 << 32));

/// What a stored version says of its key. The numbers are part of the file formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The key has no value from here on: a tombstone.
    Delete = 0,
    /// The key has this value from here on.
    Put = 1,
    /// Reserved: every key of a range is deleted.
    RangeDelete = 2,
    /// Reserved: an operand to be merged into the older value.
    Merge = 3,
}

impl Kind {
    pub(crate) fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Delete),
            1 => Some(Self::Put),
            2 => Some(Self::RangeDelete),
            3 => Some(Self::Merge),
            _ => None,
        }
    }
}

/// Sequence number and kind in one word, ordered by age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tag(pub(crate) u64);

impl Tag {
    pub(crate) fn new(seq: SeqNo, kind: Kind) -> Self {
        debug_assert!(seq <= SEQ_MAX);
        Self(seq.0 << 8 | kind as u64)
    }

    /// The tag to seek to for the newest version that a reader at `seq` may see: not smaller
    /// than any tag of that sequence number.
    #[inline]
    pub(crate) fn seek(seq: SeqNo) -> Self {
        Self(seq.0 << 8 | 0xff)
    }

    #[inline]
    pub(crate) fn seq(self) -> SeqNo {
        SeqNo(self.0 >> 8)
    }

    /// `None` for bytes that no version of the format has written.
    #[inline]
    pub(crate) fn kind(self) -> Option<Kind> {
        Kind::from_u8(self.0 as u8)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            Some(kind) => write!(f, "{}:{kind:?}", self.seq()),
            None => write!(f, "{}:{}?", self.seq(), self.0 as u8),
        }
    }
}

/// The internal order of two versions.
#[inline]
pub(crate) fn compare(a: (&[u8], Tag), b: (&[u8], Tag)) -> Ordering {
    a.0.cmp(b.0).then_with(|| b.1.cmp(&a.1))
}

/// The number of a keyspace within its database; never used twice. Zero is the default one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyspaceId(pub(crate) u32);

impl KeyspaceId {
    /// The keyspace that `Db` itself reads and writes.
    pub(crate) const DEFAULT: Self = Self(0);

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for KeyspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A hash of a user key, computed once a lookup and used by every filter it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyHash(pub(crate) u64);

impl KeyHash {
    /// Part of the file format: filters on disk depend on it.
    #[inline]
    pub(crate) fn of(key: &[u8]) -> Self {
        Self(xxh3_64(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_versions_come_first() {
        let old = Tag::new(SeqNo(3), Kind::Put);
        let new = Tag::new(SeqNo(4), Kind::Delete);
        assert_eq!(compare((b"a", new), (b"a", old)), Ordering::Less);
        assert_eq!(compare((b"a", old), (b"b", new)), Ordering::Less);
    }

    #[test]
    fn a_seek_tag_sees_its_own_sequence_number() {
        for kind in 0..=u8::MAX {
            assert!(Tag::seek(SeqNo(7)).0 >= (7 << 8 | u64::from(kind)));
        }
        assert!(Tag::seek(SeqNo(7)) < Tag::new(SeqNo(8), Kind::Delete));
    }
}
