//! How often what happened.

macro_rules! counts {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Counts of one seed, or of many.
        #[derive(Debug, Default)]
        pub(crate) struct Report {
            $($(#[doc = $doc])* pub(crate) $name: u64,)*
            /// Of all that happened, in order.
            pub(crate) trace: u64,
            /// The longest that a client had to wait after the last fault; microseconds.
            pub(crate) recovery: u64,
        }

        impl Report {
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
                self.recovery = self.recovery.max(other.recovery);
            }

            /// A simulation that never meets a fault proves nothing.
            pub(crate) fn assert_all_happened(&self) {
                let counts = [$((stringify!($name), self.$name),)*];
                let never: Vec<_> = counts.iter().filter(|(_, count)| *count == 0).collect();
                assert!(never.is_empty(), "never happened: {never:?}");
            }
        }
    };
}

counts! {
    crashes,
    cuts,
    pauses,
    stalls,
    full_disks,
    failing_disks,
    /// Nodes that stopped because of their disk.
    stopped,
    /// Nodes that were told to stop.
    told_to_stop,
    damaged_logs,
    damaged_tables,
    /// Logs that lost something, and nodes that could not start with their damage.
    losses,
    replaced,
    /// States that were found to be damaged, by nodes that run.
    found,
    clock_jumps,
    storms,
    transfers,
    stale_messages,
    late_requests,
    doubled_requests,
    terms,
    done,
    unknown,
    batches,
    scans,
    no_room,
    snapshots,
    damaged_snapshots,
    refused_snapshots,
    truncations,
    changes,
    /// States that were compared.
    compared,
}
