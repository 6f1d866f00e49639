//! Every bound on what comes in from outside, in one place.

use std::time::Duration;

/// Longest work of an operator: a compaction, a hash of everything.
pub(crate) const MAINTENANCE_TIME_MAX: Duration = Duration::from_secs(3600);

/// Bounds of one node. The defaults are for production; `config` lets people change some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Longest key, in bytes.
    pub(crate) key_bytes_max: usize,
    /// Longest value, in bytes.
    pub(crate) value_bytes_max: usize,
    /// Most bytes of keys and values in one batch.
    pub(crate) batch_bytes_max: usize,
    /// Entries of one page of a scan.
    pub(crate) page_entries_max: usize,
    /// Bytes of one page of a scan; a single larger entry is a page of its own.
    pub(crate) page_bytes_max: usize,
    /// Scans that run at the same time.
    pub(crate) scans_max: usize,
    /// Requests of one connection that run at the same time.
    pub(crate) streams_max: u32,
    /// Connections from clients, and as many from nodes.
    pub(crate) connections_max: usize,
    /// Requests of clients that are served at the same time.
    pub(crate) requests_max: usize,
    /// Bytes of the requests that are served at the same time.
    pub(crate) intake_bytes_max: usize,
    /// Longest time for a request, whatever its own deadline says.
    pub(crate) request_time_max: Duration,
    /// Longest wait for a leader, before a request fails as unavailable.
    pub(crate) leader_wait_max: Duration,
    /// Silence after which a connection is probed.
    pub(crate) keepalive_interval: Duration,
    /// How long the answer to a probe may take.
    pub(crate) keepalive_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            key_bytes_max: lsm_core::KEY_LEN_MAX,
            value_bytes_max: 8 << 20,
            batch_bytes_max: 16 << 20,
            page_entries_max: 10_000,
            page_bytes_max: 1 << 20,
            scans_max: 64,
            streams_max: 1024,
            connections_max: 4096,
            requests_max: 16_384,
            intake_bytes_max: 256 << 20,
            request_time_max: Duration::from_secs(10),
            leader_wait_max: Duration::from_secs(3),
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
        }
    }
}

/// Room in a message beside keys and values: field tags, lengths, the session.
const MESSAGE_OVERHEAD: usize = 1 << 20;

impl Limits {
    /// Longest message that a client may send, in bytes.
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.batch_bytes_max + MESSAGE_OVERHEAD
    }
}
