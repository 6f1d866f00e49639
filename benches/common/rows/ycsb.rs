//! The six workloads of YCSB, by one thread: Cooper et al., "Benchmarking cloud serving systems
//! with YCSB" (SoCC 2010). Which entry is asked for is zipfian, which operation comes is even.

use std::sync::atomic::Ordering;

use super::reads::found;
use crate::measured::Measured;
use crate::stage::{Load, Stage};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Read,
    /// Reads one of the newest entries.
    ReadLatest,
    Update,
    Insert,
    /// Reads 1 to 100 entries in order.
    Scan,
    ReadModifyWrite,
}

/// `percent` of one operation, the rest of another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    percent: u64,
    write: Operation,
    read: Operation,
}

pub(crate) const A: Workload = mix(50, Operation::Update, Operation::Read);
pub(crate) const B: Workload = mix(5, Operation::Update, Operation::Read);
pub(crate) const C: Workload = mix(0, Operation::Update, Operation::Read);
pub(crate) const D: Workload = mix(5, Operation::Insert, Operation::ReadLatest);
pub(crate) const E: Workload = mix(5, Operation::Insert, Operation::Scan);
pub(crate) const F: Workload = mix(50, Operation::ReadModifyWrite, Operation::Read);

const fn mix(percent: u64, write: Operation, read: Operation) -> Workload {
    Workload { percent, write, read }
}

pub(crate) fn run(stage: &Stage<'_>, workload: Workload) -> Measured {
    let calls = match workload.read {
        Operation::Scan => stage.sizes.scans,
        _ => stage.sizes.gets,
    };
    stage.zipf();
    stage.measure(Load::calls(calls), |n| {
        let writes = stage.data.random(2 * n) % 100 < workload.percent;
        let operation = if writes { workload.write } else { workload.read };
        one(stage, operation, stage.data.random(2 * n + 1));
    })
}

fn one(stage: &Stage<'_>, operation: Operation, random: u64) {
    let data = &stage.data;
    let rank = stage.zipf().rank(random);
    // Those asked for often lie anywhere.
    let number = data.pick(rank);
    match operation {
        Operation::Read => found(stage, number),
        Operation::ReadLatest => found(stage, stage.live() - 1 - rank),
        Operation::Update => stage.store.put(&data.key(number), data.value(random)),
        Operation::Insert => {
            stage.store.put(&data.key(stage.live()), data.value(random));
            stage.inserted.fetch_add(1, Ordering::Relaxed);
        }
        Operation::Scan => {
            let bytes = stage.store.scan(&data.key(number), 1 + (random % 100) as usize);
            assert!(bytes as u64 >= data.entry_bytes(), "the key at {number} is there");
        }
        Operation::ReadModifyWrite => {
            found(stage, number);
            stage.store.put(&data.key(number), data.value(random));
        }
    }
}
