//! Closed loops: the same work on several threads, started together, each operation when the one
//! before it has returned.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// What [`split`] took.
#[derive(Clone, Debug)]
pub struct Split {
    /// From the start of the first thread to the end of the last.
    pub time: Duration,
    /// The longest single call.
    pub longest: Duration,
    /// Nanoseconds of each call, to a hundredth.
    pub latencies: Histogram<u64>,
}

/// Splits the numbers below `count` over `threads` and runs `work(number)` for each. Begins no
/// call after `limit`.
pub fn split(threads: u64, count: u64, limit: Duration, work: impl Fn(u64) + Sync) -> Split {
    let barrier = Barrier::new(threads as usize);
    let (barrier, work) = (&barrier, &work);
    let run = |thread: u64| {
        let mut latencies = histogram();
        barrier.wait();
        let start = Instant::now();
        let (mut before, mut longest) = (start, Duration::ZERO);
        for number in (thread..count).step_by(threads as usize) {
            work(number);
            let now = Instant::now();
            let latency = now - before;
            longest = longest.max(latency);
            latencies.saturating_record(latency.as_nanos() as u64);
            before = now;
            if now - start >= limit {
                break;
            }
        }
        (start, before, longest, latencies)
    };
    let runs: Vec<_> = thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|n| scope.spawn(move || run(n))).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let start = runs.iter().map(|run| run.0).min().unwrap();
    let end = runs.iter().map(|run| run.1).max().unwrap();
    let mut latencies = histogram();
    runs.iter().for_each(|run| latencies.add(&run.3).unwrap());
    Split { time: end - start, longest: runs.iter().map(|run| run.2).max().unwrap(), latencies }
}

/// Small enough to stay in a processor's cache beside what is measured.
fn histogram() -> Histogram<u64> {
    const HOUR_NANOS: u64 = 3_600_000_000_000;
    Histogram::new_with_bounds(1, HOUR_NANOS, 2).unwrap()
}
