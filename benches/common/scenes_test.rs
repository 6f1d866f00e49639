//! The scenes on the simplest store there is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use crate::{Change, Folder, SCENES, Sizes, Store, rows, touch};

#[derive(Default)]
struct Map(RwLock<BTreeMap<Vec<u8>, Vec<u8>>>);

impl Store for Map {
    fn put(&self, key: &[u8], value: &[u8]) {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        map.insert(key.to_vec(), value.to_vec());
    }

    fn sync_put(&self, key: &[u8], value: &[u8]) {
        self.put(key, value);
    }

    fn delete(&self, key: &[u8]) {
        self.0.write().unwrap().remove(key);
    }

    fn write(&self, changes: &[Change<'_>]) {
        for (key, value) in changes {
            match value {
                Some(value) => self.put(key, value),
                None => self.delete(key),
            }
        }
    }

    fn get(&self, key: &[u8]) -> Option<usize> {
        self.0.read().unwrap().get(key).map(|value| touch(value))
    }

    fn scan(&self, key: &[u8], count: usize) -> usize {
        let map = self.0.read().unwrap();
        let entries = map.range::<[u8], _>((Bound::Included(key), Bound::Unbounded));
        entries.take(count).map(|(key, value)| key.len() + touch(value)).sum()
    }

    fn flush(&self) {}
}

const ENTRIES: u64 = 1000;

fn sizes() -> Sizes {
    Sizes { queue: 100, row: Duration::MAX, rest: Duration::ZERO, ..Sizes::of(ENTRIES) }
}

#[test]
fn each_row_is_measured_once() {
    let mut measured = Vec::new();
    for scene in SCENES {
        let folder = Folder::new();
        let store = Map::default();
        let done = &mut |row: crate::Measured| measured.push(row);
        scene.run(&store, folder.path(), (ENTRIES, sizes()), &|_| true, done);
    }
    assert!(measured.iter().all(|row| row.operations > 0 && row.p50_nanos <= row.longest_nanos));
    let names: BTreeSet<_> = measured.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names.len(), measured.len(), "a name comes once");
    assert_eq!(names, rows().iter().map(|(_, name)| *name).collect());
}

#[test]
fn what_is_not_wanted_is_not_measured_but_its_changes_are_made() {
    let mut names = Vec::new();
    let scene = SCENES.iter().find(|scene| scene.name == "random").unwrap();
    let (store, folder) = (Map::default(), Folder::new());
    let wanted = |name: &str| name == "full scan";
    let done = &mut |row: crate::Measured| names.push((row.name, row.operations));
    scene.run(&store, folder.path(), (ENTRIES, sizes()), &wanted, done);
    assert_eq!(names, [("full scan".to_owned(), 5 * ENTRIES)]);
}

#[test]
fn a_row_that_ran_out_of_time_leaves_the_data_whole() {
    let scene = SCENES.iter().find(|scene| scene.name == "deletes").unwrap();
    let (store, folder) = (Map::default(), Folder::new());
    let sizes = Sizes { row: Duration::ZERO, ..sizes() };
    let mut operations = BTreeMap::new();
    let done = &mut |row: crate::Measured| _ = operations.insert(row.name, row.operations);
    scene.run(&store, folder.path(), (ENTRIES, sizes), &|_| true, done);
    assert_eq!(operations["delete a third"], 1);
    assert_eq!(store.0.read().unwrap().len() as u64, ENTRIES - ENTRIES / 3);
    assert_eq!(operations["full scan of the rest"], ENTRIES - ENTRIES / 3);
}
