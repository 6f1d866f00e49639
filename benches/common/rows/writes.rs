//! Writing the data set, in order and not, alone and together.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::measured::Measured;
use crate::stage::{Load, Stage};

/// Brings the whole data set in, not measured.
pub(crate) fn fill(stage: &Stage<'_>) {
    crate::stage::fill(stage.store, &stage.data);
}

/// Puts by one thread; then the data set is there, also if the time was too short for it.
pub(crate) fn put_all(stage: &Stage<'_>) -> Measured {
    let (measured, data) = (put(stage, 1), &stage.data);
    stage.load(measured.operations, data.entries, |n| (data.key(n), Some(data.value(n))));
    measured
}

pub(crate) fn put(stage: &Stage<'_>, threads: u64) -> Measured {
    let data = &stage.data;
    let load = Load::calls(data.entries).threads(threads);
    stage.measure(load, |n| stage.store.put(&data.key(n), data.value(n)))
}

/// Other values for keys that are there, in the order they came.
pub(crate) fn put_over(stage: &Stage<'_>) -> Measured {
    let data = &stage.data;
    let load = Load::calls(data.entries);
    stage.measure(load, |n| stage.store.put(&data.key(n), data.value(n + 1)))
}

pub(crate) fn put_in_order(stage: &Stage<'_>) -> Measured {
    let data = &stage.data;
    let load = Load::calls(data.entries);
    let measured = stage.measure(load, |n| stage.store.put(&data.key_in_order(n), data.value(n)));
    let left = measured.operations;
    stage.load(left, data.entries, |n| (data.key_in_order(n), Some(data.value(n))));
    measured
}

pub(crate) fn put_batches(stage: &Stage<'_>) -> Measured {
    const BATCH: u64 = 100;
    let data = &stage.data;
    stage.measure(Load::calls(data.entries / BATCH).each(BATCH), |n| {
        let numbers = n * BATCH..(n + 1) * BATCH;
        let batch: Vec<_> = numbers.map(|n| (data.key(n), Some(data.value(n)))).collect();
        stage.store.write(&batch);
    })
}

/// Each thread as often as one alone; other keys for other numbers of threads.
pub(crate) fn put_synced(stage: &Stage<'_>, threads: u64) -> Measured {
    let data = &stage.data;
    let load = Load::calls(stage.sizes.syncs * threads).threads(threads);
    let first = threads * data.entries;
    stage.measure(load, |n| stage.store.sync_put(&data.key(first + n), data.value(n)))
}

/// What the disk gives: records written over old ones of one file, each synced, without an engine.
pub(crate) fn bare_syncs(stage: &Stage<'_>) -> Measured {
    const RECORD: usize = 128;
    let calls = stage.sizes.syncs;
    let file = File::create(stage.folder.join("bare")).unwrap();
    file.write_all_at(&vec![0; RECORD * calls as usize], 0).unwrap();
    file.sync_all().unwrap();
    stage.measure(Load::calls(calls), |n| {
        file.write_all_at(&[1; RECORD], n * RECORD as u64).unwrap();
        file.sync_data().unwrap();
    })
}
