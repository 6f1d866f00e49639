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

#[test]
fn it_is_known_before_a_page_is_read_how_much_that_may_take() {
    let dir = tempfile::tempdir().unwrap();
    let db = db(&dir, 4);
    db.put("k002", vec![0; 10_000]).unwrap();
    let size = PageSize { entries: 2, bytes: 100 };
    let beside = 2 * size_of::<Entry>();
    for (start, bytes) in [("k000", 100), ("k002", 10_004), ("x", 100)] {
        let request = ScanRequest { start: start.into(), ..ScanRequest::default() };
        let mut pager = Pager::new(&db.snapshot(), &request, size);
        pager.begin().unwrap();
        assert_eq!(pager.next_bytes_max(), bytes + beside, "{start}");
        while pager.goes_on() {
            let most = pager.next_bytes_max();
            let page = pager.next_page().unwrap();
            let len = |entry: &Entry| entry.key.len() + entry.value.len() + size_of::<Entry>();
            assert!(page.entries.iter().map(len).sum::<usize>() <= most);
        }
    }
}
