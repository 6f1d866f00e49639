//! A group of replicas in one process, each behind a real server, for tests.
//!
//! Messages of raft go from replica to replica by hand; clients and forwarded requests go over
//! TCP.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use lsm_core::SystemClock;
use lsm_core::fs::{FaultFs, OsFs};
use lsm_proto::v1::cluster_service_client::ClusterServiceClient;
use lsm_proto::v1::kv_service_client::KvServiceClient;
use lsm_proto::v1::session_service_client::SessionServiceClient;
use lsm_proto::v1::storage_service_client::StorageServiceClient;
use lsm_raft::raft::eraftpb::Message;
use lsm_raft::{Config, Member, Members, Outgoing, Replica, ReplicaOptions, Role, Transport};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint, Server};

use super::context::{Context, Peers};
use super::health::Health;
use super::routes::routes;
use crate::front::Admission;
use crate::front::listener;
use crate::limits::Limits;

/// Long enough for an election on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked for what must come about.
const LOOK: Duration = Duration::from_millis(20);

/// Carries messages between the replicas.
#[derive(Default)]
pub(super) struct Net {
    replicas: Mutex<HashMap<u64, Replica>>,
    cut: Mutex<HashSet<u64>>,
    /// What is on its way to a node that gets nothing for now, in order.
    held: Mutex<Option<(u64, Vec<Message>)>>,
    /// This node takes long to hash its state.
    slow: Mutex<Option<u64>>,
}

/// One end of the net.
struct Wire {
    net: Arc<Net>,
    node: u64,
}

impl Net {
    fn between(&self, from: u64, to: u64) -> Option<Replica> {
        let cut = self.cut.lock();
        if cut.contains(&from) || cut.contains(&to) {
            return None;
        }
        self.replicas.lock().get(&to).cloned()
    }

    /// Lets this node take as long as it is called slow to hash its state.
    pub(super) fn slow(&self, node: Option<u64>) {
        *self.slow.lock() = node;
    }

    /// Keeps messages to this node until [`release`](Self::release): its own still leave.
    pub(super) fn hold(&self, node: u64) {
        *self.held.lock() = Some((node, Vec::new()));
    }

    pub(super) fn release(&self) {
        let Some((node, messages)) = self.held.lock().take() else { return };
        if let Some(replica) = self.replicas.lock().get(&node) {
            replica.deliver(messages);
        }
    }

    /// True if it is kept.
    fn keep(&self, message: &Message) -> bool {
        match &mut *self.held.lock() {
            Some((node, messages)) if *node == message.to => {
                messages.push(message.clone());
                true
            }
            _ => false,
        }
    }

    /// Lets no message to or from a node through.
    pub(super) fn cut(&self, node: u64) {
        self.cut.lock().insert(node);
    }
}

impl Transport for Wire {
    fn send(&self, messages: Vec<Message>) {
        for message in messages {
            if self.net.keep(&message) {
                continue;
            }
            if let Some(replica) = self.net.between(self.node, message.to) {
                replica.deliver(vec![message]);
            }
        }
    }

    fn send_snapshot(&self, message: Message, _: Arc<Outgoing>) {
        if let Some(replica) = self.net.between(self.node, self.node) {
            replica.snapshot_sent(message.to, false);
        }
    }
}

#[tonic::async_trait]
impl Peers for Wire {
    async fn state_hash(&self, node: u64, index: u64, _: Duration) -> Result<Vec<u8>, String> {
        loop {
            let replica = self.net.between(self.node, node);
            let replica = replica.ok_or_else(|| format!("node {node} cannot be reached"))?;
            let is_slow = *self.net.slow.lock() == Some(node);
            if let Some(hash) = replica.hash(index).filter(|_| !is_slow) {
                return hash.map(|hash| hash.to_vec());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// What a node that stops tells first.
type Closing = (Health, watch::Sender<bool>);

/// A group, its nodes numbered from 1. Gone when dropped.
pub(super) struct Group {
    pub(super) net: Arc<Net>,
    pub(super) addresses: Vec<String>,
    /// Of all nodes.
    pub(super) disk: FaultFs,
    channels: Vec<Channel>,
    servers: Vec<JoinHandle<()>>,
    /// Of each node, until it closes.
    closings: Mutex<Vec<Option<Closing>>>,
    /// After all else: the replicas work in there.
    _dir: tempfile::TempDir,
}

impl Group {
    pub(super) async fn start(count: u64, limits: Limits) -> Self {
        Self::start_behind(None, count, limits).await
    }

    /// A group whose members say that clients reach all of them at `address`.
    pub(super) async fn start_behind(address: Option<&str>, count: u64, limits: Limits) -> Self {
        let said = address;
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultFs::new(Arc::new(OsFs));
        let (net, limits) = (Arc::new(Net::default()), Arc::new(limits));
        let (mut listeners, mut addresses, mut members) =
            (Vec::new(), Vec::new(), Members::default());
        for node in 1..=count {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let member = Member {
                role: Role::Voter,
                peer_address: format!("peer-{node}:1"),
                client_address: said.unwrap_or(&address).to_owned(),
                incarnation: None,
            };
            members.nodes.insert(node, member);
            listeners.push(listener);
            addresses.push(address);
        }
        let (mut channels, mut servers, mut closings) = (Vec::new(), Vec::new(), Vec::new());
        for (node, listener) in (1..).zip(listeners) {
            let wire = Arc::new(Wire { net: Arc::clone(&net), node });
            let options = options(node, members.clone(), &disk);
            let replica =
                options.open(dir.path().join(node.to_string()), Arc::clone(&wire) as _).unwrap();
            net.replicas.lock().insert(node, replica.clone());
            let context = Context::new(replica, Arc::clone(&limits), None, wire);
            let (routes, health) = routes(&context).await.unwrap();
            let (closing, closed) = watch::channel(false);
            let admission = Admission::new(routes, &limits, closed);
            closings.push(Some((health, closing)));
            let incoming = listener::incoming(listener, &limits, None);
            servers.push(tokio::spawn(async move {
                Server::builder().serve_with_incoming(admission, incoming).await.unwrap();
            }));
            let endpoint = format!("http://{}", addresses[node as usize - 1]);
            channels.push(Endpoint::from_shared(endpoint).unwrap().connect_lazy());
        }
        let closings = Mutex::new(closings);
        let group = Self { net, addresses, disk, channels, servers, closings, _dir: dir };
        group.leader().await;
        group
    }

    pub(super) fn replica(&self, node: u64) -> Replica {
        self.net.replicas.lock()[&node].clone()
    }

    /// Waits until all nodes that are not cut off agree on a leader.
    pub(super) async fn leader(&self) -> u64 {
        let agreed = async {
            loop {
                let cut = self.net.cut.lock().clone();
                let replicas: Vec<_> = self.net.replicas.lock().values().cloned().collect();
                let there =
                    replicas.iter().filter(|replica| !cut.contains(&replica.identity().node));
                let leaders: HashSet<_> = there.map(|replica| replica.status().leader).collect();
                match leaders.iter().next() {
                    Some(&Some(leader)) if leaders.len() == 1 && !cut.contains(&leader) => {
                        return leader;
                    }
                    _ => tokio::time::sleep(LOOK).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, agreed).await.expect("a leader is elected in time")
    }

    /// Some node that does not lead.
    pub(super) async fn follower(&self) -> u64 {
        let leader = self.leader().await;
        (1..).find(|node| *node != leader).unwrap()
    }

    /// Does what a node does first when it stops.
    pub(super) async fn close(&self, node: u64) {
        let (health, closing) = self.closings.lock()[node as usize - 1].take().unwrap();
        health.close().await;
        closing.send_replace(true);
    }

    pub(super) fn channel(&self, node: u64) -> Channel {
        self.channels[node as usize - 1].clone()
    }

    pub(super) fn kv(&self, node: u64) -> KvServiceClient<Channel> {
        KvServiceClient::new(self.channel(node)).max_decoding_message_size(usize::MAX)
    }

    pub(super) fn sessions(&self, node: u64) -> SessionServiceClient<Channel> {
        SessionServiceClient::new(self.channel(node))
    }

    pub(super) fn storage(&self, node: u64) -> StorageServiceClient<Channel> {
        StorageServiceClient::new(self.channel(node))
    }

    pub(super) fn cluster(&self, node: u64) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel(node))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for server in &self.servers {
            server.abort();
        }
        // No farewells: a leader would look for an heir.
        let nodes: Vec<u64> = self.net.replicas.lock().keys().copied().collect();
        nodes.iter().for_each(|&node| self.net.cut(node));
        let replicas = std::mem::take(&mut *self.net.replicas.lock());
        let stops =
            replicas.into_values().map(|replica| std::thread::spawn(move || replica.stop()));
        stops.collect::<Vec<_>>().into_iter().for_each(|stop| stop.join().unwrap().unwrap());
    }
}

fn options(node: u64, members: Members, disk: &FaultFs) -> ReplicaOptions {
    // Where there are rivals a busy machine must not make elections that no test wants.
    let tick = Duration::from_millis(if members.nodes.len() > 1 { 100 } else { 20 });
    ReplicaOptions {
        config: Config { tick, ..Config::new(node) },
        cluster: "test".into(),
        founders: Some(members),
        engine: lsm_core::Options::default(),
        log_segment_bytes: 1 << 20,
        log_cache_bytes: 4 << 20,
        fs: Arc::new(disk.clone()),
        clock: Arc::new(SystemClock::new()),
        nonce: fastrand::u64(..),
    }
}
