//! A manifest that has grown past its limit is replaced, and nothing that happens meanwhile
//! loses an edit.

use super::*;
use crate::error::ErrorKind;
use crate::fs::{CrashFs, CrashImage, Fault, FaultFs, MemFs, Op};
use crate::key::KeyspaceId;
use crate::version::{Edit, Manifest};

const DIR: &str = "/db";
/// Logs that an edit names: it has half a megabyte or so.
const LOGS: u64 = 60_000;
/// Edits that make more than one manifest.
const EDITS: u64 = 24;

fn dir() -> &'static Path {
    Path::new(DIR)
}

fn create(fs: Arc<dyn Fs>) -> Result<VersionSet> {
    fs.create_dir_all(dir()).map_err(|error| Error::io("create", dir(), error))?;
    let mut catalog = Catalog::default();
    let first = vec![(KeyspaceId(0), "default".to_owned())];
    catalog.apply(&Edit { database_id: Some(7), create_keyspaces: first, ..Edit::default() })?;
    let set = VersionSet::read_only(fs, dir(), catalog);
    set.start_writing().map(|()| set)
}

/// Many logs, and all of them but one given up again by the next edit: a long manifest of a short
/// snapshot.
fn edit(n: u64) -> Edit {
    let first = n / 2 * LOGS;
    let numbers = (first..first + LOGS).map(|number| FileNumber(1_000_000 + number));
    match n % 2 {
        0 => Edit { add_logs: numbers.map(|number| (number, 64)).collect(), ..Edit::default() },
        _ => Edit { drop_logs: numbers.skip(1).collect(), ..Edit::default() },
    }
}

/// How many logs there are once so many edits were applied.
fn logs_after(edits: u64) -> usize {
    (edits / 2 + edits % 2 * LOGS) as usize
}

fn loaded(fs: &dyn Fs) -> Catalog {
    let loaded = Manifest::load(fs, dir()).unwrap().expect("a database");
    let mut catalog = Catalog::default();
    loaded.edits.iter().for_each(|edit| catalog.apply(edit).unwrap());
    catalog
}

#[test]
fn a_crash_at_any_step_of_a_replacement_loses_no_edit() {
    let fs = CrashFs::new();
    let set = create(Arc::new(fs.clone())).unwrap();
    let first = set.manifest_number();
    let replaced = (0..EDITS).find_map(|n| {
        let before = fs.events();
        set.apply(edit(n), |_| {}).unwrap();
        (set.manifest_number() != first).then_some((n, before..=fs.events()))
    });
    let (last, events) = replaced.expect("the manifest has a limit");
    assert_eq!(set.obsolete_files().pop(), first.map(FileName::Manifest), "the old one goes");
    set.apply(edit(last + 1), |_| {}).unwrap();
    let after = loaded(&fs.image(CrashImage::Lost)).logs.len();
    assert_eq!(after, logs_after(last + 2), "the new one is in force for good");
    assert!(events.clone().count() > 8, "write, sync, rename, sync the folder");
    for event in events {
        let fs = CrashFs::new();
        let set = create(Arc::new(fs.clone())).unwrap();
        fs.crash_after(event);
        let done = (0..=last).take_while(|&n| set.apply(edit(n), |_| {}).is_ok()).count() as u64;
        assert!(done >= last, "the crash comes in the last edit");
        for image in [CrashImage::Lost, CrashImage::Kept, CrashImage::Torn { seed: event }] {
            let found = loaded(&fs.image(image)).logs.len();
            let all = [logs_after(done), logs_after(done + 1)];
            assert!(all.contains(&found), "{found} logs after {done} edits, {event}, {image:?}");
        }
    }
}

/// Which manifest is in force is unknown then: nothing may be written to either.
#[test]
fn nothing_is_written_after_a_replacement_that_failed() {
    let disk = FaultFs::new(Arc::new(MemFs::new()));
    let set = create(Arc::new(disk.clone())).unwrap();
    disk.inject(Fault::error(Op::Rename, std::io::ErrorKind::Other));
    let mut edits = 0..EDITS;
    let failed = edits.find_map(|n| set.apply(edit(n), |_| {}).err());
    assert_eq!(failed.expect("the manifest is replaced").kind(), ErrorKind::Io);
    let next = edits.next().unwrap();
    assert_eq!(set.apply(edit(next), |_| {}).unwrap_err().kind(), ErrorKind::Failed);
    assert_eq!(loaded(&disk).logs.len(), logs_after(next));
}

#[test]
fn a_number_that_was_given_out_is_used_for_good_with_the_next_edit() {
    let fs = MemFs::new();
    let set = create(Arc::new(fs.clone())).unwrap();
    let numbers = [0; 5].map(|_| set.new_file_number());
    set.apply(edit(0), |_| {}).unwrap();
    assert!(numbers.iter().all(|number| *number < loaded(&fs).next_file));
}
