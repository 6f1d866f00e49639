//! The tables at the end: one line a row of the record, over all rounds.

use std::time::Duration;

use crate::figure::{digits, rate, time};
use crate::measured::{Measured, spread};
use crate::scenes::{Section, rows};

const KEY: &str = "
median, min, max  operations a second of whole rounds (full scan: entries)
p50, p99          the median of the rounds; longest: the longest single call of all rounds
processor/op      processor time of the whole process for one operation, in the best round
";

/// Results of all rounds.
#[derive(Clone, Debug, Default)]
pub struct Report {
    measured: Vec<Measured>,
}

impl Report {
    pub fn add(&mut self, measured: Measured) {
        self.measured.push(measured);
    }

    pub fn print(&self) {
        self.print_rates();
        self.print_rest();
    }

    fn print_rates(&self) {
        let line = |cells: [&str; 8]| {
            let [name, figures @ ..] = cells;
            print!("{name:36}");
            figures.iter().for_each(|figure| print!(" {figure:>12}"));
            println!();
        };
        line(["row", "median/s", "min/s", "max/s", "p50", "p99", "longest", "processor/op"]);
        for (section, name) in rows() {
            let Some((median, min, max)) = self.spread(name, Measured::per_second) else {
                continue;
            };
            if section == Section::Rest {
                continue;
            }
            let nanos = |figure: f64| time(Duration::from_nanos(figure as u64));
            let call = |of: fn(&Measured) -> u64| {
                self.spread(name, |m| of(m) as f64).map_or(String::new(), |(p, ..)| nanos(p))
            };
            let longest = self.spread(name, |m| m.longest_nanos as f64).map_or(0.0, |s| s.2);
            let processor = self.spread(name, Measured::processor_nanos).map_or(0.0, |s| s.1);
            line([
                name,
                &rate(median),
                &rate(min),
                &rate(max),
                &call(|m| m.p50_nanos),
                &call(|m| m.p99_nanos),
                &nanos(longest),
                &nanos(processor),
            ]);
        }
        println!("{KEY}");
    }

    fn print_rest(&self) {
        for (_, name) in rows().into_iter().filter(|(section, _)| *section == Section::Rest) {
            let mb = |of: fn(&Measured) -> u64| self.spread(name, |m| of(m) as f64 / 1e6);
            let Some((written, ..)) = mb(|m| m.written_bytes) else { continue };
            let (files, ..) = mb(|m| m.disk_bytes.unwrap_or(0)).unwrap_or_default();
            let (live, ..) = mb(|m| m.live_bytes.unwrap_or(0)).unwrap_or_default();
            let [files, live, written] = [files, live, written].map(digits);
            println!("at rest, {name}: {files} MB for {live} MB of data, {written} MB written");
        }
    }

    /// Median, least and greatest of a figure over the rounds.
    fn spread(&self, name: &str, figure: impl Fn(&Measured) -> f64) -> Option<(f64, f64, f64)> {
        spread(self.measured.iter().filter(|measured| measured.name == name).map(figure))
    }
}
