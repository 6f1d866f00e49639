//! The points in the write order that readers have pinned.

use std::collections::BTreeMap;

use super::publish::Publisher;
use crate::key::SeqNo;
use crate::sync::Mutex;

/// Pinned sequence numbers, each with how often it is pinned.
///
/// Why no version a snapshot needs can be dropped: a job takes its list under the same lock
/// that pins under, and counts the newest published number as pinned. A snapshot taken later
/// therefore pins a number at least that great, and what such a reader sees of a key is newer
/// than or equal to what the job kept for it.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    pinned: Mutex<BTreeMap<SeqNo, usize>>,
}

impl Snapshots {
    /// Pins the newest published number.
    pub(crate) fn pin(&self, publisher: &Publisher) -> SeqNo {
        let mut pinned = self.pinned.lock();
        let seq = publisher.get();
        *pinned.entry(seq).or_default() += 1;
        seq
    }

    pub(crate) fn unpin(&self, seq: SeqNo) {
        let mut pinned = self.pinned.lock();
        let count = pinned.get_mut(&seq).expect("only pinned numbers are unpinned");
        *count -= 1;
        if *count == 0 {
            pinned.remove(&seq);
        }
    }

    /// The numbers a job must respect, ascending: all pinned ones, and the newest published.
    pub(crate) fn list(&self, publisher: &Publisher) -> Vec<SeqNo> {
        let pinned = self.pinned.lock();
        let now = publisher.get();
        let mut list: Vec<SeqNo> = pinned.keys().copied().collect();
        if list.last() != Some(&now) {
            list.push(now);
        }
        list
    }

    pub(crate) fn count(&self) -> usize {
        self.pinned.lock().values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_count() {
        let (snapshots, publisher) = (Snapshots::default(), Publisher::new(SeqNo(4)));
        let a = snapshots.pin(&publisher);
        let b = snapshots.pin(&publisher);
        publisher.publish(SeqNo(5), SeqNo(6));
        assert_eq!(snapshots.list(&publisher), [SeqNo(4), SeqNo(6)]);
        snapshots.unpin(a);
        assert_eq!(snapshots.list(&publisher), [SeqNo(4), SeqNo(6)]);
        snapshots.unpin(b);
        assert_eq!(snapshots.list(&publisher), [SeqNo(6)]);
        assert_eq!(snapshots.count(), 0);
    }
}
