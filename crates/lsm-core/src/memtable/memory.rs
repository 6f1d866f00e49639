//! How much memory the memtables of all keyspaces take together.
//!
//! Threads: any. Each memtable adds what it has grown by now and then, not at each insert, so the
//! sums lag by a little: see [`STEP_BYTES_MAX`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A memtable is counted anew when it has grown by an eighth, but after no less ...
const STEP_BYTES_MIN: usize = 512;
/// ... and no more than this.
const STEP_BYTES_MAX: usize = 64 << 10;

/// Memory of the memtables of one database that are not in tables yet.
#[derive(Debug, Default)]
pub(crate) struct MemoryUse {
    bytes: AtomicUsize,
    /// Of those that a flush was asked for.
    queued: AtomicUsize,
}

impl MemoryUse {
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Memory that no flush was asked for yet.
    #[inline]
    pub(crate) fn filling(&self) -> usize {
        self.bytes().saturating_sub(self.queued.load(Ordering::Relaxed))
    }
}

/// What one memtable has added to the sums.
#[derive(Debug)]
pub(super) struct Charge {
    memory: Arc<MemoryUse>,
    bytes: usize,
    is_queued: bool,
}

impl Charge {
    pub(super) fn new(memory: Arc<MemoryUse>) -> Self {
        Self { memory, bytes: 0, is_queued: false }
    }

    /// The table takes `bytes`, no less than before; returns at how many to say so again.
    pub(super) fn grow(&mut self, bytes: usize) -> usize {
        let more = bytes.saturating_sub(self.bytes);
        self.bytes += more;
        self.memory.bytes.fetch_add(more, Ordering::Relaxed);
        if self.is_queued {
            self.memory.queued.fetch_add(more, Ordering::Relaxed);
        }
        bytes + (bytes / 8).clamp(STEP_BYTES_MIN, STEP_BYTES_MAX)
    }

    /// A flush was asked for.
    pub(super) fn queue(&mut self) {
        if !std::mem::replace(&mut self.is_queued, true) {
            self.memory.queued.fetch_add(self.bytes, Ordering::Relaxed);
        }
    }

    /// The table is no concern of writers any more, though readers may still hold it.
    pub(super) fn release(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.memory.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if std::mem::take(&mut self.is_queued) {
            self.memory.queued.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_taken_back() {
        let memory = Arc::new(MemoryUse::default());
        let mut charges = [(); 2].map(|()| Charge::new(Arc::clone(&memory)));
        assert_eq!(charges[0].grow(1000), 1512);
        assert_eq!(charges[1].grow(8 << 20), (8 << 20) + STEP_BYTES_MAX);
        charges[0].queue();
        charges[0].queue();
        assert_eq!((memory.bytes(), memory.filling()), ((8 << 20) + 1000, 8 << 20));
        charges[0].grow(3000);
        assert_eq!((memory.bytes(), memory.filling()), ((8 << 20) + 3000, 8 << 20));
        charges[0].release();
        assert_eq!((memory.bytes(), memory.filling()), (8 << 20, 8 << 20));
        drop(charges);
        assert_eq!((memory.bytes(), memory.filling()), (0, 0));
    }
}
