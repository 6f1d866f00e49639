//! Which keyspace of a database a key belongs to.

use std::fmt;

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
