//! A manifest that has grown past its limit is replaced, and nothing that happens meanwhile
//! loses an edit.

use std::collections::BTreeMap;
use std::io;

use lsm_log::error::ErrorKind;
use lsm_log::fs::{CrashFs, CrashImage, Fault, FaultFs, MemFs, Op};

use super::*;
use crate::key::{KeyspaceId, SeqNo};
use crate::sstable::Shadowed;
use crate::version::{KeyspaceEdit, TableMeta};

/// Small enough that every few edits begin a new manifest, with a snapshot in several pieces.
const TINY: Limits = Limits { manifest_bytes: 700, piece_bytes: 150, edit_bytes: 400 };

const SEED: u64 = 9;

fn dir() -> &'static Path {
    Path::new("/db")
}

fn meta(number: u64, key: &[u8]) -> TableMeta {
    TableMeta {
        number: FileNumber(number),
        bytes: 100,
        smallest: key.to_vec(),
        largest: key.to_vec(),
        seq_min: SeqNo(1),
        seq_max: SeqNo(2),
        entries: 2,
        tombstones: 0,
        raw_bytes: 10,
        shadowed: Shadowed::default(),
    }
}

/// One keyspace, whose tables are at level 0.
fn change(removed: &[u64], added: Vec<TableMeta>) -> Edit {
    let removed = removed.iter().map(|&number| (0, FileNumber(number))).collect();
    let added = added.into_iter().map(|meta| (0, meta)).collect();
    let keyspace = KeyspaceEdit { removed, added, ..KeyspaceEdit::default() };
    Edit { keyspaces: vec![keyspace], ..Edit::default() }
}

fn new_catalog() -> Catalog {
    let mut catalog = Catalog::default();
    let edit = Edit {
        database_id: Some(7),
        next_file: Some(FileNumber(1)),
        create_keyspaces: vec![(KeyspaceId::DEFAULT, "default".to_owned())],
        ..Edit::default()
    };
    catalog.apply(&edit).unwrap();
    catalog
}

/// What the manifest in force adds up to.
fn load(fs: &dyn Fs) -> Result<Option<Catalog>> {
    let Some(loaded) = Manifest::load(fs, dir())? else { return Ok(None) };
    let mut catalog = Catalog::default();
    loaded.edits.iter().try_for_each(|edit| catalog.apply(edit))?;
    Ok(Some(catalog))
}

fn tables(catalog: &Catalog) -> BTreeMap<u64, TableMeta> {
    let version = &catalog.keyspaces[&KeyspaceId::DEFAULT].version;
    version.tables().map(|(_, table)| (table.meta.number.0, table.meta.clone())).collect()
}

fn create(fs: &Arc<dyn Fs>, catalog: Catalog, limits: Limits) -> Result<VersionSet> {
    let nonces = Nonces::new(Some(SEED));
    let set = VersionSet::within(limits, Arc::clone(fs), dir(), catalog, nonces);
    set.start_writing().map(|()| set)
}

/// A set, and a disk that fails when told.
fn on_faults(limits: Limits) -> (FaultFs, VersionSet) {
    let disk = FaultFs::new(Arc::new(MemFs::new()));
    disk.create_dir_all(dir()).unwrap();
    let shared: Arc<dyn Fs> = Arc::new(disk.clone());
    let set = create(&shared, new_catalog(), limits).unwrap();
    (disk, set)
}

fn manifests(fs: &dyn Fs) -> Vec<FileNumber> {
    let names = fs.list(dir()).unwrap();
    let number = |name: &String| match FileName::parse(name) {
        Some(FileName::Manifest(number)) => Some(number),
        _ => None,
    };
    names.iter().filter_map(number).collect()
}

/// Removes what is not named any more, as background work does.
fn remove_obsolete(fs: &dyn Fs, set: &VersionSet) -> Result<()> {
    while let Some(name) = set.obsolete_files().pop() {
        if matches!(name, FileName::Manifest(_)) {
            let path = name.in_dir(dir());
            match fs.remove(&path) {
                // It was never made.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(|e| Error::io("remove a manifest", &path, e))?,
            }
        }
    }
    Ok(())
}

/// A history of edits, each known as what it leads to.
#[derive(Default)]
struct History {
    /// Acknowledged.
    now: BTreeMap<u64, TableMeta>,
    /// What the edit under way leads to.
    then: Option<BTreeMap<u64, TableMeta>>,
    manifests_seen: Vec<FileNumber>,
}

impl History {
    /// One edit: a table or two more, or one less, or a long edit.
    fn step(&mut self, set: &VersionSet, rng: &mut fastrand::Rng) -> Result<()> {
        let key = |rng: &mut fastrand::Rng, len: usize| vec![rng.u8(..); len];
        let mut then = self.now.clone();
        let removed: Vec<u64> = match rng.u8(0..3) {
            0 => then.keys().copied().take(rng.usize(0..3)).collect(),
            _ if then.len() > 12 => then.keys().copied().take(3).collect(),
            _ => Vec::new(),
        };
        removed.iter().for_each(|number| drop(then.remove(number)));
        let lens = [vec![], vec![5], vec![30, 30], vec![300]];
        let lens = rng.choice(&lens).unwrap().iter();
        let added: Vec<TableMeta> =
            lens.map(|&len| meta(set.new_file_number().0, &key(rng, len))).collect();
        then.extend(added.iter().map(|meta| (meta.number.0, meta.clone())));
        self.then = Some(then);
        set.apply(change(&removed, added), |_| {})?;
        self.now = self.then.take().expect("it was just set");
        let number = set.manifest_number().unwrap();
        if self.manifests_seen.last() != Some(&number) {
            self.manifests_seen.push(number);
        }
        Ok(())
    }

    /// What a crash left is one of the two states, and none that was never there.
    fn check(&self, found: Option<&Catalog>) {
        let Some(found) = found else {
            assert!(self.manifests_seen.is_empty(), "there was a database");
            return;
        };
        let found = tables(found);
        let same = |state: &BTreeMap<u64, TableMeta>| *state == found;
        assert!(same(&self.now) || self.then.as_ref().is_some_and(same), "{found:?}");
    }
}

/// Runs until the crash; whether there was none.
fn run(fs: &CrashFs, catalog: Catalog, history: &mut History, seed: u64, steps: usize) -> bool {
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let mut rng = fastrand::Rng::with_seed(seed);
    let all = || -> Result<()> {
        let set = create(&shared, catalog, TINY)?;
        if fs.crashed() {
            return Ok(());
        }
        history.manifests_seen.extend(set.manifest_number());
        // As an open does.
        let strays = manifests(&*shared).into_iter().filter(|n| Some(*n) != set.manifest_number());
        for path in strays.map(|number| FileName::Manifest(number).in_dir(dir())) {
            fs.remove(&path).map_err(|error| Error::io("remove a stray file", &path, error))?;
        }
        for _ in 0..steps {
            history.step(&set, &mut rng)?;
            remove_obsolete(fs, &set)?;
            // What was replaced is gone.
            assert!(fs.crashed() || manifests(&*shared).len() == 1);
        }
        Ok(())
    };
    let done = all();
    assert!(done.is_ok() || fs.crashed(), "failed without a crash: {done:?}");
    done.is_ok() && !fs.crashed()
}

/// A crash at every change of the disk, while the manifest outgrows its limit again and again; and
/// one more in what goes on from there.
#[test]
fn a_crash_while_a_full_manifest_is_replaced_leaves_the_state_before_or_after() {
    const STEPS: usize = 60;
    for seed in 0..4 {
        for events in 0.. {
            let fs = CrashFs::new();
            fs.create_dir_all(dir()).unwrap();
            fs.sync_dir(Path::new("/")).unwrap();
            let start = fs.events();
            fs.crash_after(start + events);
            let mut history = History::default();
            let whole = run(&fs, new_catalog(), &mut history, seed, STEPS);
            let torn = (0..3).map(|n| CrashImage::Torn { seed: events * 3 + n });
            for image in [CrashImage::Lost, CrashImage::Kept].into_iter().chain(torn) {
                let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    crash_again(&fs.image(image), &history, seed + events);
                }));
                assert!(told.is_ok(), "seed {seed}, {events} events, {image:?}");
            }
            if whole {
                let seen = history.manifests_seen.len();
                assert!(seen > 8, "only {seen} manifests");
                break;
            }
        }
    }
}

/// Opens what a crash left and goes on, until the next crash.
fn crash_again(left: &CrashFs, before: &History, seed: u64) {
    let found = load(left).unwrap();
    before.check(found.as_ref());
    let Some(mut catalog) = found else { return };
    let most = manifests(left).into_iter().max().unwrap();
    catalog.next_file = catalog.next_file.max(FileNumber(most.0 + 1));
    let now = tables(&catalog);
    let mut history = History { now, ..History::default() };
    history.manifests_seen.push(most);
    left.crash_after(left.events() + seed % 40);
    run(left, catalog, &mut history, seed, 10);
    for image in [CrashImage::Lost, CrashImage::Torn { seed }] {
        history.check(load(&left.image(image)).unwrap().as_ref());
    }
}

/// Whatever is too long for a record goes into a new manifest instead.
#[test]
fn no_edit_is_too_long() {
    let shared: Arc<dyn Fs> = Arc::new(MemFs::new());
    shared.create_dir_all(dir()).unwrap();
    // The manifest itself is far from full.
    let limits = Limits { manifest_bytes: 1 << 20, ..TINY };
    let set = create(&shared, new_catalog(), limits).unwrap();
    let first = set.manifest_number().unwrap();
    set.apply(change(&[], vec![meta(100, b"key")]), |_| {}).unwrap();
    assert_eq!(set.manifest_number(), Some(first));
    let long = (200..220).map(|number| meta(number, &[7; 100])).collect();
    let mut seen = 0;
    set.apply(change(&[100], long), |catalog| seen = tables(catalog).len()).unwrap();
    assert_eq!(seen, 20, "its effect is handed out as that of others");
    assert!(set.manifest_number().unwrap() > first);
    let found = load(&*shared).unwrap().unwrap();
    assert_eq!(tables(&found).len(), 20);
    remove_obsolete(&*shared, &set).unwrap();
    assert_eq!(manifests(&*shared), [set.manifest_number().unwrap()]);
    // It goes on as before.
    set.apply(change(&[200], vec![]), |_| {}).unwrap();
    assert_eq!(tables(&load(&*shared).unwrap().unwrap()).len(), 19);
}

/// With the limits of every database, but a manifest that is never full: bounds of 64 KiB, as many
/// as fill several pieces and one edit.
#[test]
fn long_keys_make_a_snapshot_of_several_pieces() {
    let shared: Arc<dyn Fs> = Arc::new(MemFs::new());
    shared.create_dir_all(dir()).unwrap();
    let limits = Limits { manifest_bytes: 1 << 40, ..Limits::default() };
    let set = create(&shared, new_catalog(), limits).unwrap();
    let first = set.manifest_number().unwrap();
    let key = vec![b'k'; crate::options::KEY_LEN_MAX];
    let count = limits.edit_bytes as u64 / (2 * key.len() as u64) + 2;
    let added = (0..count).map(|i| meta(100 + i, &key)).collect();
    set.apply(change(&[], added), |_| {}).unwrap();
    assert!(set.manifest_number().unwrap() > first, "no record of that length is written");
    let loaded = Manifest::load(&*shared, dir()).unwrap().unwrap();
    let pieces = loaded.edits.iter().position(|edit| edit.snapshot_end).unwrap() + 1;
    assert!((17..=20).contains(&pieces), "{pieces} pieces");
    assert_eq!(tables(&load(&*shared).unwrap().unwrap()).len() as u64, count);
}

#[test]
fn a_failed_switch_takes_no_further_edit() {
    let (disk, set) = on_faults(TINY);
    disk.inject(Fault::error(Op::Rename, io::ErrorKind::Other));
    let long = (200..220).map(|number| meta(number, &[7; 100])).collect();
    assert!(set.apply(change(&[], long), |_| panic!("it is not in force")).is_err());
    let error = set.apply(change(&[], vec![]), |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
}

/// The old one is in force, and complete: it takes the edits that come, until there is room.
#[test]
fn a_full_manifest_that_cannot_be_replaced_grows_on() {
    let full = io::ErrorKind::StorageFull;
    for (op, file) in [
        (Op::Create, ".manifest"),
        (Op::Write, ".manifest"),
        (Op::Sync, ".manifest"),
        (Op::Create, "CURRENT.new"),
        (Op::Write, "CURRENT.new"),
        (Op::Sync, "CURRENT.new"),
        (Op::OpenDir, ""),
    ] {
        let (disk, set) = on_faults(Limits { manifest_bytes: 1400, ..TINY });
        let before = set.manifest_number();
        let first = set.new_file_number().0 + 1;
        match file {
            // That in force is left alone.
            ".manifest" => (0..100).for_each(|n| {
                let name = FileName::Manifest(FileNumber(first + n));
                disk.inject(Fault::error(op, full).on(&name.to_string()).forever());
            }),
            _ => disk.inject(Fault::error(op, full).on(file).forever()),
        }
        for n in 0..100 {
            set.apply(change(&[], vec![meta(1000 + n, b"key")]), |_| {}).unwrap();
        }
        assert_eq!(set.manifest_number(), before);
        let attempts = disk.count(Op::Create);
        assert!(attempts < 80, "{attempts} attempts, and each writes a whole snapshot");
        let long: Vec<_> = (200..220).map(|number| meta(number, &[7; 100])).collect();
        let error = set.apply(change(&[], long.clone()), |_| panic!("not in force")).unwrap_err();
        assert_eq!(error.io_error().unwrap().kind(), full, "an edit that needs a new one");
        assert!(!set.is_failed());
        disk.clear();
        set.apply(change(&[], long), |_| {}).unwrap();
        assert_ne!(set.manifest_number(), before);
        remove_obsolete(&disk, &set).unwrap();
        assert_eq!(manifests(&disk).len(), 1);
        assert_eq!(tables(&load(&disk).unwrap().unwrap()).len(), 120);
    }
}

/// Which manifest is in force is unknown then: nothing may be written to either.
#[test]
fn nothing_is_written_after_a_replacement_that_failed() {
    let (disk, set) = on_faults(TINY);
    disk.inject(Fault::error(Op::Rename, io::ErrorKind::Other));
    let edit = |number: u64| change(&[], vec![meta(1000 + number, b"key")]);
    let failed = (0..100).find_map(|n| Some((n, set.apply(edit(n), |_| {}).err()?)));
    let (last, error) = failed.expect("the manifest is replaced");
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(set.apply(edit(last + 1), |_| {}).unwrap_err().kind(), ErrorKind::Failed);
    assert_eq!(tables(&load(&disk).unwrap().unwrap()).len() as u64, last + 1, "it was durable");
}

#[test]
fn a_number_that_was_given_out_is_used_for_good_with_the_next_edit() {
    let shared: Arc<dyn Fs> = Arc::new(MemFs::new());
    shared.create_dir_all(dir()).unwrap();
    let set = create(&shared, new_catalog(), TINY).unwrap();
    let numbers = [0; 5].map(|_| set.new_file_number());
    set.apply(change(&[], vec![]), |_| {}).unwrap();
    let next_file = load(&*shared).unwrap().unwrap().next_file;
    assert!(numbers.iter().all(|number| *number < next_file));
}
