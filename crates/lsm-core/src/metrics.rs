//! Counters that many threads raise and few read.
//!
//! What is counted for each read or write is counted by each thread for itself: a counter that
//! threads share costs a locked instruction, and the others' caches the line. A thread owns a
//! slot, and in each [`Striped`] the cells of that slot, which no other thread writes to: raising
//! one is a load and a store. Whoever reads adds them up.
//!
//! Purely in memory: exporting them is left to the application.
//!
//! Threads: any number. Those beyond [`SLOTS_MAX`] share cells, as those do that are just ending.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

/// A sum that can only grow, for what is counted seldom. Reads see some recent value, not a
/// point in the write order.
#[derive(Debug, Default)]
pub(crate) struct Counter(CachePadded<AtomicU64>);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        // Relaxed: nothing is published through a statistic.
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Threads that have cells of their own.
const SLOTS_MAX: usize = 128;

/// `N` sums that can only grow, and that are raised together.
#[derive(Debug)]
pub(crate) struct Striped<const N: usize> {
    /// By slot.
    own: Box<[Cells<N>; SLOTS_MAX]>,
    /// Of threads without a slot.
    shared: Cells<N>,
}

type Cells<const N: usize> = CachePadded<[AtomicU64; N]>;

impl<const N: usize> Default for Striped<N> {
    fn default() -> Self {
        let own: Box<[Cells<N>]> = (0..SLOTS_MAX).map(|_| cells()).collect();
        Self { own: own.try_into().expect("as many as it has slots"), shared: cells() }
    }
}

impl<const N: usize> Striped<N> {
    /// Adds to the first `M` sums.
    #[inline]
    pub(crate) fn raise<const M: usize>(&self, by: [u64; M]) {
        const { assert!(M <= N) };
        match self.own.get(SLOT.get()) {
            Some(cells) => raise_own(cells, by),
            None => self.raise_slowly(by),
        }
    }

    /// For a thread that has no slot, or none yet.
    #[cold]
    fn raise_slowly<const M: usize>(&self, by: [u64; M]) {
        match self.own.get(slot()) {
            Some(cells) => raise_own(cells, by),
            None => {
                for (cell, n) in self.shared.iter().zip(by) {
                    cell.fetch_add(n, Ordering::Relaxed);
                }
            }
        }
    }

    /// The sums. Of what other threads count at this moment, some may be missing.
    pub(crate) fn sum(&self) -> [u64; N] {
        let mut sums = [0u64; N];
        for cells in self.own.iter().chain([&self.shared]) {
            for (sum, cell) in sums.iter_mut().zip(cells.iter()) {
                *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
            }
        }
        sums
    }
}

/// No addition is lost: only the thread that owns the slot writes to the cells.
#[inline]
fn raise_own<const N: usize, const M: usize>(cells: &Cells<N>, by: [u64; M]) {
    for (cell, n) in cells.iter().zip(by) {
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }
}

fn cells<const N: usize>() -> Cells<N> {
    CachePadded::new([const { AtomicU64::new(0) }; N])
}

/// No slot yet.
const UNKNOWN: usize = usize::MAX;
/// No slot at all.
const NONE: usize = usize::MAX - 1;

thread_local! {
    static SLOT: Cell<usize> = const { Cell::new(UNKNOWN) };
    /// Gives the slot back when the thread ends.
    static OWNED: Owned = Owned(SLOTS.lock().take());
}

/// The calling thread's slot, taken if it has none yet.
fn slot() -> usize {
    if SLOT.get() == UNKNOWN {
        SLOT.set(OWNED.try_with(|owned| owned.0).unwrap_or(NONE));
    }
    SLOT.get()
}

#[derive(Debug)]
struct Owned(usize);

impl Drop for Owned {
    fn drop(&mut self) {
        // What the thread counts from here on, as it ends, is not for these cells: they may be
        // another's at once. The lock hands what they hold over to it.
        SLOT.set(NONE);
        SLOTS.lock().give_back(self.0);
    }
}

/// Which slots are taken, over all databases of the process.
static SLOTS: Mutex<Slots> = Mutex::new(Slots { free: BTreeSet::new(), used: 0 });

#[derive(Debug)]
struct Slots {
    /// Given back, among those that were ever used.
    free: BTreeSet<usize>,
    used: usize,
}

impl Slots {
    /// The lowest that is free.
    fn take(&mut self) -> usize {
        if let Some(slot) = self.free.pop_first() {
            return slot;
        }
        if self.used == SLOTS_MAX {
            return NONE;
        }
        self.used += 1;
        self.used - 1
    }

    fn give_back(&mut self, slot: usize) {
        if slot != NONE {
            self.free.insert(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn no_addition_is_lost_by_any_number_of_threads() {
        let striped = Striped::<2>::default();
        let threads = SLOTS_MAX + 40;
        let all_run = Barrier::new(threads);
        for _ in 0..2 {
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    std::thread::Builder::new()
                        .stack_size(64 << 10)
                        .spawn_scoped(scope, || {
                            striped.raise([1, 10]);
                            all_run.wait();
                            (0..100).for_each(|_| striped.raise([1, 10]));
                        })
                        .unwrap();
                }
            });
        }
        let expected = 2 * 101 * threads as u64;
        assert_eq!(striped.sum(), [expected, 10 * expected]);
        let shared = striped.shared[0].load(Ordering::Relaxed);
        assert!(shared >= 2 * 40 * 101, "more threads than slots share cells: {shared}");
        assert!(shared < expected / 2, "and the others do not: {shared}");
    }

    #[test]
    fn threads_that_run_side_by_side_have_slots_of_their_own() {
        let both_run = Barrier::new(2);
        let own = || {
            let slot = slot();
            both_run.wait();
            slot
        };
        let slots = std::thread::scope(|scope| {
            let threads = [scope.spawn(own), scope.spawn(own)];
            threads.map(|thread| thread.join().unwrap())
        });
        assert!(slots[0] != slots[1] || slots[0] == NONE);
    }

    #[test]
    fn slots_are_used_again() {
        let mut slots = Slots { free: BTreeSet::new(), used: 0 };
        let taken: Vec<usize> = (0..=SLOTS_MAX).map(|_| slots.take()).collect();
        assert_eq!((taken[0], taken[SLOTS_MAX]), (0, NONE));
        [NONE, 7, 3].into_iter().for_each(|slot| slots.give_back(slot));
        assert_eq!([slots.take(), slots.take(), slots.take()], [3, 7, NONE]);
    }
}
