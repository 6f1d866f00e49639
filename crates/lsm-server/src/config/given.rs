//! Settings as they were given, by flag, environment or file: nothing is checked yet, and
//! everything may be left out.

use std::path::{Path, PathBuf};

use lsm_args::{Bytes, Time};
use serde::{Deserialize, Deserializer, Serialize};

use super::error::Error;
use super::nodes::{Address, Listen};

/// Runs one node of a cluster.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct StartArgs {
    /// A TOML file with the settings below, under their names without the dashes in front.
    /// Flags and environment come before it
    #[arg(long, env = "LSM_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Only checks the settings and prints all of them, as such a file
    #[arg(long)]
    pub(crate) check: bool,
    /// Stops when standard input ends, as `local` wants of its nodes
    #[arg(long, hide = true)]
    pub(crate) stop_with_stdin: bool,
    /// The settings.
    #[command(flatten)]
    pub(crate) given: Given,
}

/// How lines of the log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For programs: one object a line.
    Json,
}

/// How tables are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    /// As they are.
    None,
    /// LZ4.
    Lz4,
}

/// All settings of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Given {
    /// Number of this node: 1 or more, and never used by another one of the cluster
    #[arg(long, env = "LSM_NODE", value_name = "N")]
    pub(crate) node: Option<u64>,
    /// Folder of this node; made if there is none
    #[arg(long, env = "LSM_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Name of the cluster; nodes of another are refused [default: lsm]
    #[arg(long, env = "LSM_CLUSTER", value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// Where clients connect [default: 127.0.0.1:4001]
    #[arg(long, env = "LSM_LISTEN", value_name = "IP:PORT")]
    pub(crate) listen: Option<Listen>,
    /// Where other nodes connect; keep it out of reach of anybody else [default: 127.0.0.1:5001]
    #[arg(long, env = "LSM_PEER_LISTEN", value_name = "IP:PORT")]
    pub(crate) peer_listen: Option<Listen>,
    /// What clients are told to reach this node [default: as in --members, or --listen]
    #[arg(long, env = "LSM_ADVERTISE", value_name = "HOST:PORT")]
    pub(crate) advertise: Option<String>,
    /// What nodes are told to reach this node [default: as in --members, or --peer-listen]
    #[arg(long, env = "LSM_ADVERTISE_PEER", value_name = "HOST:PORT")]
    pub(crate) advertise_peer: Option<String>,
    /// The founding nodes, the same on all of them, with commas between: ID=PEER/CLIENT. Who the
    /// others are counts only while the folder is new; this node must be among them at each start
    #[arg(long, env = "LSM_MEMBERS", value_name = "LIST", value_delimiter = ',')]
    #[serde(deserialize_with = "members_of_file")]
    pub(crate) members: Option<Vec<String>>,
    /// Waits to be added to a cluster that runs already (see `add-learner`)
    #[arg(long, env = "LSM_JOIN", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    pub(crate) join: Option<bool>,
    /// A PEM file with the certificate of this node, and those between it and the CA. With this,
    /// --tls-key and --tls-ca both ports speak TLS and nothing else
    #[arg(long, env = "LSM_TLS_CERT", value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// A PEM file with the key of that certificate
    #[arg(long, env = "LSM_TLS_KEY", value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// A PEM file with the CA that signed the certificates of all nodes
    #[arg(long, env = "LSM_TLS_CA", value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Refuses clients that show no certificate of that CA [default: false]
    #[arg(long, env = "LSM_TLS_CLIENT_AUTH", value_name = "BOOL", num_args = 0..=1,
        require_equals = true, default_missing_value = "true")]
    pub(crate) tls_client_auth: Option<bool>,
    /// What is logged: error, warn, info, debug, trace or off; for parts also as in
    /// `info,lsm_raft=debug` [default: info]
    #[arg(long, env = "LSM_LOG_LEVEL", value_name = "FILTER")]
    pub(crate) log_level: Option<String>,
    /// How lines of the log look [default: text]
    #[arg(long, env = "LSM_LOG_FORMAT", value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Threads that serve requests [default: half of the cores]
    #[arg(long, env = "LSM_THREADS", value_name = "N")]
    pub(crate) threads: Option<u64>,

    /// Longest value [default: 8MiB]
    #[arg(long, env = "LSM_VALUE_BYTES_MAX", value_name = "BYTES", help_heading = "Limits")]
    pub(crate) value_bytes_max: Option<Bytes>,
    /// Most bytes of keys and values in one batch [default: 16MiB]
    #[arg(long, env = "LSM_BATCH_BYTES_MAX", value_name = "BYTES", help_heading = "Limits")]
    pub(crate) batch_bytes_max: Option<Bytes>,
    /// Bytes of one page of a scan [default: 1MiB]
    #[arg(long, env = "LSM_PAGE_BYTES_MAX", value_name = "BYTES", help_heading = "Limits")]
    pub(crate) page_bytes_max: Option<Bytes>,
    /// Scans that run at the same time [default: 64]
    #[arg(long, env = "LSM_SCANS_MAX", value_name = "N", help_heading = "Limits")]
    pub(crate) scans_max: Option<u64>,
    /// Requests of one connection that run at the same time [default: 1024]
    #[arg(long, env = "LSM_STREAMS_MAX", value_name = "N", help_heading = "Limits")]
    pub(crate) streams_max: Option<u64>,
    /// Connections of clients, and of nodes [default: 4096]
    #[arg(long, env = "LSM_CONNECTIONS_MAX", value_name = "N", help_heading = "Limits")]
    pub(crate) connections_max: Option<u64>,
    /// Requests that are served at the same time [default: 16384]
    #[arg(long, env = "LSM_REQUESTS_MAX", value_name = "N", help_heading = "Limits")]
    pub(crate) requests_max: Option<u64>,
    /// Bytes of the requests that are served at the same time [default: 256MiB]
    #[arg(long, env = "LSM_REQUESTS_BYTES_MAX", value_name = "BYTES", help_heading = "Limits")]
    pub(crate) requests_bytes_max: Option<Bytes>,
    /// Longest time for a request, whatever its own deadline says [default: 10s]
    #[arg(long, env = "LSM_REQUEST_TIME_MAX", value_name = "TIME", help_heading = "Limits")]
    pub(crate) request_time_max: Option<Time>,
    /// Longest wait for a leader, before a request fails as unavailable [default: 3s]
    #[arg(long, env = "LSM_LEADER_WAIT_MAX", value_name = "TIME", help_heading = "Limits")]
    pub(crate) leader_wait_max: Option<Time>,
    /// Silence after which a connection is probed [default: 20s]
    #[arg(long, env = "LSM_KEEPALIVE_INTERVAL", value_name = "TIME", help_heading = "Limits")]
    pub(crate) keepalive_interval: Option<Time>,
    /// How long the answer to a probe may take [default: 10s]
    #[arg(long, env = "LSM_KEEPALIVE_TIMEOUT", value_name = "TIME", help_heading = "Limits")]
    pub(crate) keepalive_timeout: Option<Time>,

    /// Memory that is written before it becomes a table [default: 64MiB]
    #[arg(long, env = "LSM_WRITE_BUFFER_BYTES", value_name = "BYTES", help_heading = "Storage")]
    pub(crate) write_buffer_bytes: Option<Bytes>,
    /// Memory for unpacked blocks; 0 turns the cache off [default: 128MiB]
    #[arg(long, env = "LSM_BLOCK_CACHE_BYTES", value_name = "BYTES", help_heading = "Storage")]
    pub(crate) block_cache_bytes: Option<Bytes>,
    /// How tables are packed [default: lz4]
    #[arg(long, env = "LSM_COMPRESSION", value_name = "KIND", help_heading = "Storage")]
    pub(crate) compression: Option<Compression>,

    /// Time between two heartbeats of the leader; the same on all nodes [default: 200ms]
    #[arg(long, env = "LSM_HEARTBEAT", value_name = "TIME", help_heading = "Replication")]
    pub(crate) heartbeat: Option<Time>,
    /// Silence of the leader after which others stand for election, up to twice that; the same
    /// on all nodes [default: 1s]
    #[arg(long, env = "LSM_ELECTION_TIMEOUT", value_name = "TIME", help_heading = "Replication")]
    pub(crate) election_timeout: Option<Time>,
    /// Lets the leader read for a while without asking the others; needs clocks that run at
    /// about the same speed [default: false]
    #[arg(long, env = "LSM_LEASE_READS", value_name = "BOOL", num_args = 0..=1,
        require_equals = true, default_missing_value = "true", help_heading = "Replication")]
    pub(crate) lease_reads: Option<bool>,
    /// Log that is kept for nodes that are behind; one further behind is sent a snapshot
    /// [default: 64MiB]
    #[arg(long, env = "LSM_LOG_KEEP_BYTES", value_name = "BYTES", help_heading = "Replication")]
    pub(crate) log_keep_bytes: Option<Bytes>,
    /// Part of the disk that is held back: with less room than that only reads and deletes are
    /// served [default: a tenth of the disk, from 64MiB to 1GiB]
    #[arg(long, env = "LSM_DISK_RESERVE_BYTES", value_name = "BYTES", help_heading = "Storage")]
    pub(crate) disk_reserve_bytes: Option<Bytes>,
}

impl Given {
    /// What `self` leaves out, taken from `other`.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            node: self.node.or(other.node),
            data: self.data.or(other.data),
            cluster: self.cluster.or(other.cluster),
            listen: self.listen.or(other.listen),
            peer_listen: self.peer_listen.or(other.peer_listen),
            advertise: self.advertise.or(other.advertise),
            advertise_peer: self.advertise_peer.or(other.advertise_peer),
            members: self.members.or(other.members),
            join: self.join.or(other.join),
            tls_cert: self.tls_cert.or(other.tls_cert),
            tls_key: self.tls_key.or(other.tls_key),
            tls_ca: self.tls_ca.or(other.tls_ca),
            tls_client_auth: self.tls_client_auth.or(other.tls_client_auth),
            log_level: self.log_level.or(other.log_level),
            log_format: self.log_format.or(other.log_format),
            threads: self.threads.or(other.threads),
            value_bytes_max: self.value_bytes_max.or(other.value_bytes_max),
            batch_bytes_max: self.batch_bytes_max.or(other.batch_bytes_max),
            page_bytes_max: self.page_bytes_max.or(other.page_bytes_max),
            scans_max: self.scans_max.or(other.scans_max),
            streams_max: self.streams_max.or(other.streams_max),
            connections_max: self.connections_max.or(other.connections_max),
            requests_max: self.requests_max.or(other.requests_max),
            requests_bytes_max: self.requests_bytes_max.or(other.requests_bytes_max),
            request_time_max: self.request_time_max.or(other.request_time_max),
            leader_wait_max: self.leader_wait_max.or(other.leader_wait_max),
            keepalive_interval: self.keepalive_interval.or(other.keepalive_interval),
            keepalive_timeout: self.keepalive_timeout.or(other.keepalive_timeout),
            write_buffer_bytes: self.write_buffer_bytes.or(other.write_buffer_bytes),
            block_cache_bytes: self.block_cache_bytes.or(other.block_cache_bytes),
            compression: self.compression.or(other.compression),
            heartbeat: self.heartbeat.or(other.heartbeat),
            election_timeout: self.election_timeout.or(other.election_timeout),
            lease_reads: self.lease_reads.or(other.lease_reads),
            log_keep_bytes: self.log_keep_bytes.or(other.log_keep_bytes),
            disk_reserve_bytes: self.disk_reserve_bytes.or(other.disk_reserve_bytes),
        }
    }

    /// Reads settings from the text of a file.
    ///
    /// # Errors
    ///
    /// For text that is no TOML, a key that is no setting, and a value of the wrong kind; with
    /// the line.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        // It is for people who need not know Rust.
        let in_words = |text: String| text.replace("expected u64", "expected a whole number");
        toml::from_str(text).map_err(|error: toml::de::Error| in_words(error.to_string()))
    }

    /// Reads settings from a file.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
        let given = text.and_then(|text| Self::parse(&text));
        given.map_err(|reason| Error::File { path: path.to_owned(), reason })
    }

    /// As the text of a file.
    pub(super) fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# {error}\n"))
    }
}

/// The founding members as a file lists them.
fn members_of_file<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "expected a list of nodes, as in [\"1=db1:5001/db1:4001\", \"2=db2:5001/db2:4001\"]"
    )]
    enum Written {
        List(Vec<String>),
    }
    let Written::List(list) = Written::deserialize(deserializer)?;
    Ok(Some(list))
}

/// An address that was given, or why it is none.
pub(super) fn address(setting: &'static str, text: &str) -> Result<Address, Error> {
    text.parse().map_err(|reason: String| Error::setting(setting, reason))
}
