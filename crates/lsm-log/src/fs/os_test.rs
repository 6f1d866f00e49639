use super::*;

/// A writer with 1 MiB allocated, and its path's folder, which must outlive it.
fn allocated() -> (tempfile::TempDir, OsWriteFile) {
    let dir = tempfile::tempdir().unwrap();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(dir.path().join("f"))
        .unwrap();
    let file = OsWriteFile::new(file);
    file.allocate(1 << 20).unwrap();
    (dir, file)
}

#[test]
fn only_reserved_files_are_mapped() {
    let (_dir, file) = allocated();
    file.copy_at(0, b"x").unwrap();
    let reserved = file.window.lock().reserved > 0;
    assert_eq!(file.window.lock().map.is_some(), reserved);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sparse");
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
    file.set_len(1 << 20).unwrap();
    let file = OsWriteFile::new(file);
    file.copy_at(0, b"x").unwrap();
    assert!(file.window.lock().map.is_none(), "a hole must not be written through a mapping");
}

#[test]
fn a_little_is_made_ready_at_a_time() {
    let (_dir, file) = allocated();
    if file.window.lock().reserved == 0 {
        return; // This file system reserves nothing.
    }
    file.copy_at(PREFAULT_BYTES as u64 - 1, b"xy").unwrap();
    assert_eq!(file.window.lock().ready, 0..2 * PREFAULT_BYTES);
    file.allocate(10).unwrap();
    assert!(file.window.lock().map.is_some(), "a smaller allocation changes nothing");
    file.copy_at((1 << 20) - 1, b"x").unwrap();
    assert_eq!(file.window.lock().ready, (1 << 20) - PREFAULT_BYTES..1 << 20);
}

#[test]
fn folders_are_made_at_any_depth_and_from_relative_paths() {
    OsFs.create_dir_all(Path::new("")).unwrap();
    OsFs.create_dir_all(Path::new(".")).unwrap();
    OsFs.sync_dir(Path::new("")).unwrap();
    assert_eq!(parent_of(Path::new("a")), Path::new("."));
    assert_eq!(parent_of(Path::new("/")), Path::new("."));
}

#[test]
fn a_file_cut_behind_our_back_is_an_error_not_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, [7; 100]).unwrap();
    let file = OsFs.open_read(&path).unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap();
    assert_eq!(file.map().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

/// Needs Linux 5.14, which can ready pages without touching them.
#[test]
#[cfg(target_os = "linux")]
fn a_log_cut_behind_our_back_is_an_error_where_it_was_not_touched_yet() {
    let (_dir, file) = allocated();
    if file.window.lock().reserved == 0 {
        return; // This file system reserves nothing.
    }
    file.copy_at(0, b"x").unwrap();
    file.file.set_len(100).unwrap();
    assert!(file.copy_at(1 << 19, b"x").is_err());
}

/// What cannot be synced is refused by the system: so it was asked.
#[test]
#[cfg(target_os = "linux")]
fn a_sync_asks_the_system() {
    let device = OsFs.open_write(Path::new("/dev/null")).unwrap();
    assert_eq!(device.sync().unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(OsFs.sync_dir(Path::new("/proc")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_reserved_has_its_blocks() {
    use std::os::unix::fs::MetadataExt;
    let (_dir, file) = allocated();
    if file.window.lock().reserved == 0 {
        return; // This file system reserves nothing.
    }
    assert!(file.file.metadata().unwrap().blocks() * 512 >= 1 << 20);
}

/// A copy that crosses the end of what is reserved is a write as a whole.
#[test]
fn a_copy_beyond_what_is_reserved_is_a_write() {
    let (_dir, file) = allocated();
    let at = (1 << 20) - 3;
    file.copy_at(at, b"abcdef").unwrap();
    let mut found = [0; 6];
    positional::read_exact_at(&file.file, &mut found, at).unwrap();
    assert_eq!(&found, b"abcdef");
    assert!(file.window.lock().map.is_none(), "nothing was worth a mapping yet");
}
