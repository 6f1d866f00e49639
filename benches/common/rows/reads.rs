//! Reading what is there, and what is not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::measured::Measured;
use crate::stage::{Load, Stage};

/// Random gets, each thread as often as one alone.
pub(crate) fn get(stage: &Stage<'_>, threads: u64) -> Measured {
    let load = Load::calls(stage.sizes.gets * threads).threads(threads);
    stage.measure(load, |n| found(stage, stage.data.pick(n)))
}

/// Gets of one key in a hundred.
pub(crate) fn get_hot(stage: &Stage<'_>) -> Measured {
    let hot = stage.data.entries.div_ceil(100);
    let load = Load::calls(stage.sizes.gets);
    stage.measure(load, |n| found(stage, stage.data.pick_below(hot, n)))
}

/// The same gets as [`get`] makes, a hundred at once.
pub(crate) fn multi_get(stage: &Stage<'_>) -> Measured {
    const AT_ONCE: u64 = 100;
    let calls = stage.sizes.gets / AT_ONCE;
    stage.measure(Load::calls(calls.max(1)).each(AT_ONCE), |n| {
        let numbers = AT_ONCE * n..AT_ONCE * (n + 1);
        let keys: Vec<_> = numbers.map(|n| stage.data.key(stage.data.pick(n))).collect();
        assert_eq!(stage.store.multi_get(&keys), keys.len(), "call {n}");
    })
}

pub(crate) fn found(stage: &Stage<'_>, number: u64) {
    let got = stage.store.get(&stage.data.key(number));
    assert_eq!(got, Some(stage.data.value_len), "entry {number}");
}

/// Gets of keys that lie between the others.
pub(crate) fn get_missing(stage: &Stage<'_>) -> Measured {
    let data = &stage.data;
    stage.measure(Load::calls(stage.sizes.gets), |n| {
        assert_eq!(stage.store.get(&data.key(data.entries + n)), None, "entry {n}");
    })
}

/// Seeks to random keys of the data set, and reads so many entries from there.
pub(crate) fn seek(stage: &Stage<'_>, count: usize) -> Measured {
    let data = &stage.data;
    stage.measure(Load::calls(stage.sizes.scans), |n| {
        let bytes = stage.store.scan(&data.key(data.pick(n)), count) as u64;
        let most = count as u64 * data.entry_bytes();
        // The end of the data may come before, after deletes at once.
        assert!(bytes <= most && bytes.is_multiple_of(data.entry_bytes()), "{bytes} bytes");
    })
}

/// Reads everything, five times.
pub(crate) fn scan(stage: &Stage<'_>) -> Measured {
    let live = stage.live();
    stage.measure(Load::calls(5).each(live), |_| {
        let bytes = stage.store.scan(&[], usize::MAX) as u64;
        assert_eq!(bytes, live * stage.data.entry_bytes(), "the scan saw all");
    })
}

/// Random gets while another thread writes over random entries as fast as it may.
pub(crate) fn get_beside_writer(stage: &Stage<'_>) -> Measured {
    let data = &stage.data;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in (0..).take_while(|_| !stop.load(Ordering::Relaxed)) {
                stage.store.put(&data.key(data.pick(!n)), data.value(n));
            }
        });
        let measured = get(stage, 1);
        stop.store(true, Ordering::Relaxed);
        measured
    })
}
