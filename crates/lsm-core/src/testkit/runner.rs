//! Runs operations against an open database and the [`Model`] beside it, and compares.
//!
//! Errors of the engine are handed to the caller, who knows whether one is expected (a crash,
//! a fault); a wrong answer is a panic. After an error the runner still knows what was
//! promised: [`Runner::recover`] judges what the next open finds.
//!
//! Through the public interface only.

use std::collections::VecDeque;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_log::error::{ErrorKind, Result};
use lsm_log::fs::{CrashImage, FaultFs, Fs};

use super::disk::{Disk, Links};
use super::generate::{At, KEYSPACES, Keys, Move, Op, SLOTS, Span, Turn, Write};
use super::model::{Blob, Bounds, Change, Death, Model, TreeId};
use crate::db::{Cursor, Db, Keyspace, Range, Snapshot};
use crate::key::{KeyHash, SeqNo};
use crate::options::{Compression, Durability, KeyspaceOptions, Options};
use crate::value::Value;

const NAMES: [&str; KEYSPACES] = ["default", "one", "two", "three"];

/// A database under test: its settings, the model, and everything that is open.
#[derive(Debug)]
pub struct Runner {
    pub(super) options: Options,
    pub(super) keyspace: KeyspaceOptions,
    pub(super) disk: Disk,
    pub(super) links: Links,
    /// What the engine sees of the disk, if its links are not as the disk's.
    pub(super) faults: Option<FaultFs>,
    pub(super) dir: PathBuf,
    pub(super) model: Model,
    db: Option<Db>,
    keyspaces: [Option<(TreeId, Keyspace)>; KEYSPACES],
    /// A keyspace that was being made or dropped when an error came.
    unsure: Option<Unsure>,
    /// The settings that may be stored of each keyspace: several after an error.
    settings: [Vec<KeyspaceOptions>; KEYSPACES],
    snapshots: [Option<Snapshot>; SLOTS],
    iterators: [Option<OpenIterator>; SLOTS],
    cursors: [Option<OpenCursor>; SLOTS],
    /// Checkpoints that a crash may still come to.
    pub(super) copies: Vec<Copy>,
    /// Folders of those that nobody will look at any more.
    pub(super) stale: Vec<PathBuf>,
    /// Makes folders for checkpoints, and alternates settings.
    pub(super) count: u32,
    /// How often a write had to wait for background work, in the runs before.
    stops: u64,
}

/// What was being made or dropped, and the last number given out before.
#[derive(Clone, Copy, Debug)]
struct Unsure {
    keyspace: usize,
    last: u64,
}

/// An iterator and what it must still yield.
#[derive(Debug)]
struct OpenIterator {
    range: Range,
    expected: VecDeque<(Blob, Blob)>,
}

/// A cursor, what it walks over, and where it stands.
#[derive(Debug)]
struct OpenCursor {
    cursor: Cursor,
    entries: Vec<(Blob, Blob)>,
    at: Option<usize>,
}

/// A checkpoint, and what it must hold.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    pub(super) dir: PathBuf,
    /// Its point in the write order.
    pub(super) seq: u64,
    pub(super) trees: Vec<(TreeId, String)>,
    /// Whether it was made: else a crash may have cut it short.
    pub(super) whole: bool,
}

impl Runner {
    /// A runner whose database is not open yet: [`recover`](Self::recover) opens it.
    pub fn new(options: Options, keyspace: KeyspaceOptions, disk: Disk, dir: &Path) -> Self {
        let options = options.default_keyspace(keyspace.clone());
        Self {
            options,
            keyspace,
            disk,
            links: Links::Quick,
            faults: None,
            dir: dir.to_owned(),
            model: Model::new(),
            db: None,
            keyspaces: Default::default(),
            unsure: None,
            settings: Default::default(),
            snapshots: Default::default(),
            iterators: Default::default(),
            cursors: Default::default(),
            copies: Vec::new(),
            stale: Vec::new(),
            count: 0,
            stops: 0,
        }
    }

    /// How the links of checkpoints are made, on this disk and those after it.
    #[must_use]
    pub fn with_links(mut self, links: Links) -> Self {
        self.links = links;
        self.faults = links.over(self.disk.seen());
        self
    }

    /// Another runner that knows the same, over another disk.
    pub fn over(&self, disk: Disk) -> Self {
        let (options, keyspace) = (self.options.clone(), self.keyspace.clone());
        let other = Self::new(options, keyspace, disk, &self.dir).with_links(self.links);
        let (model, copies) = (self.model.clone(), self.copies.clone());
        let (unsure, settings) = (self.unsure, self.settings.clone());
        Self { model, copies, unsure, settings, ..other }
    }

    /// Knows what settings `before` may have stored, which was over the same disk.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        self.settings.clone_from(&before.settings);
        self
    }

    /// What was written and promised.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The same, for writes that went around the runner.
    pub fn model_mut(&mut self) -> &mut Model {
        &mut self.model
    }

    /// The open database.
    ///
    /// # Panics
    ///
    /// If it is not open.
    pub fn db(&self) -> &Db {
        self.db.as_ref().expect("the database is open")
    }

    /// Whether the database is open.
    pub fn is_open(&self) -> bool {
        self.db.is_some()
    }

    /// Opens the database after its last run ended this way, and checks all it holds. Returns
    /// up to which sequence number everything came back.
    pub fn recover(&mut self, death: Death) -> Result<u64> {
        assert!(self.db.is_none(), "the last run has ended");
        let options = self.options.clone().fs(self.seen());
        let db = options.open(&self.dir)?;
        let recovered = db.last_sequence().0;
        self.model.recover(recovered, death);
        self.db = Some(db);
        self.find_keyspaces()?;
        self.check()?;
        self.check_copies()?;
        Ok(recovered)
    }

    /// The file system that the engine sees.
    pub(super) fn seen(&self) -> Arc<dyn Fs> {
        match &self.faults {
            Some(faults) => Arc::new(faults.clone()),
            None => Arc::clone(self.disk.seen()),
        }
    }

    /// Leaves the database as a crash does: what is open is dropped, and what happens to the
    /// old disk meanwhile does not matter.
    pub fn abandon(&mut self) {
        self.close_readers();
        self.snapshots = Default::default();
        self.keyspaces = Default::default();
        self.stops += self.db.take().map_or(0, |db| db.stats().stops);
    }

    /// How often a write had to wait for background work so far: whether limits were reached.
    pub fn stops(&self) -> u64 {
        self.stops + self.db.as_ref().map_or(0, |db| db.stats().stops)
    }

    /// Ends the run as a crash does, and goes on with the image.
    pub fn crash(&mut self, image: CrashImage) -> Result<()> {
        let Disk::Crash { disk, .. } = &self.disk else {
            return self.reopen();
        };
        let disk = disk.image(image);
        self.abandon();
        self.disk = Disk::crash(disk);
        self.faults = self.links.over(self.disk.seen());
        let death = match image {
            CrashImage::Kept => Death::Process,
            CrashImage::Lost | CrashImage::Torn { .. } => Death::Machine,
        };
        self.recover(death).map(drop)
    }

    /// Closes the database, and opens it again.
    pub fn reopen(&mut self) -> Result<()> {
        self.close()?;
        self.recover(Death::Machine).map(drop)
    }

    /// Closes the database.
    pub fn close(&mut self) -> Result<()> {
        let db = self.db.take().expect("the database is open");
        self.stops += db.stats().stops;
        let closed = db.close();
        if closed.is_ok() {
            self.model.acknowledge(Durability::Sync);
        }
        self.refuse_closed();
        self.abandon();
        closed
    }

    /// Runs one operation.
    ///
    /// # Errors
    ///
    /// Those of the engine.
    ///
    /// # Panics
    ///
    /// If the engine's answer is not the model's.
    pub fn apply(&mut self, op: &Op) -> Result<()> {
        self.count += 1;
        let done = match op {
            Op::Write { writes, durability } => self.write(writes, *durability),
            Op::Get { at, keyspace, key } => self.get(*at, *keyspace, key),
            Op::Iterate(slot, at, span) => self.open_iterator(*slot, *at, span),
            Op::Turn(slot, turns) => self.turn(*slot, turns),
            Op::Cursor(slot, at, span) => self.open_cursor(*slot, *at, span),
            Op::Move(slot, moves) => self.moves(*slot, moves),
            Op::CloseReaders(slot) => {
                (self.iterators[*slot], self.cursors[*slot]) = (None, None);
                Ok(())
            }
            Op::Snapshot(slot) => {
                self.snapshots[*slot] = Some(self.take_snapshot());
                Ok(())
            }
            Op::DropSnapshot(slot) => {
                self.snapshots[*slot] = None;
                Ok(())
            }
            Op::Step(count) => self.step(*count),
            Op::Flush => self.flush(),
            Op::Sync => self.sync(),
            Op::Compact(keyspace, bounds) => self.compact(*keyspace, bounds),
            Op::Checkpoint => self.checkpoint(),
            Op::Verify => self.db().verify().map(drop),
            Op::Check => self.check(),
            Op::CreateKeyspace(keyspace) => self.create_keyspace(*keyspace),
            Op::DropKeyspace(keyspace) => self.drop_keyspace(*keyspace),
            Op::Reopen => self.reopen(),
            Op::ReadOnly => self.read_only(),
            Op::Crash(image) => self.crash(*image),
        };
        if let Some(db) = &self.db {
            self.model.flushed(db.flushed_sequence().0);
        }
        done
    }

    fn write(&mut self, writes: &[Write], durability: Durability) -> Result<()> {
        let mut batch = crate::WriteBatch::new();
        let mut changes = Vec::new();
        for write in writes {
            let Some((tree, keyspace)) = &self.keyspaces[write.keyspace] else { continue };
            match &write.value {
                Some(value) if write.keyspace == 0 => batch.put(&write.key, value),
                Some(value) => batch.put_in(keyspace, &write.key, value),
                None if write.keyspace == 0 => batch.delete(&write.key),
                None => batch.delete_in(keyspace, &write.key),
            };
            let (key, value) = (write.key.clone(), write.value.clone());
            changes.push(Change { tree: *tree, key, value });
        }
        let expected = self.model.write(changes);
        let single = writes.iter().find(|write| self.keyspaces[write.keyspace].is_some());
        let found = match single {
            Some(write) if batch.len() == 1 && self.count.is_multiple_of(2) => {
                self.write_single(write, durability)?;
                self.db().last_sequence()
            }
            Some(_) if self.count.is_multiple_of(3) => self.transact(writes, durability)?,
            _ => self.db().write_with(&batch, durability)?,
        };
        assert_eq!(found.0, expected, "sequence number of the last write");
        if !(durability == Durability::Buffered && single.is_none()) {
            self.model.acknowledge(durability);
        }
        Ok(())
    }

    /// Writes the same by a transaction, with a detour.
    fn transact(&self, writes: &[Write], durability: Durability) -> Result<SeqNo> {
        let transaction = self.db().transaction();
        for write in writes {
            let Some((_, keyspace)) = &self.keyspaces[write.keyspace] else { continue };
            let handle = transaction.keyspace(keyspace)?;
            let before = transaction.savepoint();
            handle.put(&write.key, "of nobody's business")?;
            transaction.rollback_to(before)?;
            match &write.value {
                Some(value) => handle.put(&write.key, value)?,
                None => handle.delete(&write.key)?,
            }
            // From memory: an error of the disk is one of the commit.
            let (found, wanted) = (handle.get(&write.key)?, &write.value);
            assert_eq!(found.as_deref(), wanted.as_deref(), "an own write is seen");
        }
        transaction.commit_with(durability)
    }

    fn write_single(&self, write: &Write, durability: Durability) -> Result<()> {
        let (_, keyspace) = self.keyspaces[write.keyspace].as_ref().expect("it was just seen");
        match &write.value {
            Some(value) => keyspace.put_with(&write.key, value, durability),
            None => keyspace.delete_with(&write.key, durability),
        }
    }

    fn get(&self, at: At, keyspace: usize, key: &[u8]) -> Result<()> {
        let Some((tree, reader, seq)) = self.reader(at, keyspace)? else { return Ok(()) };
        let found = reader.get(key)?;
        let expected = self.model.get(tree, key, seq);
        let same = found.as_deref() == expected.map(|value| &**value);
        assert!(same, "get {}: {}", show(key), differ(found.as_deref(), expected));
        Ok(())
    }

    fn open_iterator(&mut self, slot: usize, at: At, span: &Span) -> Result<()> {
        let Some((tree, reader, seq)) = self.reader(at, span.keyspace)? else { return Ok(()) };
        let range = reader.range(&span.keys);
        let expected = self.model.range(tree, &bounds_of(&span.keys), seq).into();
        self.iterators[slot] = Some(OpenIterator { range, expected });
        Ok(())
    }

    fn turn(&mut self, slot: usize, turns: &[Turn]) -> Result<()> {
        let Some(open) = &mut self.iterators[slot] else { return Ok(()) };
        for turn in turns {
            let (found, expected) = match turn {
                Turn::Front => (open.range.next(), open.expected.pop_front()),
                Turn::Back => (open.range.next_back(), open.expected.pop_back()),
            };
            let at_end = expected.is_none();
            same_entry(found.transpose()?, expected, || format!("iterator {slot}, {turn:?}"));
            if at_end {
                let (front, back) = (open.range.next(), open.range.next_back());
                assert!(front.is_none() && back.is_none(), "an iterator's end stays its end");
                break;
            }
        }
        Ok(())
    }

    fn open_cursor(&mut self, slot: usize, at: At, span: &Span) -> Result<()> {
        let Some((tree, reader, seq)) = self.reader(at, span.keyspace)? else { return Ok(()) };
        let bounds = bounds_of(&span.keys);
        let entries = self.model.range(tree, &bounds, seq);
        let cursor = reader.cursor(&span.keys);
        self.cursors[slot] = Some(OpenCursor { cursor, entries, at: None });
        Ok(())
    }

    fn moves(&mut self, slot: usize, moves: &[Move]) -> Result<()> {
        let Some(open) = &mut self.cursors[slot] else { return Ok(()) };
        moves.iter().try_for_each(|to| open.go(slot, to))
    }

    fn close_readers(&mut self) {
        (self.iterators, self.cursors) = Default::default();
    }

    fn take_snapshot(&self) -> Snapshot {
        let snapshot = self.db().snapshot();
        assert_eq!(snapshot.sequence(), self.db().last_sequence());
        snapshot
    }

    fn step(&self, count: usize) -> Result<()> {
        for _ in 0..count {
            if !self.db().step()? {
                break;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.db().flush()?;
        assert_eq!(self.db().flushed_sequence(), self.db().last_sequence());
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.db().sync()?;
        self.model.acknowledge(Durability::Sync);
        Ok(())
    }

    fn compact(&mut self, keyspace: usize, bounds: &Bounds) -> Result<()> {
        let Some((_, keyspace)) = &self.keyspaces[keyspace] else { return Ok(()) };
        keyspace.compact_range(bounds.clone())
    }

    fn create_keyspace(&mut self, keyspace: usize) -> Result<()> {
        let known = self.keyspaces[keyspace].as_ref().map(|(tree, _)| *tree);
        self.unsure = known.is_none().then_some(Unsure { keyspace, last: self.model.last() });
        if known.is_none() {
            self.settings[keyspace].clear();
        }
        let handle = self.name_keyspace(keyspace)?;
        self.unsure = None;
        let tree = known.unwrap_or_else(|| self.model.create(NAMES[keyspace]));
        self.keyspaces[keyspace] = Some((tree, handle));
        Ok(())
    }

    /// The keyspace, with settings of this time.
    fn name_keyspace(&mut self, keyspace: usize) -> Result<Keyspace> {
        let options = self.options_of(keyspace);
        self.settings[keyspace].push(options.clone());
        let handle = self.db().keyspace(NAMES[keyspace], options.clone())?;
        assert_eq!(handle.options(), options);
        self.settings[keyspace] = vec![options];
        Ok(handle)
    }

    fn drop_keyspace(&mut self, keyspace: usize) -> Result<()> {
        let Some((tree, handle)) = self.keyspaces[keyspace].take() else { return Ok(()) };
        self.unsure = Some(Unsure { keyspace, last: self.model.last() });
        self.db().drop_keyspace(NAMES[keyspace])?;
        self.unsure = None;
        self.model.drop(tree);
        // What was written before is as durable as the drop: it may be a copy.
        self.model.acknowledge(Durability::Sync);
        let mut batch = crate::WriteBatch::new();
        batch.put("seen", "never");
        batch.put_in(&handle, "seen", "never");
        let refused =
            [handle.get("k").map(drop), self.db().write_with(&batch, Durability::None).map(drop)];
        let refused = refused.map(|result| result.unwrap_err().kind());
        assert_eq!(refused, [ErrorKind::Invalid; 2], "a dropped keyspace refuses");
        assert!(self.db().drop_keyspace(NAMES[keyspace]).is_err(), "it is gone");
        Ok(())
    }

    fn read_only(&mut self) -> Result<()> {
        self.close()?;
        let db = self.options.clone().fs(self.seen()).open_read_only(&self.dir)?;
        assert_eq!(db.last_sequence().0, self.model.last());
        self.check_all_of(&db, &self.trees())?;
        assert_eq!(db.put("k", "v").unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(db.flush().unwrap_err().kind(), ErrorKind::Invalid);
        db.verify()?;
        db.close()?;
        self.recover(Death::Machine).map(drop)
    }

    /// Compares everything: the newest state, and that of each snapshot.
    pub fn check(&self) -> Result<()> {
        self.check_all_of(self.db(), &self.trees())?;
        for snapshot in self.snapshots.iter().flatten() {
            for (tree, keyspace) in self.keyspaces.iter().flatten() {
                let reader = Reader::Snapshot(snapshot.keyspace(keyspace)?);
                self.check_tree(*tree, &reader, snapshot.sequence().0)?;
            }
        }
        let held = self.snapshots.iter().flatten().count() as u64;
        assert_eq!(self.db().stats().snapshots, held, "snapshots that are held");
        Ok(())
    }

    /// The keyspaces there are now.
    pub(super) fn trees(&self) -> Vec<(TreeId, String)> {
        self.model.live().map(|(tree, name)| (tree, name.to_owned())).collect()
    }

    /// Compares everything in a database with these keyspaces, at its own point in the order.
    pub(super) fn check_all_of(&self, db: &Db, trees: &[(TreeId, String)]) -> Result<()> {
        let seq = db.last_sequence().0;
        let mut expected: Vec<&String> = trees.iter().map(|(_, name)| name).collect();
        let found = db.keyspaces();
        assert_eq!((found[0].as_str(), expected[0].as_str()), ("default", "default"));
        let mut found: Vec<&String> = found.iter().collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "keyspaces");
        for (tree, name) in trees {
            let keyspace = db.keyspace(name, None)?;
            self.check_tree(*tree, &Reader::Keyspace(keyspace), seq)?;
        }
        Ok(())
    }

    /// Forward, backward and by lookups.
    fn check_tree(&self, tree: TreeId, reader: &Reader, seq: u64) -> Result<()> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let expected = self.model.range(tree, &all, seq);
        let told = || format!("everything at {seq}, {tree:?}");
        let mut found = reader.range(&Keys::All);
        for entry in &expected {
            same_entry(found.next().transpose()?, Some(entry.clone()), told);
        }
        same_entry(found.next().transpose()?, None, told);
        let mut found = reader.range(&Keys::All).rev();
        for entry in expected.iter().rev() {
            same_entry(found.next().transpose()?, Some(entry.clone()), told);
        }
        same_entry(found.next().transpose()?, None, told);
        for (key, value) in expected.iter().step_by(3) {
            let found = reader.get(key)?;
            let same = found.as_deref() == Some(&**value);
            assert!(same, "get {} at {seq}: {}", show(key), differ(found.as_deref(), Some(value)));
        }
        // All at once, in no order, and one that is not there for each that is.
        let there = expected.iter().map(|(key, value)| (key.to_vec(), Some(&**value)));
        let behind = expected.iter().map(|(key, _)| [key, &b"\xff\xfe"[..]].concat());
        let is_missing = |key: &Vec<u8>| {
            expected.binary_search_by(|(other, _)| (**other).cmp(key.as_slice())).is_err()
        };
        let missing = behind.filter(is_missing);
        let mut asked: Vec<_> = there.chain(missing.map(|key| (key, None))).collect();
        asked.sort_by_key(|(key, _)| KeyHash::of(key).0);
        let values = reader.multi_get(asked.iter().map(|(key, _)| key))?;
        assert_eq!(values.len(), asked.len());
        for (found, (key, wanted)) in values.iter().zip(&asked) {
            let same = found.as_deref() == *wanted;
            assert!(same, "{} among many at {seq}: {}", show(key), found.is_some());
        }
        Ok(())
    }

    /// Names the keyspaces that are there, with their settings; settles what was unsure.
    fn find_keyspaces(&mut self) -> Result<()> {
        if let Some(Unsure { keyspace, last }) = self.unsure.take() {
            let name = NAMES[keyspace];
            let is_there = self.db().keyspaces().iter().any(|own| own == name);
            match (self.model.find(name), is_there) {
                (None, true) => drop(self.model.create(name)),
                (Some(tree), false) => {
                    let found = self.model.last();
                    assert!(found >= last, "{name} is dropped, but {found} is all of {last}");
                    self.model.drop(tree);
                }
                _ => {}
            }
        }
        for (keyspace, name) in NAMES.iter().enumerate() {
            let Some(tree) = self.model.find(name) else { continue };
            let there = self.db().keyspaces();
            assert!(there.iter().any(|own| own == name), "keyspace {name} is lost: {there:?}");
            let stored = self.db().keyspace(name, None)?.options();
            let may_be = &self.settings[keyspace];
            // Those of the default keyspace were given to the open; others may not be known.
            let is_known = keyspace > 0 && !may_be.is_empty();
            assert!(!is_known || may_be.contains(&stored), "{name}: {stored:?} of {may_be:?}");
            self.keyspaces[keyspace] = Some((tree, self.name_keyspace(keyspace)?));
        }
        Ok(())
    }

    /// Settings differ between keyspaces, and between opens.
    fn options_of(&self, keyspace: usize) -> KeyspaceOptions {
        let options = self.keyspace.clone();
        match (keyspace, self.count % 5) {
            (1, ..2) => options.block_bytes(1024).compression(Compression::None),
            (1, _) => options.filter_bits_per_key(0),
            (2, ..2) => options.l0_tables_compact(2).compression(Compression::Lz4),
            // Limits that hold writers back, wider and narrower.
            (_, 2) => options.write_buffers_max(5).l0_tables_compact(20),
            (_, 3) => options.write_buffer_bytes(128 << 10).level_bytes_base(1 << 20),
            (0, 4) => options.write_buffers_max(2).l0_tables_compact(1),
            _ => options,
        }
    }

    /// What reads a keyspace, and the sequence number that it sees; `None` without the keyspace.
    fn reader(&self, at: At, keyspace: usize) -> Result<Option<(TreeId, Reader, u64)>> {
        let Some((tree, keyspace)) = &self.keyspaces[keyspace] else { return Ok(None) };
        let snapshot = match at {
            At::Snapshot(slot) => self.snapshots[slot].as_ref(),
            At::Now => None,
        };
        Ok(Some(match snapshot {
            Some(snapshot) => {
                let seq = snapshot.sequence().0;
                (*tree, Reader::Snapshot(snapshot.keyspace(keyspace)?), seq)
            }
            None => {
                let seq = self.db().last_sequence().0;
                (*tree, Reader::Keyspace(keyspace.clone()), seq)
            }
        }))
    }

    /// Every handle that is left says that the database is closed.
    fn refuse_closed(&mut self) {
        let kind = |result: Result<Option<Value>>| result.unwrap_err().kind();
        for (_, keyspace) in self.keyspaces.iter().flatten() {
            assert_eq!(kind(keyspace.get("k")), ErrorKind::Closed);
            assert_eq!(keyspace.put("k", "v").unwrap_err().kind(), ErrorKind::Closed);
        }
        for snapshot in self.snapshots.iter().flatten() {
            assert_eq!(kind(snapshot.get("k")), ErrorKind::Closed);
            assert_eq!(snapshot.cursor().seek_first().unwrap_err().kind(), ErrorKind::Closed);
        }
        for open in self.iterators.iter_mut().flatten() {
            if let Some(entry) = open.range.next() {
                assert_eq!(entry.unwrap_err().kind(), ErrorKind::Closed);
            }
            assert!(open.range.next_back().is_none(), "an iterator ends with its error");
        }
        for open in self.cursors.iter_mut().flatten() {
            assert_eq!(open.cursor.next().unwrap_err().kind(), ErrorKind::Closed);
            assert!(open.cursor.entry().is_none());
        }
    }
}

impl OpenCursor {
    fn go(&mut self, slot: usize, to: &Move) -> Result<()> {
        let (cursor, entries) = (&mut self.cursor, &self.entries);
        let (found, expected) = match to {
            Move::Seek(key) => {
                let at = entries.partition_point(|(own, _)| **own < **key);
                (cursor.seek(key)?, Some(at))
            }
            Move::SeekBack(key) => {
                let at = entries.partition_point(|(own, _)| **own <= **key);
                (cursor.seek_back(key)?, at.checked_sub(1))
            }
            Move::First => (cursor.seek_first()?, Some(0)),
            Move::Last => (cursor.seek_last()?, entries.len().checked_sub(1)),
            Move::Next => (cursor.next()?, Some(self.at.map_or(0, |at| at + 1))),
            Move::Prev => (cursor.prev()?, self.at.unwrap_or(entries.len()).checked_sub(1)),
        };
        self.at = expected.filter(|&at| at < entries.len());
        let told = || format!("cursor {slot}, {}", show_move(to));
        assert_eq!(found, self.at.is_some(), "{}: tells whether it stands", told());
        same_entry(cursor.entry(), self.at.map(|at| entries[at].clone()), told);
        Ok(())
    }
}

/// A keyspace, or one at a snapshot.
enum Reader {
    Keyspace(Keyspace),
    Snapshot(Snapshot),
}

/// Calls a method of whichever it is.
macro_rules! read {
    ($self:ident, $reader:ident => $call:expr) => {
        match $self {
            Self::Keyspace($reader) => $call,
            Self::Snapshot($reader) => $call,
        }
    };
}

impl Reader {
    fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        read!(self, reader => reader.get(key))
    }

    fn multi_get<K: AsRef<[u8]>>(
        &self,
        keys: impl Iterator<Item = K>,
    ) -> Result<Vec<Option<Value>>> {
        read!(self, reader => reader.multi_get(keys))
    }

    fn range(&self, keys: &Keys) -> Range {
        read!(self, reader => match keys {
            Keys::All => reader.iter(),
            Keys::Range(bounds) => reader.range(bounds.clone()),
            Keys::Prefix(prefix) => reader.prefix(prefix),
        })
    }

    fn cursor(&self, keys: &Keys) -> Cursor {
        read!(self, reader => match keys {
            Keys::All => reader.cursor(),
            Keys::Range(_) | Keys::Prefix(_) => reader.cursor_in(bounds_of(keys)),
        })
    }
}

/// The bounds of a set of keys, computed without the engine's help.
fn bounds_of(keys: &Keys) -> Bounds {
    match keys {
        Keys::All => (Bound::Unbounded, Bound::Unbounded),
        Keys::Range(bounds) => bounds.clone(),
        Keys::Prefix(prefix) => {
            let mut end = prefix.clone();
            while end.last() == Some(&0xff) {
                end.pop();
            }
            let end = match end.last_mut() {
                Some(last) => {
                    *last += 1;
                    Bound::Excluded(end)
                }
                None => Bound::Unbounded,
            };
            (Bound::Included(prefix.clone()), end)
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "entries come as iterators yield them")]
fn same_entry(
    found: Option<(impl AsRef<[u8]>, impl AsRef<[u8]>)>,
    expected: Option<(Blob, Blob)>,
    told: impl Fn() -> String,
) {
    let found = found.as_ref().map(|(key, value)| (key.as_ref(), value.as_ref()));
    let expected = expected.as_ref().map(|(key, value)| (&**key, &**value));
    if found != expected {
        let show_entry = |entry: Option<(&[u8], &[u8])>| {
            entry.map(|(key, value)| format!("{} = {}", show(key), show(value)))
        };
        let (found, expected) = (show_entry(found), show_entry(expected));
        panic!("{}: found {found:?}, expected {expected:?}", told());
    }
}

fn differ(found: Option<&[u8]>, expected: Option<&Blob>) -> String {
    let expected = expected.map(|value| show(value));
    format!("found {:?}, expected {expected:?}", found.map(show))
}

fn show_move(to: &Move) -> String {
    match to {
        Move::Seek(key) => format!("seek {}", show(key)),
        Move::SeekBack(key) => format!("seek_back {}", show(key)),
        _ => format!("{to:?}"),
    }
}

/// The start of a key or value, for messages.
fn show(bytes: &[u8]) -> String {
    const SHOWN: usize = 40;
    let start = bytes[..bytes.len().min(SHOWN)].escape_ascii();
    format!("\"{start}\" ({} bytes)", bytes.len())
}
