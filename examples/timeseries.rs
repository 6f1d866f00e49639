//! Measurements over time: written in batches, read by range, thrown away when old.
//!
//! `cargo run --release --example timeseries -- FOLDER`; without a folder, in a temporary one.
//!
//! The key is the sensor's name, a zero byte and the time as eight big-endian bytes: byte
//! order is then time order, one sensor is one prefix, and a span of time is one range. Raw
//! samples and daily means live in keyspaces of their own, because they are kept for
//! different times and the engine compacts keyspaces apart.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;

use lsm_core::{Db, Durability, Keyspace, Level, WriteBatch};

const SENSORS: [&str; 3] = ["cellar", "garden", "roof"];
const DAYS: u64 = 60;
const SECONDS_PER_DAY: u64 = 24 * 60 * 60;
const SECONDS_PER_SAMPLE: u64 = 60;
const DAYS_KEPT: u64 = 7;
/// Keeps batches, and with them memory, small however much there is to delete.
const DELETES_PER_BATCH: usize = 10_000;

struct Series {
    db: Db,
    raw: Keyspace,
    daily: Keyspace,
}

impl Series {
    fn open(folder: PathBuf) -> lsm_core::Result<Self> {
        let db = Db::open(folder)?;
        let raw = db.keyspace("raw", None)?;
        let daily = db.keyspace("daily", None)?;
        Ok(Self { db, raw, daily })
    }

    /// Writes a day of samples and the day's mean: both or neither, and for good.
    fn record_day(&self, sensor: &str, day: u64) -> lsm_core::Result<()> {
        let start = day * SECONDS_PER_DAY;
        let mut batch = WriteBatch::new();
        let mut sum = 0.0;
        for time in (start..start + SECONDS_PER_DAY).step_by(SECONDS_PER_SAMPLE as usize) {
            let degrees = measure(sensor, time);
            sum += degrees;
            batch.put_in(&self.raw, key(sensor, time), degrees.to_le_bytes());
        }
        let mean = sum / batch.len() as f64;
        batch.put_in(&self.daily, key(sensor, start), mean.to_le_bytes());
        self.db.write_with(&batch, Durability::Sync)?;
        Ok(())
    }

    /// Throws away the raw samples before `time`; returns how many. The daily means stay.
    fn forget_before(&self, time: u64) -> lsm_core::Result<usize> {
        let mut deleted = 0;
        for sensor in SENSORS {
            let mut batch = WriteBatch::new();
            // The cursor sees the moment it was made in: deleting beside it is fine.
            let mut old = self.raw.cursor_in(key(sensor, 0)..key(sensor, time));
            while old.next()? {
                batch.delete_in(&self.raw, old.key().expect("the cursor stands on an entry"));
                if batch.len() == DELETES_PER_BATCH {
                    deleted += batch.len();
                    self.db.write(&std::mem::take(&mut batch))?;
                }
            }
            deleted += batch.len();
            self.db.write(&batch)?;
        }
        // Deletes are entries too. Compaction drops them with what they hide in its own time;
        // asked for, it gives the space back now.
        self.raw.compact_range::<&[u8]>(..)?;
        Ok(deleted)
    }

    fn raw_bytes(&self) -> u64 {
        self.raw.levels().iter().map(Level::bytes).sum()
    }
}

fn key(sensor: &str, time: u64) -> Vec<u8> {
    [sensor.as_bytes(), &[0], &time.to_be_bytes()].concat()
}

fn time_of(key: &[u8]) -> u64 {
    let time = key.last_chunk().expect("a key ends in eight bytes of time");
    u64::from_be_bytes(*time)
}

fn degrees(value: &[u8]) -> f64 {
    f64::from_le_bytes(value.try_into().expect("a sample has eight bytes"))
}

/// Stands in for the sensors: warm days, cool nights, and some noise.
fn measure(sensor: &str, time: u64) -> f64 {
    let turn = (time % SECONDS_PER_DAY) as f64 / SECONDS_PER_DAY as f64;
    let noise = (time / SECONDS_PER_SAMPLE * 7_919 % 101) as f64 / 100.0;
    sensor.len() as f64 + 10.0 - 5.0 * (turn * std::f64::consts::TAU).cos() + noise
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout();
    let temp = tempfile::tempdir()?;
    let folder = std::env::args().nth(1).map_or(temp.path().join("series"), PathBuf::from);
    let series = Series::open(folder)?;
    for day in 0..DAYS {
        for sensor in SENSORS {
            series.record_day(sensor, day)?;
        }
    }
    writeln!(out, "{DAYS} days of {} sensors, a sample each minute", SENSORS.len())?;

    let (newest, value) = series.raw.prefix(b"roof\0").next_back().ok_or("no sample")??;
    writeln!(
        out,
        "newest of the roof: {:.1} degrees at second {}",
        degrees(&value),
        time_of(&newest)
    )?;

    let noon = (DAYS - 1) * SECONDS_PER_DAY + SECONDS_PER_DAY / 2;
    let (mut hottest, mut samples) = (f64::MIN, 0);
    for entry in series.raw.range(key("garden", noon)..key("garden", noon + 3600)) {
        hottest = hottest.max(degrees(&entry?.1));
        samples += 1;
    }
    writeln!(out, "garden, last day from 12:00 to 13:00: {samples} samples, at most {hottest:.1}")?;

    series.db.flush()?;
    let before = series.raw_bytes();
    let deleted = series.forget_before((DAYS - DAYS_KEPT) * SECONDS_PER_DAY)?;
    writeln!(out, "deleted {deleted} samples older than {DAYS_KEPT} days")?;
    writeln!(
        out,
        "raw samples on disk: {} KiB, then {} KiB",
        before >> 10,
        series.raw_bytes() >> 10
    )?;
    writeln!(out, "samples left: {}", series.raw.iter().count())?;
    writeln!(out, "daily means kept: {}", series.daily.iter().count())?;
    series.db.close()?;
    Ok(())
}
