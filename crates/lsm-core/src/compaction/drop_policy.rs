//! Which versions of a key a merge may leave out. Pure: sees tags, never bytes or files.
//!
//! The snapshots `s[0] < s[1] < … < s[n]` of a job cut the write order into stripes: stripe
//! `i` holds the sequence numbers in `s[i-1] + 1 ..= s[i]`, the oldest stripe those up to
//! `s[0]`. The last snapshot is the newest point that was visible when the job started, so
//! every reader the database has, or will ever have, stands at some `s[i]` or behind `s[n]`.
//!
//! ```text
//! versions of k   9 8 | 7 5 | 4 2 1        (newest first)
//! snapshots            7     4             -> 9 8 7 4 stay, 5 2 1 go
//! ```
//!
//! Why each rule keeps every read the same:
//!
//! * A version behind `s[n]` stays as it is: a reader between any two of them may come.
//! * Within a stripe only the newest version stays. A reader at `s[j]` sees the whole of
//!   stripes `0..=j`, so of a stripe it can only ever return the newest version; no reader
//!   stands inside a stripe.
//! * The newest version of the oldest stripe, when it is a tombstone and no deeper level may
//!   hold its key, goes with all it shadows: every reader finds nothing either way. (Data
//!   older than a job's inputs lies deeper only, which is the picker's promise.) In another
//!   stripe it must stay, because the merge still has older versions under it.
//! * The newest version of the oldest stripe, when it is a put with nothing of its key below,
//!   loses its sequence number: every reader sees it, whatever the number, and it is the last
//!   version of its key in the internal order with zero as with its own number.
//!
//! A tombstone that is the last version of its key but lies in a younger stripe could go
//! too, but only with a look ahead at the next key; it goes when its snapshot does.
//!
//! So of a key's versions in one table, all but the first are there for snapshots alone. When the
//! oldest snapshot is at or beyond the version in front of one, both are in the oldest stripe,
//! and it goes: that is what tables count (`sstable::Shadowed`) and the picker waits for.

use crate::key::{Kind, SeqNo, Tag};

/// What becomes of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionFate {
    /// The version stays, under this tag.
    Keep(Tag),
    /// No reader can tell that the version is gone.
    Drop,
}

/// Decides the fate of versions, fed in the internal order.
#[derive(Debug)]
pub(crate) struct DropPolicy {
    /// Ascending; the last is the newest point visible at the start of the job.
    snapshots: Vec<SeqNo>,
    /// The stripe of the version of the current key that was fed last.
    stripe: Option<usize>,
}

impl DropPolicy {
    /// `snapshots` in ascending order; the last one is the newest sequence number that was
    /// visible when the job started.
    pub(crate) fn new(snapshots: impl Into<Vec<SeqNo>>) -> Self {
        let snapshots = snapshots.into();
        assert!(!snapshots.is_empty(), "the newest visible sequence number ends the list");
        debug_assert!(snapshots.is_sorted());
        Self { snapshots, stripe: None }
    }

    /// The fate of the next version. `key_is_new` says that its user key differs from that of
    /// the version before; `key_at_bottom` that no level below the output may hold the key,
    /// and is asked only where the answer counts.
    ///
    /// Reserved kinds are the caller's to refuse, before it asks.
    #[inline]
    pub(crate) fn decide(
        &mut self,
        key_is_new: bool,
        tag: Tag,
        key_at_bottom: impl FnOnce() -> bool,
    ) -> VersionFate {
        debug_assert!(matches!(tag.kind(), Some(Kind::Put | Kind::Delete)), "{tag:?} is reserved");
        let stripe = self.stripe_of(tag.seq());
        let above = self.stripe.filter(|_| !key_is_new);
        debug_assert!(above.is_none_or(|above| above >= stripe), "newest first");
        self.stripe = Some(stripe);
        if stripe == self.snapshots.len() {
            return VersionFate::Keep(tag);
        }
        if above == Some(stripe) {
            return VersionFate::Drop;
        }
        if stripe > 0 || !key_at_bottom() {
            return VersionFate::Keep(tag);
        }
        match tag.kind() {
            Some(Kind::Delete) => VersionFate::Drop,
            Some(Kind::Put) => VersionFate::Keep(Tag::new(SeqNo(0), Kind::Put)),
            _ => VersionFate::Keep(tag),
        }
    }

    /// Which stripe a sequence number lies in; the number of snapshots if behind the last.
    #[inline]
    fn stripe_of(&self, seq: SeqNo) -> usize {
        // Nearly every version is either visible to all or the list is short.
        match seq <= self.snapshots[0] {
            true => 0,
            false => self.snapshots.partition_point(|&snapshot| snapshot < seq),
        }
    }
}

#[cfg(test)]
#[path = "drop_policy_test.rs"]
mod tests;
