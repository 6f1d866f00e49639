//! The order in which clients call and are answered: what the history is checked by.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lsm_raft::testkit::Recorder;
use tokio::time::{Duration, Instant};

const OPERATIONS_MAX: usize = 1 << 20;

/// What all clients share.
pub(super) struct History {
    pub(super) recorder: Recorder,
    moments: AtomicU64,
    is_over: AtomicBool,
    /// When the last fault ended, if it has.
    healed: std::sync::OnceLock<Instant>,
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            recorder: Recorder::new(OPERATIONS_MAX),
            moments: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            healed: std::sync::OnceLock::new(),
        }
    }

    /// Each later than all before.
    pub(super) fn moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn heal(&self) {
        self.healed.set(Instant::now()).expect("once");
    }

    /// How long ago the last fault ended; none as long as there are faults.
    pub(super) fn since_heal(&self) -> Option<Duration> {
        self.healed.get().map(Instant::elapsed)
    }

    /// Nobody begins anything any more.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}
