//! What all edits so far add up to. Pure: touches no file or clock, and no lock but the leaf that
//! [`ObsoleteFiles`] has, when the last holder of a table lets go.
//!
//! Invariants:
//! * Every sorted level is one run: ordered tables, no user key in two of them.
//! * A table is in one place; no number is added twice.
//! * `flushed_seq` of the whole is at most that of any keyspace with later writes.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use lsm_log::error::{Error, Result};
use lsm_log::file_name::FileNumber;
use lsm_log::wal::Lsn;

use super::edit::{Edit, KeyspaceEdit};
use super::obsolete::ObsoleteFiles;
use super::table_file::TableFile;
use super::table_file::TableMeta;
use super::version::Version;
use crate::key::{KeyspaceId, SeqNo};
use crate::options::KeyspaceOptions;

/// The keyspaces, their versions, and the logs that are not yet in tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) database_id: u64,
    pub(crate) next_file: FileNumber,
    /// The next keyspace's number: above any that was ever used.
    pub(crate) next_keyspace: u32,
    /// Every operation up to here is in tables.
    pub(crate) flushed_seq: SeqNo,
    /// Where the first log segment begins.
    pub(crate) log_start: Lsn,
    /// Log segments and their lengths.
    pub(crate) logs: BTreeMap<FileNumber, u64>,
    /// Where the log ended at a clean close, if nothing was written since.
    pub(crate) log_closed: Option<Lsn>,
    pub(crate) keyspaces: BTreeMap<KeyspaceId, KeyspaceState>,
    /// The names of all keyspaces.
    names: HashSet<Arc<str>>,
    /// The tables of all keyspaces.
    tables: HashSet<FileNumber>,
    obsolete_files: Arc<ObsoleteFiles>,
}

#[derive(Clone, Debug)]
pub(crate) struct KeyspaceState {
    /// Shared by all catalogs: each edit makes one.
    pub(crate) name: Arc<str>,
    pub(crate) version: Arc<Version>,
    /// Every operation on this keyspace up to here is in its tables.
    pub(crate) flushed_seq: SeqNo,
    /// The settings that were last in force; `None` if an older program made the keyspace.
    pub(crate) options: Option<KeyspaceOptions>,
}

impl Catalog {
    pub(crate) fn obsolete_files(&self) -> &Arc<ObsoleteFiles> {
        &self.obsolete_files
    }

    pub(crate) fn has_table(&self, number: FileNumber) -> bool {
        self.tables.contains(&number)
    }

    /// Takes an edit in. After an error a part of it may have been taken in: the catalog is of no
    /// use then. What an edit costs depends on the edit, if no one else holds the versions that it
    /// changes: a manifest is read in proportion to its length, however many tables there are.
    pub(crate) fn apply(&mut self, edit: &Edit) -> Result<()> {
        self.database_id = edit.database_id.unwrap_or(self.database_id);
        self.next_file = self.next_file.max(edit.next_file.unwrap_or_default());
        self.flushed_seq = self.flushed_seq.max(edit.flushed_seq.unwrap_or_default());
        self.log_start = edit.log_start.unwrap_or(self.log_start);
        if let Some(closed) = edit.log_closed {
            self.log_closed = (closed > Lsn(0)).then_some(closed);
        }
        let next_keyspace = edit.next_keyspace.unwrap_or_default().0;
        self.next_keyspace = self.next_keyspace.max(next_keyspace);
        for number in &edit.drop_logs {
            if self.logs.remove(number).is_none() {
                return Err(Error::corrupt(format!("manifest drops unknown log {number}")));
            }
        }
        for &(number, bytes) in &edit.add_logs {
            if self.logs.insert(number, bytes).is_some() {
                return Err(Error::corrupt(format!("manifest adds log {number} twice")));
            }
        }
        for (id, name) in &edit.create_keyspaces {
            let name: Arc<str> = name.as_str().into();
            let is_new = self.names.insert(Arc::clone(&name));
            if id.0 == u32::MAX || !is_new || self.keyspaces.contains_key(id) {
                return Err(Error::corrupt(format!("manifest creates keyspace {id} twice")));
            }
            let (version, flushed_seq) = (Arc::default(), SeqNo::default());
            let state = KeyspaceState { name, version, flushed_seq, options: None };
            self.keyspaces.insert(*id, state);
            self.next_keyspace = self.next_keyspace.max(id.0 + 1);
        }
        for change in &edit.keyspaces {
            self.apply_to_keyspace(change)?;
        }
        for id in &edit.drop_keyspaces {
            let Some(dropped) = self.keyspaces.remove(id) else {
                return Err(Error::corrupt(format!("manifest drops unknown keyspace {id}")));
            };
            self.names.remove(&dropped.name);
            for (_, table) in dropped.version.tables() {
                self.tables.remove(&table.meta.number);
            }
        }
        Ok(())
    }

    /// What `edit` names of the catalog, as a catalog of its own: the edit can be applied to it
    /// just as well as to the whole, and changes nothing else. So an edit is tried out, and may
    /// fail, at the cost of the edit.
    pub(super) fn part(&self, edit: &Edit) -> Self {
        let ids = keyspaces_of(edit);
        let states = ids.filter_map(|id| Some((id, self.keyspaces.get(&id)?.clone())));
        let keyspaces: BTreeMap<_, _> = states.collect();
        let created = edit.create_keyspaces.iter().filter_map(|(_, name)| self.names.get(&**name));
        let names = created.chain(keyspaces.values().map(|state| &state.name)).cloned().collect();
        let tables = self.tables_of(edit).filter(|number| self.tables.contains(number)).collect();
        let logs = logs_of(edit).filter_map(|number| Some((number, *self.logs.get(&number)?)));
        Self {
            logs: logs.collect(),
            keyspaces,
            names,
            tables,
            obsolete_files: Arc::clone(&self.obsolete_files),
            ..*self
        }
    }

    /// Puts a part of the catalog in its place, to which `edit` was applied.
    pub(super) fn replace(&mut self, edit: &Edit, mut part: Self) {
        for number in self.tables_of(edit).collect::<Vec<_>>() {
            match part.tables.contains(&number) {
                true => self.tables.insert(number),
                false => self.tables.remove(&number),
            };
        }
        for number in logs_of(edit) {
            match part.logs.get(&number) {
                Some(&bytes) => self.logs.insert(number, bytes),
                None => self.logs.remove(&number),
            };
        }
        for id in keyspaces_of(edit) {
            if let Some(before) = self.keyspaces.remove(&id) {
                self.names.remove(&before.name);
            }
        }
        for (id, state) in std::mem::take(&mut part.keyspaces) {
            self.names.insert(Arc::clone(&state.name));
            self.keyspaces.insert(id, state);
        }
        // What is left are plain numbers, which are in every part.
        let whole = std::mem::take(self);
        let Self { logs, keyspaces, names, tables, .. } = whole;
        *self = Self { logs, keyspaces, names, tables, ..part };
    }

    /// The tables that `edit` names, and those of the keyspaces that it drops.
    fn tables_of(&self, edit: &Edit) -> impl Iterator<Item = FileNumber> {
        let changed = edit.keyspaces.iter().flat_map(|change| {
            let removed = change.removed.iter().map(|(_, number)| *number);
            removed.chain(change.added.iter().map(|(_, meta)| meta.number))
        });
        let dropped = edit.drop_keyspaces.iter().filter_map(|id| self.keyspaces.get(id));
        let dropped = dropped.flat_map(|state| state.version.tables());
        changed.chain(dropped.map(|(_, table)| table.meta.number))
    }

    fn apply_to_keyspace(&mut self, change: &KeyspaceEdit) -> Result<()> {
        let (database_id, obsolete) = (self.database_id, Arc::clone(&self.obsolete_files));
        let Some(state) = self.keyspaces.get_mut(&change.id) else {
            return Err(Error::corrupt(format!("manifest changes unknown keyspace {}", change.id)));
        };
        state.flushed_seq = state.flushed_seq.max(change.flushed_seq.unwrap_or_default());
        if change.options.is_some() {
            state.options.clone_from(&change.options);
        }
        if change.removed.is_empty() && change.added.is_empty() {
            return Ok(());
        }
        // A copy, if somebody still reads the version as it was.
        let version = Arc::make_mut(&mut state.version);
        let mut moving = Vec::new();
        for (level, number) in &change.removed {
            let removed = version.remove(usize::from(*level), *number);
            moving.push(removed.ok_or_else(|| {
                Error::corrupt(format!("manifest removes unknown table {number}"))
            })?);
            self.tables.remove(number);
        }
        for (level, meta) in &change.added {
            if !self.tables.insert(meta.number) {
                return Err(Error::corrupt(format!("manifest adds table {} twice", meta.number)));
            }
            let moved = moving.iter().find(|table| table.meta == *meta).cloned();
            let table = moved.unwrap_or_else(|| {
                let salt = table_salt(database_id, meta.number);
                Arc::new(TableFile::new(meta.clone(), salt, Arc::clone(&obsolete)))
            });
            version.insert(usize::from(*level), table)?;
        }
        Ok(())
    }

    /// Marks the tables that `edit` took out of `self` on the way to `next`, which may be a part.
    /// Only once the edit is durable: until then a crash brings the old tables back.
    pub(super) fn retire(&self, next: &Self, edit: &Edit) {
        for change in &edit.keyspaces {
            let Some(old) = self.keyspaces.get(&change.id) else { continue };
            for &(level, number) in &change.removed {
                // Others were moved.
                if !next.tables.contains(&number) {
                    let mut tables = old.version.levels[usize::from(level)].iter();
                    let gone = tables.find(|table| table.meta.number == number);
                    gone.into_iter().for_each(|table| table.mark_obsolete());
                }
            }
        }
        for dropped in edit.drop_keyspaces.iter().filter_map(|id| self.keyspaces.get(id)) {
            dropped.version.tables().for_each(|(_, table)| table.mark_obsolete());
        }
    }

    /// Edits that make an equal catalog out of an empty one, each of about `piece_bytes` at most.
    pub(crate) fn snapshot(&self, piece_bytes: usize) -> impl Iterator<Item = Edit> + '_ {
        let logs = self.logs.iter().map(|(&number, &bytes)| Part::Log(number, bytes));
        let keyspaces = self.keyspaces.iter().flat_map(|(&id, state)| {
            let tables = state.version.tables();
            let tables = tables.map(move |(level, t)| Part::Table(id, level as u8, &t.meta));
            std::iter::once(Part::Keyspace(id, state)).chain(tables)
        });
        let mut parts = logs.chain(keyspaces);
        let mut next = Some(Edit {
            database_id: Some(self.database_id),
            next_file: Some(self.next_file),
            flushed_seq: Some(self.flushed_seq),
            log_start: Some(self.log_start),
            log_closed: self.log_closed,
            next_keyspace: Some(KeyspaceId(self.next_keyspace)),
            ..Edit::default()
        });
        std::iter::from_fn(move || {
            let (mut piece, mut bytes) = (next.take()?, 0);
            for part in &mut parts {
                bytes += part.bytes();
                if bytes > piece_bytes {
                    // It begins the next piece.
                    let mut first = Edit::default();
                    part.add_to(&mut first);
                    next = Some(first);
                    break;
                }
                part.add_to(&mut piece);
            }
            Some(piece)
        })
    }
}

/// What a snapshot is made of.
enum Part<'a> {
    Log(FileNumber, u64),
    Keyspace(KeyspaceId, &'a KeyspaceState),
    Table(KeyspaceId, u8, &'a TableMeta),
}

impl Part<'_> {
    /// Encoded bytes: about.
    fn bytes(&self) -> usize {
        match self {
            Self::Log(..) => 24,
            Self::Keyspace(_, state) => 96 + state.name.len(),
            Self::Table(_, _, meta) => 96 + meta.smallest.len() + meta.largest.len(),
        }
    }

    fn add_to(&self, edit: &mut Edit) {
        match *self {
            Self::Log(number, bytes) => edit.add_logs.push((number, bytes)),
            Self::Keyspace(id, state) => {
                edit.create_keyspaces.push((id, state.name.to_string()));
                let (flushed_seq, options) = (Some(state.flushed_seq), state.options.clone());
                let change = KeyspaceEdit { id, flushed_seq, options, ..KeyspaceEdit::default() };
                edit.keyspaces.push(change);
            }
            Self::Table(id, level, meta) => {
                if edit.keyspaces.last().is_none_or(|last| last.id != id) {
                    edit.keyspaces.push(KeyspaceEdit { id, ..KeyspaceEdit::default() });
                }
                let change = edit.keyspaces.last_mut().expect("one was added");
                change.added.push((level, meta.clone()));
            }
        }
    }
}

fn keyspaces_of(edit: &Edit) -> impl Iterator<Item = KeyspaceId> {
    let changed = edit.keyspaces.iter().map(|change| change.id);
    let created = edit.create_keyspaces.iter().map(|(id, _)| *id);
    changed.chain(created).chain(edit.drop_keyspaces.iter().copied())
}

fn logs_of(edit: &Edit) -> impl Iterator<Item = FileNumber> {
    edit.drop_logs.iter().copied().chain(edit.add_logs.iter().map(|(number, _)| *number))
}

/// The checksum salt of a table: intact bytes of another database or number do not pass.
pub(crate) fn table_salt(database_id: u64, number: FileNumber) -> u64 {
    (database_id ^ number.0).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32) ^ database_id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sstable::Shadowed;
    use lsm_log::error::ErrorKind;
    use lsm_log::file_name::FileName;

    /// All in one edit.
    fn entire(catalog: &Catalog) -> Edit {
        let mut pieces = catalog.snapshot(usize::MAX);
        let whole = pieces.next().unwrap();
        assert_eq!(pieces.next(), None);
        whole
    }

    fn meta(number: u64, smallest: &str, largest: &str, seq: u64) -> TableMeta {
        TableMeta {
            number: FileNumber(number),
            bytes: 100,
            smallest: smallest.into(),
            largest: largest.into(),
            seq_min: SeqNo(seq),
            seq_max: SeqNo(seq),
            entries: 1,
            tombstones: 0,
            raw_bytes: 10,
            shadowed: Shadowed::default(),
        }
    }

    fn change(removed: &[(u8, u64)], added: Vec<(u8, TableMeta)>) -> Edit {
        let removed = removed.iter().map(|&(level, number)| (level, FileNumber(number))).collect();
        let keyspace = KeyspaceEdit { removed, added, ..KeyspaceEdit::default() };
        Edit { keyspaces: vec![keyspace], ..Edit::default() }
    }

    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        let create = Edit {
            database_id: Some(7),
            create_keyspaces: vec![(KeyspaceId(0), "default".into())],
            ..Edit::default()
        };
        catalog.apply(&create).unwrap();
        catalog
    }

    #[test]
    fn a_snapshot_makes_an_equal_catalog() {
        let mut one = catalog();
        let added =
            vec![(0, meta(1, "a", "k", 4)), (0, meta(2, "c", "d", 9)), (3, meta(3, "x", "z", 0))];
        one.apply(&Edit { add_logs: vec![(FileNumber(9), 64)], ..change(&[], added) }).unwrap();
        let mut other = Catalog::default();
        other.apply(&entire(&one)).unwrap();
        assert_eq!(entire(&one), entire(&other));
        let version = &other.keyspaces[&KeyspaceId(0)].version;
        assert_eq!(version.levels[0][0].meta.number, FileNumber(2), "newest first");
        assert_eq!(other.next_keyspace, 1);
    }

    #[test]
    fn a_snapshot_in_pieces_makes_an_equal_catalog() {
        let mut one = catalog();
        let names = (1..40).map(|id| (KeyspaceId(id), format!("keyspace {id}")));
        let logs = (1000..1040).map(|number| (FileNumber(number), 64));
        let keyspaces = (0..40).map(|id| {
            let number = 10 * u64::from(id) + 10;
            let names = ["a", "b", "c", "d", "e"].iter().zip(number..);
            let table = |(key, number): (&&str, u64)| (3, meta(number, key, key, number));
            let id = KeyspaceId(id);
            KeyspaceEdit { id, added: names.map(table).collect(), ..KeyspaceEdit::default() }
        });
        let edit = Edit {
            create_keyspaces: names.collect(),
            add_logs: logs.collect(),
            keyspaces: keyspaces.collect(),
            ..Edit::default()
        };
        one.apply(&edit).unwrap();
        let cases = [(0, 281), (120, 281), (1000, 60), (10_000, 6), (100_000, 1)];
        for (piece_bytes, pieces) in cases {
            let mut other = Catalog::default();
            let (mut count, mut longest) = (0, 0);
            for piece in one.snapshot(piece_bytes) {
                let mut encoded = Vec::new();
                piece.encode(&mut encoded);
                (count, longest) = (count + 1, longest.max(encoded.len()));
                other.apply(&piece).unwrap();
            }
            assert_eq!(entire(&one), entire(&other));
            assert!(longest <= piece_bytes.max(150), "{longest} bytes, not {piece_bytes}");
            assert!((pieces / 3..=pieces).contains(&count), "{count} pieces of {piece_bytes}");
        }
    }

    #[test]
    fn the_number_of_a_dropped_keyspace_is_not_used_again() {
        let mut one = catalog();
        let create = vec![(KeyspaceId(1), "gone".to_owned())];
        one.apply(&Edit { create_keyspaces: create, ..Edit::default() }).unwrap();
        let drop = vec![KeyspaceId(1)];
        one.apply(&Edit { drop_keyspaces: drop, ..Edit::default() }).unwrap();
        let mut other = Catalog::default();
        other.apply(&entire(&one)).unwrap();
        assert_eq!(other.next_keyspace, 2);
    }

    #[test]
    fn contradictions_are_noticed_and_change_no_other_catalog() {
        let mut catalog = catalog();
        catalog.apply(&change(&[], vec![(1, meta(1, "a", "k", 1))])).unwrap();
        let before = entire(&catalog);
        let bad = [
            change(&[], vec![(1, meta(2, "k", "m", 1))]),
            change(&[], vec![(1, meta(2, "A", "a", 1))]),
            change(&[], vec![(1, meta(2, "b", "c", 1))]),
            change(&[], vec![(1, meta(2, "A", "m", 1))]),
            change(&[(1, 1)], vec![(1, meta(2, "d", "e", 1)), (1, meta(3, "a", "d", 1))]),
            change(&[], vec![(2, meta(1, "p", "q", 1))]),
            change(&[(1, 5)], vec![]),
            Edit { drop_logs: vec![FileNumber(77)], ..Edit::default() },
            Edit { drop_keyspaces: vec![KeyspaceId(5)], ..Edit::default() },
            Edit { create_keyspaces: vec![(KeyspaceId(3), "default".into())], ..Edit::default() },
        ];
        for edit in bad {
            for mut other in [catalog.clone(), catalog.part(&edit)] {
                let error = other.apply(&edit).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{edit:?}");
            }
            assert_eq!(entire(&catalog), before);
        }
    }

    fn random_edit(rng: &mut fastrand::Rng) -> Edit {
        let mut edit = Edit::default();
        let log = FileNumber(rng.u64(..6));
        match rng.u32(..6) {
            0 => edit.add_logs.push((log, 64)),
            1 => edit.drop_logs.push(log),
            2 => edit.create_keyspaces.push((KeyspaceId(rng.u32(..8)), rng.u32(..8).to_string())),
            3 => edit.drop_keyspaces.push(KeyspaceId(rng.u32(..8))),
            _ => {}
        }
        edit.flushed_seq = rng.bool().then(|| SeqNo(rng.u64(..100)));
        for _ in 0..rng.usize(..3) {
            let id = KeyspaceId(rng.u32(..8));
            let blocks = [None, Some(512), Some(1024)][rng.usize(..3)];
            let options = blocks.map(|bytes| KeyspaceOptions::default().block_bytes(bytes));
            let mut change = KeyspaceEdit { id, options, ..KeyspaceEdit::default() };
            for _ in 0..rng.usize(..3) {
                let (level, number) = (rng.u8(..2), rng.u64(..12));
                let smallest = char::from(b'a' + number as u8).to_string();
                match rng.bool() {
                    true => change.removed.push((level, FileNumber(number))),
                    false => change.added.push((level, meta(number, &smallest, &smallest, 1))),
                }
            }
            edit.keyspaces.push(change);
        }
        edit
    }

    #[test]
    fn an_edit_does_to_the_part_it_names_what_it_does_to_the_whole() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut catalog, mut taken) = (catalog(), 0);
            for _ in 0..100 {
                let edit = random_edit(&mut rng);
                let (mut whole, mut part) = (catalog.clone(), catalog.part(&edit));
                let (expected, found) = (whole.apply(&edit), part.apply(&edit));
                assert_eq!(expected.is_ok(), found.is_ok(), "seed {seed}: {edit:?}");
                if expected.is_ok() {
                    catalog.replace(&edit, part);
                    assert_eq!(entire(&catalog), entire(&whole), "seed {seed}: {edit:?}");
                    assert_eq!(catalog.names, whole.names, "seed {seed}: {edit:?}");
                    assert_eq!(catalog.tables, whole.tables, "seed {seed}: {edit:?}");
                    taken += 1;
                }
            }
            assert!(taken > 10, "seed {seed}");
        }
    }

    #[test]
    fn an_edit_costs_what_it_names() {
        let mut catalog = catalog();
        for id in 1..=1000u32 {
            let create_keyspaces = vec![(KeyspaceId(id), id.to_string())];
            let tables = (0..10).map(|i| (0, meta(u64::from(id) * 10 + i, "a", "b", i)));
            let change = KeyspaceEdit {
                id: KeyspaceId(id),
                added: tables.collect(),
                ..KeyspaceEdit::default()
            };
            let edit = Edit { create_keyspaces, keyspaces: vec![change], ..Edit::default() };
            catalog.apply(&edit).unwrap();
        }
        let mut edit = change(&[(0, 70), (0, 71)], vec![(1, meta(5, "a", "b", 1))]);
        edit.keyspaces[0].id = KeyspaceId(7);
        edit.create_keyspaces.push((KeyspaceId(2000), "new".into()));
        let part = catalog.part(&edit);
        assert_eq!((part.keyspaces.len(), part.names.len(), part.tables.len()), (1, 1, 2));
        let drop = Edit { drop_keyspaces: vec![KeyspaceId(9)], ..Edit::default() };
        let part = catalog.part(&drop);
        assert_eq!((part.keyspaces.len(), part.names.len(), part.tables.len()), (1, 1, 10));
    }

    #[test]
    fn files_become_obsolete_when_the_last_holder_lets_go() {
        let mut catalog = catalog();
        catalog
            .apply(&change(&[], vec![(1, meta(1, "a", "k", 1)), (1, meta(2, "m", "n", 1))]))
            .unwrap();
        let reader = Arc::clone(&catalog.keyspaces[&KeyspaceId(0)].version);
        let edit = change(&[(1, 1), (1, 2)], vec![(2, meta(1, "a", "k", 1))]);
        let before = catalog.clone();
        catalog.apply(&edit).unwrap();
        before.retire(&catalog, &edit);
        drop(before);
        assert_eq!(catalog.obsolete_files().pop(), None, "a reader holds both");
        drop(reader);
        let gone = catalog.obsolete_files();
        assert_eq!(gone.pop(), Some(FileName::Table(FileNumber(2))));
        assert_eq!(gone.pop(), None, "1 was only moved");
    }
}
