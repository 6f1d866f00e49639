//! The reading surface, written once for everything that can be read.

use std::ops::RangeBounds;

use lsm_log::error::Result;

use super::range_iter::Range;
use super::scan::Cursor;
use crate::value::Value;

/// What can be read: a database, a keyspace of it, or a snapshot of either.
///
/// For code that does not care which; the same methods stand on each type itself.
pub trait Readable {
    /// See [`Db::get`](crate::Db::get).
    fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>>;
    /// See [`Db::contains_key`](crate::Db::contains_key).
    fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool>;
    /// See [`Db::multi_get`](crate::Db::multi_get).
    fn multi_get<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Value>>>;
    /// See [`Db::range`](crate::Db::range).
    fn range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Range;
    /// See [`Db::prefix`](crate::Db::prefix).
    fn prefix(&self, prefix: impl AsRef<[u8]>) -> Range;
    /// See [`Db::iter`](crate::Db::iter).
    fn iter(&self) -> Range;
    /// See [`Db::cursor`](crate::Db::cursor).
    fn cursor(&self) -> Cursor;
    /// See [`Db::cursor_in`](crate::Db::cursor_in).
    fn cursor_in<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Cursor;
}

/// Implements the reading methods for a type with a method `read_point`.
macro_rules! readable {
    ($type:ty) => {
        impl $type {
            /// The value of `key`; `None` if there is none. Copies nothing: see [`Value`](crate::Value).
            ///
            /// # Errors
            ///
            /// `Corrupt` or `Io` from a table, `Closed` after close, `Invalid` if the keyspace
            /// was dropped. A key longer than [`KEY_LEN_MAX`](crate::KEY_LEN_MAX) is not an
            /// error: it has no value.
            #[inline]
            pub fn get(
                &self,
                key: impl AsRef<[u8]>,
            ) -> lsm_log::error::Result<Option<$crate::Value>> {
                self.read_point().get(key.as_ref())
            }

            /// Whether `key` has a value. Errors as for [`get`](Self::get).
            pub fn contains_key(&self, key: impl AsRef<[u8]>) -> lsm_log::error::Result<bool> {
                Ok(self.get(key)?.is_some())
            }

            /// The values of many keys, in the order in which they are asked for, all at one
            /// point in the write order. Faster than one [`get`](Self::get) after the other, as
            /// what these wait for, memory or the disk, is waited for together. Keys may come in
            /// any order, and twice. Errors as for `get`; the first one is that of all.
            ///
            /// ```
            /// # fn main() -> lsm_core::Result<()> {
            /// # let dir = tempfile::tempdir().unwrap();
            /// # let db = lsm_core::Db::open(dir.path())?;
            /// # db.put("b", "1")?; db.put("c", "2")?;
            /// let values = db.multi_get(["c", "a", "b"])?;
            /// assert_eq!(values[0].as_deref(), Some(&b"2"[..]));
            /// assert!(values[1].is_none());
            /// # db.close()
            /// # }
            /// ```
            pub fn multi_get<K: AsRef<[u8]>>(
                &self,
                keys: impl IntoIterator<Item = K>,
            ) -> lsm_log::error::Result<Vec<Option<$crate::Value>>> {
                let keys: Vec<K> = keys.into_iter().collect();
                self.read_point().get_many(&keys)
            }

            /// The entries whose keys lie in `range`, in key order, from either end. Sees
            /// one point in the write order, whatever is written meanwhile. Reversed bounds
            /// are an empty range. For all entries see [`iter`](Self::iter).
            ///
            /// Errors come as items; they are those of [`get`](Self::get).
            ///
            /// ```
            /// # fn main() -> lsm_core::Result<()> {
            /// # let dir = tempfile::tempdir().unwrap();
            /// # let db = lsm_core::Db::open(dir.path())?;
            /// # db.put("b", "1")?; db.put("c", "2")?; db.put("d", "3")?;
            /// for entry in db.range("b".."d").rev() {
            ///     let (key, value) = entry?;
            ///     println!("{key:?} = {value:?}");
            /// }
            /// # db.close()
            /// # }
            /// ```
            pub fn range<K: AsRef<[u8]>>(
                &self,
                range: impl std::ops::RangeBounds<K>,
            ) -> $crate::Range {
                $crate::Range::new(&self.read_point(), $crate::key::KeyRange::new(range))
            }

            /// The entries whose keys start with `prefix`; otherwise as [`range`](Self::range).
            pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> $crate::Range {
                let range = $crate::key::KeyRange::prefix(prefix.as_ref());
                $crate::Range::new(&self.read_point(), range)
            }

            /// All entries; otherwise as [`range`](Self::range).
            pub fn iter(&self) -> $crate::Range {
                $crate::Range::new(&self.read_point(), $crate::key::KeyRange::all())
            }

            /// A cursor over all entries, which lends keys and values without copying them.
            /// Sees one point in the write order.
            pub fn cursor(&self) -> $crate::Cursor {
                $crate::Cursor::new(&self.read_point(), $crate::key::KeyRange::all())
            }

            /// A cursor that does not leave `range`.
            pub fn cursor_in<K: AsRef<[u8]>>(
                &self,
                range: impl std::ops::RangeBounds<K>,
            ) -> $crate::Cursor {
                $crate::Cursor::new(&self.read_point(), $crate::key::KeyRange::new(range))
            }
        }

        impl $crate::Readable for $type {
            fn get(&self, key: impl AsRef<[u8]>) -> lsm_log::error::Result<Option<$crate::Value>> {
                Self::get(self, key)
            }
            fn multi_get<K: AsRef<[u8]>>(
                &self,
                keys: impl IntoIterator<Item = K>,
            ) -> lsm_log::error::Result<Vec<Option<$crate::Value>>> {
                Self::multi_get(self, keys)
            }
            fn range<K: AsRef<[u8]>>(&self, range: impl std::ops::RangeBounds<K>) -> $crate::Range {
                Self::range(self, range)
            }
            fn prefix(&self, prefix: impl AsRef<[u8]>) -> $crate::Range {
                Self::prefix(self, prefix)
            }
            fn contains_key(&self, key: impl AsRef<[u8]>) -> lsm_log::error::Result<bool> {
                Self::contains_key(self, key)
            }
            fn iter(&self) -> $crate::Range {
                Self::iter(self)
            }
            fn cursor(&self) -> $crate::Cursor {
                Self::cursor(self)
            }
            fn cursor_in<K: AsRef<[u8]>>(
                &self,
                range: impl std::ops::RangeBounds<K>,
            ) -> $crate::Cursor {
                Self::cursor_in(self, range)
            }
        }
    };
}

pub(crate) use readable;
