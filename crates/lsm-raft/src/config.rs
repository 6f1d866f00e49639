//! The settings of one node, validated once.

use std::time::Duration;

use raft::ReadOnlyOption;

use crate::error::{Error, Result};

/// How many sessions are kept. One more, and the one whose last request lies furthest back in
/// the log is given up.
pub const SESSIONS_MAX: usize = 65_536;

/// How a node takes part in its group. Times are counted in ticks, which the runtime makes.
#[derive(Clone, Debug)]
pub struct Config {
    /// Number of this node; never zero, never used twice in a group.
    pub node: u64,
    /// Number of the group; one process may run several.
    pub group: u64,
    /// Length of a tick.
    pub tick: Duration,
    /// Ticks between two heartbeats of a leader.
    pub heartbeat_ticks: usize,
    /// Ticks without a leader until a follower campaigns: a number of `election_ticks_min ..
    /// election_ticks_max`, drawn anew each time.
    pub election_ticks_min: usize,
    /// See [`election_ticks_min`](Self::election_ticks_min).
    pub election_ticks_max: usize,
    /// Whether a leader serves reads for a while after a quorum confirmed it, without asking
    /// again; only while all voters have this set. Needs clocks that run at about the same speed
    /// on all nodes.
    pub lease_reads: bool,
    /// Bytes of proposals that wait or are on their way; more are refused as `Busy`.
    pub pending_bytes_max: usize,
    /// Reads that wait; more are refused as `Busy`.
    pub pending_reads_max: usize,
    /// Commands are collected into entries of about this many bytes.
    pub entry_bytes: usize,
    /// Entries proposed and not yet committed. While one is on its way commands are collected,
    /// so that the group's round trips and syncs are shared; only full entries go beside it,
    /// up to so many.
    pub entries_in_flight_max: usize,
    /// Bytes of one append message.
    pub append_bytes: u64,
    /// Append messages on their way to one follower.
    pub appends_in_flight_max: usize,
    /// Bytes of applied log that are kept for followers that are behind; one that needs more
    /// gets a snapshot.
    pub log_keep_bytes: u64,
    /// Sessions that are kept: [`SESSIONS_MAX`], but for tests. The same on all nodes, for ever: it
    /// decides what becomes of requests.
    pub sessions_max: usize,
    /// Bytes of the disk that are held back; see [`Room`](crate::Room). None: a tenth of the disk,
    /// but at least 64 MiB and at most 1 GiB.
    pub disk_reserve_bytes: Option<u64>,
}

/// What others must know of a node's times before they rest a lease on its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Length of a tick.
    pub tick: Duration,
    /// Time between two heartbeats when it leads.
    pub heartbeat: Duration,
    /// The least time without a leader until it campaigns, or helps another to.
    pub election: Duration,
    /// Whether it takes part in leases: it lets one run out before it votes after a restart.
    pub leases: bool,
}

impl Timing {
    /// For how long the node helps no other one to lead after it has answered a leader. Time is
    /// counted in ticks, and the first of them may come at once.
    pub fn hold(&self) -> Duration {
        self.election.saturating_sub(self.tick)
    }
}

impl Config {
    /// What other nodes must know of these settings.
    pub fn timing(&self) -> Timing {
        let ticks =
            |ticks: usize| self.tick.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX));
        Timing {
            tick: self.tick,
            heartbeat: ticks(self.heartbeat_ticks),
            election: ticks(self.election_ticks_min),
            leases: self.lease_reads,
        }
    }

    /// Settings for production: a new leader within about two seconds.
    pub fn new(node: u64) -> Self {
        Self {
            node,
            group: 1,
            tick: Duration::from_millis(100),
            heartbeat_ticks: 2,
            election_ticks_min: 10,
            election_ticks_max: 20,
            lease_reads: false,
            pending_bytes_max: 64 << 20,
            pending_reads_max: 100_000,
            entry_bytes: 256 << 10,
            entries_in_flight_max: 2,
            append_bytes: 1 << 20,
            appends_in_flight_max: 64,
            log_keep_bytes: 64 << 20,
            sessions_max: SESSIONS_MAX,
            disk_reserve_bytes: None,
        }
    }

    /// # Errors
    ///
    /// `Invalid`, with the setting that cannot be used and its limits.
    pub fn validate(&self) -> Result<()> {
        let fail = |message: String| Err(Error::Invalid(message));
        if self.node == 0 {
            return fail("node ids start at 1".into());
        }
        if self.heartbeat_ticks == 0 || self.election_ticks_min <= 2 * self.heartbeat_ticks {
            return fail(format!(
                "an election ({} ticks) must take more than two heartbeats ({} ticks each)",
                self.election_ticks_min, self.heartbeat_ticks
            ));
        }
        if self.election_ticks_max <= self.election_ticks_min {
            return fail(format!(
                "the election range {} .. {} is empty",
                self.election_ticks_min, self.election_ticks_max
            ));
        }
        if self.tick.is_zero() {
            return fail("a tick takes some time".into());
        }
        if self.entries_in_flight_max == 0 || self.appends_in_flight_max == 0 {
            return fail("at least one entry must be on its way at a time".into());
        }
        Ok(())
    }

    /// What raft is to know of it.
    pub(crate) fn to_raft(&self, applied: u64) -> raft::Config {
        raft::Config {
            id: self.node,
            election_tick: self.election_ticks_min,
            heartbeat_tick: self.heartbeat_ticks,
            applied,
            max_size_per_msg: self.append_bytes,
            max_inflight_msgs: self.appends_in_flight_max,
            check_quorum: true,
            pre_vote: true,
            min_election_tick: self.election_ticks_min,
            max_election_tick: self.election_ticks_max,
            read_only_option: ReadOnlyOption::Safe,
            batch_append: true,
            max_uncommitted_size: (self.pending_bytes_max as u64).max(64 << 20),
            max_committed_size_per_ready: 16 << 20,
            ..raft::Config::default()
        }
    }
}
