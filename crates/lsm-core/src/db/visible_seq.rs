//! Makes writes visible in the order of their sequence numbers, whoever finishes first.
//!
//! Writers insert into the memtable side by side; each publishes once all before it have. A
//! reader that loads the published number with acquire order sees every insert up to it.
//!
//! Threads: any number of writers, each with its own range of numbers; any number of readers.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use crossbeam_utils::CachePadded;

use super::visible_seq_sync::{AtomicU64, Mutex, MutexGuard, Parker, SPINS, Unparker, spin_loop};
use crate::key::{SEQ_MAX, SeqNo};

/// Set in the published number while somebody waits: whoever publishes next must look who.
const WAITED_FOR: u64 = 1 << 63;
const _: () = assert!(SEQ_MAX.0 < WAITED_FOR);

#[derive(Debug, Default)]
pub(crate) struct VisibleSeq {
    published: CachePadded<AtomicU64>,
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
        SeqNo(self.published.load(Ordering::Acquire) & !WAITED_FOR)
    }

    /// Makes everything up to `seq` visible, while nobody else writes.
    pub(crate) fn advance(&self, seq: SeqNo) {
        self.published.store(seq.0, Ordering::Release);
    }

    /// Makes `first..=last` visible, after all before `first` became so.
    #[inline]
    pub(crate) fn publish(&self, first: SeqNo, last: SeqNo) {
        if !self.spin_until(first.0 - 1) {
            return self.publish_later(first.0, last.0);
        }
        // A swap, so that no mark is lost that was set since.
        if self.published.swap(last.0, Ordering::AcqRel) & WAITED_FOR != 0 {
            self.publish_those_behind(self.queue.lock());
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
        let mut queue = self.queue.lock();
        enter(&mut queue, parker.unparker().clone());
        // Those before may have been published meanwhile.
        self.publish_those_behind(queue);
        while self.get().0 < seq {
            parker.park();
        }
    }

    /// Makes visible what is done and directly behind what is visible, and wakes those, and only
    /// those, who have waited for it.
    #[cold]
    fn publish_those_behind(&self, mut queue: MutexGuard<'_, Queue>) {
        let mut woken = Vec::new();
        loop {
            let mut visible = self.get().0;
            while let Some(next) = queue.done.first_entry().filter(|e| *e.key() == visible + 1) {
                let (last, waker) = next.remove();
                visible = last;
                // Nobody else may: the numbers up to `last` are this thread's, or in the queue.
                self.published.store(visible, Ordering::Release);
                woken.push(waker);
            }
            let watchers = queue.watchers.extract_if(.., |(seq, _)| *seq <= visible);
            woken.extend(watchers.map(|(_, waker)| waker));
            if queue.done.is_empty() && queue.watchers.is_empty() {
                break;
            }
            // Whoever published meanwhile saw no mark.
            let before = self.published.fetch_or(WAITED_FOR, Ordering::AcqRel);
            if before & !WAITED_FOR == visible {
                break;
            }
        }
        drop(queue);
        woken.iter().for_each(Unparker::unpark);
    }
}
