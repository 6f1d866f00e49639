//! All rounds of some records, row by row and engine by engine.

use std::collections::BTreeMap;

use common::{Measured, spread};

use crate::engines::ALL;
use crate::record::{Record, Result, Row};

/// Our engine: what the others are compared with.
pub(crate) const OURS: &str = "lsm-core";

/// A median, with the least and the greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

/// Records of data sets of the same size.
#[derive(Debug)]
pub(crate) struct Summary {
    /// The first of the records, without its rows: what it says of machine and sizes.
    pub(crate) about: Record,
    /// Those that were measured, in the order of the columns.
    pub(crate) engines: Vec<&'static str>,
    rows: BTreeMap<(String, String), Vec<Measured>>,
}

impl Summary {
    pub(crate) fn of(records: Vec<Record>) -> Result<Self> {
        let mut records = records.into_iter();
        let mut about = records.next().ok_or("no results")?;
        let mut all = std::mem::take(&mut about.rows);
        for record in records {
            if record.machine != about.machine || record.entries != about.entries {
                return Err("the results are of other machines or sizes".into());
            }
            about.versions.extend(record.versions);
            all.extend(record.rows);
        }
        if let Some(name) = about.versions.keys().find(|name| !ALL.contains(&name.as_str())) {
            return Err(format!("results of an unknown engine: {name}").into());
        }
        let engines = ALL.iter().copied().filter(|name| about.versions.contains_key(*name));
        let engines = engines.collect();
        let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for Row { engine, measured, .. } in all {
            rows.entry((measured.name.clone(), engine)).or_default().push(measured);
        }
        Ok(Self { about, engines, rows })
    }

    /// A figure of a row on an engine over all rounds, if the row was measured there.
    pub(crate) fn spread(
        &self,
        (row, engine): (&str, &str),
        figure: impl Fn(&Measured) -> f64,
    ) -> Option<Spread> {
        let measured = self.rows.get(&(row.to_owned(), engine.to_owned()))?;
        let (median, least, greatest) = spread(measured.iter().map(figure))?;
        Some(Spread { median, least, greatest })
    }

    pub(crate) fn rate(&self, row: &str, engine: &str) -> Option<f64> {
        Some(self.spread((row, engine), Measured::per_second)?.median)
    }

    /// The median rate of ours as a multiple of the best other one.
    pub(crate) fn ratio(&self, row: &str) -> Option<f64> {
        let others = self.engines.iter().filter(|engine| **engine != OURS);
        let best = others.filter_map(|engine| self.rate(row, engine)).max_by(f64::total_cmp)?;
        Some(self.rate(row, OURS)? / best)
    }

    /// Whether any engine has the row.
    pub(crate) fn has(&self, row: &str) -> bool {
        self.engines.iter().any(|engine| self.rate(row, engine).is_some())
    }

    pub(crate) fn rounds(&self) -> usize {
        self.rows.values().map(Vec::len).max().unwrap_or(0)
    }
}
