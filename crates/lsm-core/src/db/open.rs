//! Opening: lock the folder, read the manifest, check the files, replay the log.
//!
//! First everything is read and judged: the manifest, what there is of the tables, every record of
//! the log. An open that is refused for what it finds has changed nothing but the lock file.
//!
//! Atomic steps after that, in order: what was read of the log is made durable; a new manifest
//! that holds all of the old one is put in force; files that nothing names go; memtables that
//! the log has filled are flushed, each by an edit of its own; one edit gives up the log segments
//! that hold nothing and names a new one, which begins where the replayed log ends; if much log
//! was replayed, it is flushed. A crash between any two leaves a database that opens again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lsm_log::error::{Error, Result};
use lsm_log::file_name::{FileName, FileNumber};
use lsm_log::fs::{Fs, LockMode};
use lsm_log::wal::{self, FullSegment, Log, LogConfig, Lsn, Nonces, StartedSegment};
use parking_lot::MutexGuard;

use super::engine::Engine;
use super::lifecycle::Lifecycle;
use super::replay::{ReplayedLog, replay, segments};
use super::tree::Tree;
use super::trees::Trees;
use super::visible_seq::VisibleSeq;
use super::write_queue::Commit;
use crate::cache::BlockCache;
use crate::compaction::RateLimit;
use crate::key::KeyspaceId;
use crate::options::{Background, KeyspaceOptions, Options};
use crate::sstable::{OpenTables, ReadOptions};
use crate::version::{Catalog, Edit, KeyspaceEdit, Manifest, VersionSet};

/// The name of the keyspace that `Db` itself reads and writes.
pub(crate) const DEFAULT_KEYSPACE: &str = "default";

/// More logs than this, left by the runs before, are turned into tables by an open.
const LOGS_AT_OPEN_MAX: u64 = 16;

/// In the folder of a node of a cluster: says whose it is.
const NODE_FILE: &str = "NODE";
/// Folders in that one which are no database, though files in them have names like ours.
const NODE_FOLDERS: [&str; 2] = ["log", "state"];

/// Opens a database for reading and writing, and makes it if there is none.
pub(crate) fn open(options: Options, dir: &Path) -> Result<Arc<Engine>> {
    options.validate()?;
    let fs = Arc::clone(&options.fs);
    let dir = locate(&*fs, dir)?;
    refuse_node(&*fs, &dir)?;
    open_folder(options, &dir).map_err(|error| match error.io_error().map(io::Error::kind) {
        Some(io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied) => {
            error.or_else("what may be read but not written, `open_read_only` opens")
        }
        _ => error,
    })
}

fn open_folder(options: Options, dir: &Path) -> Result<Arc<Engine>> {
    let fs = Arc::clone(&options.fs);
    if options.create_if_missing {
        fs.create_dir_all(dir).map_err(|error| folder_error("create the folder", dir, error))?;
    } else {
        must_hold_something(&*fs, dir)?;
    }
    let lock_path = FileName::Lock.in_dir(dir);
    let lock = fs.lock(&lock_path, LockMode::Exclusive).map_err(|e| lock_error(&lock_path, e))?;
    let mut catalog = match load(&*fs, dir)? {
        Some(catalog) => catalog,
        None if options.create_if_missing => new_catalog(&options)?,
        None => return Err(no_database(dir)),
    };
    check_tables(&*fs, dir, &catalog)?;
    catalog.next_file = catalog.next_file.max(first_free_number(&*fs, dir)?);
    let nonces = Nonces::new(options.seed);
    let set = VersionSet::read_only(Arc::clone(&fs), dir, catalog.clone(), nonces);
    let engine = Engine::new(options, dir, false, &catalog, set);
    *engine.folder_lock.lock() = Some(lock);
    let replayed = replay(&engine, &catalog, &mut || begin_writing(&engine, &catalog))?;
    start_log(&engine, &catalog, &replayed)?;
    engine.update_pressure();
    Ok(Arc::new(engine))
}

/// Opens an existing database to be read: writes nothing, not even on replay.
pub(crate) fn open_read_only(options: Options, dir: &Path) -> Result<Arc<Engine>> {
    options.validate()?;
    let fs = Arc::clone(&options.fs);
    let dir = &*locate(&*fs, dir)?;
    refuse_node(&*fs, dir)?;
    must_hold_something(&*fs, dir)?;
    let lock_path = FileName::Lock.in_dir(dir);
    let lock = fs.lock(&lock_path, LockMode::Shared).map_err(|e| lock_error(&lock_path, e))?;
    let catalog = load(&*fs, dir)?.ok_or_else(|| no_database(dir))?;
    check_tables(&*fs, dir, &catalog)?;
    let nonces = Nonces::new(options.seed);
    let set = VersionSet::read_only(Arc::clone(&fs), dir, catalog.clone(), nonces);
    let engine = Engine::new(options, dir, true, &catalog, set);
    *engine.folder_lock.lock() = Some(lock);
    replay(&engine, &catalog, &mut || Ok(()))?;
    Ok(Arc::new(engine))
}

impl Engine {
    fn new(
        options: Options,
        dir: &Path,
        read_only: bool,
        catalog: &Catalog,
        set: VersionSet,
    ) -> Self {
        static OPENED: AtomicU64 = AtomicU64::new(1);
        let read_options = ReadOptions {
            access: options.table_access,
            verification: options.verification,
            cache: Arc::new(BlockCache::new(options.block_cache_bytes)),
        };
        let (fs, open_max) = (Arc::clone(&options.fs), options.tables_open_max);
        let tables = OpenTables::new(fs, dir.to_owned(), open_max, read_options.clone());
        let (trees, memory, metrics) = (Trees::default(), Arc::default(), Arc::default());
        for (id, state) in &catalog.keyspaces {
            let given = options.keyspace.as_ref().filter(|_| *id == KeyspaceId::DEFAULT);
            let settings = given.or(state.options.as_ref()).cloned().unwrap_or_default();
            let version = Arc::clone(&state.version);
            let tree = Tree::new(*id, &state.name, settings, version, &memory, &metrics);
            trees.insert(&Arc::new(tree));
        }
        // Where steps are made by hand nobody could go on meanwhile.
        let rate =
            options.compaction_rate_max.filter(|_| options.background == Background::Threads);
        let rate_limit = rate.map(RateLimit::new);
        let engine = Self {
            dir: dir.to_owned(),
            lifecycle: Lifecycle::new(read_only, Arc::clone(tables.process())),
            token: OPENED.fetch_add(1, Ordering::Relaxed),
            set,
            tables: Arc::new(tables),
            cache: read_options.cache,
            trees,
            memory,
            commit: Default::default(),
            log: std::sync::OnceLock::new(),
            published: VisibleSeq::new(catalog.flushed_seq),
            flushed: AtomicU64::new(catalog.flushed_seq.0),
            contended: Default::default(),
            snapshots: Default::default(),
            retries: Default::default(),
            metrics,
            pacing: Default::default(),
            cold_reads: Default::default(),
            rate_limit,
            work: Default::default(),
            flushing: Default::default(),
            idle: Default::default(),
            folder_lock: Default::default(),
            caller_jobs: Default::default(),
            options,
        };
        engine.live_trees().iter().for_each(|tree| engine.changed(tree));
        engine
    }
}

/// The folder's name for as long as it is used, whatever the process makes of the one that was
/// given.
pub(crate) fn locate(fs: &dyn Fs, dir: &Path) -> Result<PathBuf> {
    if dir.as_os_str().is_empty() {
        let message = "the path of the folder is empty: the current folder is \".\"";
        return Err(Error::invalid(message));
    }
    fs.absolute(dir).map_err(|error| Error::io("find the folder", dir, error))
}

/// A node keeps its database two folders further down, and changes it by its log alone.
fn refuse_node(fs: &dyn Fs, dir: &Path) -> Result<()> {
    let is_node = |dir: &Path| fs.len(&dir.join(NODE_FILE)).is_ok();
    let name = dir.file_name().and_then(|name| name.to_str());
    let node = match dir.parent() {
        _ if is_node(dir) => dir,
        Some(parent) if NODE_FOLDERS.map(Some).contains(&name) && is_node(parent) => parent,
        _ => return Ok(()),
    };
    let message = "this is the folder of a node of a cluster, not a database: `lsm-server` runs it";
    Err(Error::invalid(message).in_file(node))
}

/// Not even a lock file is made where there is nothing to open.
fn must_hold_something(fs: &dyn Fs, dir: &Path) -> Result<()> {
    let names = fs.list(dir).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => no_database(dir),
        _ => folder_error("list the folder", dir, error),
    })?;
    let is_data = |name: &String| {
        use FileName::{Current, Log, Table};
        matches!(FileName::parse(name), Some(Current | Log(_) | Table(_)))
    };
    match names.iter().any(is_data) {
        true => Ok(()),
        false => Err(no_database(dir)),
    }
}

fn lock_error(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            let message = "another process, or another handle in this one, has the database open";
            Error::locked(message).in_file(path)
        }
        io::ErrorKind::NotFound => no_database(path.parent().unwrap_or(path)),
        io::ErrorKind::NotADirectory => {
            folder_error("lock the database", path.parent().unwrap_or(path), error)
        }
        _ => Error::io("lock the database", path, error),
    }
}

/// What to say when `dir` cannot be used as a folder.
pub(crate) fn folder_error(action: &str, dir: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            Error::invalid("a database needs a folder, and this is a file").in_file(dir)
        }
        _ => Error::io(action, dir, error),
    }
}

fn no_database(dir: &Path) -> Error {
    Error::invalid("there is no database in this folder").in_file(dir)
}

/// What the manifest in force adds up to; `None` if there is none.
fn load(fs: &dyn Fs, dir: &Path) -> Result<Option<Catalog>> {
    let Some(loaded) = Manifest::load(fs, dir)? else { return Ok(None) };
    let path = FileName::Manifest(loaded.number).in_dir(dir);
    let mut catalog = Catalog::default();
    for edit in &loaded.edits {
        catalog.apply(edit).map_err(|error| error.in_file(&path))?;
    }
    if !catalog.keyspaces.contains_key(&KeyspaceId::DEFAULT) {
        return Err(Error::corrupt("the manifest has no default keyspace").in_file(&path));
    }
    check_end(fs, dir, &catalog).map_err(|error| error.in_file(&path))?;
    Ok(Some(catalog))
}

/// The manifest has not lost its end: no log was begun that it does not name. A log is written
/// to only once an edit names it; one that is given up again has a number below `next_file`.
fn check_end(fs: &dyn Fs, dir: &Path, catalog: &Catalog) -> Result<()> {
    for name in list(fs, dir)? {
        if let FileName::Log(number) = name
            && number >= catalog.next_file
            && !catalog.logs.contains_key(&number)
            && wal::is_started(fs, dir, number)?
        {
            let message = format!("the manifest has lost its end: it does not know of {name}");
            return Err(Error::corrupt(message));
        }
    }
    Ok(())
}

fn new_catalog(options: &Options) -> Result<Catalog> {
    // Without a seed, from the keys that std draws for its hash maps.
    let random = || RandomState::new().build_hasher().finish();
    let mut catalog = Catalog::default();
    catalog.apply(&Edit {
        database_id: Some(options.seed.unwrap_or_else(random)),
        next_file: Some(FileNumber(1)),
        create_keyspaces: vec![(KeyspaceId::DEFAULT, DEFAULT_KEYSPACE.to_owned())],
        ..Edit::default()
    })?;
    Ok(catalog)
}

/// Every table is there and as long as it was: one look at each, no reading.
fn check_tables(fs: &dyn Fs, dir: &Path, catalog: &Catalog) -> Result<()> {
    for (_, table) in catalog.keyspaces.values().flat_map(|state| state.version.tables()) {
        let path = FileName::Table(table.meta.number).in_dir(dir);
        let len = fs.len(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::corrupt("a table is missing").in_file(&path),
            _ => Error::io("look at a table", &path, error),
        })?;
        if len != table.meta.bytes {
            return Err(Error::mismatch("length of a table", table.meta.bytes, len).in_file(&path));
        }
    }
    Ok(())
}

fn list(fs: &dyn Fs, dir: &Path) -> Result<Vec<FileName>> {
    let names = fs.list(dir).map_err(|error| Error::io("list the folder", dir, error))?;
    Ok(names.iter().filter_map(|name| FileName::parse(name)).collect())
}

/// A number above that of every file in the folder, also of those that no manifest names.
fn first_free_number(fs: &dyn Fs, dir: &Path) -> Result<FileNumber> {
    let used = list(fs, dir)?.into_iter().filter_map(|name| match name {
        FileName::Manifest(number) | FileName::Log(number) | FileName::Table(number) => {
            Some(number.0)
        }
        FileName::Current | FileName::CurrentNew | FileName::Lock => None,
    });
    let most = used.max().unwrap_or(0);
    most.checked_add(1).map(FileNumber).ok_or_else(|| {
        Error::corrupt("a file has the greatest number there is: it is none of ours").in_file(dir)
    })
}

/// Has files removed that a crash left behind: those, of the files `found` before the new manifest
/// was begun, that nothing names. There may be many, and nobody waits for them.
fn remove_strays(set: &VersionSet, found: Vec<FileName>) {
    let manifest = set.manifest_number();
    let is_stray = |name: &FileName| {
        set.with(|catalog| match name {
            FileName::Table(number) => !catalog.has_table(*number),
            FileName::Log(number) => !catalog.logs.contains_key(number),
            FileName::Manifest(number) => Some(*number) != manifest,
            // The next switch of manifests removes it, and only that may: its name is used again.
            FileName::CurrentNew | FileName::Current | FileName::Lock => false,
        })
    };
    for name in found.into_iter().filter(is_stray) {
        set.obsolete_files().push(name);
    }
}

/// The folder is written to from here on: everything in it was looked at.
fn begin_writing(engine: &Engine, catalog: &Catalog) -> Result<()> {
    let (fs, dir) = (&*engine.options.fs, &engine.dir);
    let found = list(fs, dir)?;
    if catalog.log_closed.is_none() {
        // What was read may be in the system's cache only, if just the process died; tables and
        // a new segment will build on it.
        wal::rewrite_and_sync(fs, dir, &segments(catalog))?;
    }
    engine.set.start_writing()?;
    remove_strays(&engine.set, found);
    Ok(())
}

/// Goes on with the log in a new segment, which begins where the old ones end.
fn start_log(engine: &Engine, catalog: &Catalog, log: &ReplayedLog) -> Result<()> {
    let end = log.replayed.end;
    let mut last = 0;
    let mut full: Vec<FullSegment> = Vec::new();
    for &StartedSegment { number, base } in &log.replayed.started {
        last = log.last_seqs.get(&number).map_or(last, |seq| seq.0);
        full.push(FullSegment { number, base, bytes: catalog.logs[&number], last });
    }
    let flushed = engine.flushed_seq();
    full.drain(..full.iter().take_while(|segment| segment.last <= flushed.0).count());
    let kept = |number: &FileNumber| full.iter().any(|segment| segment.number == *number);
    let dropped: Vec<FileNumber> = catalog.logs.keys().filter(|n| !kept(n)).copied().collect();
    let config = LogConfig {
        fs: Arc::clone(&engine.options.fs),
        dir: engine.dir.clone(),
        owner: catalog.database_id,
        segment_bytes: engine.options.log_segment_bytes,
    };
    let (number, nonce) = engine.set.new_framed_file();
    let segment = config.first_job(number, nonce).run()?;
    let edit = Edit {
        drop_logs: dropped.clone(),
        add_logs: vec![(number, segment.bytes)],
        log_start: Some(full.first().map_or(end, |segment| segment.base)),
        log_closed: Some(Lsn(0)),
        keyspaces: changed_options(engine, catalog).into_iter().collect(),
        ..Edit::default()
    };
    engine.set.apply(edit, |_| {})?;
    let log = Log::start(config, segment, end, log.replayed.last_sequence, full)?;
    engine.log.set(Arc::clone(log.syncer())).expect("the log is started once");
    let mut commit = engine.commit.lock();
    commit.log = Some(log);
    for number in dropped {
        engine.set.obsolete_files().push(FileName::Log(number));
    }
    bound_logs(engine, commit)
}

/// The settings of the default keyspace, if those in force are not those stored.
fn changed_options(engine: &Engine, catalog: &Catalog) -> Option<KeyspaceEdit> {
    let id = KeyspaceId::DEFAULT;
    let options = KeyspaceOptions::clone(&engine.default_tree().super_version().options);
    let is_stored = catalog.keyspaces[&id].options.as_ref() == Some(&options);
    (!is_stored).then(|| KeyspaceEdit::of_options(id, &options))
}

/// Flushes what was replayed if that is so much log, or so many logs, that a longer run would
/// have flushed. Each run begins a log, and short runs one after the other never fill a memtable:
/// their logs would pile up. Done before anyone writes, as the run may be over in a moment.
fn bound_logs(engine: &Engine, commit: MutexGuard<'_, Commit>) -> Result<()> {
    let options = &engine.options;
    let full = || commit.log.iter().flat_map(Log::full);
    let bytes: u64 = full().map(|segment| segment.bytes).sum();
    let logs_max = (options.log_bytes_max / options.log_segment_bytes).min(LOGS_AT_OPEN_MAX);
    if bytes <= options.log_bytes_max && full().count() as u64 <= logs_max {
        return Ok(());
    }
    engine.seal_all(&commit, None);
    drop(commit);
    while engine.flush_one()? {}
    Ok(())
}
