//! The order in which clients call and are answered: what the history is checked by.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lsm_raft::testkit::Recorder;
use parking_lot::Mutex;
use tokio::time::Instant;

const OPERATIONS_MAX: usize = 1 << 20;

/// What all clients share.
pub(super) struct History {
    pub(super) recorder: Recorder,
    moments: AtomicU64,
    is_over: AtomicBool,
    /// When the last fault ended, if it has.
    healed: OnceLock<Instant>,
    /// How long after that each client was served first, of what it began after that.
    served: Mutex<BTreeMap<u64, Duration>>,
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            recorder: Recorder::new(OPERATIONS_MAX),
            moments: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            healed: OnceLock::new(),
            served: Mutex::default(),
        }
    }

    /// Each later than all before.
    pub(super) fn moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn heal(&self) {
        self.healed.set(Instant::now()).expect("once");
    }

    /// Whether the last fault has ended.
    pub(super) fn is_healed(&self) -> bool {
        self.healed.get().is_some()
    }

    /// A client was served, after the last fault.
    pub(super) fn note_served(&self, client: u64) {
        if let Some(healed) = self.healed.get() {
            self.served.lock().entry(client).or_insert(healed.elapsed());
        }
    }

    /// How long after the last fault each client was served first.
    pub(super) fn served(&self) -> BTreeMap<u64, Duration> {
        self.served.lock().clone()
    }

    /// Nobody begins anything any more.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}
