//! The points in the write order that readers have pinned.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::visible_seq::VisibleSeq;
use crate::key::SeqNo;

/// Pinned sequence numbers, each with how often it is pinned.
///
/// Why no version a snapshot needs can be dropped: a job takes its list under the same lock
/// that pins under, and counts the newest published number as pinned. A snapshot taken later
/// therefore pins a number at least that great, and what such a reader sees of a key is newer
/// than or equal to what the job kept for it.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    pinned: Mutex<Pinned>,
}

#[derive(Debug, Default)]
struct Pinned {
    counts: BTreeMap<SeqNo, usize>,
    /// There is work to do once the oldest pin is here or beyond.
    awaited: Option<SeqNo>,
}

impl Snapshots {
    /// Pins the newest published number.
    pub(crate) fn pin(&self, publisher: &VisibleSeq) -> SeqNo {
        let mut pinned = self.pinned.lock();
        let seq = publisher.get();
        *pinned.counts.entry(seq).or_default() += 1;
        seq
    }

    /// Tells whether the oldest pin has come to where it was awaited: the caller announces it.
    #[must_use]
    pub(crate) fn unpin(&self, seq: SeqNo) -> bool {
        let mut pinned = self.pinned.lock();
        let count = pinned.counts.get_mut(&seq).expect("only pinned numbers are unpinned");
        *count -= 1;
        if *count == 0 {
            pinned.counts.remove(&seq);
        }
        // Without a pin the oldest point is the newest, which is beyond all that is awaited.
        let oldest = pinned.counts.first_key_value().map(|(seq, _)| *seq);
        let reached = |awaited: &mut SeqNo| oldest.is_none_or(|oldest| oldest >= *awaited);
        pinned.awaited.take_if(reached).is_some()
    }

    /// From now on `unpin` tells when the oldest pin comes to `seq`; `None` if nobody waits.
    pub(crate) fn await_oldest(&self, seq: Option<SeqNo>) {
        self.pinned.lock().awaited = seq;
    }

    /// The numbers a job must respect, ascending: all pinned ones, and the newest published.
    pub(crate) fn list(&self, publisher: &VisibleSeq) -> Vec<SeqNo> {
        let pinned = self.pinned.lock();
        let now = publisher.get();
        let mut list: Vec<SeqNo> = pinned.counts.keys().copied().collect();
        if list.last() != Some(&now) {
            list.push(now);
        }
        list
    }

    pub(crate) fn count(&self) -> usize {
        self.pinned.lock().counts.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_count() {
        let (snapshots, publisher) = (Snapshots::default(), VisibleSeq::new(SeqNo(4)));
        let a = snapshots.pin(&publisher);
        let b = snapshots.pin(&publisher);
        publisher.publish(SeqNo(5), SeqNo(6));
        assert_eq!(snapshots.list(&publisher), [SeqNo(4), SeqNo(6)]);
        assert!(!snapshots.unpin(a));
        assert_eq!(snapshots.list(&publisher), [SeqNo(4), SeqNo(6)]);
        assert!(!snapshots.unpin(b));
        assert_eq!(snapshots.list(&publisher), [SeqNo(6)]);
        assert_eq!(snapshots.count(), 0);
    }

    #[test]
    fn whoever_waits_for_the_oldest_pin_is_told_once() {
        let (snapshots, publisher) = (Snapshots::default(), VisibleSeq::new(SeqNo(4)));
        let pin = |seq| {
            publisher.advance(SeqNo(seq));
            snapshots.pin(&publisher)
        };
        let (a, b, c, d) = (pin(4), pin(6), pin(8), pin(8));
        snapshots.await_oldest(Some(SeqNo(7)));
        assert!(!snapshots.unpin(b), "the oldest is still 4");
        assert!(snapshots.unpin(a), "the oldest is 8");
        assert!(!snapshots.unpin(c), "told already");
        snapshots.await_oldest(Some(SeqNo(9)));
        assert!(snapshots.unpin(d), "none is left");
    }
}
