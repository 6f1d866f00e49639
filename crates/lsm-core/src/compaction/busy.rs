//! What running compactions have taken. Pure: the owner guards it with a lock of its own.

use std::collections::HashSet;

use lsm_log::file_name::FileNumber;

use super::plan::Plan;
use crate::version::TableFile;

/// The tables and the output ranges of the compactions that are running on one keyspace.
///
/// A plan may start if none of its tables is taken and its outputs meet no other job's outputs
/// at the same level. The second does not follow from the first: two jobs may write to a gap
/// between the same two tables.
#[derive(Debug, Default)]
pub(crate) struct BusyTables {
    tables: HashSet<FileNumber>,
    outputs: Vec<Output>,
}

/// Where a running job writes. Its first input, which no other job shares, names the job.
#[derive(Debug)]
struct Output {
    job: FileNumber,
    level: usize,
    smallest: Vec<u8>,
    largest: Vec<u8>,
}

impl BusyTables {
    /// Takes what `plan` needs until [`finish`](Self::finish).
    pub(crate) fn start(&mut self, plan: &Plan) {
        assert!(self.admits(plan), "a plan is made for what is free");
        self.tables.extend(plan.tables().map(|table| table.meta.number));
        let (smallest, largest) = plan.span();
        self.outputs.push(Output {
            job: plan.inputs[0].meta.number,
            level: plan.output_level,
            smallest: smallest.to_vec(),
            largest: largest.to_vec(),
        });
    }

    /// Gives back what `plan` took, when its edit is installed or it has failed.
    pub(crate) fn finish(&mut self, plan: &Plan) {
        for table in plan.tables() {
            assert!(self.tables.remove(&table.meta.number), "only what was started can finish");
        }
        self.outputs.retain(|output| output.job != plan.inputs[0].meta.number);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    pub(crate) fn holds(&self, table: &TableFile) -> bool {
        self.tables.contains(&table.meta.number)
    }

    /// Whether a running job may write keys from `smallest` to `largest` to `level`.
    pub(crate) fn writes_to(&self, level: usize, smallest: &[u8], largest: &[u8]) -> bool {
        self.outputs.iter().any(|output| {
            output.level == level
                && output.smallest.as_slice() <= largest
                && smallest <= output.largest.as_slice()
        })
    }

    /// Whether `plan` may start now.
    pub(crate) fn admits(&self, plan: &Plan) -> bool {
        let (smallest, largest) = plan.span();
        !plan.tables().any(|table| self.holds(table))
            && !self.writes_to(plan.output_level, smallest, largest)
    }
}
