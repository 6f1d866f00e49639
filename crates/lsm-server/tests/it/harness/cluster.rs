//! A cluster of processes in a folder of its own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lsm_client::{Client, ClientOptions, NodeClient};
use lsm_proto::v1::cluster_service_client::ClusterServiceClient;
use lsm_proto::v1::kv_service_client::KvServiceClient;
use lsm_proto::v1::{StatusRequest, StatusResponse};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::transport::{Channel, Endpoint};

use super::ports::{BLOCK_LEN, free_ports};
use super::{Certificates, Network, PATIENCE, Process, wait_for};

/// Most nodes of a cluster, those added later among them; each has two ports.
const NODES_MAX: u16 = BLOCK_LEN / 2;
/// Longest wait for a node that has much to catch up with.
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(120);
/// A leader that appended nothing for so long has nothing under way.
const REST_TIME: Duration = Duration::from_secs(3);
/// Longest wait for one answer about a node's state.
const STATUS_TIME_MAX: Duration = Duration::from_millis(500);

/// One cluster at a time.
static GATE: Semaphore = Semaphore::const_new(1);

/// A cluster, before it is started.
#[derive(Clone, Debug)]
pub(crate) struct Builder {
    count: u16,
    flags: Vec<String>,
    certificates: Option<Arc<Certificates>>,
    open_files_max: Option<u32>,
    network: Option<Network>,
}

impl Builder {
    /// Further flags for every node: `"--name value --other"`.
    pub(crate) fn flags(mut self, flags: &str) -> Self {
        self.flags.extend(flags.split_whitespace().map(str::to_owned));
        self
    }

    /// TLS with these certificates; clients show theirs.
    pub(crate) fn tls(mut self, certificates: &Arc<Certificates>) -> Self {
        self.certificates = Some(Arc::clone(certificates));
        self.flags(&certificates.flags("node"))
    }

    /// No process may ever have more files open than this.
    pub(crate) fn open_files_max(mut self, count: u32) -> Self {
        self.open_files_max = Some(count);
        self
    }

    /// Nodes reach each other over this network; clients reach them without it.
    pub(crate) fn over(mut self, network: &Network) -> Self {
        self.network = Some(network.clone());
        self
    }

    /// Starts the nodes, and returns when one leads.
    pub(crate) async fn start(self) -> Cluster {
        let permit = GATE.acquire().await.unwrap();
        let (founders, first_port) = (1..=u64::from(self.count), free_ports(2 * NODES_MAX));
        let mut known_at = BTreeMap::new();
        for node in founders.clone() {
            let own = (peer_port(first_port, node), client_port(first_port, node));
            known_at.insert(
                node,
                match &self.network {
                    None => own,
                    Some(network) => (
                        network.port_before(node, own.0).await,
                        network.port_before(node, own.1).await,
                    ),
                },
            );
        }
        let mut cluster = Cluster {
            dir: tempfile::tempdir().unwrap(),
            first_port,
            known_at,
            founders: founders.collect(),
            network: self.network,
            flags: self.flags,
            certificates: self.certificates,
            open_files_max: self.open_files_max,
            running: BTreeMap::new(),
            known: 0,
            _permit: permit,
        };
        for node in cluster.founders.clone() {
            cluster.run_node(node);
        }
        cluster.leader().await;
        cluster
    }
}

/// Nodes that are numbered from 1, each with a folder and two ports that it keeps.
#[derive(Debug)]
pub(crate) struct Cluster {
    // Dropped first, so that each prints its log while the folder is there.
    running: BTreeMap<u64, Process>,
    founders: Vec<u64>,
    flags: Vec<String>,
    certificates: Option<Arc<Certificates>>,
    open_files_max: Option<u32>,
    first_port: u16,
    /// The ports of the founders, for nodes and for clients, as the nodes know them.
    known_at: BTreeMap<u64, (SocketAddr, SocketAddr)>,
    network: Option<Network>,
    /// The highest number in use.
    known: u64,
    dir: TempDir,
    _permit: SemaphorePermit<'static>,
}

/// Processes.
impl Cluster {
    /// A cluster of founding nodes.
    pub(crate) fn builder(count: u16) -> Builder {
        assert!(count <= NODES_MAX);
        Builder {
            count,
            flags: Vec::new(),
            certificates: None,
            open_files_max: None,
            network: None,
        }
    }

    /// A cluster with the default settings, and a leader.
    pub(crate) async fn start(count: u16) -> Self {
        Self::builder(count).start().await
    }

    /// The arguments that start a node: as a founder, or to be added.
    pub(crate) fn arguments(&self, node: u64) -> Vec<String> {
        let mut arguments = vec!["start".to_owned()];
        let mut flag = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        flag("--node", node.to_string());
        flag("--data", self.data(node).display().to_string());
        flag("--cluster", "test".to_owned());
        flag("--listen", self.address(node).to_string());
        flag("--peer-listen", self.peer_address(node).to_string());
        if self.founders.contains(&node) {
            let known = self.known_at.iter();
            let members: Vec<_> =
                known.map(|(node, (peers, clients))| format!("{node}={peers}/{clients}")).collect();
            flag("--members", members.join(","));
            let (peers, clients) = self.known_at[&node];
            flag("--advertise-peer", peers.to_string());
            flag("--advertise", clients.to_string());
        } else {
            arguments.push("--join".to_owned());
        }
        arguments.extend(self.flags.iter().cloned());
        arguments
    }

    /// Starts a node that does not run, on the folder that it has or a new one. Does not wait.
    pub(crate) fn run_node(&mut self, node: u64) {
        assert!(!self.running.contains_key(&node), "node {node} runs");
        assert!((1..=u64::from(NODES_MAX)).contains(&node));
        self.known = self.known.max(node);
        let (arguments, log) = (self.arguments(node), self.log(node));
        let process = Process::start_within(self.open_files_max, &arguments, &log);
        if let Some(network) = &self.network {
            network.runs(node, process.id());
        }
        self.running.insert(node, process);
    }

    /// Other flags for nodes that are started from now on; see [`Builder::flags`].
    pub(crate) fn set_flags(&mut self, flags: &str) {
        self.flags = flags.split_whitespace().map(str::to_owned).collect();
    }

    /// Starts a node that waits to be added to the cluster. Returns its number.
    pub(crate) fn run_joining_node(&mut self) -> u64 {
        let node = self.known + 1;
        self.run_node(node);
        node
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, node: u64) {
        self.running.remove(&node).expect("it runs").kill();
    }

    /// `kill -9` for several, as close together as can be.
    pub(crate) fn kill_all(&mut self, nodes: &[u64]) {
        for node in nodes {
            self.running[node].signal("KILL");
        }
        for node in nodes {
            self.kill(*node);
        }
    }

    /// SIGTERM; returns how, and how fast, the node ended.
    pub(crate) async fn terminate(&mut self, node: u64) -> (ExitStatus, Duration) {
        let start = Instant::now();
        self.process(node).signal("TERM");
        let status = self.process(node).wait(PATIENCE).await;
        self.running.remove(&node);
        (status, start.elapsed())
    }

    /// SIGSTOP: the node does nothing, and its connections stay.
    pub(crate) fn pause(&self, node: u64) {
        self.running[&node].signal("STOP");
    }

    /// SIGCONT.
    pub(crate) fn resume(&self, node: u64) {
        self.running[&node].signal("CONT");
    }

    /// The process of a node that was started.
    pub(crate) fn process(&mut self, node: u64) -> &mut Process {
        self.running.get_mut(&node).expect("it runs")
    }

    /// Forgets the process of a node that ended on its own; says how it ended and the end of
    /// its log.
    pub(crate) async fn wait_for_end(&mut self, node: u64) -> (ExitStatus, String) {
        let status = self.process(node).wait(PATIENCE).await;
        let process = self.running.remove(&node).expect("it was there");
        (status, process.log_end())
    }

    /// Removes the folder of a node that does not run: its disk is lost.
    pub(crate) fn wipe(&mut self, node: u64) {
        assert!(!self.running.contains_key(&node), "node {node} runs");
        std::fs::remove_dir_all(self.data(node)).unwrap();
    }

    /// The nodes whose processes were started and not ended by the test.
    pub(crate) fn running(&self) -> Vec<u64> {
        self.running.keys().copied().collect()
    }

    /// The folder of a node.
    pub(crate) fn data(&self, node: u64) -> PathBuf {
        self.dir.path().join(format!("node-{node}"))
    }

    /// Bytes of the replicated log of a node on disk.
    pub(crate) fn log_bytes(&self, node: u64) -> u64 {
        let files = std::fs::read_dir(self.data(node).join("log")).unwrap();
        // One that was removed meanwhile has none.
        files.map(|file| file.unwrap().metadata().map_or(0, |data| data.len())).sum()
    }

    /// What a node said, over all its lives.
    pub(crate) fn log(&self, node: u64) -> PathBuf {
        self.dir.path().join(format!("node-{node}.log"))
    }

    /// Where a node serves clients.
    pub(crate) fn address(&self, node: u64) -> SocketAddr {
        client_port(self.first_port, node)
    }

    /// Where a node serves nodes.
    pub(crate) fn peer_address(&self, node: u64) -> SocketAddr {
        peer_port(self.first_port, node)
    }
}

fn client_port(first_port: u16, node: u64) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, first_port + 2 * (node as u16 - 1)).into()
}

fn peer_port(first_port: u16, node: u64) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, client_port(first_port, node).port() + 1).into()
}

/// Requests.
impl Cluster {
    /// A client that knows all nodes.
    pub(crate) async fn client(&self) -> Client {
        let addresses: Vec<_> =
            (1..=self.known).map(|node| self.address(node).to_string()).collect();
        self.options().open(addresses).await.unwrap()
    }

    fn options(&self) -> ClientOptions {
        let options = ClientOptions::default().timeout(PATIENCE);
        match &self.certificates {
            Some(certificates) => options.tls(certificates.client()),
            None => options,
        }
    }

    /// One node, asked for itself.
    pub(crate) async fn node(&self, node: u64) -> NodeClient {
        let address = self.address(node).to_string();
        let client = self.options().open([&address]).await.unwrap();
        client.node(&address).unwrap()
    }

    /// A connection to a node, for the generated clients. Made when it is first used.
    pub(crate) fn channel(&self, node: u64) -> Channel {
        let address = self.address(node);
        let endpoint = match &self.certificates {
            None => Endpoint::from_shared(format!("http://{address}")).unwrap(),
            Some(certificates) => {
                let tls = certificates.config(Some((certificates, "client")));
                let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
                endpoint.tls_config(tls).unwrap()
            }
        };
        endpoint.tcp_nodelay(true).connect_timeout(PATIENCE).connect_lazy()
    }

    /// The generated client of a node's KVService.
    pub(crate) fn kv(&self, node: u64) -> KvServiceClient<Channel> {
        KvServiceClient::new(self.channel(node))
    }

    /// What a node knows, if it answers at all.
    pub(crate) async fn status(&self, node: u64) -> Option<StatusResponse> {
        let mut client = ClusterServiceClient::new(self.channel(node));
        let answer = tokio::time::timeout(STATUS_TIME_MAX, client.status(StatusRequest {})).await;
        Some(answer.ok()?.ok()?.into_inner())
    }

    /// What a node knows, as soon as it answers.
    pub(crate) async fn told(&self, node: u64) -> StatusResponse {
        wait_for("the node's status", PATIENCE, async || self.status(node).await).await
    }

    /// Waits until all running nodes agree on who leads.
    pub(crate) async fn leader(&self) -> u64 {
        self.leader_within(PATIENCE).await
    }

    /// Waits until all running nodes agree on who leads, but not longer.
    pub(crate) async fn leader_within(&self, time_max: Duration) -> u64 {
        self.leader_of(&self.running(), time_max).await
    }

    /// Waits until these nodes agree that one of them leads.
    pub(crate) async fn leader_of(&self, nodes: &[u64], time_max: Duration) -> u64 {
        wait_for("a leader", time_max, async || {
            let mut leaders = Vec::new();
            for node in nodes {
                let status = self.status(*node).await?;
                leaders.push((status.leader, status.term));
            }
            let (leader, term) = *leaders.first()?;
            let agreed = leaders.iter().all(|other| *other == (leader, term));
            (agreed && nodes.contains(&leader)).then_some(leader)
        })
        .await
    }

    /// Waits until all running nodes have applied what the leader has committed now.
    pub(crate) async fn caught_up(&self) {
        let leader = self.leader().await;
        let committed = self.told(leader).await.committed;
        for node in self.running() {
            wait_for("catching up", CATCH_UP_TIME_MAX, async || {
                let applied = self.status(node).await?.applied;
                (applied >= committed).then_some(())
            })
            .await;
        }
    }

    /// Waits until nothing has been added to the log for a while.
    pub(crate) async fn at_rest(&self) {
        let (mut last_index, mut since) = (0, Instant::now());
        wait_for("a log that stays as it is", PATIENCE, async || {
            let leader = self.leader().await;
            let now = self.status(leader).await?.last_index;
            if now != last_index {
                (last_index, since) = (now, Instant::now());
            }
            (since.elapsed() >= REST_TIME).then_some(())
        })
        .await;
    }

    /// Asserts that all running nodes hold the same state.
    pub(crate) async fn assert_equal_states(&self) {
        self.caught_up().await;
        let client = self.client().await;
        wait_for("a hash of every node", CATCH_UP_TIME_MAX, async || {
            let check = client.hash_check().await.unwrap();
            assert!(check.equal, "{check:?}");
            // A node that has much to do may not answer in time: that says nothing of its state.
            let hashed = check.hashes.iter().filter(|hash| hash.error.is_empty()).count();
            if hashed < self.running.len() {
                println!("{check:?}");
            }
            (hashed >= self.running.len()).then_some(())
        })
        .await;
    }
}
