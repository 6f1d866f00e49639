//! How often what happened.

use std::sync::atomic::{AtomicU64, Ordering};

/// One count.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn one_more(&self) {
        self.add(1);
    }

    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counts {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Counts of one seed, or of many.
        #[derive(Default)]
        pub(super) struct Report {
            $($(#[doc = $doc])* pub(super) $name: Count,)*
            /// The longest that a client had to wait after the last fault; milliseconds.
            recovery: AtomicU64,
        }

        impl Report {
            pub(super) fn add(&self, other: &Self) {
                $(self.$name.add(other.$name.get());)*
                self.recovered_after(other.recovery.load(Ordering::Relaxed));
            }

            fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.get()),)*].into_iter()
            }
        }
    };
}

counts! {
    crashes,
    cuts,
    /// Cuts that let one direction through.
    one_way_cuts,
    heals,
    pauses,
    /// Of all disks: what is late then takes effect afterwards.
    stalls,
    transfers,
    /// Nodes that were told other founders than the rest.
    odd_founders,
    /// Nodes that lost their disks and came back.
    wipes,
    /// Nodes under the number of another.
    doubles,
    /// Nodes of other groups.
    strangers,
    /// Nodes that stopped because the group refused them.
    refused_nodes,
    learners,
    promotions,
    removals,
    /// Nodes that switched to a snapshot.
    snapshots,
    full_disks,
    /// Times that a node was away for as long as others were served.
    absences,
    /// Connections that were broken.
    breaks,
    /// Connections that went silent because a machine lost its power.
    silenced,
    /// Connections that were held up by a cut.
    held,
    reads,
    writes,
    /// Of these, the ones that another node than the leader answered.
    reads_elsewhere,
    writes_elsewhere,
    deletes,
    batches,
    scans,
    scan_streams,
    sessions,
    /// Sessions that were found to be given up, by those who used them and by one who left them.
    lost_sessions,
    given_up,
    /// Requests that were sent again in their session.
    repeats,
    /// Requests that were sent to two nodes at once.
    doubled,
    /// Writes whose answer proves that they did not happen.
    refused,
    /// For want of room on a disk.
    no_room,
    /// Writes of which nobody knows: by the word of a node, and for want of one.
    unknown,
    unanswered,
}

impl Report {
    pub(super) fn recovered_after(&self, millis: u64) {
        self.recovery.fetch_max(millis, Ordering::Relaxed);
    }

    /// A simulation that never meets a fault proves nothing.
    pub(super) fn assert_all_happened(&self) {
        let never: Vec<_> = self.counts().filter(|(_, count)| *count == 0).collect();
        assert!(never.is_empty(), "never happened: {never:?}");
    }
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = f.debug_struct("Report");
        for (name, count) in self.counts() {
            text.field(name, &count);
        }
        text.field("recovery", &self.recovery.load(Ordering::Relaxed)).finish()
    }
}
