//! The same work on several threads, started together; the processor time of a thread.

use std::fs;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// Processor time of the calling thread; zero where the system does not tell.
pub(crate) fn processor_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// What [`split`] took.
#[derive(Clone, Copy, Debug)]
pub struct Split {
    /// From the start of the first thread to the end of the last.
    pub time: Duration,
    /// The longest single call.
    pub longest: Duration,
    /// Processor time of all threads.
    pub processor: Duration,
}

/// Splits the numbers below `count` over `threads` and runs `work(number)` for each.
pub fn split(threads: u64, count: u64, work: impl Fn(u64) + Sync) -> Split {
    let barrier = Barrier::new(threads as usize);
    let (barrier, work) = (&barrier, &work);
    let run = |thread: u64| {
        barrier.wait();
        let processor = processor_time();
        let start = Instant::now();
        let (mut before, mut longest) = (start, Duration::ZERO);
        for number in (thread..count).step_by(threads as usize) {
            work(number);
            let now = Instant::now();
            longest = longest.max(now - before);
            before = now;
        }
        (start, before, longest, processor_time() - processor)
    };
    let runs: Vec<_> = thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|n| scope.spawn(move || run(n))).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let start = runs.iter().map(|run| run.0).min().unwrap();
    let end = runs.iter().map(|run| run.1).max().unwrap();
    Split {
        time: end - start,
        longest: runs.iter().map(|run| run.2).max().unwrap(),
        processor: runs.iter().map(|run| run.3).sum(),
    }
}
