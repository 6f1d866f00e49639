//! What one row took in one round.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Measured {
    pub name: String,
    /// Calls, times what each of them does.
    pub operations: u64,
    pub seconds: f64,
    /// Times of calls: half of them took no longer than the first, and so on.
    pub p50_nanos: u64,
    pub p99_nanos: u64,
    pub p999_nanos: u64,
    pub longest_nanos: u64,
    /// Processor time of the whole process, user and system.
    pub processor_seconds: f64,
    /// Bytes that went, or are on their way, to the disk; after a rest, since the first write.
    pub written_bytes: u64,
    /// Memory at the end that no file stands behind.
    pub anon_bytes: u64,
    /// After a rest: what the files take.
    pub disk_bytes: Option<u64>,
    /// After a rest: keys and values that are there.
    pub live_bytes: Option<u64>,
}

impl Measured {
    pub fn per_second(&self) -> f64 {
        self.operations as f64 / self.seconds
    }

    pub fn processor_nanos(&self) -> f64 {
        self.processor_seconds * 1e9 / self.operations.max(1) as f64
    }
}

/// Median, least and greatest of some figures; `None` if there are none.
pub fn spread(figures: impl Iterator<Item = f64>) -> Option<(f64, f64, f64)> {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    Some((*figures.get(figures.len() / 2)?, *figures.first()?, *figures.last()?))
}
