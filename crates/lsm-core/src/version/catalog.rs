//! What all edits so far add up to. Pure: touches no file or clock, and no lock but the leaf that
//! [`ObsoleteFiles`] has, when the last holder of a table lets go.
//!
//! Invariants:
//! * Every sorted level is one run: ordered tables, no user key in two of them.
//! * A table is in one place; no number is added twice.
//! * `flushed_seq` of the whole is at most that of any keyspace with later writes.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::edit::{Edit, KeyspaceEdit};
use super::obsolete::ObsoleteFiles;
use super::table_file::TableFile;
use super::version::Version;
use crate::error::{Error, Result};
use crate::file_name::FileNumber;
use crate::key::{KeyspaceId, SeqNo};
use crate::wal::Lsn;

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
            let taken = self.keyspaces.values().any(|state| *state.name == **name);
            if id.0 == u32::MAX || taken || self.keyspaces.contains_key(id) {
                return Err(Error::corrupt(format!("manifest creates keyspace {id} twice")));
            }
            let state = KeyspaceState {
                name: name.as_str().into(),
                version: Arc::default(),
                flushed_seq: SeqNo::default(),
            };
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
            for (_, table) in dropped.version.tables() {
                self.tables.remove(&table.meta.number);
            }
        }
        Ok(())
    }

    fn apply_to_keyspace(&mut self, change: &KeyspaceEdit) -> Result<()> {
        let (database_id, obsolete) = (self.database_id, Arc::clone(&self.obsolete_files));
        let Some(state) = self.keyspaces.get_mut(&change.id) else {
            return Err(Error::corrupt(format!("manifest changes unknown keyspace {}", change.id)));
        };
        state.flushed_seq = state.flushed_seq.max(change.flushed_seq.unwrap_or_default());
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

    /// Marks the tables that `edit` took out of `self` on the way to `next`. Only once the edit
    /// is durable: until then a crash brings the old tables back.
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

    /// One edit that makes an equal catalog out of an empty one.
    pub(crate) fn snapshot(&self) -> Edit {
        let keyspaces = self.keyspaces.iter().map(|(&id, state)| KeyspaceEdit {
            id,
            flushed_seq: Some(state.flushed_seq),
            removed: Vec::new(),
            added: state.version.tables().map(|(level, t)| (level as u8, t.meta.clone())).collect(),
        });
        Edit {
            database_id: Some(self.database_id),
            next_file: Some(self.next_file),
            flushed_seq: Some(self.flushed_seq),
            log_start: Some(self.log_start),
            add_logs: self.logs.iter().map(|(&number, &bytes)| (number, bytes)).collect(),
            log_closed: self.log_closed,
            next_keyspace: Some(KeyspaceId(self.next_keyspace)),
            create_keyspaces: self
                .keyspaces
                .iter()
                .map(|(&id, s)| (id, s.name.to_string()))
                .collect(),
            keyspaces: keyspaces.collect(),
            ..Edit::default()
        }
    }
}

/// The checksum salt of a table: intact bytes of another database or number do not pass.
pub(crate) fn table_salt(database_id: u64, number: FileNumber) -> u64 {
    (database_id ^ number.0).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32) ^ database_id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::file_name::FileName;
    use crate::version::TableMeta;

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
        }
    }

    fn change(removed: &[(u8, u64)], added: Vec<(u8, TableMeta)>) -> Edit {
        let removed = removed.iter().map(|&(level, number)| (level, FileNumber(number))).collect();
        let keyspace = KeyspaceEdit { id: KeyspaceId(0), flushed_seq: None, removed, added };
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
        other.apply(&one.snapshot()).unwrap();
        assert_eq!(one.snapshot(), other.snapshot());
        let version = &other.keyspaces[&KeyspaceId(0)].version;
        assert_eq!(version.levels[0][0].meta.number, FileNumber(2), "newest first");
        assert_eq!(other.next_keyspace, 1);
    }

    #[test]
    fn the_number_of_a_dropped_keyspace_is_not_used_again() {
        let mut one = catalog();
        let create = vec![(KeyspaceId(1), "gone".to_owned())];
        one.apply(&Edit { create_keyspaces: create, ..Edit::default() }).unwrap();
        let drop = vec![KeyspaceId(1)];
        one.apply(&Edit { drop_keyspaces: drop, ..Edit::default() }).unwrap();
        let mut other = Catalog::default();
        other.apply(&one.snapshot()).unwrap();
        assert_eq!(other.next_keyspace, 2);
    }

    #[test]
    fn contradictions_are_noticed_and_change_no_other_catalog() {
        let mut catalog = catalog();
        catalog.apply(&change(&[], vec![(1, meta(1, "a", "k", 1))])).unwrap();
        let before = catalog.snapshot();
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
            let error = catalog.clone().apply(&edit).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{edit:?}");
            assert_eq!(catalog.snapshot(), before);
        }
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
