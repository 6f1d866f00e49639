//! Scripts over versions that exist on paper only.

use std::fmt::Write as _;

use lsm_log::file_name::FileNumber;

use super::*;
use crate::compaction::effort::Effort;
use crate::compaction::levels::debt;
use crate::compaction::manual::{ManualCompaction, ManualStep};
use crate::compaction::rest;
use crate::key::{KeyRange, SEQ_MAX};
use crate::sstable::Shadowed;
use crate::testkit::script::{self, Block};
use crate::version::TableMeta;

/// Picks in a script before it is taken to run for ever.
const STEPS_MAX: usize = 200;

#[derive(Default)]
struct Script {
    version: Version,
    busy: BusyTables,
    running: Vec<Plan>,
    options: KeyspaceOptions,
    number: u64,
}

/// `a#5-f#3`, or `a#5-f#3:bytes=20:entries=9:tombstones=4`; numbers count in order.
fn parse_table(word: &str, number: u64) -> Arc<TableFile> {
    let mut parts = word.split(':');
    let (first, last) = parts.next().and_then(|keys| keys.split_once('-')).expect("first-last");
    let key_seq = |text: &str| -> (Vec<u8>, SeqNo) {
        let (key, seq) = text.split_once('#').unwrap_or((text, "0"));
        (key.into(), SeqNo(seq.parse().expect("a sequence number")))
    };
    let ((smallest, a), (largest, b)) = (key_seq(first), key_seq(last));
    let (seq_min, seq_max) = (a.min(b), a.max(b));
    let (number, bytes, entries) = (FileNumber(number), 10, 10);
    let (tombstones, raw_bytes, shadowed) = (0, 10, Shadowed::default());
    let mut meta = TableMeta {
        number,
        bytes,
        smallest,
        largest,
        seq_min,
        seq_max,
        entries,
        tombstones,
        raw_bytes,
        shadowed,
    };
    for part in parts {
        let (name, value) = part.split_once('=').expect("name=value");
        let value = value.parse().expect("a number");
        match name {
            "bytes" => meta.bytes = value,
            "entries" => meta.entries = value,
            "tombstones" => meta.tombstones = value,
            "raw" => meta.raw_bytes = value,
            "shadowed" => (meta.shadowed.entries, meta.shadowed.bytes) = (value, value),
            "by" => meta.shadowed.by = SeqNo(value),
            _ => panic!("unknown property {name}"),
        }
    }
    Arc::new(TableFile::new(meta, 0, Arc::default()))
}

fn print_table(table: &TableFile) -> String {
    let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
    format!("{}-{}", text(&table.meta.smallest), text(&table.meta.largest))
}

fn print_tables(level: usize, tables: &[Arc<TableFile>]) -> String {
    let names: Vec<_> = tables.iter().map(|table| print_table(table)).collect();
    format!("L{level} {}", names.join(" "))
}

/// `L1 a-f + L2 c-d -> L2, level size`, `move …` if it is one, `… over L3 a-z` if the outputs
/// have grandparents.
fn print_plan(plan: &Plan) -> String {
    let mut text = String::new();
    if plan.kind == PlanKind::Move {
        text += "move ";
    }
    text += &print_tables(plan.level, &plan.inputs);
    if !plan.below.is_empty() {
        let _ = write!(text, " + {}", print_tables(plan.output_level, &plan.below));
    }
    let _ = write!(text, " -> L{}", plan.output_level);
    if !plan.grandparents.is_empty() {
        let _ = write!(text, " over {}", print_tables(plan.output_level + 1, &plan.grandparents));
    }
    let reason = match plan.reason {
        Reason::LevelZero => "level 0",
        Reason::LevelSize => "level size",
        Reason::Tombstones => "tombstones",
        Reason::Released => "released",
        Reason::Rest => "rest",
        Reason::Manual => "manual",
    };
    text + ", " + reason
}

impl Script {
    fn run(&mut self, block: &Block) -> String {
        let snapshot = block.number("snapshot").map_or(SEQ_MAX, SeqNo);
        match block.command.as_str() {
            "define" => self.define(block),
            "add" => self.add(block),
            "shape" => self.shape(),
            "pick" => self.pick(snapshot).map_or("none".into(), |plan| print_plan(&plan)),
            "start" => self.pick(snapshot).map_or("none".into(), |plan| self.start(plan)),
            "finish" => {
                let plan = self.running.remove(0);
                self.busy.finish(&plan);
                self.apply(&plan, snapshot);
                self.levels()
            }
            "begin" => {
                let mut sweep = self.sweep(block);
                match sweep.next(&self.version, &self.busy, &self.options) {
                    ManualStep::Run(plan) => self.start(plan),
                    step => format!("{step:?}"),
                }
            }
            "settle" => self.settle(snapshot, false),
            "settle_rest" => self.settle(snapshot, true),
            "rest" => self.rest(snapshot).map_or("none".into(), |(plan, effort)| {
                let cheap = self.options.idle_amplification_max.into();
                format!("{}: {:?}", print_plan(&plan), effort.idle_time(cheap))
            }),
            "range" => self.range(block),
            "levels" => self.levels(),
            other => panic!("line {}: unknown command {other}", block.line),
        }
    }

    fn define(&mut self, block: &Block) -> String {
        *self = Self::default();
        let number = |name, default| block.number(name).unwrap_or(default);
        self.options.table_bytes = number("table_bytes", 10);
        self.options.level_bytes_base = number("level_bytes_base", 100);
        self.options.l0_tables_compact = number("l0_tables_compact", 4) as usize;
        if block.arg("compression") != Some("lz4") {
            self.options.compression = crate::options::Compression::None;
        }
        self.add(block)
    }

    /// Adds tables behind those that a level holds.
    fn add(&mut self, block: &Block) -> String {
        for line in &block.input {
            let mut words = line.split_whitespace();
            let level = words.next().and_then(|word| word.strip_prefix('L')).expect("a level");
            let level: usize = level.parse().expect("a level");
            for word in words {
                self.number += 1;
                self.version.levels[level].push(parse_table(word, self.number));
            }
        }
        String::new()
    }

    fn pick(&self, snapshot: SeqNo) -> Option<Plan> {
        pick(&self.version, &self.busy, &self.options, snapshot)
    }

    fn start(&mut self, plan: Plan) -> String {
        let text = print_plan(&plan);
        self.busy.start(&plan);
        self.running.push(plan);
        text
    }

    fn shape(&self) -> String {
        let targets = Targets::of(&self.version, &self.options);
        let scores = targets.scores(&self.version, &self.options, |_| true);
        let mut text = format!("base {}, scores", targets.base());
        for (level, score) in scores.iter().enumerate().filter(|(_, score)| **score > 0.0) {
            let _ = write!(text, " L{level}={score:.2}");
        }
        text + &format!(", debt {}", debt(&self.version, &self.options))
    }

    fn levels(&self) -> String {
        let filled =
            self.version.levels.iter().enumerate().filter(|(_, tables)| !tables.is_empty());
        filled.map(|(level, tables)| print_tables(level, tables) + "\n").collect()
    }

    fn rest(&self, snapshot: SeqNo) -> Option<(Plan, Effort)> {
        rest(&self.version, &self.busy, &self.options, snapshot)
    }

    fn settle(&mut self, snapshot: SeqNo, to_rest: bool) -> String {
        let mut text = String::new();
        for _ in 0..STEPS_MAX {
            let rest = || self.rest(snapshot).filter(|_| to_rest).map(|(plan, _)| plan);
            let Some(plan) = self.pick(snapshot).or_else(rest) else {
                return text + &self.shape();
            };
            text += &(print_plan(&plan) + "\n");
            self.apply(&plan, snapshot);
        }
        panic!("does not settle:\n{text}");
    }

    fn sweep(&self, block: &Block) -> ManualCompaction {
        let [from, to] = block.args.as_slice() else { panic!("{} from to", block.command) };
        ManualCompaction::new(&self.version, KeyRange::new(from.as_str()..=to.as_str()))
    }

    fn range(&mut self, block: &Block) -> String {
        let snapshot = SEQ_MAX;
        let mut sweep = self.sweep(block);
        let mut text = String::new();
        for _ in 0..STEPS_MAX {
            match sweep.next(&self.version, &self.busy, &self.options) {
                ManualStep::Run(plan) => {
                    text += &(print_plan(&plan) + "\n");
                    self.apply(&plan, snapshot);
                }
                ManualStep::Wait => return text + "wait",
                ManualStep::Done => return text + "done",
            }
        }
        panic!("does not end:\n{text}");
    }

    /// Puts one table in the place of a merge's inputs.
    fn apply(&mut self, plan: &Plan, snapshot: SeqNo) {
        let replaced = |table: &Arc<TableFile>| plan.tables().any(|t| Arc::ptr_eq(t, table));
        for level in [plan.level, plan.output_level] {
            self.version.levels[level].retain(|table| !replaced(table));
        }
        let output = match plan.kind {
            PlanKind::Move => plan.inputs[0].clone(),
            PlanKind::Merge => self.merge(plan, snapshot),
        };
        let tables = &mut self.version.levels[plan.output_level];
        tables.push(output);
        tables.sort_by(|a, b| a.meta.smallest.cmp(&b.meta.smallest));
    }

    fn merge(&mut self, plan: &Plan, snapshot: SeqNo) -> Arc<TableFile> {
        let sum = |of: fn(&TableMeta) -> u64| plan.tables().map(|t| of(&t.meta)).sum();
        let (smallest, largest) = plan.span();
        let mut deeper = plan.output_level + 1..LEVELS;
        let bottom =
            deeper.all(|l| self.version.overlapping(l, smallest, largest).next().is_none());
        let seqs = |of: fn(&TableMeta) -> SeqNo| plan.tables().map(move |t| of(&t.meta));
        self.number += 1;
        let newest = seqs(|meta| meta.seq_max).max().unwrap_or_default();
        let bottom = bottom && newest <= snapshot;
        let keep = |seq: Option<SeqNo>| {
            if bottom { SeqNo(0) } else { seq.unwrap_or_default() }
        };
        let meta = TableMeta {
            number: FileNumber(self.number),
            bytes: sum(|meta| meta.bytes),
            smallest: smallest.to_vec(),
            largest: largest.to_vec(),
            seq_min: keep(seqs(|meta| meta.seq_min).min()),
            seq_max: keep(seqs(|meta| meta.seq_max).max()),
            entries: sum(|meta| meta.entries),
            tombstones: if bottom { 0 } else { sum(|meta| meta.tombstones) },
            raw_bytes: sum(|meta| meta.raw_bytes),
            shadowed: Shadowed::default(),
        };
        Arc::new(TableFile::new(meta, 0, Arc::default()))
    }
}

#[test]
fn scripts() {
    for name in [
        "picker_levels",
        "picker_tombstones",
        "picker_released",
        "picker_rest",
        "picker_busy",
        "picker_range",
    ] {
        let path = format!("{}/tests/scripts/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let mut script = Script::default();
        script::run(path, |block| script.run(block));
    }
}
