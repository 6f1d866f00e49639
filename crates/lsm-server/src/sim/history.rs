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
    /// When after that each client began first.
    begun: Mutex<BTreeMap<u64, Instant>>,
    /// How long after that it was served first.
    served: Mutex<BTreeMap<u64, Duration>>,
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            recorder: Recorder::new(OPERATIONS_MAX),
            moments: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            healed: OnceLock::new(),
            begun: Mutex::default(),
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

    /// A client begins something. What it began before the last fault had ended takes no part in how
    /// long it waits after that: such a request may wait for its own end.
    pub(super) fn begin(&self, client: u64) {
        if self.healed.get().is_some() {
            self.begun.lock().entry(client).or_insert_with(Instant::now);
        }
    }

    /// A client was served.
    pub(super) fn note_served(&self, client: u64) {
        if let Some(begun) = self.begun.lock().get(&client) {
            self.served.lock().entry(client).or_insert(begun.elapsed());
        }
    }

    /// How long each client waited after the last fault until it was served first.
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
