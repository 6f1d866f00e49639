//! What [`Fs`] promises, held against every file system there is.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Access, CrashFs, FaultFs, Fs, LockMode, MemFs, OsFs};

/// Runs one test against each file system, in an empty folder.
fn each(test: impl Fn(&dyn Fs, &Path)) {
    let temporary = tempfile::tempdir().unwrap();
    test(&OsFs, temporary.path());
    let in_memory: [Arc<dyn Fs>; 4] = [
        Arc::new(MemFs::new()),
        Arc::new(CrashFs::new()),
        Arc::new(FaultFs::new(Arc::new(MemFs::new()))),
        Arc::new(FaultFs::new(Arc::new(CrashFs::new()))),
    ];
    for fs in in_memory {
        let dir = PathBuf::from("/db");
        fs.create_dir_all(&dir).unwrap();
        test(&*fs, &dir);
    }
}

fn write(fs: &dyn Fs, path: &Path, bytes: &[u8]) {
    let file = fs.create(path).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync().unwrap();
}

fn read(fs: &dyn Fs, path: &Path) -> Vec<u8> {
    let file = fs.open_read(path).unwrap();
    let mut bytes = vec![0; file.len() as usize];
    file.read_at(0, &mut bytes).unwrap();
    assert_eq!(&file.map().unwrap()[..], bytes, "read and mapped bytes of {path:?}");
    bytes
}

fn kind<T>(result: std::io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn folders() {
    each(|fs, dir| {
        let deep = dir.join("a/b/c");
        assert_eq!(kind(fs.create(&deep.join("x"))), Some(ErrorKind::NotFound));
        assert_eq!(kind(fs.list(&deep)), Some(ErrorKind::NotFound));
        assert_eq!(kind(fs.sync_dir(&deep)), Some(ErrorKind::NotFound));
        fs.create_dir_all(&deep).unwrap();
        fs.create_dir_all(&deep).unwrap();
        write(fs, &deep.join("x"), b"1");
        fs.sync_dir(&deep).unwrap();
        assert_eq!(fs.list(&deep).unwrap(), ["x"]);
        write(fs, &dir.join("y"), b"1");
        // Only files, and only those directly in the folder.
        assert_eq!(fs.list(dir).unwrap(), ["y"]);
        assert_eq!(kind(fs.open_read(&deep)), Some(ErrorKind::IsADirectory));
        assert_eq!(kind(fs.len(&deep)), Some(ErrorKind::IsADirectory));
        assert!(fs.open_write(&deep).is_err());
        assert!(fs.remove(&deep).is_err());
        assert!(fs.create_dir_all(&dir.join("y/z")).is_err(), "a file is no folder");
    });
}

#[test]
fn folders_are_listed_and_removed() {
    each(|fs, dir| {
        let (a, b) = (dir.join("a"), dir.join("b"));
        assert_eq!(kind(fs.list_dirs(&a)), Some(ErrorKind::NotFound));
        assert_eq!(kind(fs.remove_dir(&a)), Some(ErrorKind::NotFound));
        fs.create_dir_all(&a.join("deep")).unwrap();
        fs.create_dir_all(&b).unwrap();
        write(fs, &dir.join("file"), b"1");
        let mut found = fs.list_dirs(dir).unwrap();
        found.sort();
        assert_eq!(found, ["a", "b"]);
        assert!(fs.list_dirs(&b).unwrap().is_empty());
        assert_eq!(kind(fs.remove_dir(&a)), Some(ErrorKind::DirectoryNotEmpty));
        assert_eq!(kind(fs.remove_dir(&dir.join("file"))), Some(ErrorKind::NotADirectory));
        write(fs, &b.join("x"), b"1");
        assert_eq!(kind(fs.remove_dir(&b)), Some(ErrorKind::DirectoryNotEmpty));
        fs.remove(&b.join("x")).unwrap();
        fs.remove_dir(&b).unwrap();
        assert_eq!(kind(fs.list(&b)), Some(ErrorKind::NotFound));
        assert_eq!(kind(fs.create(&b.join("x"))), Some(ErrorKind::NotFound));
        fs.remove_dir(&a.join("deep")).unwrap();
        fs.remove_dir(&a).unwrap();
        assert!(fs.list_dirs(dir).unwrap().is_empty());
        fs.create_dir_all(&b).unwrap();
        assert!(fs.list(&b).unwrap().is_empty(), "a new folder of an old name is empty");
    });
}

#[test]
fn names() {
    each(|fs, dir| {
        let (a, b) = (dir.join("a"), dir.join("b"));
        for missing in [
            kind(fs.open_read(&a)),
            kind(fs.open_write(&a)),
            kind(fs.len(&a)),
            kind(fs.remove(&a)),
            kind(fs.rename(&a, &b)),
            kind(fs.hard_link(&a, &b)),
        ] {
            assert_eq!(missing, Some(ErrorKind::NotFound));
        }
        write(fs, &a, b"one");
        assert_eq!(kind(fs.create(&a)), Some(ErrorKind::AlreadyExists));
        assert_eq!(read(fs, &a), b"one", "a refused creation changes nothing");
        assert_eq!(fs.len(&a).unwrap(), 3);
        write(fs, &b, b"two");
        fs.rename(&a, &b).unwrap();
        assert_eq!(read(fs, &b), b"one");
        assert_eq!(fs.list(dir).unwrap(), ["b"]);
        fs.rename(&b, &b).unwrap();
        assert_eq!(fs.list(dir).unwrap(), ["b"]);
        assert_eq!(kind(fs.rename(&b, &dir.join("no/b"))), Some(ErrorKind::NotFound));
        fs.remove(&b).unwrap();
        assert!(fs.list(dir).unwrap().is_empty());
        write(fs, &b, b"three");
        assert_eq!(read(fs, &b), b"three");
    });
}

#[test]
fn hard_links_share_content() {
    each(|fs, dir| {
        let (a, b, c) = (dir.join("a"), dir.join("b"), dir.join("c"));
        write(fs, &a, b"one");
        write(fs, &c, b"other");
        fs.hard_link(&a, &b).unwrap();
        assert_eq!(kind(fs.hard_link(&a, &c)), Some(ErrorKind::AlreadyExists));
        fs.open_write(&a).unwrap().write_at(3, b"+").unwrap();
        assert_eq!(read(fs, &b), b"one+");
        fs.rename(&a, &b).unwrap();
        assert_eq!(read(fs, &a), b"one+", "both names of one file stay");
        fs.remove(&a).unwrap();
        assert_eq!(read(fs, &b), b"one+");
    });
}

#[test]
fn reads_end_with_the_file() {
    each(|fs, dir| {
        let path = dir.join("f");
        write(fs, &path, b"0123456789");
        let file = fs.open_read(&path).unwrap();
        let mut buf = [0; 4];
        file.read_at(6, &mut buf).unwrap();
        assert_eq!(&buf, b"6789");
        for offset in [7, 10, 11, 1 << 40] {
            let error = kind(file.read_at(offset, &mut buf));
            assert_eq!(error, Some(ErrorKind::UnexpectedEof), "at {offset}");
        }
        file.read_at(10, &mut []).unwrap();
        for access in [Access::Random, Access::Sequential, Access::Done] {
            file.advise(access);
            file.map().unwrap().advise(access);
        }
        for range in [0..10, 3..1 << 40, 10..10, 1 << 40..1 << 41] {
            file.will_need(range.clone());
            file.map().unwrap().will_need(range);
        }
        assert!(!file.is_empty());
    });
}

#[test]
fn an_empty_file_maps_to_nothing() {
    each(|fs, dir| {
        let path = dir.join("f");
        fs.create(&path).unwrap().write_at(9, b"").unwrap();
        assert!(read(fs, &path).is_empty());
    });
}

#[test]
fn writes_anywhere_leave_zeros_between() {
    each(|fs, dir| {
        let path = dir.join("f");
        let file = fs.create(&path).unwrap();
        file.write_at(4, b"ef").unwrap();
        assert_eq!(read(fs, &path), b"\0\0\0\0ef");
        file.write_at(0, b"ab").unwrap();
        file.write_at(5, b"FG").unwrap();
        assert_eq!(read(fs, &path), b"ab\0\0eFG");
        let error = file.write_at(u64::MAX - 1, b"abc").unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::FileTooLarge | ErrorKind::InvalidInput),
            "{error:?}"
        );
        assert_eq!(fs.len(&path).unwrap(), 7);
    });
}

#[test]
fn a_mapping_outlives_file_and_name() {
    each(|fs, dir| {
        let path = dir.join("f");
        write(fs, &path, b"bytes");
        let mapping = fs.open_read(&path).unwrap().map().unwrap();
        fs.remove(&path).unwrap();
        assert_eq!(&mapping[..], b"bytes");
    });
}

#[test]
fn allocated_bytes_read_as_zero_and_stay() {
    each(|fs, dir| {
        let path = dir.join("f");
        let file = fs.create(&path).unwrap();
        file.write_at(0, b"head").unwrap();
        file.allocate(10_000).unwrap();
        let mut expected = vec![0; 10_000];
        expected[..4].copy_from_slice(b"head");
        assert_eq!(read(fs, &path), expected);
        file.allocate(10).unwrap();
        file.allocate(0).unwrap();
        assert_eq!(fs.len(&path).unwrap(), 10_000, "a file never shrinks");
    });
}

#[test]
fn copies_are_writes() {
    each(|fs, dir| {
        let path = dir.join("f");
        let file = fs.create(&path).unwrap();
        file.copy_at(2, b"before").unwrap();
        assert_eq!(read(fs, &path), b"\0\0before");
        file.allocate(200_000).unwrap();
        let reader = fs.open_read(&path).unwrap();
        let mut model = vec![0; 200_000];
        model[2..8].copy_from_slice(b"before");
        // Front, a page's edge, past a piece made ready, back again, the very end.
        for offset in [0, 4090, 65_530, 131_071, 8, 199_990] {
            file.copy_at(offset, b"0123456789").unwrap();
            model[offset as usize..][..10].copy_from_slice(b"0123456789");
            let mut found = [0; 10];
            reader.read_at(offset, &mut found).unwrap();
            assert_eq!(&found, b"0123456789", "at {offset}");
        }
        file.copy_at(50, b"").unwrap();
        // Writes and copies see each other, whichever comes last.
        file.write_at(4, b"written").unwrap();
        file.copy_at(6, b"copied").unwrap();
        model[4..12].copy_from_slice(b"wrcopied");
        assert_eq!(read(fs, &path), model);
        // Past what is allocated, then through another allocation.
        file.copy_at(199_998, b"tail").unwrap();
        model.truncate(199_998);
        model.extend_from_slice(b"tail");
        file.allocate(400_000).unwrap();
        model.resize(400_000, 0);
        file.copy_at(300_000, b"more").unwrap();
        model[300_000..300_004].copy_from_slice(b"more");
        assert_eq!(read(fs, &path), model);
        file.sync().unwrap();
        drop(file);
        // Recycled: opened again, allocated again.
        let file = fs.open_write(&path).unwrap();
        file.allocate(400_000).unwrap();
        file.copy_at(0, b"again").unwrap();
        model[..5].copy_from_slice(b"again");
        assert_eq!(read(fs, &path), model);
        assert!(file.copy_at(u64::MAX - 1, b"abc").is_err());
    });
}

#[test]
fn copies_may_run_beside_each_other() {
    each(|fs, dir| {
        let path = dir.join("f");
        let file = fs.create(&path).unwrap();
        file.allocate(1 << 20).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let file = &file;
                scope.spawn(move || {
                    for i in 0..1000 {
                        let offset = (i * 4 + thread) * 100;
                        file.copy_at(offset, &[thread as u8 + 1; 100]).unwrap();
                        file.copy_at(1_000_000, &[thread as u8; 100]).unwrap();
                    }
                });
            }
        });
        let bytes = read(fs, &path);
        for (i, chunk) in bytes[..400_000].chunks(100).enumerate() {
            assert_eq!(chunk, [i as u8 % 4 + 1; 100], "chunk {i}");
        }
        let shared = &bytes[1_000_000..1_000_100];
        assert!(shared.iter().all(|byte| byte == &shared[0]), "one copy at a time");
    });
}

#[test]
fn handles_survive_removal_and_renaming() {
    each(|fs, dir| {
        let path = dir.join("f");
        let writer = fs.create(&path).unwrap();
        writer.write_at(0, b"first").unwrap();
        let reader = fs.open_read(&path).unwrap();
        fs.remove(&path).unwrap();
        write(fs, &path, b"second");
        writer.write_at(0, b"FIRST").unwrap();
        writer.sync().unwrap();
        let mut found = [0; 5];
        reader.read_at(0, &mut found).unwrap();
        assert_eq!(&found, b"FIRST");
        assert_eq!(read(fs, &path), b"second");
        let renamed = fs.open_write(&path).unwrap();
        fs.rename(&path, &dir.join("g")).unwrap();
        renamed.write_at(0, b"S").unwrap();
        assert_eq!(read(fs, &dir.join("g")), b"Second");
    });
}

#[test]
fn locks_exclude() {
    each(|fs, dir| {
        let path = dir.join("LOCK");
        let would_block = Some(ErrorKind::WouldBlock);
        let exclusive = fs.lock(&path, LockMode::Exclusive).unwrap();
        assert_eq!(fs.list(dir).unwrap(), ["LOCK"]);
        assert_eq!(kind(fs.lock(&path, LockMode::Exclusive)), would_block);
        assert_eq!(kind(fs.lock(&path, LockMode::Shared)), would_block);
        drop(exclusive);
        let first = fs.lock(&path, LockMode::Shared).unwrap();
        let second = fs.lock(&path, LockMode::Shared).unwrap();
        assert_eq!(kind(fs.lock(&path, LockMode::Exclusive)), would_block);
        drop(first);
        assert_eq!(kind(fs.lock(&path, LockMode::Exclusive)), would_block);
        drop(second);
        drop(fs.lock(&path, LockMode::Exclusive).unwrap());
        let other = fs.lock(&dir.join("OTHER"), LockMode::Shared).unwrap();
        drop(fs.lock(&path, LockMode::Exclusive).unwrap());
        assert!(fs.list(dir).unwrap().contains(&"OTHER".to_owned()));
        drop(other);
        let missing = dir.join("no/LOCK");
        assert_eq!(kind(fs.lock(&missing, LockMode::Exclusive)), Some(ErrorKind::NotFound));
        assert_eq!(kind(fs.lock(&missing, LockMode::Shared)), Some(ErrorKind::NotFound));
    });
}
