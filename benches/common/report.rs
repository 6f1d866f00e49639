//! The table at the end: one line a workload, over all rounds.

use std::time::Duration;

use crate::figure::{rate, time};
use crate::workload::Measured;

const KEY: &str = "
median, min, max  operations a second of whole rounds (full scan: entries)
longest           the longest single operation of all rounds
processor/op      processor time of the calling threads for one operation, in the best round
settle            flush, then wait until compaction has come to rest
";

/// Results of all rounds, in the order of the workloads.
#[derive(Clone, Debug, Default)]
pub struct Report {
    rows: Vec<Vec<Measured>>,
}

impl Report {
    pub fn add(&mut self, measured: Measured) {
        match self.rows.iter_mut().find(|row| row[0].name == measured.name) {
            Some(row) => row.push(measured),
            None => self.rows.push(vec![measured]),
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.rows.iter().map(|row| row[0].name)
    }

    /// Median, least and most operations a second of a workload.
    pub fn rates(&self, name: &str) -> Option<(f64, f64, f64)> {
        let row = self.rows.iter().find(|row| row[0].name == name)?;
        let mut rates: Vec<_> = row.iter().map(Measured::per_second).collect();
        rates.sort_by(f64::total_cmp);
        Some((rates[rates.len() / 2], rates[0], rates[rates.len() - 1]))
    }

    /// Processor time of the calling threads for one operation, in the best round.
    pub fn processor(&self, name: &str) -> Duration {
        let row = self.rows.iter().find(|row| row[0].name == name);
        let one = |m: &Measured| m.processor.div_f64(m.operations.max(1) as f64);
        row.into_iter().flatten().map(one).min().unwrap_or_default()
    }

    pub fn longest(&self, name: &str) -> Duration {
        let row = self.rows.iter().find(|row| row[0].name == name);
        row.into_iter().flatten().map(|measured| measured.longest).max().unwrap_or_default()
    }

    pub fn print(&self) {
        let line = |[name, median, min, max, longest, processor]: [&str; 6]| {
            println!("{name:24}{median:>12}{min:>12}{max:>12}{longest:>12}{processor:>14}");
        };
        line(["workload", "median/s", "min/s", "max/s", "longest", "processor/op"]);
        for name in self.names() {
            let Some((median, min, max)) = self.rates(name) else { continue };
            let longest = time(self.longest(name));
            let processor = time(self.processor(name));
            let (median, min, max) = (rate(median), rate(min), rate(max));
            line([name, &median, &min, &max, &longest, &processor]);
        }
        println!("{KEY}");
    }
}
