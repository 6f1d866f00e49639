//! Scripts: single pressures, and a writer that never lets up against work of a given speed.

use std::collections::VecDeque;

use super::*;
use crate::testkit::script::{self, Block};

const MIB: u64 = 1 << 20;

fn shape(block: &Block) -> LevelShape {
    let number = |name, default| block.number(name).unwrap_or(default);
    LevelShape {
        sealed_memtables: number("sealed", 0) as usize,
        active_bytes: number("active_mib", 0) * MIB,
        write_buffer_bytes: number("buffer_mib", 64) * MIB,
        write_buffers_max: number("buffers_max", 4) as usize,
        l0_tables: number("l0", 0) as usize,
        l0_tables_compact: number("l0_compact", 4) as usize,
        debt_bytes: number("debt_mib", 0) * MIB,
        level_bytes_base: number("base_mib", 256) * MIB,
        total_bytes: number("total_mib", 0) * MIB,
    }
}

fn pressure(block: &Block) -> String {
    let pressure = Pressure::of(&shape(block));
    let stop = if pressure.stop { ", stop" } else { "" };
    format!("{:?} {} ns/KiB{stop}", pressure.reason, pressure.delay_per_kib.as_nanos())
}

/// A keyspace with one writer at full speed, one flush thread and one compaction thread that
/// each do so many bytes a second. A compaction takes all of level 0 and a full base level; of
/// each byte it brings down come `rewrite` bytes of debt, worked off in pieces.
struct Saturated {
    shape: LevelShape,
    write_rate: f64,
    flush_rate: f64,
    compact_rate: f64,
    rewrite: f64,
    now: f64,
    flush_done: Option<f64>,
    /// When the compaction is done, and what it takes away: tables of level 0 and debt.
    compaction_done: Option<(f64, usize, u64)>,
}

impl Saturated {
    /// Lets background work finish and start, up to `now`.
    fn background(&mut self) {
        let buffer = self.shape.write_buffer_bytes as f64;
        if self.flush_done.is_some_and(|at| at <= self.now) {
            self.flush_done = None;
            self.shape.sealed_memtables -= 1;
            self.shape.l0_tables += 1;
        }
        if self.flush_done.is_none() && self.shape.sealed_memtables > 0 {
            self.flush_done = Some(self.now + buffer / self.flush_rate);
        }
        if let Some((_, tables, debt)) = self.compaction_done.filter(|done| done.0 <= self.now) {
            self.shape.l0_tables -= tables;
            self.shape.debt_bytes -= debt;
            self.shape.debt_bytes += (tables as f64 * buffer * self.rewrite) as u64;
            self.compaction_done = None;
        }
        if self.compaction_done.is_none() {
            self.start_compaction();
        }
    }

    /// Level 0 or debt, whichever is further over.
    fn start_compaction(&mut self) {
        let shape = &self.shape;
        let l0_score = shape.l0_tables as f64 / shape.l0_tables_compact as f64;
        let debt_score = 1.0 + shape.debt_bytes as f64 / (11 * shape.level_bytes_base) as f64;
        let (tables, debt, bytes) = if l0_score >= debt_score.max(1.0) {
            let bytes = shape.l0_tables as u64 * shape.write_buffer_bytes + shape.level_bytes_base;
            (shape.l0_tables, 0, bytes)
        } else if shape.debt_bytes > 0 {
            let piece = shape.debt_bytes.min(11 * shape.write_buffer_bytes);
            (0, piece, piece)
        } else {
            return;
        };
        self.compaction_done = Some((self.now + bytes as f64 / self.compact_rate, tables, debt));
    }

    /// Writes `bytes` and returns how long that took; stands still while writes are stopped.
    fn put(&mut self, pacer: &mut Pacer, bytes: u64) -> f64 {
        let start = self.now;
        loop {
            self.background();
            let pressure = Pressure::of(&self.shape);
            if !pressure.stop {
                let now = Duration::from_secs_f64(self.now);
                self.now += pacer.charge(&pressure, bytes as usize, now).as_secs_f64();
                break;
            }
            self.now += 0.001;
        }
        self.now += bytes as f64 / self.write_rate;
        self.shape.active_bytes += bytes;
        // Without room for another memtable, the active one stays full, which is a stop.
        if self.shape.active_bytes >= self.shape.write_buffer_bytes
            && self.shape.sealed_memtables + 1 < self.shape.write_buffers_max
        {
            self.shape.active_bytes = 0;
            self.shape.sealed_memtables += 1;
        }
        self.now - start
    }
}

/// Writes for `seconds` and shows the longest put and the speed of the last tenth.
fn saturate(block: &Block) -> String {
    let rate = |name| block.number(name).expect(name) as f64 * MIB as f64;
    let mut run = Saturated {
        shape: shape(block),
        write_rate: rate("write"),
        flush_rate: rate("flush"),
        compact_rate: rate("compact"),
        rewrite: block.number("rewrite").expect("rewrite") as f64,
        now: 0.0,
        flush_done: None,
        compaction_done: None,
    };
    let seconds = block.number("seconds").unwrap_or(600) as f64;
    let kib = block.number("batch_kib").unwrap_or(1);
    let (mut pacer, mut longest, mut times) = (Pacer::default(), 0.0f64, VecDeque::new());
    while run.now < seconds {
        longest = longest.max(run.put(&mut pacer, kib << 10));
        times.push_back(run.now);
        while times.front().is_some_and(|&time| time < run.now - seconds / 10.0) {
            times.pop_front();
        }
    }
    let speed = (times.len() as u64 * kib) as f64 / 1024.0 / (seconds / 10.0);
    format!("longest put {:.0} ms, at last {speed:.0} MiB/s", longest * 1000.0)
}

#[test]
fn scripts() {
    script::run(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts/stall.txt"),
        |block| match block.command.as_str() {
            "pressure" => pressure(block),
            "saturate" => saturate(block),
            other => panic!("line {}: unknown command {other}", block.line),
        },
    );
}

#[test]
fn delays_only_grow_with_the_load() {
    let mut last = Pressure::default();
    for tables in 0..40 {
        let shape = LevelShape {
            sealed_memtables: 0,
            active_bytes: 0,
            write_buffer_bytes: 1,
            write_buffers_max: 2,
            l0_tables: tables,
            l0_tables_compact: 4,
            debt_bytes: 0,
            level_bytes_base: 1,
            total_bytes: 0,
        };
        let next = Pressure::of(&shape);
        assert!(next.delay_per_kib >= last.delay_per_kib && next.stop >= last.stop);
        last = next;
    }
    assert!(last.stop);
}

#[test]
fn tiny_delays_are_saved_up_and_none_is_lost() {
    let pressure = Pressure { delay_per_kib: Duration::from_micros(100), ..Pressure::default() };
    let (mut pacer, mut now, mut pauses) = (Pacer::default(), Duration::ZERO, 0);
    for _ in 0..1000 {
        let pause = pacer.charge(&pressure, 1024, now);
        assert!(pause.is_zero() || pause >= PAUSE_MIN);
        pauses += u32::from(!pause.is_zero());
        now += pause;
    }
    assert_eq!((now, pauses), (Duration::from_millis(100), 100));
}

#[test]
fn a_huge_batch_pays_most_of_its_cost_itself() {
    let pressure = Pressure { delay_per_kib: Duration::from_millis(1), ..Pressure::default() };
    let mut pacer = Pacer::default();
    assert_eq!(pacer.charge(&pressure, 256 << 20, Duration::ZERO), OWED_MAX);
    // A small write beside it is not held up for as long.
    assert_eq!(pacer.charge(&pressure, 1, PAUSE_MAX), PAUSE_MAX);
    assert!(pacer.charge(&pressure, 1, OWED_MAX + PAUSE_MIN).is_zero());
    // Once the pressure is gone, so is the debt.
    pacer.charge(&pressure, 256 << 20, Duration::ZERO);
    assert!(pacer.charge(&Pressure::default(), 1, Duration::ZERO).is_zero());
    assert!(pacer.charge(&pressure, 1, Duration::ZERO).is_zero());
}

/// At a given pressure, writes are as fast in large batches as in small ones.
#[test]
fn the_size_of_batches_makes_no_difference() {
    let pressure = Pressure { delay_per_kib: Duration::from_millis(1), ..Pressure::default() };
    for bytes in [100, 1 << 10, 64 << 10, 1 << 20] {
        let (mut pacer, mut now, mut written) = (Pacer::default(), Duration::ZERO, 0);
        while written < 8 << 20 {
            now += pacer.charge(&pressure, bytes, now);
            written += bytes;
        }
        let seconds = now.as_secs_f64();
        assert!((7.5..8.5).contains(&seconds), "{bytes}: 8 MiB in {seconds} s");
    }
}
