//! Values as callers get them: a slice that keeps alive whatever it lies in.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use lsm_log::fs::Mapping;

/// A value read from the database: dereferences to its bytes, clones in constant time.
///
/// No bytes are copied: the value pins the memtable chunk, cached block or mapped table it
/// lies in. Keeping a small one for long therefore keeps more than itself (up to a table's
/// mapping, whose disk space is not given back before): copy with `to_vec` what you keep.
#[derive(Clone)]
pub struct Value(Repr);

#[derive(Clone)]
enum Repr {
    Shared(Bytes),
    Mapped { map: Arc<Mapping>, start: usize, end: usize },
}

impl Value {
    /// The bytes `start..end` of a mapping, which must reach that far.
    #[inline]
    pub(crate) fn mapped(map: Arc<Mapping>, start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= map.len());
        Self(Repr::Mapped { map, start, end })
    }

    /// The value as [`Bytes`]; copies only what lies in a mapped table.
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Repr::Shared(bytes) => bytes,
            Repr::Mapped { map, start, end } => Bytes::copy_from_slice(&map[start..end]),
        }
    }
}

impl From<Bytes> for Value {
    #[inline]
    fn from(bytes: Bytes) -> Self {
        Self(Repr::Shared(bytes))
    }
}

impl Deref for Value {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Shared(bytes) => bytes,
            Repr::Mapped { map, start, end } => &map[*start..*end],
        }
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Value {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl Eq for Value {}

impl fmt::Debug for Value {
    /// As a byte string, so that text is readable.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}
