//! Merge and concat against one sorted list, over random walks.

use super::*;
use crate::iter::concat::{Concat, Run};
use crate::key::{Kind, SeqNo};

type Entry = (Vec<u8>, Tag);

/// A cursor over a sorted list; `usize::MAX` is nowhere.
#[derive(Clone)]
struct List {
    entries: Vec<Entry>,
    at: usize,
}

impl Cursor for List {
    fn is_valid(&self) -> bool {
        self.at < self.entries.len()
    }
    fn seek(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        self.at = self.entries.partition_point(|e| compare((&e.0, e.1), (key, tag)).is_lt());
        Ok(())
    }
    fn seek_back(&mut self, key: &[u8], tag: Tag) -> Result<()> {
        let behind = self.entries.partition_point(|e| compare((&e.0, e.1), (key, tag)).is_le());
        self.at = behind.wrapping_sub(1);
        Ok(())
    }
    fn seek_first(&mut self) -> Result<()> {
        self.at = 0;
        Ok(())
    }
    fn seek_last(&mut self) -> Result<()> {
        self.at = self.entries.len().wrapping_sub(1);
        Ok(())
    }
    fn next(&mut self) -> Result<()> {
        self.at += 1;
        Ok(())
    }
    fn prev(&mut self) -> Result<()> {
        self.at = self.at.wrapping_sub(1);
        Ok(())
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
        Ok(List { at: usize::MAX, ..self.0[i].clone() })
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
    let mut oracle = List { entries: all.to_vec(), at: usize::MAX };
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
        let mut parts = vec![Vec::new(); random.usize(1..6)];
        for entry in &all {
            random.choice(&mut parts).unwrap().push(entry.clone());
        }
        let lists = parts.into_iter().map(|entries| List { entries, at: usize::MAX }).collect();
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
                parts.push(List { entries: Vec::new(), at: usize::MAX });
            }
            parts.last_mut().unwrap().entries.push(entry.clone());
        }
        walk(&mut Concat::new(Lists(parts)), &all, random);
    }
}
