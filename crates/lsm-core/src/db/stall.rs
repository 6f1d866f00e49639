//! How much writers are held back while background work catches up. Pure: level shape in,
//! delay out.
//!
//! Three things of a keyspace can fall behind: flushes (sealed memtables pile up), level 0, and
//! the levels below (debt); and the memory of all memtables together can. Each is measured
//! between a soft limit, below which writers run free, and a hard limit, at which they stop (a
//! write stall). In between each KiB written costs a delay that grows with the square of the way
//! covered:
//!
//! ```text
//! delay   ^                       | stop
//!   max   |                     . |
//!         |                  .    |
//!         |             .         |
//!     0   +-------- . ------------+--> pressure
//!                  soft          hard
//! ```
//!
//! A square, because the load settles where writers are just as slow as the work behind them,
//! and near the soft limit a small step in pressure (a table more) must be a small step in
//! speed. The delay at the hard limit is chosen so that writing the last stretch takes longer
//! than the work that makes room, and the stop is reached only if that work stands still.
//!
//! The delay is for the write path as a whole, not for each writer: it is charged to the
//! [`Pacer`] that all of them share, which turns many tiny delays into few short pauses.

use std::time::Duration;

/// What writers are waiting for, if they are being held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StallReason {
    /// Nothing: writes run free.
    #[default]
    None,
    /// Flushes: memtables fill up faster than they become tables. A faster disk, or larger or
    /// more write buffers, help.
    Memtables,
    /// Level 0: its tables come faster than they are merged into the levels below. More
    /// compaction threads or larger write buffers help.
    LevelZero,
    /// The levels below: they are over their sizes by more than is healthy. More compaction
    /// threads, or fewer writes, help.
    Debt,
    /// Memory: the memtables of all keyspaces together take nearly as much as they may. A faster
    /// disk, or a larger
    /// [`write_buffers_bytes_max`](crate::Options::write_buffers_bytes_max), helps.
    Memory,
}

/// Pressure on memtables starts when this part of the write buffers is in use: with the default
/// of four, when one is being flushed and the active one is full.
const MEMTABLES_SOFT: f64 = 0.5;
/// Pressure on level 0 starts at so many times the tables that start a compaction ...
const LEVEL_ZERO_SOFT: f64 = 3.0;
/// ... and writes stop at so many times.
const LEVEL_ZERO_HARD: f64 = 9.0;
/// Pressure from debt starts at so many allowances (see [`LevelShape::debt_allowance`]) ...
const DEBT_SOFT: f64 = 32.0;
/// ... and writes stop at so many.
const DEBT_HARD: f64 = 128.0;

/// Pressure on the memory of all memtables starts at this part of its limit: half of it may be
/// filling up, so flushes have half of what is theirs behind them.
const MEMORY_SOFT: f64 = 0.75;

/// Near the hard limit, 4 MiB a second: less than any disk worth the name takes from a flush.
const MEMTABLES_DELAY_MAX: Duration = Duration::from_micros(250);
/// Near the hard limit, 1 MiB a second: each byte is merged ten times or more on its way down.
const COMPACTION_DELAY_MAX: Duration = Duration::from_millis(1);

/// Pauses shorter than this are saved up: the system cannot sleep for microseconds.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// A write that costs less than this pauses no longer than this at once, whatever others owe;
/// what is left is for the writes after it. One that costs more pauses for its own cost: else
/// large batches would outrun every delay.
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// What writers may owe, and one may pause, at most, so that one huge batch does not hold up the
/// rest for long.
const OWED_MAX: Duration = Duration::from_secs(1);

/// What background work has in front of it, in one keyspace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LevelShape {
    /// Memtables that are waiting for, or in, a flush.
    pub(crate) sealed_memtables: usize,
    /// Memory of the active memtable.
    pub(crate) active_bytes: u64,
    pub(crate) write_buffer_bytes: u64,
    pub(crate) write_buffers_max: usize,
    pub(crate) l0_tables: usize,
    pub(crate) l0_tables_compact: usize,
    /// See `compaction::debt`.
    pub(crate) debt_bytes: u64,
    pub(crate) level_bytes_base: u64,
    /// Bytes of all tables.
    pub(crate) total_bytes: u64,
}

impl LevelShape {
    /// The memtables in use, the active one as far as it is filled.
    fn buffers(&self) -> f64 {
        let active = self.active_bytes as f64 / self.write_buffer_bytes.max(1) as f64;
        self.sealed_memtables as f64 + active.min(1.0)
    }

    /// The unit for debt: what one compaction of level 0 brings in, and a part of the keyspace,
    /// since in a large one a level that is a little over its size already means much work.
    /// At the soft limit the work is to rewrite the keyspace twice, and a constant for small
    /// ones.
    fn debt_allowance(&self) -> f64 {
        let flushed = self.write_buffer_bytes.saturating_mul(self.l0_tables_compact as u64);
        self.level_bytes_base.max(flushed) as f64 + self.total_bytes as f64 / 16.0
    }
}

/// How writers are held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pressure {
    /// What each KiB written costs in time, over all writers.
    pub(crate) delay_per_kib: Duration,
    pub(crate) reason: StallReason,
    /// Writes wait until the pressure is computed anew without a stop.
    pub(crate) stop: bool,
}

impl Pressure {
    /// The pressure of the worst of the three.
    pub(crate) fn of(shape: &LevelShape) -> Self {
        let compact = shape.l0_tables_compact as f64;
        let max = shape.write_buffers_max as f64;
        let allowance = shape.debt_allowance();
        let candidates = [
            (
                StallReason::Memtables,
                MEMTABLES_DELAY_MAX,
                way(shape.buffers(), MEMTABLES_SOFT * max, max),
            ),
            (
                StallReason::LevelZero,
                COMPACTION_DELAY_MAX,
                way(shape.l0_tables as f64, LEVEL_ZERO_SOFT * compact, LEVEL_ZERO_HARD * compact),
            ),
            (
                StallReason::Debt,
                COMPACTION_DELAY_MAX,
                way(shape.debt_bytes as f64, DEBT_SOFT * allowance, DEBT_HARD * allowance),
            ),
        ];
        let mut worst = Self::default();
        for (reason, delay_max, way) in candidates {
            let delay_per_kib = delay_max.mul_f64(way * way);
            worst = worst.worse(Self { delay_per_kib, reason, stop: way >= 1.0 });
        }
        worst
    }

    /// The pressure of the memory of all memtables, of which `filling` was not given to a flush. As
    /// long as there is nothing to flush there is nothing to wait for.
    pub(crate) fn of_memory(bytes: usize, filling: usize, bytes_max: usize) -> Self {
        if bytes <= filling {
            return Self::default();
        }
        let max = bytes_max as f64;
        let way = way(bytes as f64, MEMORY_SOFT * max, max);
        let delay_per_kib = MEMTABLES_DELAY_MAX.mul_f64(way * way);
        Self { delay_per_kib, reason: StallReason::Memory, stop: way >= 1.0 }.or_none()
    }

    /// Whether writers run free.
    pub(crate) fn is_none(&self) -> bool {
        self.delay_per_kib.is_zero() && !self.stop
    }

    fn or_none(self) -> Self {
        if self.is_none() { Self::default() } else { self }
    }

    /// The one of both that holds writers back more; of equals, `self`.
    pub(crate) fn worse(self, other: Self) -> Self {
        let rank = |pressure: &Self| (pressure.stop, pressure.delay_per_kib);
        if rank(&other) > rank(&self) { other } else { self }
    }

    /// What writing `bytes` costs in time.
    fn cost(&self, bytes: usize) -> Duration {
        let nanos = self.delay_per_kib.as_nanos() * bytes as u128 / 1024;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// How far `value` has come from `soft` (0) to `hard` (1 and no more).
fn way(value: f64, soft: f64, hard: f64) -> f64 {
    ((value - soft) / (hard - soft)).clamp(0.0, 1.0)
}

/// Turns delays into pauses. One for the whole write path; its owner guards it with a lock of
/// its own and does the sleeping.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    /// When everything written so far is paid for.
    paid_at: Duration,
}

impl Pacer {
    /// Charges a write of `bytes` at time `now`: how long to pause before it.
    pub(crate) fn charge(&mut self, pressure: &Pressure, bytes: usize, now: Duration) -> Duration {
        if pressure.delay_per_kib.is_zero() {
            self.paid_at = now;
            return Duration::ZERO;
        }
        let cost = pressure.cost(bytes);
        let owed = self.paid_at.saturating_sub(now).saturating_add(cost);
        let owed = owed.min(OWED_MAX);
        self.paid_at = now + owed;
        match owed < PAUSE_MIN {
            true => Duration::ZERO,
            false => owed.min(cost.max(PAUSE_MAX)),
        }
    }
}

#[cfg(test)]
#[path = "stall_test.rs"]
mod tests;
