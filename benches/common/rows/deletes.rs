//! What deleted entries cost those that are left.

use std::sync::atomic::Ordering;

use crate::measured::Measured;
use crate::stage::{Load, Stage};

/// Entries left in a queue.
const LEFT: u64 = 10;

/// Every third entry, one by one, in random order of the keys.
pub(crate) fn delete_third(stage: &Stage<'_>) -> Measured {
    let data = &stage.data;
    let count = data.entries / 3;
    let measured = stage.measure(Load::calls(count), |n| stage.store.delete(&data.key(3 * n)));
    stage.load(measured.operations, count, |n| (data.key(3 * n), None));
    stage.deleted.store(count, Ordering::Relaxed);
    measured
}

/// The data set, at rest, and a queue in the middle of it.
pub(crate) fn fill_queue(stage: &Stage<'_>) {
    super::writes::fill(stage);
    let data = &stage.data;
    let all = stage.sizes.queue + LEFT;
    stage.load(0, all, |n| (data.key_in_queue(n), Some(data.value(n))));
    stage.settle();
}

/// The first entry of a queue behind `deleted` that were taken from its front since the last rest.
pub(crate) fn first_of_queue(stage: &Stage<'_>, deleted: u64) -> Measured {
    let data = &stage.data;
    let before = stage.deleted.swap(deleted, Ordering::Relaxed);
    stage.load(before, deleted, |n| (data.key_in_queue(n), None));
    let calls = stage.sizes.gets.min(100_000);
    stage.measure(Load::calls(calls), |_| {
        assert_eq!(stage.store.scan(crate::data::QUEUE, 1) as u64, data.entry_bytes());
    })
}
