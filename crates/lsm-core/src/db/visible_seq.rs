//! Makes writes visible in the order of their sequence numbers, whoever finishes first.
//!
//! Writers insert into the memtable side by side; each publishes once all before it have. A
//! reader that loads the published number with acquire order sees every insert up to it.
//!
//! Threads: any number of writers, each with its own range of numbers; any number of readers.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::{Condvar, Mutex};

use crate::key::SeqNo;

/// An insert takes about a microsecond: worth spinning for a moment, not for a lost time slice.
const SPINS: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct VisibleSeq {
    published: CachePadded<AtomicU64>,
    waiting: AtomicUsize,
    lock: Mutex<()>,
    moved: Condvar,
}

impl VisibleSeq {
    pub(crate) fn new(published: SeqNo) -> Self {
        Self { published: CachePadded::new(AtomicU64::new(published.0)), ..Self::default() }
    }

    /// Everything up to here is visible.
    #[inline]
    pub(crate) fn get(&self) -> SeqNo {
        SeqNo(self.published.load(Ordering::Acquire))
    }

    /// Makes everything up to `seq` visible, while nobody else writes.
    pub(crate) fn advance(&self, seq: SeqNo) {
        self.published.store(seq.0, Ordering::SeqCst);
    }

    /// Makes `first..=last` visible, after all before `first` became so.
    #[inline]
    pub(crate) fn publish(&self, first: SeqNo, last: SeqNo) {
        self.wait_for(SeqNo(first.0 - 1));
        // SeqCst here and for `waiting`: either this thread sees the waiter, or the waiter,
        // which checks once more after announcing itself, sees the new number.
        self.published.store(last.0, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock());
            self.moved.notify_all();
        }
    }

    /// Returns once everything up to `seq`, which must have been given to a writer, is visible.
    #[inline]
    pub(crate) fn wait_for(&self, seq: SeqNo) {
        for _ in 0..SPINS {
            if self.get() >= seq {
                return;
            }
            spin_loop();
        }
        self.wait_long(seq);
    }

    #[cold]
    fn wait_long(&self, seq: SeqNo) {
        let mut guard = self.lock.lock();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while self.published.load(Ordering::SeqCst) < seq.0 {
            self.moved.wait(&mut guard);
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_appear_in_order() {
        let publisher = VisibleSeq::new(SeqNo(0));
        let next = AtomicU64::new(1);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let first = next.fetch_add(3, Ordering::Relaxed);
                        publisher.publish(SeqNo(first), SeqNo(first + 2));
                        assert!(publisher.get() >= SeqNo(first + 2));
                    }
                });
            }
            scope.spawn(|| {
                let mut last = SeqNo(0);
                while last < SeqNo(8 * 2000 * 3) {
                    let now = publisher.get();
                    assert!(now >= last && now.0.is_multiple_of(3), "{now}");
                    last = now;
                }
            });
        });
    }

    #[test]
    fn what_was_done_first_waits_for_what_comes_before() {
        let publisher = VisibleSeq::new(SeqNo(0));
        let begun = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                begun.wait();
                publisher.publish(SeqNo(4), SeqNo(6));
            });
            begun.wait();
            for _ in 0..20_000 {
                assert_eq!(publisher.get(), SeqNo(0));
                std::thread::yield_now();
            }
            publisher.publish(SeqNo(1), SeqNo(3));
        });
        assert_eq!(publisher.get(), SeqNo(6));
    }
}
