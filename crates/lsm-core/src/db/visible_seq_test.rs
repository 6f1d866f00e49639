use std::sync::atomic::{AtomicU64, Ordering};

use super::visible_seq::VisibleSeq;
use crate::key::SeqNo;

#[test]
fn numbers_appear_in_order() {
    let visible = VisibleSeq::new(SeqNo(0));
    let next = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    let first = next.fetch_add(3, Ordering::Relaxed);
                    visible.publish(SeqNo(first), SeqNo(first + 2));
                    assert!(visible.get() >= SeqNo(first + 2));
                }
            });
        }
        scope.spawn(|| {
            let mut last = SeqNo(0);
            while last < SeqNo(8 * 2000 * 3) {
                let now = visible.get();
                assert!(now >= last && now.0.is_multiple_of(3), "{now}");
                last = now;
            }
        });
    });
}

#[test]
fn what_was_done_first_waits_for_what_comes_before() {
    let visible = VisibleSeq::new(SeqNo(0));
    let begun = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            begun.wait();
            visible.publish(SeqNo(4), SeqNo(6));
        });
        begun.wait();
        for _ in 0..20_000 {
            assert_eq!(visible.get(), SeqNo(0));
            std::thread::yield_now();
        }
        visible.publish(SeqNo(1), SeqNo(3));
    });
    assert_eq!(visible.get(), SeqNo(6));
}
