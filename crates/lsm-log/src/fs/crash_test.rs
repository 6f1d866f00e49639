use std::collections::BTreeSet;

use super::*;
use crate::fs::crash_content::SECTOR_BYTES;

/// A file system with a folder `db`, and the path of a file in it.
fn db() -> (CrashFs, PathBuf) {
    let fs = CrashFs::new();
    fs.create_dir_all(Path::new("db")).unwrap();
    (fs, PathBuf::from("db/f"))
}

fn read(fs: &CrashFs, path: impl AsRef<Path>) -> Option<Vec<u8>> {
    let file = fs.open_read(path.as_ref()).ok()?;
    let mut bytes = vec![0; file.len() as usize];
    file.read_at(0, &mut bytes).unwrap();
    Some(bytes)
}

/// Creates a file whose name and bytes are durable.
fn durable(fs: &CrashFs, path: impl AsRef<Path>, bytes: &[u8]) -> Arc<dyn WriteFile> {
    let path = path.as_ref();
    let file = fs.create(path).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync().unwrap();
    fs.sync_dir(folder_of(path)).unwrap();
    file
}

/// What `look` finds in the torn images of many seeds.
fn torn<T: Ord>(fs: &CrashFs, look: impl Fn(&CrashFs) -> T) -> BTreeSet<T> {
    (0..400).map(|seed| look(&fs.image(CrashImage::Torn { seed }))).collect()
}

#[test]
fn unsynced_bytes_are_lost_and_synced_ones_kept() {
    let (fs, path) = db();
    let file = durable(&fs, &path, b"synced");
    file.write_at(0, b"S").unwrap();
    file.copy_at(6, b" and more").unwrap();
    file.allocate(100).unwrap();
    assert_eq!(read(&fs.image(CrashImage::Lost), &path).unwrap(), b"synced");
    let kept = read(&fs.image(CrashImage::Kept), &path).unwrap();
    assert_eq!((&kept[..15], kept.len()), (&b"Synced and more"[..], 100));
    file.sync().unwrap();
    assert_eq!(read(&fs.image(CrashImage::Lost), &path).unwrap(), kept);
    assert_eq!(torn(&fs, |image| read(image, &path)), BTreeSet::from([Some(kept)]));
}

#[test]
fn a_name_is_lost_before_its_folder_is_synced() {
    let (fs, path) = db();
    let file = fs.create(&path).unwrap();
    file.write_at(0, b"bytes").unwrap();
    file.sync().unwrap();
    assert_eq!(read(&fs.image(CrashImage::Lost), &path), None);
    assert_eq!(read(&fs.image(CrashImage::Kept), &path).unwrap(), b"bytes");
    let either = BTreeSet::from([None, Some(b"bytes".to_vec())]);
    assert_eq!(torn(&fs, |image| read(image, &path)), either);
    // Another folder's sync does not help.
    fs.sync_dir(Path::new("")).unwrap();
    assert_eq!(read(&fs.image(CrashImage::Lost), &path), None);
    fs.sync_dir(Path::new("db")).unwrap();
    assert_eq!(read(&fs.image(CrashImage::Lost), &path).unwrap(), b"bytes");
}

#[test]
fn syncing_a_folder_keeps_no_bytes() {
    let (fs, path) = db();
    fs.create(&path).unwrap().write_at(0, b"bytes").unwrap();
    fs.sync_dir(Path::new("db")).unwrap();
    assert_eq!(read(&fs.image(CrashImage::Lost), &path).unwrap(), b"");
}

#[test]
fn a_removal_may_come_undone() {
    let (fs, path) = db();
    durable(&fs, &path, b"old");
    fs.remove(&path).unwrap();
    assert_eq!(read(&fs.image(CrashImage::Lost), &path).unwrap(), b"old");
    assert_eq!(torn(&fs, |image| read(image, &path)).len(), 2);
    fs.sync_dir(Path::new("db")).unwrap();
    assert_eq!(torn(&fs, |image| read(image, &path)), BTreeSet::from([None]));
}

#[test]
fn a_rename_shows_the_old_or_the_new_file() {
    let (fs, _) = db();
    durable(&fs, "db/CURRENT", b"old");
    let file = fs.create(Path::new("db/tmp")).unwrap();
    file.write_at(0, b"new").unwrap();
    file.sync().unwrap();
    fs.rename(Path::new("db/tmp"), Path::new("db/CURRENT")).unwrap();
    assert_eq!(read(&fs, "db/tmp"), None);
    assert_eq!(read(&fs.image(CrashImage::Lost), "db/CURRENT").unwrap(), b"old");
    let either = BTreeSet::from([Some(b"old".to_vec()), Some(b"new".to_vec())]);
    assert_eq!(torn(&fs, |image| read(image, "db/CURRENT")), either);
    fs.sync_dir(Path::new("db")).unwrap();
    let image = fs.image(CrashImage::Lost);
    assert_eq!(read(&image, "db/CURRENT").unwrap(), b"new");
    assert_eq!(read(&image, "db/tmp"), None);
}

#[test]
fn a_renamed_file_without_sync_may_be_empty() {
    let (fs, _) = db();
    durable(&fs, "db/CURRENT", b"old");
    fs.create(Path::new("db/tmp")).unwrap().write_at(0, b"new").unwrap();
    fs.rename(Path::new("db/tmp"), Path::new("db/CURRENT")).unwrap();
    fs.sync_dir(Path::new("db")).unwrap();
    assert_eq!(read(&fs.image(CrashImage::Lost), "db/CURRENT").unwrap(), b"");
}

#[test]
fn a_move_to_another_folder_is_durable_with_its_target() {
    let (fs, _) = db();
    fs.create_dir_all(Path::new("to")).unwrap();
    fs.create(Path::new("db/f")).unwrap();
    fs.rename(Path::new("db/f"), Path::new("to/f")).unwrap();
    let both = |image: &CrashFs| (read(image, "db/f").is_some(), read(image, "to/f").is_some());
    assert!(!torn(&fs, both).contains(&(true, true)), "a rename is atomic");
    fs.sync_dir(Path::new("to")).unwrap();
    assert_eq!(torn(&fs, both), BTreeSet::from([(false, true)]));
    assert_eq!(both(&fs.image(CrashImage::Lost)), (false, true));
}

#[test]
fn hard_links_stay_one_file() {
    let (fs, path) = db();
    let file = durable(&fs, &path, b"one");
    fs.hard_link(&path, Path::new("db/g")).unwrap();
    fs.sync_dir(Path::new("db")).unwrap();
    file.write_at(0, b"two").unwrap();
    assert!(torn(&fs, |image| read(image, &path) == read(image, "db/g")).contains(&true));
    assert!(!torn(&fs, |image| read(image, &path) == read(image, "db/g")).contains(&false));
    let image = fs.image(CrashImage::Kept);
    image.open_write(&path).unwrap().write_at(0, b"six").unwrap();
    assert_eq!(read(&image, "db/g").unwrap(), b"six");
    assert_eq!(read(&fs, "db/g").unwrap(), b"two", "an image is a copy");
}

/// Which of three sectors hold the new bytes, the old bytes, or something else.
fn sectors(bytes: &[u8]) -> Vec<u8> {
    bytes
        .chunks(SECTOR_BYTES as usize)
        .map(|sector| if sector.iter().all(|byte| byte == &sector[0]) { sector[0] } else { b'?' })
        .collect()
}

#[test]
fn torn_writes_keep_any_sectors_but_whole_ones() {
    let (fs, path) = db();
    let file = durable(&fs, &path, &[b'o'; 3 * SECTOR_BYTES as usize]);
    file.write_at(0, &[b'n'; 3 * SECTOR_BYTES as usize]).unwrap();
    let found = torn(&fs, |image| sectors(&read(image, &path).unwrap()));
    let all = (0..8_u8).map(|bits| {
        (0..3).map(|sector| if bits >> sector & 1 == 0 { b'o' } else { b'n' }).collect()
    });
    assert_eq!(found, all.collect());
}

#[test]
fn a_later_write_may_be_kept_without_an_earlier_one() {
    let (fs, path) = db();
    let file = durable(&fs, &path, &[b'o'; 2 * SECTOR_BYTES as usize]);
    file.write_at(0, &[b'1'; SECTOR_BYTES as usize]).unwrap();
    file.write_at(SECTOR_BYTES, &[b'2'; SECTOR_BYTES as usize]).unwrap();
    let found = torn(&fs, |image| sectors(&read(image, &path).unwrap()));
    assert!(found.contains(b"o2".as_slice()), "{found:?}");
    // Within a sector, the older bytes never come back over the newer ones.
    file.write_at(0, &[b'3'; SECTOR_BYTES as usize]).unwrap();
    let found = torn(&fs, |image| sectors(&read(image, &path).unwrap())[0]);
    assert_eq!(found, BTreeSet::from([b'o', b'1', b'3']));
}

#[test]
fn a_torn_file_may_be_longer_than_its_bytes() {
    let (fs, path) = db();
    let file = durable(&fs, &path, b"");
    file.write_at(100, &[b'x'; 1000]).unwrap();
    let lens = torn(&fs, |image| read(image, &path).unwrap().len());
    assert_eq!(lens, BTreeSet::from([0, 512, 1024, 1100]));
    let all_zero = |image: &CrashFs| {
        let bytes = read(image, &path).unwrap();
        bytes.len() == 1100 && bytes.iter().all(|byte| *byte == 0)
    };
    assert!(torn(&fs, all_zero).contains(&true), "the length alone was kept");
}

#[test]
fn one_seed_makes_one_image() {
    let (fs, path) = db();
    let file = fs.create(&path).unwrap();
    for i in 0..50 {
        file.write_at(i * 300, &[i as u8; 700]).unwrap();
    }
    for seed in 0..20 {
        let [a, b] = [(); 2].map(|()| read(&fs.image(CrashImage::Torn { seed }), &path));
        assert_eq!(a, b, "seed {seed}");
    }
    assert!(torn(&fs, |image| read(image, &path)).len() > 100);
}

#[test]
fn a_removed_folder_does_not_come_back() {
    let (fs, path) = db();
    durable(&fs, &path, b"old");
    fs.create(Path::new("db/g")).unwrap();
    fs.remove(&path).unwrap();
    assert!(read(&fs.image(CrashImage::Lost), &path).is_some(), "a removal is not durable yet");
    fs.remove(Path::new("db/g")).unwrap();
    fs.remove_dir(Path::new("db")).unwrap();
    assert!(torn(&fs, |image| image.list_dirs(Path::new("/")).unwrap().is_empty()).contains(&true));
    for choice in [CrashImage::Lost, CrashImage::Kept, CrashImage::Torn { seed: 1 }] {
        let image = fs.image(choice);
        assert!(image.list_dirs(Path::new("/")).unwrap().is_empty(), "{choice:?}");
        image.create_dir_all(Path::new("db")).unwrap();
        assert!(image.list(Path::new("db")).unwrap().is_empty(), "{choice:?}");
    }
}

#[test]
fn a_crash_freezes_everything() {
    let (fs, path) = db();
    let start = fs.events();
    assert_eq!(start, 1, "one folder was made");
    fs.crash_after(start + 3);
    let file = fs.create(&path).unwrap();
    file.write_at(0, b"one").unwrap();
    let reader = fs.open_read(&path).unwrap();
    assert!(fs.remove(Path::new("db/none")).is_err());
    assert!(!fs.crashed(), "what fails is no event");
    file.copy_at(3, b"two").unwrap();
    assert!(fs.crashed());

    let other = Path::new("db/g");
    assert!(file.write_at(0, b"x").is_err());
    assert!(file.copy_at(0, b"x").is_err());
    assert!(file.allocate(100).is_err());
    assert!(file.sync().is_err());
    assert!(reader.read_at(0, &mut [0]).is_err());
    assert!(reader.map().is_err());
    assert!(fs.create(other).is_err());
    assert!(fs.create_dir_all(Path::new("new")).is_err());
    assert!(fs.open_read(&path).is_err());
    assert!(fs.open_write(&path).is_err());
    assert!(fs.list(Path::new("db")).is_err());
    assert!(fs.len(&path).is_err());
    assert!(fs.rename(&path, other).is_err());
    assert!(fs.hard_link(&path, other).is_err());
    assert!(fs.remove(&path).is_err());
    assert!(fs.sync_dir(Path::new("db")).is_err());
    assert!(fs.list_dirs(Path::new("/")).is_err());
    assert!(fs.remove_dir(Path::new("db")).is_err());
    assert!(fs.lock(Path::new("db/LOCK"), LockMode::Exclusive).is_err());

    assert_eq!(fs.events(), start + 3);
    let image = fs.image(CrashImage::Kept);
    assert_eq!(read(&image, &path).unwrap(), b"onetwo");
    assert_eq!(image.list(Path::new("db")).unwrap(), ["f"]);
    assert!(!image.crashed());
    assert_eq!(image.events(), 0);
    assert_eq!(image.list(Path::new("new")).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn every_change_is_one_event() {
    let (fs, path) = db();
    let count = |change: &dyn Fn()| {
        let before = fs.events();
        change();
        fs.events() - before
    };
    let other = Path::new("db/g");
    let file = fs.create(&path).unwrap();
    assert_eq!(count(&|| file.write_at(0, b"a").unwrap()), 1);
    assert_eq!(count(&|| file.copy_at(0, b"a").unwrap()), 1);
    assert_eq!(count(&|| file.allocate(9).unwrap()), 1);
    assert_eq!(count(&|| file.sync().unwrap()), 1);
    assert_eq!(count(&|| fs.hard_link(&path, other).unwrap()), 1);
    assert_eq!(count(&|| fs.rename(other, Path::new("db/h")).unwrap()), 1);
    assert_eq!(count(&|| fs.remove(Path::new("db/h")).unwrap()), 1);
    assert_eq!(count(&|| fs.sync_dir(Path::new("db")).unwrap()), 1);
    assert_eq!(count(&|| fs.create_dir_all(Path::new("db")).unwrap()), 0);
    assert_eq!(count(&|| drop(fs.open_read(&path).unwrap())), 0);
    fs.create_dir_all(Path::new("db/empty")).unwrap();
    assert_eq!(count(&|| fs.remove_dir(Path::new("db/empty")).unwrap()), 1);
    assert_eq!(count(&|| drop(fs.lock(Path::new("db/L"), LockMode::Shared).unwrap())), 1);
}

#[test]
fn images_hold_no_locks_and_new_folders_are_durable() {
    let (fs, _) = db();
    let _held = fs.lock(Path::new("db/LOCK"), LockMode::Exclusive).unwrap();
    let image = fs.image(CrashImage::Lost);
    assert!(image.list(Path::new("db")).unwrap().is_empty());
    image.lock(Path::new("db/LOCK"), LockMode::Exclusive).unwrap();
}
