//! The highest memory of this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::process::anon_bytes;

/// Watches [`anon_bytes`] from a thread of its own, ten times a second.
pub struct AnonPeak {
    shared: Arc<(AtomicBool, AtomicU64)>,
    thread: JoinHandle<()>,
}

impl AnonPeak {
    pub fn watch() -> Self {
        let shared = Arc::new((AtomicBool::new(false), AtomicU64::new(0)));
        let of_thread = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let (stop, peak) = &*of_thread;
            while !stop.load(Ordering::Relaxed) {
                peak.fetch_max(anon_bytes(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(100));
            }
        });
        Self { shared, thread }
    }

    /// The highest figure seen.
    pub fn stop(self) -> u64 {
        self.shared.0.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.shared.1.load(Ordering::Relaxed)
    }
}
