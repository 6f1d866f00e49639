//! Every order in which a few writers can become visible, tried by a model checker.
//!
//! The code is the engine's own, with the checker's atomics, locks and threads in the place of
//! those that it has otherwise. That a writer is never woken shows itself as a deadlock.

#![allow(dead_code, reason = "a part of it is looked at")]
#![allow(clippy::duplicate_mod, reason = "the same code, made of other things")]

#[path = "visible_seq.rs"]
mod visible_seq;

use loom::sync::Arc;
use loom::thread;

use self::visible_seq::VisibleSeq;
use crate::key::SeqNo;

/// See the file of this name: the same words, of the checker.
mod visible_seq_sync {
    pub(super) use loom::hint::spin_loop;
    pub(super) use loom::sync::MutexGuard;
    pub(super) use loom::sync::atomic::AtomicU64;
    use loom::sync::{Arc, Condvar};

    /// Each is an order more to be tried.
    pub(super) const SPINS: usize = 1;

    #[derive(Debug, Default)]
    pub(super) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(super) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }

    #[derive(Debug)]
    pub(super) struct Parker(Unparker);

    #[derive(Clone, Debug)]
    pub(super) struct Unparker(Arc<(loom::sync::Mutex<bool>, Condvar)>);

    impl Parker {
        pub(super) fn new() -> Self {
            Self(Unparker(Arc::new((loom::sync::Mutex::new(false), Condvar::new()))))
        }

        pub(super) fn unparker(&self) -> &Unparker {
            &self.0
        }

        pub(super) fn park(&self) {
            let (told, wake) = &*self.0.0;
            let mut told = told.lock().unwrap();
            while !std::mem::take(&mut *told) {
                told = wake.wait(told).unwrap();
            }
        }
    }

    impl Unparker {
        pub(super) fn unpark(&self) {
            *self.0.0.lock().unwrap() = true;
            self.0.1.notify_one();
        }
    }
}

/// Each of these ranges is published by a thread of its own, but for the last: that is the main
/// thread's.
fn publish_side_by_side(ranges: &'static [(u64, u64)], preemptions: usize) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(|| {
        let visible = Arc::new(VisibleSeq::new(SeqNo(0)));
        let publish = |visible: &VisibleSeq, (first, last): (u64, u64)| {
            visible.publish(SeqNo(first), SeqNo(last));
            assert!(visible.get() >= SeqNo(last), "it sees its own write");
        };
        let (own, others) = ranges.split_last().unwrap();
        let threads: Vec<_> = others
            .iter()
            .map(|range| {
                let visible = Arc::clone(&visible);
                thread::spawn(move || publish(&visible, *range))
            })
            .collect();
        publish(&visible, *own);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let last = ranges.iter().map(|range| range.1).max().unwrap();
        assert_eq!(visible.get(), SeqNo(last));
    });
}

#[test]
fn two_writers_become_visible_in_any_order() {
    publish_side_by_side(&[(1, 3), (4, 4)], 5);
    publish_side_by_side(&[(4, 4), (1, 3)], 5);
}

#[test]
fn three_writers_become_visible_in_any_order() {
    publish_side_by_side(&[(2, 2), (3, 5), (1, 1)], 3);
    publish_side_by_side(&[(1, 1), (2, 2), (3, 5)], 3);
}

/// As whoever seals a memtable waits for those who still write into it.
#[test]
fn who_waits_for_others_hears_of_them() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let visible = Arc::new(VisibleSeq::new(SeqNo(0)));
        let threads: Vec<_> = (1..=2)
            .map(|seq| {
                let visible = Arc::clone(&visible);
                thread::spawn(move || visible.publish(SeqNo(seq), SeqNo(seq)))
            })
            .collect();
        visible.wait_for(SeqNo(2));
        assert_eq!(visible.get(), SeqNo(2));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
