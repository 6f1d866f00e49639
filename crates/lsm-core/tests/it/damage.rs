//! Files that are missing, cut, exchanged, foreign or flipped: an error that names the file, or
//! exactly the right answers. Never a panic, a hang or a wrong answer.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lsm_core::fs::MemFs;
use lsm_core::{
    Compression, Db, Durability, Error, ErrorKind, KeyspaceOptions, ManualClock, Options, Result,
    TableAccess, WriteBatch,
};
use lsm_log::checksum::checksum;

use crate::folder::{DIR, Folder};

/// What a reader must see: per keyspace, its entries.
type State = BTreeMap<&'static str, BTreeMap<Vec<u8>, Vec<u8>>>;

const KEYSPACES: [&str; 2] = ["default", "users"];

fn settings() -> KeyspaceOptions {
    KeyspaceOptions::default()
        .write_buffer_bytes(1 << 20)
        .block_bytes(256)
        .table_bytes(64 << 10)
        .l0_tables_compact(64)
        .compression(Compression::None)
}

fn options(fs: &Arc<MemFs>, seed: u64) -> Options {
    Options::default()
        .default_keyspace(settings())
        .log_segment_bytes(64 << 10)
        .log_bytes_max(64 << 20)
        .clock(Arc::new(ManualClock::default()))
        .fs(fs.clone())
        .stepped(seed)
}

/// A database in memory that keeps count of what it should hold.
struct Sample {
    fs: Arc<MemFs>,
    db: Db,
    /// After each batch, from the empty state on.
    states: Vec<State>,
}

impl Sample {
    fn new(seed: u64) -> Self {
        let fs = Arc::new(MemFs::new());
        let db = options(&fs, seed).open(DIR).unwrap();
        db.keyspace("users", settings()).unwrap();
        let empty = KEYSPACES.iter().map(|&name| (name, BTreeMap::new())).collect();
        Self { fs, db, states: vec![empty] }
    }

    /// A batch over both keyspaces: `keys` are put, or, if the value is empty, deleted.
    fn write(&mut self, keys: std::ops::Range<u32>, value: &[u8], durability: Durability) {
        let users = self.db.keyspace("users", settings()).unwrap();
        let mut state = self.states.last().unwrap().clone();
        let mut batch = WriteBatch::new();
        for i in keys {
            let key = format!("key{i:05}").into_bytes();
            let in_users = i % 3 == 0;
            let entries = state.get_mut(KEYSPACES[usize::from(in_users)]).unwrap();
            match (value.is_empty(), in_users) {
                (true, true) => batch.delete_in(&users, &key),
                (true, false) => batch.delete(&key),
                (false, true) => batch.put_in(&users, &key, value),
                (false, false) => batch.put(&key, value),
            };
            match value.is_empty() {
                true => entries.remove(&key),
                false => entries.insert(key, value.to_vec()),
            };
        }
        self.db.write_with(&batch, durability).unwrap();
        self.states.push(state);
    }

    /// Several levels and a short log.
    fn with_tables(seed: u64, last: Durability) -> Self {
        let mut sample = Self::new(seed);
        sample.write(0..60, b"old", Durability::Buffered);
        sample.db.flush().unwrap();
        sample.db.compact_range::<&str>(..).unwrap();
        sample.write(20..50, b"new", Durability::Buffered);
        sample.write(30..40, b"", Durability::Buffered);
        sample.db.flush().unwrap();
        for i in 0..8 {
            let value = format!("log{i}");
            let durability = if i == 3 { Durability::Sync } else { last };
            sample.write(40 + i..44 + i, value.as_bytes(), durability);
        }
        sample
    }

    /// Nothing but a log of several segments.
    fn with_logs(seed: u64) -> Self {
        let mut sample = Self::new(seed);
        for i in 0..90_u32 {
            let value = [i as u8 + seed as u8; 500];
            let durability = if i % 8 == 5 { Durability::Sync } else { Durability::Buffered };
            sample.write(i..i + 4, &value, durability);
            sample.db.step().unwrap();
        }
        sample
    }

    /// The files as a dead process leaves them.
    fn running(&self) -> Folder {
        Folder::take(&*self.fs, Path::new(DIR))
    }

    /// The files after a clean close.
    fn closed(self) -> Folder {
        self.db.close().unwrap();
        Folder::take(&*self.fs, Path::new(DIR))
    }
}

/// What became of a damaged folder, over all ways to open and read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Some call failed as it should, and no answer was wrong.
    Noticed,
    /// All answers are right.
    Right,
}

/// Opens `folder` in every way and reads all of it. Answers must be those of one of `states`;
/// errors must be damage in a file whose name ends like one of `files`.
#[track_caller]
fn judge(what: &str, folder: &Folder, states: &[State], files: &[&str]) -> Outcome {
    let mut noticed = 0;
    for access in [TableAccess::Mapped, TableAccess::Pread] {
        for read_only in [true, false] {
            let fs = folder.in_memory();
            let options = options(&fs, 1).table_access(access);
            let opened = match read_only {
                true => options.open_read_only(DIR),
                false => options.open(DIR),
            };
            if opened.is_err() {
                folder.is_in(&*fs, what);
            }
            let outcome = opened.and_then(|db| read_everything(what, &db, states, files));
            if let Err(error) = outcome {
                check_error(what, &error, files);
                noticed += 1;
            }
        }
    }
    match noticed {
        0 => Outcome::Right,
        4 => Outcome::Noticed,
        _ => panic!("{what}: noticed by {noticed} of 4 ways to read"),
    }
}

#[track_caller]
fn check_error(what: &str, error: &Error, files: &[&str]) {
    let damage = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported);
    assert!(damage, "{what}: {error:?}");
    let file = error.file().unwrap_or_else(|| panic!("{what}: no file in {error:?}"));
    let named = files.iter().any(|name| file.to_str().unwrap().ends_with(name));
    assert!(named, "{what}: {error:?} does not name one of {files:?}");
}

/// The first error, once nothing that was read is wrong.
#[track_caller]
fn read_everything(what: &str, db: &Db, states: &[State], files: &[&str]) -> Result<()> {
    let mut first = db.verify().map(drop);
    // What is missing here would be made by the calls below.
    if db.keyspaces().len() < KEYSPACES.len() && states.iter().all(|state| state.len() > 1) {
        panic!("{what}: keyspaces {:?}", db.keyspaces());
    }
    let mut fitting: Vec<&State> = states.iter().collect();
    for name in KEYSPACES {
        let keyspace = db.keyspace(name, settings())?;
        let (forward, error) = entries(keyspace.iter());
        first = first.and(error);
        let complete = first.is_ok();
        fitting.retain(|state| {
            let all = state[name].iter().map(|(key, value)| (key.clone(), value.clone()));
            let prefix = all.take(forward.len()).eq(forward.iter().cloned());
            prefix && (!complete || forward.len() == state[name].len())
        });
        assert!(!fitting.is_empty(), "{what}: {name} holds what nobody wrote: {first:?}");
        let (mut backward, error) = entries(keyspace.iter().rev());
        first = first.and(error);
        backward.reverse();
        let expected = &fitting[0][name];
        if states.len() == 1 {
            let suffix = expected.iter().skip(expected.len().saturating_sub(backward.len()));
            assert!(
                suffix.map(|(k, v)| (k.clone(), v.clone())).eq(backward.iter().cloned()),
                "{what}: {name} backward"
            );
        }
        for i in 0..100 {
            let key = format!("key{i:05}").into_bytes();
            match keyspace.get(&key) {
                Ok(value) => {
                    let found = value.as_deref();
                    let right = fitting.iter().any(|s| s[name].get(&key).map(|v| &v[..]) == found);
                    assert!(right, "{what}: {name} key{i:05} is {found:?}");
                }
                Err(error) => {
                    check_error(what, &error, files);
                    first = first.and(Err(error));
                }
            }
        }
    }
    first
}

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// What an iterator gives up to its end or first error, after which it must be at its end.
fn entries(
    mut iter: impl Iterator<Item = Result<(lsm_core::Key, lsm_core::Value)>>,
) -> (Entries, Result<()>) {
    let mut found = Vec::new();
    loop {
        match iter.next() {
            None => return (found, Ok(())),
            Some(Ok((key, value))) => found.push((key.into_vec(), value.to_vec())),
            Some(Err(error)) => {
                assert!(iter.next().is_none(), "an iterator ends with its first error");
                return (found, Err(error));
            }
        }
    }
}

fn last(states: &[State]) -> &[State] {
    &states[states.len() - 1..]
}

/// Every offset of what is in use, then some.
fn offsets(bytes: &[u8], step: usize) -> Vec<usize> {
    let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let near = (used + 32).min(bytes.len());
    (0..near).step_by(step).chain((near..bytes.len()).step_by(4099)).collect()
}

#[test]
fn the_samples_are_right_as_they_are() {
    for sample in [Sample::with_tables(1, Durability::Buffered), Sample::with_logs(1)] {
        let states = sample.states.clone();
        let (running, closed) = (sample.running(), sample.closed());
        for folder in [running, closed] {
            assert_eq!(judge("intact", &folder, last(&states), &[]), Outcome::Right);
            let without_lock = folder.without("LOCK");
            assert_eq!(judge("no LOCK", &without_lock, last(&states), &[]), Outcome::Right);
            let foreign = folder.with("LOCK", |bytes| *bytes = b"anything".to_vec());
            assert_eq!(judge("foreign LOCK", &foreign, last(&states), &[]), Outcome::Right);
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    for sample in [Sample::with_tables(1, Durability::Buffered), Sample::with_logs(1)] {
        let states = sample.states.clone();
        let (running, closed) = (sample.running(), sample.closed());
        let open = options(&closed.in_memory(), 1).open_read_only(DIR).unwrap();
        let levels = ["default", "users"]
            .map(|name| open.keyspace(name, settings()).unwrap().levels())
            .concat();
        let tables: Vec<_> = levels.iter().flat_map(|level| &level.tables).collect();
        let tables: Vec<_> = tables.iter().map(|t| format!("{:06}.table", t.number)).collect();
        for folder in [running, closed] {
            let named = folder.names(".manifest").into_iter().chain(["CURRENT".to_owned()]);
            for name in named.chain(tables.iter().cloned()) {
                let outcome = judge(&name, &folder.without(&name), last(&states), &[&name]);
                assert_eq!(outcome, Outcome::Noticed, "without {name}");
            }
            let mut noticed = 0;
            let logs = folder.names(".log");
            for name in &logs {
                let outcome = judge(name, &folder.without(name), last(&states), &[name]);
                noticed += usize::from(outcome == Outcome::Noticed);
            }
            // All but those kept to be used again.
            assert!(noticed >= logs.len() - 1, "{noticed} of {logs:?}");
        }
    }
}

#[test]
fn small_files_are_checked_at_every_length_and_byte() {
    let sample = Sample::with_tables(1, Durability::Buffered);
    let states = sample.states.clone();
    let (running, closed) = (sample.running(), sample.closed());
    for folder in [running, closed] {
        let manifest = folder.names(".manifest").remove(0);
        for name in ["CURRENT", &manifest] {
            for len in 0..folder.0[name].len() {
                let what = format!("{name} cut to {len}");
                let cut = folder.with(name, |bytes| bytes.truncate(len));
                // A cut manifest may name files that are gone by now.
                judge(&what, &cut, last(&states), &[name, ".log", ".table"]);
            }
            for offset in 0..folder.0[name].len() {
                let what = format!("{name} flipped at {offset}");
                let flipped = folder.with(name, |bytes| bytes[offset] ^= 1 << (offset % 8));
                judge(&what, &flipped, last(&states), &[name]);
            }
            for foreign in [&b"?"[..], &[0; 100], &[255; 1000], b"000001.manifest\n"] {
                let what = format!("{name} with foreign bytes");
                let outcome =
                    judge(&what, &folder.with(name, |b| *b = foreign.into()), &[], &[name]);
                assert_eq!(outcome, Outcome::Noticed);
            }
        }
    }
}

#[test]
fn tables_are_checked_where_they_are_read() {
    let sample = Sample::with_tables(1, Durability::Buffered);
    let states = sample.states.clone();
    let folder = sample.closed();
    let tables = folder.names(".table");
    assert!(tables.len() >= 4, "{tables:?}");
    for name in &tables {
        for len in offsets(&folder.0[name], 31) {
            let what = format!("{name} cut to {len}");
            let cut = folder.with(name, |bytes| bytes.truncate(len));
            assert_eq!(judge(&what, &cut, last(&states), &[name]), Outcome::Noticed, "{what}");
        }
        for offset in offsets(&folder.0[name], 5) {
            let what = format!("{name} flipped at {offset}");
            let flipped = folder.with(name, |bytes| bytes[offset] ^= 1 << (offset % 8));
            assert_eq!(judge(&what, &flipped, last(&states), &[name]), Outcome::Noticed, "{what}");
        }
        let zeros = folder.with(name, |bytes| bytes.fill(0));
        assert_eq!(judge("zeros", &zeros, last(&states), &[name]), Outcome::Noticed);
    }
}

#[test]
fn exchanged_tables_are_noticed() {
    let mut sample = Sample::new(1);
    // Same keys, same lengths, other values: only the salt tells them apart.
    sample.write(1..3, b"one", Durability::Buffered);
    sample.db.flush().unwrap();
    sample.write(1..3, b"two", Durability::Buffered);
    sample.db.flush().unwrap();
    let mut stranger = Sample::new(2);
    stranger.write(1..3, b"six", Durability::Buffered);
    stranger.db.flush().unwrap();
    let (states, folder, strange) = (sample.states.clone(), sample.closed(), stranger.closed());
    let tables = folder.names(".table");
    let [a, b] = &tables[..] else { panic!("{tables:?}") };
    assert_eq!(folder.0[a].len(), folder.0[b].len());
    let outcome = judge("swapped", &folder.swapped(a, b), last(&states), &[a, b]);
    assert_eq!(outcome, Outcome::Noticed);
    let copied = folder.with(b, |bytes| *bytes = folder.0[a].clone());
    assert_eq!(judge("copied", &copied, last(&states), &[b]), Outcome::Noticed);
    let foreign = folder.with(a, |bytes| bytes.clone_from(&strange.0[a]));
    assert_eq!(folder.0[a].len(), strange.0[a].len());
    assert_eq!(judge("of another database", &foreign, last(&states), &[a]), Outcome::Noticed);
}

#[test]
fn a_log_that_was_closed_is_whole_or_damaged() {
    let sample = Sample::with_tables(1, Durability::Buffered);
    let states = sample.states.clone();
    let folder = sample.closed();
    let log = in_use(&folder);
    let used = folder.0[&log].iter().rposition(|&byte| byte != 0).unwrap() + 1;
    for len in offsets(&folder.0[&log], 3) {
        let what = format!("{log} cut to {len}");
        let cut = folder.with(&log, |bytes| bytes.truncate(len));
        assert_eq!(judge(&what, &cut, last(&states), &[&log]), Outcome::Noticed, "{what}");
    }
    for offset in offsets(&folder.0[&log], 2) {
        let what = format!("{log} flipped at {offset}");
        let flipped = folder.with(&log, |bytes| bytes[offset] ^= 1 << (offset % 8));
        let outcome = judge(&what, &flipped, last(&states), &[&log]);
        // The last record is padded to a multiple of eight.
        let padded = used.next_multiple_of(8);
        if !(used..padded).contains(&offset) {
            let expected = if offset < used { Outcome::Noticed } else { Outcome::Right };
            assert_eq!(outcome, expected, "{what}");
        }
    }
    let zeros = folder.with(&log, |bytes| bytes.fill(0));
    assert_eq!(judge("zeros", &zeros, last(&states), &[&log]), Outcome::Noticed);
}

/// The log with the most in it.
fn in_use(folder: &Folder) -> String {
    let used = |name: &String| folder.0[name].iter().filter(|&&byte| byte != 0).count();
    folder.names(".log").into_iter().max_by_key(used).unwrap()
}

#[test]
fn a_log_that_a_dead_process_left_is_a_prefix_or_damaged() {
    let sample = Sample::with_tables(1, Durability::Buffered);
    // Everything before the log is in tables.
    let states = sample.states.clone();
    let folder = sample.running();
    let log = in_use(&folder);
    let (mut noticed, mut shorter) = (0, 0);
    for offset in offsets(&folder.0[&log], 2) {
        let what = format!("{log} flipped at {offset}");
        let flipped = folder.with(&log, |bytes| bytes[offset] ^= 1 << (offset % 8));
        match judge(&what, &flipped, &states[3..], &[&log]) {
            Outcome::Noticed => noticed += 1,
            Outcome::Right => shorter += 1,
        }
    }
    assert!(noticed > 100, "what was synced is vouched for by what came later: {noticed}");
    assert!(shorter > 100, "the end of the log may be torn: {shorter}");
}

#[test]
fn logs_of_several_segments_are_whole_a_prefix_or_damaged() {
    let sample = Sample::with_logs(1);
    let states = sample.states.clone();
    let (running, closed) = (sample.running(), sample.closed());
    let logs = closed.names(".log");
    assert!(logs.len() >= 3, "{logs:?}");
    let names: Vec<&str> = logs.iter().map(String::as_str).collect();
    for log in &logs {
        for offset in offsets(&closed.0[log], 1733) {
            let what = format!("{log} flipped at {offset}");
            let flip = |bytes: &mut Vec<u8>| bytes[offset] ^= 1 << (offset % 8);
            judge(&what, &closed.with(log, flip), last(&states), &names);
            judge(&what, &running.with(log, flip), &states, &names);
        }
        for len in [0, 39, 40, 4096, (64 << 10) - 1] {
            let what = format!("{log} cut to {len}");
            for folder in [&running, &closed] {
                let cut = folder.with(log, |bytes| bytes.truncate(len));
                judge(&what, &cut, last(&states), &[log]);
            }
        }
    }
    for pair in logs.windows(2) {
        for folder in [&running, &closed] {
            let swapped = folder.swapped(&pair[0], &pair[1]);
            let outcome = judge("swapped", &swapped, last(&states), &names);
            assert_eq!(outcome, Outcome::Noticed, "{pair:?}");
        }
    }
    let stranger = Sample::with_logs(2).closed();
    for log in &logs {
        for folder in [&running, &closed] {
            let what = format!("{log} of another database");
            let foreign = folder.with(log, |bytes| bytes.clone_from(&stranger.0[log]));
            judge(&what, &foreign, last(&states), &[log]);
        }
    }
}

#[test]
fn a_manifest_of_another_database_does_not_fit_the_other_files() {
    let sample = Sample::with_tables(1, Durability::Buffered);
    let states = sample.states.clone();
    let folder = sample.closed();
    let stranger = Sample::with_tables(2, Durability::Buffered).closed();
    let name = folder.names(".manifest").remove(0);
    let foreign = folder.with(&name, |bytes| bytes.clone_from(&stranger.0[&name]));
    let outcome = judge("foreign manifest", &foreign, last(&states), &[".log", ".table"]);
    assert_eq!(outcome, Outcome::Noticed);
}

/// Puts another format version into `bytes`, at `version_at` of what starts at `from`, with the
/// checksum right behind it as a newer program would have written it.
fn newer(bytes: &mut [u8], from: usize, version_at: usize) {
    let sum_at = from + version_at + 4;
    let before = checksum(0, &bytes[from..sum_at]);
    bytes[from + version_at] += 1;
    // The difference that changed bytes make does not depend on the salt.
    let difference = before ^ checksum(0, &bytes[from..sum_at]);
    for (byte, change) in bytes[sum_at..].iter_mut().zip(difference.to_le_bytes()) {
        *byte ^= change;
    }
}

#[test]
fn files_of_a_newer_program_are_told_from_damaged_ones() {
    let folder = Sample::with_tables(1, Durability::Buffered).closed();
    let table = folder.names(".table").remove(0);
    let footer_at = folder.0[&table].len() - 72;
    let cases = [
        (folder.names(".manifest").remove(0), 0, 40),
        (in_use(&folder), 0, 40),
        (table, footer_at, 56),
    ];
    for (name, from, version_at) in cases {
        let changed = folder.with(&name, |bytes| newer(bytes, from, version_at));
        for read_only in [true, false] {
            let fs = changed.in_memory();
            let opened = match read_only {
                true => options(&fs, 1).open_read_only(DIR),
                false => options(&fs, 1).open(DIR),
            };
            if opened.is_err() {
                changed.is_in(&*fs, &name);
            }
            let error = opened.and_then(|db| db.verify()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}: {error}");
            assert!(error.file().unwrap().ends_with(&name), "{error}");
            assert!(error.to_string().contains('2'), "{error}");
        }
    }
}

#[test]
fn a_table_of_another_length_is_noticed_by_the_open() {
    let fs = MemFs::new();
    let open = |fs| Options::default().fs(fs).stepped(1).open(DIR);
    let db = open(Arc::new(fs.clone())).unwrap();
    db.put("key", "value").unwrap();
    db.flush().unwrap();
    db.close().unwrap();
    let folder = Folder::take(&fs, Path::new(DIR));
    let [table] = &folder.names(".table")[..] else { panic!("one table") };
    for change in
        [|bytes: &mut Vec<u8>| bytes.push(0), |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1)]
    {
        let error = open(folder.with(table, change).in_memory()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!(error.file(), Some(&*Path::new(DIR).join(table)), "{error}");
    }
}
