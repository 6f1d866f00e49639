//! Makes writes visible in the order of their sequence numbers, whoever finishes first.
//!
//! Writers insert into the memtable side by side; each publishes once all before it have. A
//! reader that loads the published number with acquire order sees every insert up to it.
//!
//! Threads: any number of writers, each with its own range of numbers; any number of readers.

use std::collections::BTreeMap;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;
use crossbeam_utils::sync::{Parker, Unparker};
use parking_lot::Mutex;

use crate::key::SeqNo;

/// An insert takes about a microsecond: worth spinning for a moment, not for a lost time slice.
const SPINS: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct VisibleSeq {
    published: CachePadded<AtomicU64>,
    /// How many wait in the queue.
    waiting: CachePadded<AtomicUsize>,
    queue: Mutex<Queue>,
}

/// Those who gave up spinning.
#[derive(Debug, Default)]
struct Queue {
    /// By the first number: writes that are done, with their last number. Whoever makes those
    /// before visible does so for them, too.
    done: BTreeMap<u64, (u64, Unparker)>,
    /// Who waits for writes of others, and up to which number.
    watchers: Vec<(u64, Unparker)>,
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
        if !self.spin_until(first.0 - 1) {
            return self.publish_later(first.0, last.0);
        }
        // SeqCst here and for `waiting`: either this thread sees the waiter, or the waiter,
        // which checks once more after announcing itself, sees the new number.
        self.published.store(last.0, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.publish_those_behind();
        }
    }

    /// Returns once everything up to `seq`, which must have been given to a writer, is visible.
    #[inline]
    pub(crate) fn wait_for(&self, seq: SeqNo) {
        if !self.spin_until(seq.0) {
            self.wait(seq.0, |queue, waker| queue.watchers.push((seq.0, waker)));
        }
    }

    #[inline]
    fn spin_until(&self, seq: u64) -> bool {
        for _ in 0..SPINS {
            if self.get().0 >= seq {
                return true;
            }
            spin_loop();
        }
        false
    }

    /// Leaves it to a writer before this one, which lost its time slice, to publish for both.
    #[cold]
    fn publish_later(&self, first: u64, last: u64) {
        self.wait(last, |queue, waker| drop(queue.done.insert(first, (last, waker))));
    }

    /// Waits until `seq` is visible, in the place of the queue that `enter` takes.
    #[cold]
    fn wait(&self, seq: u64, enter: impl FnOnce(&mut Queue, Unparker)) {
        let parker = Parker::new();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        enter(&mut self.queue.lock(), parker.unparker().clone());
        // Those before may have been published meanwhile.
        self.publish_those_behind();
        while self.get().0 < seq {
            parker.park();
        }
    }

    /// Makes visible what is done and directly behind what is visible, and wakes those, and only
    /// those, who have waited for it.
    #[cold]
    fn publish_those_behind(&self) {
        let mut woken = Vec::new();
        {
            let mut queue = self.queue.lock();
            let mut published = self.published.load(Ordering::SeqCst);
            while let Some(first) = queue.done.first_entry().filter(|e| *e.key() == published + 1) {
                let (last, waker) = first.remove();
                published = last;
                // Nobody else may: all up to `last` are this thread's or in the queue.
                self.published.store(published, Ordering::SeqCst);
                woken.push(waker);
            }
            let watchers = queue.watchers.extract_if(.., |(seq, _)| *seq <= published);
            woken.extend(watchers.map(|(_, waker)| waker));
            self.waiting.fetch_sub(woken.len(), Ordering::SeqCst);
        }
        woken.iter().for_each(Unparker::unpark);
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
