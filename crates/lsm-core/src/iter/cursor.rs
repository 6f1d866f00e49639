//! The one way to walk over stored versions.

use bytes::Bytes;
use lsm_log::error::Result;

use crate::key::Tag;
use crate::value::Value;

/// A position among versions in the internal order: user key ascending, newest first.
///
/// A new cursor stands nowhere; so does one that ran off either end or met an error. `key`,
/// `tag` and `value` may be called only while it stands on an entry (`is_valid`), `next` and
/// `prev` likewise. A cursor that returned an error stands nowhere until the next seek.
pub(crate) trait Cursor {
    /// Whether the cursor stands on an entry.
    fn is_valid(&self) -> bool;

    /// To the first entry at or behind `(key, tag)` in the internal order.
    fn seek(&mut self, key: &[u8], tag: Tag) -> Result<()>;

    /// To the last entry at or before `(key, tag)` in the internal order.
    fn seek_back(&mut self, key: &[u8], tag: Tag) -> Result<()>;

    fn seek_first(&mut self) -> Result<()>;

    fn seek_last(&mut self) -> Result<()>;

    fn next(&mut self) -> Result<()>;

    fn prev(&mut self) -> Result<()>;

    /// The user key.
    fn key(&self) -> &[u8];

    fn tag(&self) -> Tag;

    fn value(&self) -> &[u8];

    /// The value, to keep: shares the memory it lies in where the cursor can.
    fn value_to_keep(&self) -> Value {
        Value::from(Bytes::copy_from_slice(self.value()))
    }
}
