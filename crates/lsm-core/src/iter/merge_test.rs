//! Merge and concat against one sorted list, over random walks.

use std::cell::Cell;
use std::rc::Rc;

use lsm_log::error::Error;

use super::*;
use crate::iter::concat::{Concat, Run};
use crate::key::{Kind, SeqNo};

type Entry = (Vec<u8>, Tag);

/// A cursor over a sorted list; `usize::MAX` is nowhere.
#[derive(Clone)]
struct List {
    entries: Vec<Entry>,
    at: usize,
    /// While it is set, every move fails.
    broken: Rc<Cell<bool>>,
}

impl List {
    fn new(entries: Vec<Entry>) -> Self {
        Self { entries, at: usize::MAX, broken: Rc::default() }
    }

    fn go(&mut self, at: usize) -> Result<()> {
        self.at = at;
        if self.broken.get() {
            self.at = usize::MAX;
            return Err(Error::corrupt("on purpose"));
        }
        Ok(())
    }
}

impl Cursor for List {
    fn is_valid(&self) -> bool {
        self.at < self.entries.len()
    }
    fn seek(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        self.go(self.entries.partition_point(|e| compare((&e.0, e.1), (key, tag)).is_lt()))
    }
    fn seek_back(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        let behind = self.entries.partition_point(|e| compare((&e.0, e.1), (key, tag)).is_le());
        self.go(behind.wrapping_sub(1))
    }
    fn seek_first(&mut self) -> Result<()> {
        self.go(0)
    }
    fn seek_last(&mut self) -> Result<()> {
        self.go(self.entries.len().wrapping_sub(1))
    }
    fn next(&mut self) -> Result<()> {
        self.go(self.at + 1)
    }
    fn prev(&mut self) -> Result<()> {
        self.go(self.at.wrapping_sub(1))
    }
    fn key(&self) -> &[u8] {
        &self.entries[self.at].0
    }
    fn tag(&self) -> Tag {
        self.entries[self.at].1
    }
    fn value(&self) -> &[u8] {
        b""
    }
}

struct Lists(Vec<List>);

impl Run for Lists {
    type Cursor = List;
    fn len(&self) -> usize {
        self.0.len()
    }
    fn smallest(&self, i: usize) -> &[u8] {
        &self.0[i].entries[0].0
    }
    fn largest(&self, i: usize) -> &[u8] {
        &self.0[i].entries.last().unwrap().0
    }
    fn open(&self, i: usize) -> Result<List> {
        let mut list = List { at: usize::MAX, ..self.0[i].clone() };
        list.go(usize::MAX).map(|()| list)
    }
}

fn entries(random: &mut fastrand::Rng, count: usize) -> Vec<Entry> {
    let mut all: Vec<Entry> = (0..count)
        .map(|seq| {
            let key = vec![random.u8(0..30); random.usize(0..3)];
            (key, Tag::new(SeqNo(seq as u64), Kind::Put))
        })
        .collect();
    all.sort_by(|a, b| compare((&a.0, a.1), (&b.0, b.1)));
    all
}

/// Walks `cursor` and a plain list side by side.
fn walk(cursor: &mut impl Cursor, all: &[Entry], random: &mut fastrand::Rng) {
    let mut oracle = List::new(all.to_vec());
    for _ in 0..200 {
        let key = vec![random.u8(0..30); random.usize(0..3)];
        let tag = Tag(random.u64(0..all.len() as u64 * 256 + 2));
        match random.u8(0..10) {
            0 => (cursor.seek(&key, tag).unwrap(), oracle.seek(&key, tag).unwrap()),
            1 => (cursor.seek_back(&key, tag).unwrap(), oracle.seek_back(&key, tag).unwrap()),
            2 => (cursor.seek_first().unwrap(), oracle.seek_first().unwrap()),
            3 => (cursor.seek_last().unwrap(), oracle.seek_last().unwrap()),
            _ if !oracle.is_valid() => continue,
            4..=6 => (cursor.next().unwrap(), oracle.next().unwrap()),
            _ => (cursor.prev().unwrap(), oracle.prev().unwrap()),
        };
        assert_eq!(cursor.is_valid(), oracle.is_valid());
        if cursor.is_valid() {
            assert_eq!((cursor.key(), cursor.tag()), (oracle.key(), oracle.tag()));
        }
    }
}

#[test]
fn merging_is_sorting() {
    for seed in 0..200 {
        println!("seed {seed}");
        let random = &mut fastrand::Rng::with_seed(seed);
        let count = random.usize(0..80);
        let all = entries(random, count);
        let mut parts = vec![Vec::new(); random.usize(1..14)];
        for entry in &all {
            random.choice(&mut parts).unwrap().push(entry.clone());
        }
        let lists = parts.into_iter().map(List::new).collect();
        walk(&mut Merge::new(lists), &all, random);
    }
}

#[test]
fn a_run_reads_as_one() {
    for seed in 0..200 {
        println!("seed {seed}");
        let random = &mut fastrand::Rng::with_seed(seed);
        let count = random.usize(0..80);
        let all = entries(random, count);
        let mut parts: Vec<List> = Vec::new();
        for entry in &all {
            let fits = parts.last().is_some_and(|list| list.entries.last().unwrap().0 == entry.0);
            if !fits && (parts.is_empty() || random.u8(0..4) == 0) {
                parts.push(List::new(Vec::new()));
            }
            parts.last_mut().unwrap().entries.push(entry.clone());
        }
        walk(&mut Concat::new(Lists(parts)), &all, random);
    }
}

/// Every move that fails, from every entry, leaves the cursor nowhere; the next seek finds its
/// place again.
fn fail_everywhere(cursor: &mut impl Cursor, broken: &Cell<bool>, count: usize) {
    for steps in 0..count {
        for kind in 0..6 {
            cursor.seek_first().unwrap();
            (0..steps).for_each(|_| cursor.next().unwrap());
            broken.set(true);
            let failed = match kind {
                0 => cursor.next(),
                1 => cursor.prev(),
                2 => cursor.seek_first(),
                3 => cursor.seek_last(),
                4 => cursor.seek(&[29], Tag(u64::MAX)),
                _ => cursor.seek_back(&[], Tag(u64::MAX)),
            };
            broken.set(false);
            assert!(!cursor.is_valid(), "{kind} from entry {steps}: {failed:?}");
        }
    }
}

#[test]
fn a_cursor_that_failed_stands_nowhere() {
    let keys = (0..30).map(|n| (vec![n], Tag::new(SeqNo(1), Kind::Put)));
    let all: Vec<Entry> = keys.collect();
    let broken = Rc::<Cell<bool>>::default();
    let list = |entries: Vec<Entry>| List { broken: Rc::clone(&broken), ..List::new(entries) };
    let every = |n| list(all.iter().skip(n).step_by(3).cloned().collect());
    fail_everywhere(&mut Merge::new(vec![every(0), every(1), every(2)]), &broken, all.len());
    let run = all.chunks(5).map(|chunk| list(chunk.to_vec())).collect();
    fail_everywhere(&mut Concat::new(Lists(run)), &broken, all.len());
}
