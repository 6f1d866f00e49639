//! How fast compactions may write together. Pure, but for the waiting.
//!
//! Time that was not used is not saved up: a disk that others share sees no bursts beyond what is
//! written between two calls.
//!
//! Threads: any; the lock is held for an addition.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;

/// How soon whoever waits notices that it is to stop.
const STOP_CHECK_TIME: Duration = Duration::from_millis(10);

/// See the module.
#[derive(Debug)]
pub(crate) struct RateLimit {
    bytes_per_second: u64,
    /// When all that was written so far may have been.
    paid_until: Mutex<Duration>,
}

impl RateLimit {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, paid_until: Mutex::default() }
    }

    /// So many bytes have been written by `now`: how long to wait before more are.
    pub(crate) fn charge(&self, bytes: u64, now: Duration) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut paid_until = self.paid_until.lock();
        *paid_until = now.max(*paid_until).saturating_add(time);
        *paid_until - now
    }

    /// Waits, but no longer than until it is to stop.
    pub(crate) fn wait(time: Duration, clock: &dyn Clock, stop: &AtomicBool) {
        let mut left = time;
        while !left.is_zero() && !stop.load(Ordering::Relaxed) {
            let step = left.min(STOP_CHECK_TIME);
            clock.sleep(step);
            left -= step;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn all_jobs_together_write_no_faster_and_save_nothing_up() {
        let limit = RateLimit::new(10 << 20);
        let millis = Duration::from_millis;
        assert_eq!(limit.charge(1 << 20, millis(0)), millis(100));
        assert_eq!(limit.charge(1 << 20, millis(0)), millis(200), "another job");
        assert_eq!(limit.charge(1 << 20, millis(250)), millis(50 + 50));
        assert_eq!(limit.charge(0, millis(400)), millis(0));
        assert_eq!(limit.charge(1 << 20, millis(60_000)), millis(100), "after a minute of nothing");
        assert!(limit.charge(u64::MAX, millis(60_000)) > Duration::from_secs(1 << 30));
    }

    #[test]
    fn whoever_is_to_stop_does_not_wait() {
        let clock = ManualClock::default();
        RateLimit::wait(Duration::MAX, &clock, &AtomicBool::new(true));
        assert!(clock.now().is_zero());
    }
}
