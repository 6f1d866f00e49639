//! What to scan, and one page of it. Pure.

use std::ops::{Bound, RangeBounds};

use bytes::{Bytes, BytesMut};
use lsm_proto::v1::{self, Consistency, Entry, ScanRequest};

use crate::into_bytes::IntoBytes;

/// Which entries to read, and in which order. Ascending by key unless [reversed](Self::reverse).
///
/// ```
/// use lsm_client::Scan;
///
/// let newest = Scan::prefix("event/").reverse().limit(10);
/// let middle = Scan::range("b".."m").keys_only();
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    request: ScanRequest,
    limit: Option<u64>,
    resumes: bool,
    /// Whether the range is empty in a way that the request cannot say.
    nothing: bool,
}

impl Scan {
    /// All entries.
    pub fn all() -> Self {
        Self { request: ScanRequest::default(), limit: None, resumes: false, nothing: false }
    }

    /// The entries whose keys begin so.
    pub fn prefix(prefix: impl IntoBytes) -> Self {
        let mut scan = Self::all();
        scan.request.prefix = prefix.into_bytes();
        scan
    }

    /// The entries whose keys are in a range, such as `"a".."b"` or `key..`.
    pub fn range<K: AsRef<[u8]>>(range: impl RangeBounds<K>) -> Self {
        let mut scan = Self::all();
        scan.request.start = match range.start_bound() {
            Bound::Unbounded => Bytes::new(),
            Bound::Included(key) => Bytes::copy_from_slice(key.as_ref()),
            Bound::Excluded(key) => after(key.as_ref()),
        };
        scan.request.end = match range.end_bound() {
            Bound::Unbounded => Bytes::new(),
            Bound::Included(key) => after(key.as_ref()),
            Bound::Excluded(key) => {
                scan.nothing = key.as_ref().is_empty();
                Bytes::copy_from_slice(key.as_ref())
            }
        };
        scan
    }

    /// From the last key to the first.
    #[must_use]
    pub fn reverse(mut self) -> Self {
        self.request.reverse = true;
        self
    }

    /// No more than so many entries.
    #[must_use]
    pub fn limit(mut self, entries: u64) -> Self {
        self.limit = Some(entries);
        self
    }

    /// Keys without their values, which come out empty.
    #[must_use]
    pub fn keys_only(mut self) -> Self {
        self.request.keys_only = true;
        self
    }

    /// Whatever the asked node has: cheap, and possibly old. Otherwise the scan sees every
    /// write that was acknowledged before it began.
    #[must_use]
    pub fn stale(mut self) -> Self {
        self.request.consistency = Consistency::Stale.into();
        self
    }

    /// Go on after the last entry if the connection breaks in the middle, or the node cannot read
    /// on: at another node, if need be. The entries are then no longer those of one moment: the
    /// rest is as it was when the scan went on. Without this, such a scan ends in an error. It
    /// has no effect on [pages](crate::Client::scan_page).
    #[must_use]
    pub fn resume_if_broken(mut self) -> Self {
        self.resumes = true;
        self
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.request.consistency() == Consistency::Stale
    }

    pub(crate) fn resumes(&self) -> bool {
        self.resumes
    }

    /// What to ask for; none if there is nothing to ask.
    pub(crate) fn request(&self) -> Option<ScanRequest> {
        if self.nothing || self.limit == Some(0) {
            return None;
        }
        Some(ScanRequest { limit: self.limit.unwrap_or(0), ..self.request.clone() })
    }

    /// Leaves out what was read: these entries, which came in the order of the scan.
    pub(crate) fn advance(&mut self, entries: &[Entry]) {
        let Some(last) = entries.last() else {
            return;
        };
        if self.request.reverse {
            self.nothing |= last.key.is_empty();
            self.request.end = last.key.clone();
        } else {
            self.request.start = after(&last.key);
        }
        self.limit = self.limit.map(|limit| limit.saturating_sub(entries.len() as u64));
    }

    /// Whether a page may end here although there is more.
    pub(crate) fn is_at_limit(&self) -> bool {
        self.limit == Some(0)
    }
}

/// Some entries, and how to get more.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The entries, in the order of the scan.
    pub entries: Vec<Entry>,
    /// The rest of the scan; none if this was all.
    pub next: Option<Scan>,
}

impl Page {
    /// The answer to a scan.
    pub(crate) fn new(mut scan: Scan, answer: v1::ScanResponse) -> Self {
        scan.advance(&answer.entries);
        if answer.more && !answer.resume.is_empty() {
            match scan.request.reverse {
                true => scan.request.end = answer.resume,
                false => scan.request.start = answer.resume,
            }
        }
        let next = (answer.more && !scan.is_at_limit()).then_some(scan);
        Self { entries: answer.entries, next }
    }
}

/// The least key that is greater.
fn after(key: &[u8]) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.extend_from_slice(&[0]);
    next.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &'static str) -> Entry {
        Entry { key: key.into(), value: Bytes::new() }
    }

    fn bounds(scan: &Scan) -> (Bytes, Bytes, u64) {
        let request = scan.request().unwrap();
        (request.start, request.end, request.limit)
    }

    #[test]
    fn ranges_say_what_rust_says() {
        let all = ("".into(), "".into(), 0);
        assert_eq!(bounds(&Scan::range::<&str>(..)), all);
        assert_eq!(bounds(&Scan::range("a".."b")), ("a".into(), "b".into(), 0));
        assert_eq!(bounds(&Scan::range("a"..="b")), ("a".into(), "b\0".into(), 0));
        let open = (Bound::Excluded("a"), Bound::Unbounded);
        assert_eq!(bounds(&Scan::range::<&str>(open)), ("a\0".into(), "".into(), 0));
        assert_eq!(Scan::range(.."").request(), None, "an empty end would mean all");
        assert_eq!(Scan::all().limit(0).request(), None, "a limit of 0 would mean none");
    }

    #[test]
    fn what_was_read_is_not_asked_for_again() {
        let mut scan = Scan::range("a".."z").limit(5);
        scan.advance(&[entry("c"), entry("d")]);
        assert_eq!(bounds(&scan), ("d\0".into(), "z".into(), 3));
        let mut scan = Scan::range("a".."z").reverse();
        scan.advance(&[entry("d"), entry("c")]);
        assert_eq!(bounds(&scan), ("a".into(), "c".into(), 0));
    }

    #[test]
    fn a_page_knows_whether_there_is_more() {
        let answer = |more| v1::ScanResponse {
            entries: vec![entry("c"), entry("d")],
            more,
            resume: if more { "e".into() } else { Bytes::new() },
            ..v1::ScanResponse::default()
        };
        let next = Page::new(Scan::all().limit(5), answer(true)).next.unwrap();
        assert_eq!(bounds(&next), ("e".into(), "".into(), 3));
        assert_eq!(Page::new(Scan::all(), answer(false)).next, None);
        assert_eq!(Page::new(Scan::all().limit(2), answer(true)).next, None);
    }
}
