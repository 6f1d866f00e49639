//! Ranges of user keys, with owned bounds.

use std::ops::{Bound, RangeBounds};

/// A range of user keys. Reversed bounds make an empty range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub(crate) start: Bound<Vec<u8>>,
    pub(crate) end: Bound<Vec<u8>>,
}

impl KeyRange {
    pub(crate) fn all() -> Self {
        Self { start: Bound::Unbounded, end: Bound::Unbounded }
    }

    pub(crate) fn new<K: AsRef<[u8]>>(range: impl RangeBounds<K>) -> Self {
        let owned = |bound: Bound<&K>| bound.map(|key| key.as_ref().to_vec());
        Self { start: owned(range.start_bound()), end: owned(range.end_bound()) }
    }

    /// Every key that starts with `prefix`.
    pub(crate) fn prefix(prefix: &[u8]) -> Self {
        Self { start: Bound::Included(prefix.to_vec()), end: prefix_end(prefix) }
    }

    /// Whether `key` lies before the range.
    #[inline]
    pub(crate) fn is_before(&self, key: &[u8]) -> bool {
        match &self.start {
            Bound::Included(start) => key < start.as_slice(),
            Bound::Excluded(start) => key <= start.as_slice(),
            Bound::Unbounded => false,
        }
    }

    /// Whether `key` lies behind the range.
    #[inline]
    pub(crate) fn is_after(&self, key: &[u8]) -> bool {
        match &self.end {
            Bound::Included(end) => key > end.as_slice(),
            Bound::Excluded(end) => key >= end.as_slice(),
            Bound::Unbounded => false,
        }
    }

    /// Whether any key of `smallest..=largest` may lie in the range.
    pub(crate) fn overlaps(&self, smallest: &[u8], largest: &[u8]) -> bool {
        !self.is_before(largest) && !self.is_after(smallest)
    }
}

/// The end of the range of all keys that start with `prefix`: the first key behind them, or
/// unbounded if there is none.
///
/// ```
/// use std::ops::Bound;
/// assert_eq!(lsm_core::prefix_end(b"user/"), Bound::Excluded(b"user0".to_vec()));
/// assert_eq!(lsm_core::prefix_end(&[0xff]), Bound::Unbounded);
/// ```
pub fn prefix_end(prefix: &[u8]) -> Bound<Vec<u8>> {
    match prefix.iter().rposition(|&byte| byte != 0xff) {
        None => Bound::Unbounded,
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            Bound::Excluded(end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl KeyRange {
        fn contains(&self, key: &[u8]) -> bool {
            !self.is_before(key) && !self.is_after(key)
        }
    }

    #[test]
    fn a_prefix_ends_behind_its_last_key() {
        assert_eq!(prefix_end(b"ab"), Bound::Excluded(b"ac".to_vec()));
        assert_eq!(prefix_end(b"a\xff"), Bound::Excluded(b"b".to_vec()));
        assert_eq!(prefix_end(b"\xff\xff"), Bound::Unbounded);
        assert_eq!(prefix_end(b""), Bound::Unbounded);
        assert!(KeyRange::prefix(b"a\xff").contains(b"a\xff\xff\xff"));
        assert!(!KeyRange::prefix(b"a\xff").contains(b"b"));
    }

    #[test]
    fn a_reversed_range_is_empty() {
        let range = KeyRange::new("m".."c");
        for key in ["a", "c", "d", "m", "z"] {
            assert!(!range.contains(key.as_bytes()), "{key}");
        }
    }
}
