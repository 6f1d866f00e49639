//! One scan, cut into pages. Blocks on the disk.

use bytes::Bytes;
use lsm_client::proto::v1::{Entry, ScanRequest};
use lsm_core::{Cursor, Snapshot};

use super::range::{KeyRange, PageSize, limit};

/// A scan over one point in the write order, as far as it has come.
#[derive(Debug)]
pub(super) struct Pager {
    /// None: the range is empty.
    cursor: Option<Cursor>,
    reverse: bool,
    keys_only: bool,
    size: PageSize,
    /// Entries that are still wanted.
    left: u64,
    /// The cursor stands on an entry that no page holds yet.
    has_next: bool,
    begun: bool,
}

/// Some entries.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Page {
    pub(super) entries: Vec<Entry>,
    /// Where to go on, if there is more: `start`, or `end` if reverse.
    pub(super) resume: Option<Bytes>,
}

impl Pager {
    pub(super) fn new(snapshot: &Snapshot, request: &ScanRequest, size: PageSize) -> Self {
        Self {
            cursor: KeyRange::of(request).map(|range| snapshot.cursor_in::<&[u8]>(range.bounds())),
            reverse: request.reverse,
            keys_only: request.keys_only,
            size,
            left: limit(request),
            has_next: false,
            begun: false,
        }
    }

    /// Whether the next page may hold anything.
    pub(super) fn goes_on(&self) -> bool {
        self.left > 0 && (self.has_next || !self.begun)
    }

    /// The next page. An empty scan has one, without entries.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub(super) fn next_page(&mut self) -> lsm_core::Result<Page> {
        let begins = !std::mem::replace(&mut self.begun, true);
        let Some(cursor) = &mut self.cursor else { return Ok(Page::default()) };
        let step = |cursor: &mut Cursor| if self.reverse { cursor.prev() } else { cursor.next() };
        if begins {
            self.has_next = step(cursor)?;
        }
        let mut page = Filling::default();
        while let Some((key, value)) = cursor.entry().filter(|_| self.has_next) {
            let value = if self.keys_only { &[] } else { value };
            let is_full = page.ends.len() as u64 >= self.size.entries.min(self.left)
                || (!page.ends.is_empty()
                    && page.bytes.len() + key.len() + value.len() > self.size.bytes);
            if is_full {
                break;
            }
            page.push(key, value);
            self.has_next = step(cursor)?;
        }
        let entries = page.finish();
        self.left -= entries.len() as u64;
        // Backward the range ends before its end: at the last key that was read.
        let resume = match (self.has_next, self.reverse) {
            (false, _) => None,
            (true, false) => cursor.key().map(Bytes::copy_from_slice),
            (true, true) => entries.last().map(|entry: &Entry| entry.key.clone()),
        };
        Ok(Page { entries, resume })
    }
}

/// A page's keys and values in one piece of memory.
#[derive(Debug, Default)]
struct Filling {
    bytes: Vec<u8>,
    /// Where each key ends, and its value.
    ends: Vec<(usize, usize)>,
}

impl Filling {
    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
    }

    fn finish(self) -> Vec<Entry> {
        let bytes = Bytes::from(self.bytes);
        let mut start = 0;
        let mut entry = |(key_end, end)| {
            let entry =
                Entry { key: bytes.slice(start..key_end), value: bytes.slice(key_end..end) };
            start = end;
            entry
        };
        self.ends.into_iter().map(&mut entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use lsm_core::Db;

    use super::*;

    fn db(dir: &tempfile::TempDir, count: usize) -> Db {
        let db = Db::open(dir.path()).unwrap();
        for i in 0..count {
            db.put(format!("k{i:03}"), format!("value {i}")).unwrap();
        }
        db
    }

    fn keys(page: &Page) -> Vec<String> {
        let key = |entry: &Entry| String::from_utf8(entry.key.to_vec()).unwrap();
        page.entries.iter().map(key).collect()
    }

    const SMALL: PageSize = PageSize { entries: 3, bytes: 1 << 20 };

    #[test]
    fn pages_end_at_their_size_and_say_where_to_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let db = db(&dir, 5);
        let request = ScanRequest { start: "k001".into(), ..ScanRequest::default() };
        let mut pager = Pager::new(&db.snapshot(), &request, SMALL);
        assert!(pager.goes_on());
        let first = pager.next_page().unwrap();
        assert_eq!(keys(&first), ["k001", "k002", "k003"]);
        assert_eq!(first.entries[1].value, "value 2");
        assert_eq!(first.resume.as_deref(), Some(&b"k004"[..]));
        // Meanwhile the database goes on; the scan does not see it.
        db.put("k009", "late").unwrap();
        let last = pager.next_page().unwrap();
        assert_eq!((keys(&last), last.resume), (vec!["k004".to_owned()], None));
        assert!(!pager.goes_on());
    }

    #[test]
    fn resuming_meets_every_entry_once_in_both_directions() {
        let dir = tempfile::tempdir().unwrap();
        let db = db(&dir, 10);
        for reverse in [false, true] {
            let mut request = ScanRequest { reverse, prefix: "k".into(), ..ScanRequest::default() };
            let mut found = Vec::new();
            loop {
                let page = Pager::new(&db.snapshot(), &request, SMALL).next_page().unwrap();
                found.extend(keys(&page));
                match (page.resume, reverse) {
                    (None, _) => break,
                    (Some(resume), false) => request.start = resume,
                    (Some(resume), true) => request.end = resume,
                }
            }
            let mut wanted: Vec<_> = (0..10).map(|i| format!("k{i:03}")).collect();
            if reverse {
                wanted.reverse();
            }
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn bytes_end_a_page_and_a_large_entry_is_one_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let db = db(&dir, 2);
        db.put("k000a", vec![7; 500]).unwrap();
        let size = PageSize { entries: 100, bytes: 100 };
        let mut pager = Pager::new(&db.snapshot(), &ScanRequest::default(), size);
        let mut pages = Vec::new();
        while pager.goes_on() {
            pages.push(keys(&pager.next_page().unwrap()));
        }
        assert_eq!(pages, [["k000"], ["k000a"], ["k001"]]);
    }

    #[test]
    fn a_limit_ends_the_scan_and_tells_whether_there_is_more() {
        let dir = tempfile::tempdir().unwrap();
        let db = db(&dir, 4);
        let page = |limit, reverse, keys_only| {
            let request = ScanRequest { limit, reverse, keys_only, ..ScanRequest::default() };
            let mut pager = Pager::new(&db.snapshot(), &request, SMALL);
            let page = pager.next_page().unwrap();
            (page, pager.goes_on())
        };
        let (two, goes_on) = page(2, true, true);
        assert_eq!(keys(&two), ["k003", "k002"]);
        assert!(two.entries[0].value.is_empty(), "keys only");
        assert_eq!((two.resume.as_deref(), goes_on), (Some(&b"k002"[..]), false));
        let (three, goes_on) = page(5, false, false);
        assert_eq!((three.entries.len(), goes_on), (3, true));
    }

    #[test]
    fn nothing_is_one_empty_page() {
        let dir = tempfile::tempdir().unwrap();
        let db = db(&dir, 1);
        for (start, end) in [("x", "y"), ("y", "x")] {
            let request =
                ScanRequest { start: start.into(), end: end.into(), ..ScanRequest::default() };
            let mut pager = Pager::new(&db.snapshot(), &request, SMALL);
            assert_eq!(pager.next_page().unwrap(), Page::default());
            assert!(!pager.goes_on(), "or a stream would never end");
        }
    }

    /// The least key behind the longest is longer than any: seeking it must be fine.
    #[test]
    fn bounds_may_be_longer_than_keys() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path()).unwrap();
        let longest = vec![b'k'; lsm_core::KEY_LEN_MAX];
        db.put(&longest, "1").unwrap();
        db.flush().unwrap();
        db.put("z", "2").unwrap();
        let mut behind = longest.clone();
        behind.push(0);
        let behind = Bytes::from(behind);
        let request = ScanRequest { start: behind.clone(), ..ScanRequest::default() };
        let page = Pager::new(&db.snapshot(), &request, SMALL).next_page().unwrap();
        assert_eq!(keys(&page), ["z"]);
        for reverse in [false, true] {
            let request = ScanRequest { end: behind.clone(), reverse, ..ScanRequest::default() };
            let page = Pager::new(&db.snapshot(), &request, SMALL).next_page().unwrap();
            assert!(page.entries.len() == 1 && page.entries[0].key == longest);
        }
        let request = ScanRequest { prefix: behind, ..ScanRequest::default() };
        let page = Pager::new(&db.snapshot(), &request, SMALL).next_page().unwrap();
        assert_eq!(page, Page::default());
    }
}
