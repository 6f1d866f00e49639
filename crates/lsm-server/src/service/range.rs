//! Which keys a scan is about, and how many of them a page may hold. Pure.

use std::ops::Bound;

use bytes::Bytes;
use lsm_core::prefix_end;
use lsm_proto::v1;

use crate::limits::{Limits, STREAM_PAGE_BYTES_MAX};

/// The keys from `start` to before `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyRange {
    /// Empty: from the first key.
    start: Bytes,
    /// None: to the last key.
    end: Option<Bytes>,
}

impl KeyRange {
    /// The keys that are within `start` and `end` and begin with `prefix`; on the wire an empty
    /// `end` is none. None if there can be no such key.
    pub(super) fn of(request: &v1::ScanRequest) -> Option<Self> {
        let start = request.start.clone().max(request.prefix.clone());
        let end = match (behind(&request.prefix), &request.end) {
            (Some(behind), end) if end.is_empty() || behind < *end => Some(behind),
            (_, end) if end.is_empty() => None,
            (_, end) => Some(end.clone()),
        };
        let is_empty = end.as_ref().is_some_and(|end| *end <= start);
        (!is_empty).then_some(Self { start, end })
    }

    /// As the engine takes it.
    pub(super) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let end = match &self.end {
            Some(end) => Bound::Excluded(&**end),
            None => Bound::Unbounded,
        };
        match self.start.is_empty() {
            true => (Bound::Unbounded, end),
            false => (Bound::Included(&*self.start), end),
        }
    }
}

/// The least key behind all that begin with `prefix`, if there is one.
fn behind(prefix: &Bytes) -> Option<Bytes> {
    match prefix_end(prefix) {
        Bound::Excluded(end) => Some(end.into()),
        _ => None,
    }
}

/// How much a page may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageSize {
    pub(super) entries: u64,
    /// A single larger entry is a page of its own.
    pub(super) bytes: usize,
}

impl PageSize {
    /// Never nothing: a page with room for none would never end.
    pub(super) fn of(limits: &Limits) -> Self {
        Self { entries: limits.page_entries_max.max(1) as u64, bytes: limits.page_bytes_max }
    }

    /// Of a page in a stream.
    pub(super) fn of_stream(limits: &Limits) -> Self {
        let Self { entries, bytes } = Self::of(limits);
        let entries_max = STREAM_PAGE_BYTES_MAX / size_of::<v1::Entry>();
        Self { entries: entries.min(entries_max as u64), bytes: bytes.min(STREAM_PAGE_BYTES_MAX) }
    }
}

/// The entries that a request asks for at most; on the wire 0 means all.
pub(super) fn limit(request: &v1::ScanRequest) -> u64 {
    match request.limit {
        0 => u64::MAX,
        limit => limit,
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeBounds;

    use super::*;

    fn request(start: &[u8], end: &[u8], prefix: &[u8]) -> v1::ScanRequest {
        let bytes = Bytes::copy_from_slice;
        let (start, end, prefix) = (bytes(start), bytes(end), bytes(prefix));
        v1::ScanRequest { start, end, prefix, ..v1::ScanRequest::default() }
    }

    fn range(start: &[u8], end: &[u8], prefix: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        let range = KeyRange::of(&request(start, end, prefix))?;
        Some((range.start.to_vec(), range.end.map(|end| end.to_vec())))
    }

    fn some(start: &str, end: Option<&str>) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        Some((start.into(), end.map(Into::into)))
    }

    #[test]
    fn empty_bounds_are_open() {
        assert_eq!(range(b"", b"", b""), some("", None));
        assert_eq!(range(b"b", b"", b""), some("b", None));
        assert_eq!(range(b"", b"d", b""), some("", Some("d")));
    }

    #[test]
    fn reversed_and_empty_ranges_hold_nothing() {
        assert_eq!(range(b"d", b"b", b""), None);
        assert_eq!(range(b"d", b"d", b""), None);
        assert_eq!(range(b"d", b"d\0", b""), some("d", Some("d\0")));
    }

    #[test]
    fn a_prefix_is_cut_by_start_and_end() {
        assert_eq!(range(b"", b"", b"ab"), some("ab", Some("ac")));
        assert_eq!(range(b"abc", b"", b"ab"), some("abc", Some("ac")));
        assert_eq!(range(b"", b"abx", b"ab"), some("ab", Some("abx")));
        assert_eq!(range(b"a", b"b", b"ab"), some("ab", Some("ac")));
        assert_eq!(range(b"ac", b"", b"ab"), None, "all begin later");
        assert_eq!(range(b"", b"ab", b"ab"), None, "all end earlier");
    }

    #[test]
    fn a_prefix_of_greatest_bytes_has_no_end() {
        assert_eq!(range(b"", b"", b"\xff\xff"), Some((b"\xff\xff".to_vec(), None)));
        assert_eq!(range(b"", b"", b"a\xff"), Some((b"a\xff".to_vec(), Some(b"b".to_vec()))));
        let end = b"\xff\xff\x01".to_vec();
        assert_eq!(range(b"", &end, b"\xff\xff"), Some((b"\xff\xff".to_vec(), Some(end.clone()))));
        assert_eq!(range(b"", b"\xff", b"\xff\xff"), None);
    }

    /// Random short keys of few bytes, so that everything meets everything.
    #[test]
    fn a_key_is_in_the_range_if_it_meets_each_condition() {
        let seed = fastrand::u64(..);
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut key = || {
            let len = dice.usize(0..4);
            (0..len).map(|_| *dice.choice(&[0_u8, 1, 0xfe, 0xff]).unwrap()).collect::<Vec<_>>()
        };
        for _ in 0..50_000 {
            let (start, end, prefix, key) = (key(), key(), key(), key());
            let wanted = key >= start && (end.is_empty() || key < end) && key.starts_with(&prefix);
            let range = KeyRange::of(&request(&start, &end, &prefix));
            let found = range.is_some_and(|range| {
                RangeBounds::<[u8]>::contains(&range.bounds(), key.as_slice())
            });
            assert_eq!(found, wanted, "{start:?} {end:?} {prefix:?} {key:?}, seed {seed}");
        }
    }
}
