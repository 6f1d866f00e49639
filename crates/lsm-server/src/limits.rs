//! Every bound on what comes in from outside, in one place.

use std::time::Duration;

use lsm_proto::v1;

/// Longest work of an operator: a compaction, a hash of everything.
pub(crate) const MAINTENANCE_TIME_MAX: Duration = Duration::from_secs(3600);

/// Connections from nodes: a few from each.
pub(crate) const NODE_CONNECTIONS_MAX: usize = 256;

/// What one page of a stream may hold, in bytes of keys and values and again in what its entries
/// take beside: little, since many streams each have some that wait. A page costs a turn of a
/// thread, some 10 µs; copying and sending it costs many times that.
pub(crate) const STREAM_PAGE_BYTES_MAX: usize = 128 << 10;
/// The least of what the pages of streams may take up together.
const PAGES_BYTES_LEAST: usize = 64 << 20;

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
    /// Connections from clients.
    pub(crate) connections_max: usize,
    /// Requests of clients that are served at the same time.
    pub(crate) requests_max: usize,
    /// Calls of health and reflection that stay open.
    pub(crate) open_calls_max: usize,
    /// Time between two questions of a call of reflection.
    pub(crate) question_time_max: Duration,
    /// Bytes of the requests that are served at the same time.
    pub(crate) requests_bytes_max: usize,
    /// Bytes of the answers that clients have not taken yet. Any value that was ever stored fits,
    /// whatever the settings are now.
    pub(crate) answer_bytes_max: usize,
    /// Time for a client to take an answer, or a page; up to twice that.
    pub(crate) answer_time_max: Duration,
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
            open_calls_max: 256,
            question_time_max: Duration::from_secs(60),
            requests_bytes_max: 256 << 20,
            answer_bytes_max: 256 << 20,
            answer_time_max: Duration::from_secs(30),
            request_time_max: Duration::from_secs(10),
            leader_wait_max: Duration::from_secs(3),
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
        }
    }
}

/// Writes of one batch: each costs memory beside its bytes.
pub(crate) const BATCH_WRITES_MAX: usize = 1 << 17;
/// What that is once they are decoded: a list that grows has room for up to twice as many.
pub(crate) const WRITE_BYTES: usize = 2 * size_of::<v1::Write>();
/// The most that `batch_bytes_max` may be on any node.
pub(crate) const BATCH_BYTES_MOST: usize = 64 << 20;
/// Room in a message beside keys and values: field tags, lengths, the session.
const MESSAGE_OVERHEAD: usize = 1 << 20;

impl Limits {
    /// Longest message that a client may send, in bytes.
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.batch_bytes_max + MESSAGE_OVERHEAD
    }

    /// Bytes of the pages of all streams that were read and are not on their connections yet, where
    /// they count as answers. There is room for two pages of every scan; an entry that is longer
    /// than a page may have to wait for those of others.
    pub(crate) fn pages_bytes_max(&self) -> usize {
        PAGES_BYTES_LEAST.max(2 * self.scans_max * 2 * STREAM_PAGE_BYTES_MAX)
    }

    /// Most that one request may take up: its message, and beside that its writes. No key is
    /// empty, so a short batch has few.
    pub(crate) fn request_bytes_max(&self) -> usize {
        let writes_max = BATCH_WRITES_MAX.min(self.batch_bytes_max);
        self.message_bytes_max() + writes_max * WRITE_BYTES
    }
}
