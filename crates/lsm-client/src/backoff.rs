//! How long to wait before the next try. Pure but for the dice.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(500);

/// Waits that double, each somewhere between half of itself and the whole, so that clients who
/// failed together do not come back together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    wait: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { wait: FIRST }
    }

    /// The next wait; `dice` is in `0.0 .. 1.0`.
    pub(crate) fn next(&mut self, dice: f64) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(LONGEST);
        wait.mul_f64(0.5 + dice / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..10).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 500, 500, 500]);
        assert_eq!(backoff.next(0.0), LONGEST / 2);
    }
}
