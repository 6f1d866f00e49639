//! Waiting for what other threads do, on a machine of any speed.

use std::time::Duration;

use lsm_core::{Clock, SystemClock};

/// How long whatever is waited for may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Returns once `done`.
///
/// # Panics
///
/// If that takes too long; `what` says what should have come.
pub(crate) fn until(what: &str, done: impl Fn() -> bool) {
    let clock = SystemClock::new();
    while !done() {
        assert!(clock.now() < PATIENCE, "it never comes: {what}");
        moment();
    }
}

/// Lets other threads do something.
pub(crate) fn moment() {
    SystemClock::new().sleep(Duration::from_millis(5));
}
