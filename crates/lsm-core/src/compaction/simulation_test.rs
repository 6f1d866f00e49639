//! Picker, cut and retention together, against a model: a keyspace whose tables are vectors.
//!
//! Writes, snapshots, plans that start and finish in any order, and sweeps of ranges are drawn
//! from a seed. After every change of the version, its shape is checked, and now and then
//! every reader is compared with the model.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use lsm_log::file_name::FileNumber;

use super::drop_policy::{DropPolicy, VersionFate};
use super::levels::Targets;
use super::plan::{Plan, PlanKind};
use super::{BusyTables, ManualCompaction, ManualStep, debt, pick, rest};
use crate::key::{KeyRange, Kind, SEQ_MAX, SeqNo, Tag, compare};
use crate::options::{Compression, KeyspaceOptions};
use crate::sstable::Shadowed;
use crate::version::{LEVELS, TableFile, TableMeta, Version};

/// A version of a key; a put's value is the sequence number it was written under.
#[derive(Clone, Debug)]
struct Entry {
    key: Vec<u8>,
    tag: Tag,
    value: u64,
}

/// A plan that was started: what it reads, and what was visible and pinned then.
struct Job {
    plan: Plan,
    version: Version,
    snapshots: Vec<SeqNo>,
}

struct Keyspace {
    rng: fastrand::Rng,
    options: KeyspaceOptions,
    version: Version,
    busy: BusyTables,
    jobs: Vec<Job>,
    tables: HashMap<FileNumber, Vec<Entry>>,
    memtable: Vec<Entry>,
    snapshots: Vec<SeqNo>,
    seq: u64,
    number: u64,
    keys: u32,
    /// Every write of each key, oldest first: sequence number, and whether it was a put.
    model: BTreeMap<Vec<u8>, Vec<(u64, bool)>>,
}

/// The puts behind another version of their key; a byte each.
fn shadowed(entries: &[Entry]) -> Shadowed {
    let mut shadowed = Shadowed::default();
    for pair in entries.windows(2).filter(|pair| pair[0].key == pair[1].key) {
        if pair[1].tag.kind() == Some(Kind::Put) {
            shadowed.entries += 1;
            shadowed.bytes += 1;
            shadowed.by = shadowed.by.max(pair[0].tag.seq());
        }
    }
    shadowed
}

impl Keyspace {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let options = KeyspaceOptions {
            table_bytes: rng.u64(4..20),
            level_bytes_base: rng.u64(4..40),
            l0_tables_compact: rng.usize(1..5),
            compression: if rng.bool() { Compression::None } else { Compression::Lz4 },
            ..KeyspaceOptions::default()
        };
        let keys = 1 << rng.u32(3..11);
        Self {
            rng,
            options,
            version: Version::default(),
            busy: BusyTables::default(),
            jobs: Vec::new(),
            tables: HashMap::new(),
            memtable: Vec::new(),
            snapshots: Vec::new(),
            seq: 0,
            number: 0,
            keys,
            model: BTreeMap::new(),
        }
    }

    /// Writes, most of the time around one place, and now and then nothing but deletes.
    fn write(&mut self, deletes_in_8: u32) {
        self.seq += 1;
        let key = format!("{:04}", self.rng.u32(..self.keys)).into_bytes();
        let put = self.rng.u32(..8) >= deletes_in_8;
        let tag = Tag::new(SeqNo(self.seq), if put { Kind::Put } else { Kind::Delete });
        self.model.entry(key.clone()).or_default().push((self.seq, put));
        self.memtable.push(Entry { key, tag, value: self.seq });
    }

    fn flush(&mut self) {
        let mut entries = std::mem::take(&mut self.memtable);
        if entries.is_empty() {
            return;
        }
        entries.sort_by(|a, b| compare((&a.key, a.tag), (&b.key, b.tag)));
        let table = self.table(entries);
        self.version.levels[0].insert(0, table);
    }

    fn table(&mut self, entries: Vec<Entry>) -> Arc<TableFile> {
        self.number += 1;
        let number = FileNumber(self.number);
        let len = entries.len() as u64;
        let deletes = entries.iter().filter(|entry| entry.tag.kind() == Some(Kind::Delete));
        let seqs = || entries.iter().map(|entry| entry.tag.seq());
        let meta = TableMeta {
            number,
            bytes: len,
            smallest: entries[0].key.clone(),
            largest: entries[entries.len() - 1].key.clone(),
            seq_min: seqs().min().unwrap(),
            seq_max: seqs().max().unwrap(),
            entries: len,
            tombstones: deletes.count() as u64,
            raw_bytes: len,
            shadowed: shadowed(&entries),
        };
        self.tables.insert(number, entries);
        Arc::new(TableFile::new(meta, 0, Arc::default()))
    }

    fn start(&mut self, plan: Plan) {
        self.busy.start(&plan);
        let mut snapshots = self.snapshots.clone();
        snapshots.push(SeqNo(self.seq));
        snapshots.sort();
        snapshots.dedup();
        self.jobs.push(Job { plan, version: self.version.clone(), snapshots });
    }

    fn oldest(&self) -> SeqNo {
        self.snapshots.iter().copied().min().unwrap_or(SeqNo(self.seq))
    }

    fn pick(&self) -> Option<Plan> {
        pick(&self.version, &self.busy, &self.options, self.oldest())
    }

    fn rest(&self) -> Option<Plan> {
        rest(&self.version, &self.busy, &self.options, self.oldest()).map(|(plan, _)| plan)
    }

    fn finish(&mut self, at: usize) {
        let Job { plan, version, snapshots } = self.jobs.swap_remove(at);
        self.busy.finish(&plan);
        let outputs = match plan.kind {
            PlanKind::Move => plan.inputs.clone(),
            PlanKind::Merge => self.merge(&plan, &version, snapshots),
        };
        for level in [plan.level, plan.output_level] {
            self.version.levels[level].retain(|t| !plan.tables().any(|gone| Arc::ptr_eq(gone, t)));
        }
        let tables = &mut self.version.levels[plan.output_level];
        tables.extend(outputs);
        tables.sort_by(|a, b| a.meta.smallest.cmp(&b.meta.smallest));
        self.check_shape();
    }

    fn merge(
        &mut self,
        plan: &Plan,
        version: &Version,
        snapshots: Vec<SeqNo>,
    ) -> Vec<Arc<TableFile>> {
        let inputs = plan.tables().map(|table| &self.tables[&table.meta.number]);
        let mut entries: Vec<Entry> = inputs.flatten().cloned().collect();
        entries.sort_by(|a, b| compare((&a.key, a.tag), (&b.key, b.tag)));
        let mut retention = DropPolicy::new(snapshots);
        let (mut cut, mut deeper) = (plan.cut(&self.options), plan.deeper(version));
        let (mut outputs, mut output) = (Vec::new(), Vec::<Entry>::new());
        let mut read: Option<Vec<u8>> = None;
        let mut written: Option<Vec<u8>> = None;
        for entry in entries {
            let is_new = read.as_ref() != Some(&entry.key);
            let fate = retention.decide(is_new, entry.tag, || !deeper.may_hold(&entry.key));
            read = Some(entry.key.clone());
            let VersionFate::Keep(tag) = fate else { continue };
            let is_new = written.as_ref() != Some(&entry.key);
            if cut.should_cut(output.len() as u64, is_new, &entry.key) {
                outputs.push(std::mem::take(&mut output));
            }
            written = Some(entry.key.clone());
            output.push(Entry { tag, ..entry });
        }
        outputs.push(output);
        outputs.retain(|output| !output.is_empty());
        outputs.into_iter().map(|entries| self.table(entries)).collect()
    }

    fn check_shape(&self) {
        let upper = &self.version.levels[0];
        assert!(upper.is_sorted_by(|a, b| a.meta.seq_min > b.meta.seq_max), "level 0 is in order");
        for tables in &self.version.levels[1..] {
            assert!(tables.is_sorted_by(|a, b| a.meta.largest < b.meta.smallest), "{tables:?}");
        }
    }

    /// As a read goes: memtable, level 0 from the newest, then down; the first version counts.
    fn get(&self, key: &[u8], seq: SeqNo) -> Option<u64> {
        let sees = |entry: &&Entry| entry.key == key && entry.tag.seq() <= seq;
        let in_tables = self.version.levels.iter().flatten().find_map(|table| {
            let may = table.meta.overlaps(key, key);
            may.then(|| self.tables[&table.meta.number].iter().find(sees)).flatten()
        });
        let found = self.memtable.iter().rev().find(sees).or(in_tables)?;
        (found.tag.kind() == Some(Kind::Put)).then_some(found.value)
    }

    fn expected(&self, key: &[u8], seq: SeqNo) -> Option<u64> {
        let writes = self.model.get(key)?;
        let (number, put) = writes.iter().rfind(|(number, _)| *number <= seq.0)?;
        put.then_some(*number)
    }

    fn check_reads(&self) {
        for key in self.model.keys() {
            for &seq in self.snapshots.iter().chain(&[SeqNo(self.seq)]) {
                assert_eq!(self.get(key, seq), self.expected(key, seq), "{key:?} at {seq}");
            }
        }
    }

    /// Finishes all that runs and starts what is due until nothing is; it has to end.
    fn settle(&mut self) {
        let entries = self.version.tables().map(|(_, table)| table.meta.entries).sum::<u64>();
        // Each plan lowers entries by a level or drops some.
        for _ in 0..=entries * (LEVELS as u64 + 1) + 10 {
            if !self.jobs.is_empty() {
                self.finish(self.jobs.len() - 1);
            } else if let Some(plan) = self.pick() {
                self.start(plan);
            } else {
                let targets = Targets::of(&self.version, &self.options);
                let scores = targets.scores(&self.version, &self.options, |_| true);
                assert!(scores.iter().all(|&score| score < 1.0), "{scores:?}");
                assert_eq!(debt(&self.version, &self.options), 0);
                let upper = &self.version.levels[1..targets.base()];
                assert!(upper.iter().all(Vec::is_empty), "above the base is nothing");
                return;
            }
        }
        panic!("compactions do not end");
    }

    /// What is due, and then what brings rest, until nothing is left; it has to end.
    fn come_to_rest(&mut self) {
        let entries = self.version.tables().map(|(_, table)| table.meta.entries).sum::<u64>();
        for _ in 0..=entries * (LEVELS as u64 + 1) + 10 {
            if !self.jobs.is_empty() {
                self.finish(self.jobs.len() - 1);
            } else if let Some(plan) = self.pick().or_else(|| self.rest()) {
                self.start(plan);
            } else {
                return self.check_rest();
            }
        }
        panic!("it does not come to rest");
    }

    fn check_rest(&self) {
        let tables: Vec<_> = self.version.tables().collect();
        let oldest = self.oldest();
        for (at, (level, table)) in tables.iter().enumerate() {
            let meta = &table.meta;
            let over = tables[at + 1..].iter().filter(|(deeper, _)| *level == 0 || deeper > level);
            let mut over =
                over.filter(|(_, other)| meta.overlaps(&other.meta.smallest, &other.meta.largest));
            assert!(over.next().is_none(), "a table at rest lies over no other");
            assert!(
                meta.shadowed.entries == 0 || meta.shadowed.by > oldest,
                "{meta:?} at {oldest}"
            );
            assert!(meta.tombstones == 0 || meta.seq_max > oldest, "{meta:?} at {oldest}");
        }
    }

    /// Asks for a range while others write and compact.
    fn sweep(&mut self, range: KeyRange, busy_beside: bool) {
        self.flush();
        let mut sweep = ManualCompaction::new(&self.version, range);
        for _ in 0..10_000 {
            match sweep.next(&self.version, &self.busy, &self.options) {
                ManualStep::Run(plan) => {
                    self.start(plan);
                    let ours = self.jobs.len() - 1;
                    if busy_beside {
                        self.disturb();
                    }
                    self.finish(ours);
                }
                ManualStep::Wait => {
                    assert!(!self.jobs.is_empty(), "somebody must be waited for");
                    let at = self.rng.usize(..self.jobs.len());
                    self.finish(at);
                }
                ManualStep::Done => return,
            }
        }
        panic!("the sweep does not end");
    }

    fn disturb(&mut self) {
        for _ in 0..self.rng.u32(..20) {
            self.write(2);
        }
        self.flush();
        if let Some(plan) = self.pick() {
            self.start(plan);
        }
    }

    fn step(&mut self, deletes_in_8: u32) {
        match self.rng.u32(..20) {
            0..6 => {
                for _ in 0..self.rng.u32(..16) {
                    self.write(deletes_in_8);
                }
                self.flush();
            }
            6..13 if self.jobs.len() < 4 => {
                let rests = self.rng.u8(..8) == 0;
                let plan = if rests { self.pick().or_else(|| self.rest()) } else { self.pick() };
                if let Some(plan) = plan {
                    self.start(plan);
                }
            }
            13..17 if !self.jobs.is_empty() => {
                let at = self.rng.usize(..self.jobs.len());
                self.finish(at);
            }
            17 => self.snapshots.push(SeqNo(self.seq)),
            18 if !self.snapshots.is_empty() => {
                let at = self.rng.usize(..self.snapshots.len());
                self.snapshots.swap_remove(at);
            }
            _ => {}
        }
    }
}

fn run(seed: u64) {
    let mut keyspace = Keyspace::new(seed);
    for _phase in 0..6 {
        let deletes_in_8 = keyspace.rng.u32(..9);
        for _ in 0..100 {
            keyspace.step(deletes_in_8);
        }
        keyspace.check_reads();
        if keyspace.rng.u32(..3) == 0 {
            let mut key = || format!("{:04}", keyspace.rng.u32(..1 << 10)).into_bytes();
            let range = KeyRange { start: Bound::Included(key()), end: Bound::Excluded(key()) };
            keyspace.sweep(range, true);
            keyspace.check_reads();
        } else if keyspace.rng.u32(..4) == 0 {
            keyspace.come_to_rest();
            keyspace.check_reads();
        }
    }
    keyspace.settle();
    keyspace.check_reads();

    // With no reader of the past left, rest is one version of each live key ...
    keyspace.snapshots.clear();
    keyspace.flush();
    keyspace.come_to_rest();
    keyspace.check_reads();
    let live = keyspace.model.keys().filter(|key| keyspace.expected(key, SEQ_MAX).is_some());
    let live = live.count() as u64;
    let count = |keyspace: &Keyspace, of: fn(&TableMeta) -> u64| {
        keyspace.version.tables().map(|(_, table)| of(&table.meta)).sum::<u64>()
    };
    assert_eq!(count(&keyspace, |meta| meta.entries), live);
    assert_eq!(count(&keyspace, |meta| meta.tombstones), 0);

    // ... and a sweep leaves a bare one.
    keyspace.sweep(KeyRange::all(), false);
    keyspace.check_reads();
    let metas = || keyspace.version.tables().map(|(_, table)| &table.meta);
    assert_eq!(count(&keyspace, |meta| meta.entries), live);
    assert!(metas().all(|meta| meta.seq_max == SeqNo(0)));
    assert_eq!(
        keyspace.version.levels.iter().filter(|tables| !tables.is_empty()).count() as u64,
        live.min(1)
    );
}

#[test]
fn random_keyspaces_keep_every_read() {
    // SIMULATION_SEED=7 replays one run, SIMULATION_RUNS=100000 makes a long night of it.
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATION_RUNS").unwrap_or(150),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("replay with SIMULATION_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
