//! Since when a thread waits for its disk, for those who must not wait with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lsm_core::Clock;

/// Threads: one works, any look.
pub(super) struct Busy {
    clock: Arc<dyn Clock>,
    /// Microseconds of the clock, and one; 0 while it does not work.
    since: AtomicU64,
}

/// The work, until it is dropped.
pub(super) struct Working<'a>(&'a Busy);

impl Busy {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, since: AtomicU64::new(0) }
    }

    pub(super) fn begin(&self) -> Working<'_> {
        let micros = self.clock.now().as_micros() as u64;
        self.since.store(micros + 1, Ordering::Relaxed);
        Working(self)
    }

    /// For how long one piece of work has been under way.
    pub(super) fn time(&self) -> Duration {
        match self.since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => self.clock.now().saturating_sub(Duration::from_micros(since - 1)),
        }
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.since.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use lsm_core::ManualClock;

    use super::*;

    #[test]
    fn only_time_at_work_counts() {
        let clock = Arc::new(ManualClock::default());
        let busy = Busy::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let second = Duration::from_secs(1);
        clock.advance(second);
        assert_eq!(busy.time(), Duration::ZERO);
        let working = busy.begin();
        clock.advance(second);
        assert_eq!(busy.time(), second);
        drop(working);
        assert_eq!(busy.time(), Duration::ZERO);
    }
}
