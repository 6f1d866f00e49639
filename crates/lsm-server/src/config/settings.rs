//! Settings that were checked: what the rest of the program is started with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lsm_args::{Bytes, Time};
use lsm_core::{Compression as Packing, Options};
use lsm_raft::{Config, Members};

use super::error::Error;
use super::filter;
use super::given::{Compression, Given, LogFormat, StartArgs, address};
use super::nodes::{Address, Listen, parse_members};
use super::tls::tls;
use crate::limits::{BATCH_BYTES_MOST, Limits};
use crate::tls::Tls;

/// Ticks of raft between two heartbeats: a follower counts its time in these.
const TICKS_PER_HEARTBEAT: u32 = 2;
/// An election takes at least this many heartbeats, so that one that is lost starts none.
const HEARTBEATS_PER_ELECTION_MIN: u32 = 3;
/// Longest name of a cluster, in bytes.
const CLUSTER_LEN_MAX: usize = 64;

/// What one node is started with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Number of the node.
    pub(crate) node: u64,
    /// Its folder.
    pub(crate) data: PathBuf,
    /// Name of the cluster.
    pub(crate) cluster: String,
    /// Where clients connect.
    pub(crate) listen: SocketAddr,
    /// Where nodes connect.
    pub(crate) peer_listen: SocketAddr,
    /// What clients are told.
    pub(crate) advertise: Address,
    /// What nodes are told.
    pub(crate) advertise_peer: Address,
    /// The founding members; none for a node that joins.
    pub(crate) founders: Option<Members>,
    /// What both ports speak, if it is TLS.
    pub(crate) tls: Option<Arc<Tls>>,
    /// What is logged, and how.
    pub(crate) log: Log,
    /// Threads that serve requests.
    pub(crate) threads: usize,
    /// Bounds on what comes in.
    pub(crate) limits: Limits,
    /// For `lsm-raft`.
    pub(crate) raft: Config,
    /// For `lsm-core`.
    pub(crate) engine: Options,
    effective: Given,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    /// Directives, as `tracing` reads them: what is not named by one has a level, too.
    pub(crate) filter: String,
    /// Text or JSON.
    pub(crate) format: LogFormat,
}

impl Settings {
    /// Collects the settings from flags and environment (which come in `args`), the file that
    /// these name, and the defaults; and checks them.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub(crate) fn new(args: StartArgs) -> Result<Self, Error> {
        let file = args.config.as_deref().map(Given::read).transpose()?;
        Self::check(&args.given.or(file.unwrap_or_default()).or(defaults()))
    }

    /// All settings as they are now, as a file that `--config` would read.
    pub(crate) fn to_toml(&self) -> String {
        self.effective.to_toml()
    }

    fn check(given: &Given) -> Result<Self, Error> {
        let node = check_node(given.node)?;
        let data = given.data.clone().filter(|data| !data.as_os_str().is_empty());
        let data = data.ok_or_else(|| Error::setting("data", "a node needs a folder"))?;
        let listen = check_port("listen", need("listen", given.listen)?.0)?;
        let peer_listen = check_port("peer-listen", need("peer-listen", given.peer_listen)?.0)?;
        if listen == peer_listen {
            let reason = format!("both are {listen}; clients and nodes need ports of their own");
            return Err(Error::contradiction("listen", "peer-listen", reason));
        }
        let founders = founders(given, node)?;
        let own = founders.as_ref().and_then(|members| members.nodes.get(&node));
        let advertise = advertised(
            ("advertise", "listen"),
            given.advertise.as_deref(),
            listen,
            own.map(|member| member.client_address.as_str()),
        )?;
        let advertise_peer = advertised(
            ("advertise-peer", "peer-listen"),
            given.advertise_peer.as_deref(),
            peer_listen,
            own.map(|member| member.peer_address.as_str()),
        )?;
        if advertise == advertise_peer {
            let reason = format!("both are {advertise}; clients and nodes need ports of their own");
            return Err(Error::contradiction("advertise", "advertise-peer", reason));
        }
        let limits = limits(given)?;
        let tls = tls(given, [&advertise, &advertise_peer])?.map(Arc::new);
        Ok(Self {
            node,
            data,
            cluster: check_cluster(need("cluster", given.cluster.clone())?)?,
            listen,
            peer_listen,
            advertise,
            advertise_peer,
            founders,
            tls,
            log: log(given)?,
            threads: number("threads", given.threads, 1, 256)? as usize,
            raft: raft(given, node, &limits)?,
            engine: engine(given)?,
            limits,
            effective: given.clone(),
        })
    }
}

/// What is used where nothing is given. Addresses to advertise follow from others.
pub(super) fn defaults() -> Given {
    let limits = Limits::default();
    let raft = Config::new(1);
    let bytes = |bytes: usize| Some(Bytes(bytes as u64));
    Given {
        cluster: Some("lsm".into()),
        listen: Some(Listen(([127, 0, 0, 1], 4001).into())),
        peer_listen: Some(Listen(([127, 0, 0, 1], 5001).into())),
        join: Some(false),
        tls_client_auth: Some(false),
        log_level: Some("info".into()),
        log_format: Some(LogFormat::Text),
        threads: Some(threads()),
        value_bytes_max: bytes(limits.value_bytes_max),
        batch_bytes_max: bytes(limits.batch_bytes_max),
        page_bytes_max: bytes(limits.page_bytes_max),
        scans_max: Some(limits.scans_max as u64),
        streams_max: Some(limits.streams_max.into()),
        connections_max: Some(limits.connections_max as u64),
        requests_max: Some(limits.requests_max as u64),
        requests_bytes_max: bytes(limits.requests_bytes_max),
        request_time_max: Some(Time(limits.request_time_max)),
        leader_wait_max: Some(Time(limits.leader_wait_max)),
        keepalive_interval: Some(Time(limits.keepalive_interval)),
        keepalive_timeout: Some(Time(limits.keepalive_timeout)),
        write_buffer_bytes: bytes(64 << 20),
        block_cache_bytes: bytes(128 << 20),
        compression: Some(Compression::Lz4),
        heartbeat: Some(Time(raft.tick * raft.heartbeat_ticks as u32)),
        election_timeout: Some(Time(raft.tick * raft.election_ticks_min as u32)),
        lease_reads: Some(raft.lease_reads),
        log_keep_bytes: Some(Bytes(raft.log_keep_bytes)),
        ..Given::default()
    }
}

/// Half of the cores: the node's own threads want the rest.
fn threads() -> u64 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64 / 2).clamp(1, 256)
}

fn need<T>(setting: &'static str, given: Option<T>) -> Result<T, Error> {
    given.ok_or_else(|| Error::setting(setting, "is needed"))
}

fn number(setting: &'static str, given: Option<u64>, least: u64, most: u64) -> Result<u64, Error> {
    let number = need(setting, given)?;
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    Err(Error::setting(setting, format!("is {number}, but must be from {least} to {most}")))
}

fn size(setting: &'static str, given: Option<Bytes>, least: u64, most: u64) -> Result<u64, Error> {
    let size = need(setting, given)?;
    let (least, most) = (Bytes(least), Bytes(most));
    if (least..=most).contains(&size) {
        return Ok(size.0);
    }
    Err(Error::setting(setting, format!("is {size}, but must be from {least} to {most}")))
}

/// Times in milliseconds.
fn time(
    setting: &'static str,
    given: Option<Time>,
    least: u64,
    most: u64,
) -> Result<Duration, Error> {
    let time = need(setting, given)?;
    let (least, most) = (Time::millis(least), Time::millis(most));
    if (least..=most).contains(&time) {
        return Ok(time.0);
    }
    Err(Error::setting(setting, format!("is {time}, but must be from {least} to {most}")))
}

fn check_node(node: Option<u64>) -> Result<u64, Error> {
    match node {
        Some(0) => Err(Error::setting("node", "is 0, but node ids start at 1")),
        Some(node) => Ok(node),
        None => Err(Error::setting("node", "a node needs a number; the first of a cluster is 1")),
    }
}

/// The name travels in the head of calls between nodes, which is plain text.
fn check_cluster(name: String) -> Result<String, Error> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if (1..=CLUSTER_LEN_MAX).contains(&name.len()) && name.chars().all(good) {
        return Ok(name);
    }
    let reason =
        format!("is {name:?}, but must be 1 to {CLUSTER_LEN_MAX} letters, digits, '.', '-' or '_'");
    Err(Error::setting("cluster", reason))
}

fn check_port(setting: &'static str, address: SocketAddr) -> Result<SocketAddr, Error> {
    if address.port() == 0 {
        return Err(Error::setting(setting, "port 0 is none that others could be told"));
    }
    Ok(address)
}

fn founders(given: &Given, node: u64) -> Result<Option<Members>, Error> {
    let join = given.join == Some(true);
    // A variable that is empty is one word of no letters.
    let is_given = |list: &&[String]| list.iter().any(|member| !member.trim().is_empty());
    let list = given.members.as_deref().filter(is_given);
    match (list, join) {
        (Some(_), true) => {
            let reason = "the founding nodes of a cluster are given --members, those that are \
                          added later --join";
            Err(Error::contradiction("members", "join", reason))
        }
        (None, true) => Ok(None),
        (None, false) => {
            let reason = "is needed: the founding nodes of the cluster, the same on all of them; \
                          or --join for a node that is added to a cluster";
            Err(Error::setting("members", reason))
        }
        (Some(list), false) => {
            let members =
                parse_members(list).map_err(|reason| Error::setting("members", reason))?;
            if !members.nodes.contains_key(&node) {
                let ids: Vec<_> = members.nodes.keys().map(u64::to_string).collect();
                let reason = format!("this is node {node}, but the members are {}", ids.join(", "));
                return Err(Error::contradiction("node", "members", reason));
            }
            Ok(Some(members))
        }
    }
}

/// What others are told to reach this node: as given; else as all founders know it; else where
/// it listens.
fn advertised(
    (setting, listen_setting): (&'static str, &'static str),
    given: Option<&str>,
    listen: SocketAddr,
    member: Option<&str>,
) -> Result<Address, Error> {
    match (given, member) {
        (Some(given), Some(member)) if given != member => {
            let reason = format!("the members know this node at {member}, not {given}");
            Err(Error::contradiction(setting, "members", reason))
        }
        (Some(given), _) => address(setting, given),
        (None, Some(member)) => {
            let known = member.parse::<SocketAddr>().ok();
            if known.is_some_and(|known| known != listen && !listen.ip().is_unspecified()) {
                let reason = format!(
                    "the members know this node at {member}, but it listens at {listen}; if that \
                     is meant, say so with --{setting} {member}"
                );
                return Err(Error::contradiction(listen_setting, "members", reason));
            }
            address(setting, member)
        }
        (None, None) if listen.ip().is_unspecified() => {
            let reason = format!("is needed, because {listen} is no address that others could use");
            Err(Error::setting(setting, reason))
        }
        (None, None) => address(setting, &listen.to_string()),
    }
}

fn log(given: &Given) -> Result<Log, Error> {
    let level = need("log-level", given.log_level.as_deref())?;
    let filter = filter::parse(level).map_err(|reason| Error::setting("log-level", reason))?;
    Ok(Log { filter, format: need("log-format", given.log_format)? })
}

fn limits(given: &Given) -> Result<Limits, Error> {
    let count = |setting, given, most| number(setting, given, 1, most).map(|n| n as usize);
    let bytes = |setting, given, least, most| size(setting, given, least, most).map(|n| n as usize);
    let limits = Limits {
        value_bytes_max: bytes("value-bytes-max", given.value_bytes_max, 1 << 10, 64 << 20)?,
        batch_bytes_max: bytes(
            "batch-bytes-max",
            given.batch_bytes_max,
            1 << 10,
            BATCH_BYTES_MOST as u64,
        )?,
        page_bytes_max: bytes("page-bytes-max", given.page_bytes_max, 1 << 10, 16 << 20)?,
        scans_max: count("scans-max", given.scans_max, 10_000)?,
        streams_max: number("streams-max", given.streams_max, 1, 100_000)? as u32,
        connections_max: count("connections-max", given.connections_max, 60_000)?,
        requests_max: count("requests-max", given.requests_max, 1_000_000)?,
        requests_bytes_max: bytes(
            "requests-bytes-max",
            given.requests_bytes_max,
            2 << 20,
            1 << 40,
        )?,
        request_time_max: time("request-time-max", given.request_time_max, 10, 600_000)?,
        leader_wait_max: time("leader-wait-max", given.leader_wait_max, 0, 600_000)?,
        keepalive_interval: time("keepalive-interval", given.keepalive_interval, 1000, 3_600_000)?,
        keepalive_timeout: time("keepalive-timeout", given.keepalive_timeout, 1000, 600_000)?,
        ..Limits::default()
    };
    check_limits(&limits)?;
    // Scans find room for their pages, whatever those are: of each one waits and one follows.
    let pages = 2 * limits.scans_max * limits.page_bytes_max;
    let answer_bytes_max = limits.answer_bytes_max.max(pages);
    Ok(Limits { answer_bytes_max, ..limits })
}

/// Limits that fit the ranges, but not each other.
fn check_limits(limits: &Limits) -> Result<(), Error> {
    let bytes = |bytes: usize| Bytes(bytes as u64);
    if limits.batch_bytes_max < limits.value_bytes_max {
        let (batch, value) = (bytes(limits.batch_bytes_max), bytes(limits.value_bytes_max));
        let reason = format!("a batch of {batch} cannot hold a value of {value}");
        return Err(Error::contradiction("batch-bytes-max", "value-bytes-max", reason));
    }
    if limits.requests_bytes_max < limits.request_bytes_max() {
        let (all, one) = (bytes(limits.requests_bytes_max), bytes(limits.request_bytes_max()));
        let reason = format!("all requests in {all} leave no room for a single one of {one}");
        return Err(Error::contradiction("requests-bytes-max", "batch-bytes-max", reason));
    }
    if limits.leader_wait_max > limits.request_time_max {
        let (request, wait) = (Time(limits.request_time_max), Time(limits.leader_wait_max));
        let reason = format!("a request of {request} cannot wait {wait} for a leader");
        return Err(Error::contradiction("leader-wait-max", "request-time-max", reason));
    }
    Ok(())
}

fn raft(given: &Given, node: u64, limits: &Limits) -> Result<Config, Error> {
    let heartbeat = time("heartbeat", given.heartbeat, 10, 10_000)?;
    let election = time("election-timeout", given.election_timeout, 50, 120_000)?;
    if election < heartbeat * HEARTBEATS_PER_ELECTION_MIN {
        let reason = format!(
            "an election timeout of {} is less than {HEARTBEATS_PER_ELECTION_MIN} heartbeats of {}",
            Time(election),
            Time(heartbeat)
        );
        return Err(Error::contradiction("election-timeout", "heartbeat", reason));
    }
    let tick = heartbeat / TICKS_PER_HEARTBEAT;
    let election_ticks = election.as_nanos().div_ceil(tick.as_nanos()) as usize;
    let base = Config::new(node);
    let config = Config {
        tick,
        heartbeat_ticks: TICKS_PER_HEARTBEAT as usize,
        election_ticks_min: election_ticks,
        election_ticks_max: 2 * election_ticks,
        lease_reads: need("lease-reads", given.lease_reads)?,
        // Some batches of full size fit, whatever that is.
        pending_bytes_max: base.pending_bytes_max.max(4 * limits.batch_bytes_max),
        log_keep_bytes: size("log-keep-bytes", given.log_keep_bytes, 1 << 20, 1 << 40)?,
        disk_reserve_bytes: given
            .disk_reserve_bytes
            .map(|bytes| size("disk-reserve-bytes", Some(bytes), 0, 1 << 60))
            .transpose()?,
        ..base
    };
    // Ours are narrower; this says so if that ever changes.
    config.validate().map_err(|error| Error::setting("election-timeout", error.to_string()))?;
    Ok(config)
}

fn engine(given: &Given) -> Result<Options, Error> {
    let write_buffer = size("write-buffer-bytes", given.write_buffer_bytes, 64 << 10, 4 << 30)?;
    let block_cache = size("block-cache-bytes", given.block_cache_bytes, 0, 1 << 40)?;
    let compression = match need("compression", given.compression)? {
        Compression::None => Packing::None,
        Compression::Lz4 => Packing::Lz4,
    };
    Ok(Options::default()
        .write_buffer_bytes(write_buffer as usize)
        // As many as one keyspace may have, however large they are.
        .write_buffers_bytes_max((4 * write_buffer as usize).max(1 << 30))
        .block_cache_bytes(block_cache as usize)
        .compression(compression))
}

#[cfg(test)]
#[path = "settings_test.rs"]
mod tests;
