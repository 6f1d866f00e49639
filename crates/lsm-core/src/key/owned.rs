//! Keys as iterators give them away.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use smallvec::SmallVec;

/// Keys up to this length need no memory of their own.
const INLINE_LEN: usize = 24;

/// A key that an iterator gave away: dereferences to its bytes. One of up to 24 bytes is kept in
/// place, without an allocation.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let db = lsm_core::Db::open(dir.path())?;
/// db.put("planet", "earth")?;
/// let (key, _) = db.iter().next().expect("there is one")?;
/// assert!(key.starts_with(b"plan"));
/// assert_eq!(String::from_utf8(key.into_vec())?, "planet");
/// # db.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Eq, PartialOrd, Ord, Hash)]
pub struct Key(SmallVec<[u8; INLINE_LEN]>);

impl Key {
    /// The key in a vector of its own.
    pub fn into_vec(self) -> Vec<u8> {
        self.0.into_vec()
    }
}

impl From<&[u8]> for Key {
    #[inline]
    fn from(bytes: &[u8]) -> Self {
        Self(SmallVec::from_slice(bytes))
    }
}

impl From<Key> for Vec<u8> {
    fn from(key: Key) -> Self {
        key.into_vec()
    }
}

impl Deref for Key {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Key {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

// Compares and hashes as its bytes do.
impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Key {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl fmt::Debug for Key {
    /// As a byte string, so that text is readable.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn keys_of_any_length_are_their_bytes() {
        for len in [0, 1, INLINE_LEN - 1, INLINE_LEN, INLINE_LEN + 1, 1000] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let key = Key::from(&bytes[..]);
            assert_eq!(key, bytes);
            assert_eq!(key.clone().into_vec(), bytes);
            assert_eq!(key.0.spilled(), len > INLINE_LEN, "{len}");
            assert_eq!(Vec::from(key), bytes);
        }
        assert_eq!(format!("{:?}", Key::from(&b"a\0"[..])), "b\"a\\x00\"");
    }

    #[test]
    fn keys_are_ordered_and_found_as_their_bytes() {
        let words = ["", "a", "aa", "b", &"b".repeat(100)];
        let keys: Vec<_> = words.iter().map(|word| Key::from(word.as_bytes())).collect();
        assert!(keys.is_sorted());
        let map: BTreeMap<Key, usize> = keys.into_iter().zip(0..).collect();
        for (at, word) in words.iter().enumerate() {
            assert_eq!(map.get(word.as_bytes()), Some(&at));
        }
    }
}
