//! Tables are opened once, and not too many of them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use lsm_log::error::ErrorKind;
use lsm_log::fs::{Folder, Lock, LockMode, WriteFile};

use super::super::fuzzing::MemoryTable;
use super::super::table_test::{Model, OPTIONS, SALT, build, get, put};
use super::*;
use crate::cache::BlockCache;
use crate::key::SEQ_MAX;
use crate::options::{TableAccess, Verification};

/// One table under all numbers but 999404.
#[derive(Debug)]
struct OneTable {
    bytes: Bytes,
    opened: AtomicUsize,
}

impl Fs for OneTable {
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        if path.ends_with("999404.table") {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(MemoryTable(self.bytes.clone())))
    }

    fn absolute(&self, _: &Path) -> io::Result<PathBuf> {
        unreachable!("only reading is tested")
    }

    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        unreachable!("only reading is tested")
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        unreachable!("only reading is tested")
    }

    fn list_dirs(&self, _: &Path) -> io::Result<Vec<String>> {
        unreachable!("only reading is tested")
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        unreachable!("only reading is tested")
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn WriteFile>> {
        unreachable!("only reading is tested")
    }

    fn open_write(&self, _: &Path) -> io::Result<Arc<dyn WriteFile>> {
        unreachable!("only reading is tested")
    }

    fn len(&self, _: &Path) -> io::Result<u64> {
        unreachable!("only reading is tested")
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        unreachable!("only reading is tested")
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        unreachable!("only reading is tested")
    }

    fn hard_link(&self, _: &Path, _: &Path) -> io::Result<()> {
        unreachable!("only reading is tested")
    }

    fn open_dir(&self, _: &Path) -> io::Result<Box<dyn Folder>> {
        unreachable!("only reading is tested")
    }

    fn lock(&self, _: &Path, _: LockMode) -> io::Result<Box<dyn Lock>> {
        unreachable!("only reading is tested")
    }
}

struct Fixture {
    fs: Arc<OneTable>,
    tables: OpenTables,
    bytes: u64,
}

fn fixture(open_max: usize) -> Fixture {
    let mut model = Model::new();
    put(&mut model, b"key", 1, b"value");
    let bytes = build(&model, OPTIONS);
    let len = bytes.len() as u64;
    let fs = Arc::new(OneTable { bytes, opened: AtomicUsize::new(0) });
    let options = ReadOptions {
        access: TableAccess::Mapped,
        verification: Verification::FirstTouch,
        cache: Arc::new(BlockCache::new(0)),
    };
    let tables = OpenTables::new(Arc::clone(&fs) as _, PathBuf::from("db"), open_max, options);
    Fixture { fs, tables, bytes: len }
}

impl Fixture {
    fn handle(&self, number: u64) -> TableHandle {
        TableHandle::new(FileNumber(number), self.bytes, SALT)
    }

    fn read(&self, handle: &TableHandle) {
        let found = get(&self.tables.reader(handle).unwrap(), b"key", SEQ_MAX).unwrap();
        assert_eq!(found.unwrap().1, b"value");
    }

    fn opened(&self) -> usize {
        self.fs.opened.load(Ordering::Relaxed)
    }
}

fn is_open(handle: &TableHandle) -> bool {
    handle.0.reader.load().is_some()
}

#[test]
fn never_more_than_the_limit() {
    let fixture = fixture(16);
    let handles: Vec<_> = (0..100).map(|number| fixture.handle(number)).collect();
    for handle in handles.iter().chain(&handles) {
        fixture.read(handle);
        assert!(fixture.tables.count() <= 16);
        assert!(handles.iter().filter(|handle| is_open(handle)).count() <= 16);
    }
    assert_eq!(fixture.tables.count(), 16);
    assert_eq!(fixture.opened(), 200, "each round closes what the one before opened");
}

#[test]
fn what_is_used_stays_open() {
    let fixture = fixture(16);
    let hot = fixture.handle(1);
    fixture.read(&hot);
    for number in 2..500 {
        fixture.read(&hot);
        fixture.read(&fixture.handle(number));
    }
    let handles: Vec<_> = (1000..1500).map(|number| fixture.handle(number)).collect();
    let before = fixture.opened();
    for handle in &handles {
        fixture.read(&hot);
        fixture.read(handle);
    }
    assert!(fixture.opened() - before <= 500 + 500 / 15 + 1, "hot is seldom opened again");
}

#[test]
fn a_reader_in_use_outlives_its_place() {
    let fixture = fixture(1);
    let (first, second) = (fixture.handle(1), fixture.handle(2));
    let reader = Arc::clone(&fixture.tables.reader(&first).unwrap());
    fixture.read(&second);
    assert!(!is_open(&first) && is_open(&second));
    assert!(get(&reader, b"key", SEQ_MAX).unwrap().is_some());
}

#[test]
fn handles_that_are_gone_make_room() {
    let fixture = fixture(4);
    let kept: Vec<_> = (0..3).map(|number| fixture.handle(number)).collect();
    kept.iter().for_each(|handle| fixture.read(handle));
    fixture.read(&fixture.handle(3));
    assert_eq!(fixture.tables.count(), 3);
    let last = fixture.handle(4);
    fixture.read(&last);
    assert!(fixture.tables.count() >= 3);
}

#[test]
fn many_threads_open_a_table_once() {
    let fixture = fixture(16);
    let handle = fixture.handle(1);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..100).for_each(|_| fixture.read(&handle)));
        }
    });
    assert_eq!(fixture.opened(), 1);
}

#[test]
fn many_threads_with_few_places_agree() {
    let fixture = fixture(2);
    let handles: Vec<_> = (0..8).map(|number| fixture.handle(number)).collect();
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (fixture, handles) = (&fixture, &handles);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                (0..2000).for_each(|_| fixture.read(&handles[random.usize(..8)]));
            });
        }
    });
    assert!(fixture.tables.count() <= 2);
    assert!(handles.iter().filter(|handle| is_open(handle)).count() <= 2);
}

#[test]
fn a_missing_or_short_table_is_damage() {
    let fixture = fixture(4);
    let missing = fixture.tables.reader(&fixture.handle(999_404)).err().unwrap();
    assert_eq!(missing.kind(), ErrorKind::Corrupt);
    assert_eq!(missing.file(), Some(Path::new("db/999404.table")));
    let longer = TableHandle::new(FileNumber(1), fixture.bytes + 1, SALT);
    let short = fixture.tables.reader(&longer).err().unwrap();
    assert_eq!(short.kind(), ErrorKind::Corrupt);
    assert!(short.to_string().contains("length"), "{short}");
    assert_eq!(fixture.tables.count(), 0, "what failed to open takes no place");
}

#[test]
fn scans_and_verify_need_no_place() {
    let fixture = fixture(1);
    let handle = fixture.handle(1);
    assert_eq!(fixture.tables.scan(&handle).unwrap().properties().entries, 1);
    assert_eq!(fixture.tables.verify(&handle).unwrap().entries, 1);
    assert!(!is_open(&handle));
}

/// Whoever waited while another opened it finds it open.
#[test]
fn a_table_that_is_open_by_now_is_not_opened_again() {
    let fixture = fixture(3);
    let handle = fixture.handle(1);
    for _ in 0..2 {
        fixture.tables.open(&handle.0).unwrap();
    }
    assert_eq!(fixture.fs.opened.load(Ordering::Relaxed), 1);
}

#[test]
fn a_table_that_was_used_of_late_stays_open() {
    let fixture = fixture(3);
    let [a, b, c, d, e] = [1, 2, 3, 4, 5].map(|number| fixture.handle(number));
    for handle in [&a, &b, &c, &d] {
        fixture.read(handle);
    }
    // The first has gone, and none was used since: then the second is.
    fixture.read(&b);
    fixture.read(&e);
    fixture.read(&b);
    assert_eq!(fixture.fs.opened.load(Ordering::Relaxed), 5, "the third has gone");
}
