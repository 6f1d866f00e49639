use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::*;
use crate::fs::MemFs;

fn fault_fs() -> FaultFs {
    FaultFs::new(Arc::new(MemFs::new()))
}

fn kind<T>(result: io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

fn read(fs: &dyn Fs, path: &str) -> Vec<u8> {
    let file = fs.open_read(Path::new(path)).unwrap();
    let mut bytes = vec![0; file.len() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn every_operation_can_fail() {
    let fs = fault_fs();
    let (a, b, root) = (Path::new("a"), Path::new("b"), Path::new(""));
    let writer = fs.create(a).unwrap();
    writer.write_at(0, b"bytes").unwrap();
    let reader = fs.open_read(a).unwrap();
    let calls: [(Op, &dyn Fn() -> io::Result<()>); 18] = [
        (Op::CreateDir, &|| fs.create_dir_all(root)),
        (Op::List, &|| fs.list(root).map(drop)),
        (Op::Create, &|| fs.create(b).map(drop)),
        (Op::OpenWrite, &|| fs.open_write(a).map(drop)),
        (Op::OpenRead, &|| fs.open_read(a).map(drop)),
        (Op::Len, &|| fs.len(a).map(drop)),
        (Op::Rename, &|| fs.rename(b, a)),
        (Op::HardLink, &|| fs.hard_link(a, b)),
        (Op::Remove, &|| fs.remove(b)),
        (Op::OpenDir, &|| fs.open_dir(root).map(drop)),
        (Op::SyncDir, &|| fs.sync_dir(root)),
        (Op::Lock, &|| fs.lock(Path::new("L"), LockMode::Shared).map(drop)),
        (Op::Read, &|| reader.read_at(0, &mut [0])),
        (Op::Map, &|| reader.map().map(drop)),
        (Op::Write, &|| writer.write_at(0, b"x")),
        (Op::Copy, &|| writer.copy_at(0, b"x")),
        (Op::Allocate, &|| writer.allocate(9)),
        (Op::Sync, &|| writer.sync()),
    ];
    for (op, call) in calls {
        let before = fs.count(op);
        fs.inject(Fault::error(op, ErrorKind::TimedOut));
        assert_eq!(kind(call()), Some(ErrorKind::TimedOut), "{op:?}");
        assert_eq!(kind(call()), None, "{op:?} fails only once");
        assert_eq!(fs.count(op), before + 2, "{op:?}");
    }
}

#[test]
fn a_refused_operation_does_nothing() {
    let fs = fault_fs();
    fs.inject(Fault::error(Op::Create, ErrorKind::Other));
    assert!(fs.create(Path::new("a")).is_err());
    assert!(fs.list(Path::new("")).unwrap().is_empty());
}

#[test]
fn faults_choose_by_path_and_count() {
    let fs = fault_fs();
    let [log, table] = ["x.log", "x.sst"].map(|path| fs.create(Path::new(path)).unwrap());
    fs.inject(Fault::error(Op::Sync, ErrorKind::Other).on(".log").after(1).times(2));
    let outcomes = [(); 5].map(|()| {
        table.sync().unwrap();
        log.write_at(0, b"x").unwrap();
        log.sync().is_ok()
    });
    assert_eq!(outcomes, [true, false, false, true, true]);
    fs.inject(Fault::error(Op::Rename, ErrorKind::Other).on("CURRENT").forever());
    for _ in 0..3 {
        assert!(fs.rename(Path::new("x.log"), Path::new("CURRENT")).is_err());
    }
    fs.clear();
    fs.rename(Path::new("x.log"), Path::new("CURRENT")).unwrap();
}

#[test]
fn short_writes_leave_their_part() {
    let fs = fault_fs();
    let file = fs.create(Path::new("f")).unwrap();
    fs.inject(Fault::error(Op::Write, ErrorKind::StorageFull).short(3));
    assert_eq!(kind(file.write_at(0, b"abcdef")), Some(ErrorKind::StorageFull));
    assert_eq!(read(&fs, "f"), b"abc");
    fs.inject(Fault::error(Op::Copy, ErrorKind::Other).short(100));
    assert!(file.copy_at(0, b"xy").is_err());
    assert_eq!(read(&fs, "f"), b"xyc", "no more than there is");
    fs.inject(Fault::error(Op::Write, ErrorKind::Other));
    assert!(file.write_at(0, b"zz").is_err());
    assert_eq!(read(&fs, "f"), b"xyc");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "measures a real delay")]
fn delays_delay() {
    let fs = fault_fs();
    let delay = Duration::from_millis(30);
    fs.inject(Fault::delay(Op::List, delay));
    let start = Instant::now();
    fs.list(Path::new("")).unwrap();
    assert!(start.elapsed() >= delay);
}

#[test]
fn a_full_disk_refuses_growth_only() {
    let fs = fault_fs();
    let full = Some(ErrorKind::StorageFull);
    fs.set_free_bytes(Some(100));
    let file = fs.create(Path::new("f")).unwrap();
    assert_eq!(kind(file.allocate(101)), full);
    assert_eq!(fs.len(Path::new("f")).unwrap(), 0);
    file.allocate(60).unwrap();
    file.copy_at(0, &[1; 60]).unwrap();
    assert_eq!(fs.free_bytes(), Some(40));
    let other = fs.create(Path::new("g")).unwrap();
    assert_eq!(kind(other.write_at(0, &[2; 50])), full);
    assert_eq!(read(&fs, "g"), [2; 40], "what fits is written");
    assert_eq!(kind(other.write_at(100, b"x")), full);
    assert_eq!(fs.free_bytes(), Some(0));
    file.write_at(0, &[3; 60]).unwrap();
    fs.set_free_bytes(None);
    other.write_at(0, &[4; 500]).unwrap();
}

#[test]
fn removing_gives_space_back() {
    let fs = fault_fs();
    fs.set_free_bytes(Some(100));
    let [a, b, c] = ["a", "b", "c"].map(Path::new);
    let file = fs.create(a).unwrap();
    file.write_at(0, &[1; 30]).unwrap();
    fs.hard_link(a, b).unwrap();
    fs.remove(a).unwrap();
    fs.rename(b, c).unwrap();
    fs.remove(c).unwrap();
    assert_eq!(fs.free_bytes(), Some(70), "a handle still holds it");
    drop(file);
    assert_eq!(fs.free_bytes(), Some(100));
    for path in [a, b] {
        fs.create(path).unwrap().write_at(0, &[1; 20]).unwrap();
    }
    assert_eq!(fs.free_bytes(), Some(60));
    fs.rename(a, b).unwrap();
    assert_eq!(fs.free_bytes(), Some(80), "the replaced file is gone");
    fs.hard_link(b, a).unwrap();
    fs.rename(a, b).unwrap();
    fs.remove(a).unwrap();
    assert_eq!(fs.free_bytes(), Some(80), "renaming a file to itself keeps both names");
    fs.remove(b).unwrap();
    assert_eq!(fs.free_bytes(), Some(100));
}

#[test]
fn files_from_before_count() {
    let inner: Arc<dyn Fs> = Arc::new(MemFs::new());
    inner.create(Path::new("old")).unwrap().write_at(0, &[1; 50]).unwrap();
    let fs = FaultFs::new(inner);
    fs.set_free_bytes(Some(10));
    let file = fs.open_write(Path::new("old")).unwrap();
    file.write_at(0, &[2; 60]).unwrap();
    assert!(file.write_at(60, b"x").is_err());
    drop(file);
    fs.remove(Path::new("old")).unwrap();
    assert_eq!(fs.free_bytes(), Some(60));
}

#[test]
fn damage_on_demand() {
    let fs = MemFs::new();
    let path = Path::new("f");
    fs.create(path).unwrap().write_at(0, b"0123").unwrap();
    corrupt(&fs, path, 2, 1).unwrap();
    assert_eq!(read(&fs, "f"), b"0133");
    assert!(corrupt(&fs, path, 4, 1).is_err());
    truncate(&fs, path, 3).unwrap();
    assert_eq!(read(&fs, "f"), b"013");
    assert!(truncate(&fs, path, 4).is_err());
    assert_eq!(read(&fs, "f"), b"013");
}

#[test]
fn something_else_runs_in_the_middle_of_an_operation() {
    let fs = fault_fs();
    let inside = fs.clone();
    let hook = move || {
        assert!(inside.len(Path::new("a")).is_err(), "before the operation itself");
        inside.create(Path::new("b")).unwrap();
    };
    fs.inject(Fault::run(Op::Create, hook).on("a"));
    fs.create(Path::new("a")).unwrap();
    assert!(fs.len(Path::new("a")).is_ok() && fs.len(Path::new("b")).is_ok());
    fs.create(Path::new("another/a")).unwrap_err();
}
