//! The hash that filters share.

use xxhash_rust::xxh3::xxh3_64;

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
