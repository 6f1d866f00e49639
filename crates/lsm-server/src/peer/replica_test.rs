//! Replicas in one process, each with a folder, that talk over real connections.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lsm_core::SystemClock;
use lsm_core::fs::OsFs;
use lsm_raft::command::{Command, Op};
use lsm_raft::{Change, Config, Member, Members, Outcome, Refusal, Replica, ReplicaOptions, Role};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use super::fake::{PATIENCE, until};
use super::proxy::Proxy;
use super::{PeerTransport, identify, server};
use crate::limits::Limits;

/// Between two tries of something.
const WAIT: Duration = Duration::from_millis(20);
const TRIES_MAX: usize = 1000;

/// The nodes of a cluster, each behind a proxy, running or not.
struct Cluster {
    dir: TempDir,
    founders: Members,
    nodes: Vec<Place>,
}

struct Place {
    id: u64,
    proxy: Proxy,
    running: Option<Running>,
}

struct Running {
    replica: Replica,
    transport: Arc<PeerTransport>,
    tasks: Vec<JoinHandle<()>>,
}

fn client_address(node: u64) -> String {
    format!("client-{node}:1")
}

impl Cluster {
    async fn start(count: u64) -> Self {
        let mut cluster = Self {
            dir: tempfile::tempdir().unwrap(),
            founders: Members::default(),
            nodes: Vec::new(),
        };
        for id in 1..=count {
            let address = cluster.add_place(id).await;
            let member = Member {
                role: Role::Voter,
                peer_address: address,
                client_address: client_address(id),
                incarnation: None,
            };
            cluster.founders.nodes.insert(id, member);
        }
        for id in 1..=count {
            let founders = cluster.founders.clone();
            cluster.run(id, Some(founders)).await;
        }
        cluster
    }

    async fn add_place(&mut self, id: u64) -> String {
        let proxy = Proxy::start().await;
        let address = proxy.address.clone();
        self.nodes.push(Place { id, proxy, running: None });
        address
    }

    fn folder(&self, id: u64) -> PathBuf {
        self.dir.path().join(id.to_string())
    }

    fn place(&mut self, id: u64) -> &mut Place {
        self.nodes.iter_mut().find(|place| place.id == id).unwrap()
    }

    fn replica(&self, id: u64) -> &Replica {
        let place = self.nodes.iter().find(|place| place.id == id).unwrap();
        &place.running.as_ref().unwrap().replica
    }

    async fn run(&mut self, id: u64, founders: Option<Members>) {
        let mut config = Config::new(id);
        config.tick = Duration::from_millis(100);
        config.log_keep_bytes = 16 << 10;
        let options = ReplicaOptions {
            config,
            cluster: "test".into(),
            founders,
            engine: lsm_core::Options::default(),
            log_segment_bytes: 1 << 20,
            log_cache_bytes: 1 << 20,
            fs: Arc::new(OsFs),
            clock: Arc::new(SystemClock::new()),
            nonce: fastrand::u64(1..),
        };
        let limits = Arc::new(Limits::default());
        let transport =
            PeerTransport::new("test", 1, id, Arc::clone(&limits), None, Handle::current());
        let (folder, carrier) = (self.folder(id), Arc::clone(&transport));
        let replica = spawn_blocking(move || options.open(folder, carrier)).await.unwrap().unwrap();
        transport.attach(replica.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = self.place(id);
        place.proxy.plug(listener.local_addr().unwrap());
        let service = server(replica.clone(), &transport);
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        let address = place.proxy.address.clone();
        let identifying =
            identify(replica.clone(), Arc::clone(&transport), address, client_address(id));
        let tasks =
            vec![tokio::spawn(async move { serving.await.unwrap() }), tokio::spawn(identifying)];
        place.running = Some(Running { replica, transport, tasks });
    }

    async fn stop(&mut self, id: u64) {
        let place = self.place(id);
        place.proxy.unplug();
        let running = place.running.take().unwrap();
        running.stop().await;
    }

    /// Who leads, once all that run agree on it.
    async fn leader(&self) -> u64 {
        let leaders = || -> Vec<_> {
            let running = self.nodes.iter().filter_map(|place| place.running.as_ref());
            running.map(|running| running.replica.status().leader).collect()
        };
        let agree = || leaders()[0].is_some() && leaders().iter().all(|l| *l == leaders()[0]);
        until("all know one leader", agree).await;
        leaders()[0].unwrap()
    }

    async fn write(&self, key: &str, value: &[u8]) {
        let op = Op::Put { key: key.as_bytes(), value };
        let command = Command::Write { session: None, ops: vec![op] }.to_bytes();
        for _ in 0..TRIES_MAX {
            for place in &self.nodes {
                let Some(running) = &place.running else { continue };
                if let Ok(Outcome::Written { .. }) = running.replica.propose(command.clone()).await
                {
                    return;
                }
            }
            tokio::time::sleep(WAIT).await;
        }
        panic!("{key} could not be written");
    }

    /// Writes until something is so: a node tells its status anew only when it goes on.
    async fn write_until(&self, what: &str, is_so: impl Fn() -> bool) {
        for number in 0..TRIES_MAX {
            self.write(&format!("more{number}"), b"x").await;
            if is_so() {
                return;
            }
            tokio::time::sleep(WAIT).await;
        }
        panic!("it never came about: {what}");
    }

    async fn change(&self, changes: Vec<Change>) {
        for _ in 0..TRIES_MAX {
            let leader = self.leader().await;
            match self.replica(leader).change_members(changes.clone()).await {
                Ok(Outcome::Changed(Ok(_))) => return,
                other => eprintln!("{changes:?}: {other:?}"),
            }
            tokio::time::sleep(WAIT).await;
        }
        panic!("{changes:?} could not be made");
    }

    /// Lets all nodes hash their state; at which index of the log.
    async fn hash(&self) -> u64 {
        for _ in 0..TRIES_MAX {
            let leader = self.leader().await;
            match self.replica(leader).propose(Command::Hash.to_bytes()).await {
                Ok(Outcome::Hashing { index }) => return index,
                // Another leads since.
                Err(Refusal::NotLeader { .. } | Refusal::Unknown) => tokio::time::sleep(WAIT).await,
                other => panic!("no hash: {other:?}"),
            }
        }
        panic!("nobody leads for long enough");
    }

    async fn until_read(&self, id: u64, key: &str, value: &[u8]) {
        let reader = self.replica(id).reader();
        let is_there = || reader.get(key).unwrap().is_some_and(|found| *found == *value);
        until(&format!("node {id} has {key}"), is_there).await;
    }

    async fn until_identified(&self, count: usize) {
        until("all are identified", || {
            let running = self.nodes.iter().filter_map(|place| place.running.as_ref());
            running.into_iter().all(|running| {
                let members = running.replica.members();
                let known = members.nodes.values().filter(|member| member.incarnation.is_some());
                known.count() == count
            })
        })
        .await;
    }

    async fn end(mut self) {
        for id in self.nodes.iter().map(|place| place.id).collect::<Vec<_>>() {
            if self.place(id).running.is_some() {
                self.stop(id).await;
            }
        }
    }
}

impl Running {
    async fn stop(self) {
        let replica = self.replica.clone();
        spawn_blocking(move || replica.stop()).await.unwrap().unwrap();
        self.transport.close();
        for task in self.tasks {
            task.abort();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_agree_and_survive_broken_connections() {
    let cluster = Cluster::start(3).await;
    cluster.until_identified(3).await;
    for round in 0..20 {
        cluster.write(&format!("k{round}"), &[7; 1000]).await;
        let place = &cluster.nodes[round % 3];
        let target = place.proxy.target();
        place.proxy.unplug();
        if round % 5 == 0 {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        place.proxy.plug(target);
    }
    for id in 1..=3 {
        for round in 0..20 {
            cluster.until_read(id, &format!("k{round}"), &[7; 1000]).await;
        }
    }
    let index = cluster.hash().await;
    let leader = cluster.leader().await;
    let asked = &cluster.nodes[(leader % 3) as usize];
    let transport = &asked.running.as_ref().unwrap().transport;
    let mut hashes = Vec::new();
    for id in 1..=3 {
        hashes.push(transport.state_hash(id, index, Duration::from_secs(20)).await.unwrap());
    }
    assert!(hashes[0].len() == 16 && hashes.iter().all(|hash| *hash == hashes[0]));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_by_a_snapshot_becomes_a_voter_and_is_removed() {
    let mut cluster = Cluster::start(3).await;
    let value: Vec<u8> = (0..100_000_u32).map(|at| (at.wrapping_mul(at) >> 7) as u8).collect();
    for number in 0..20 {
        cluster.write(&format!("k{number}"), &value).await;
    }
    let peer_address = cluster.add_place(4).await;
    cluster.run(4, None).await;
    let running = cluster.place(4).running.take().unwrap();
    let add = Change::AddLearner { node: 4, peer_address, client_address: client_address(4) };
    cluster.change(vec![add]).await;
    cluster.place(4).running = Some(running);
    for number in 0..20 {
        cluster.until_read(4, &format!("k{number}"), &value).await;
    }
    cluster.until_identified(4).await;
    cluster.change(vec![Change::Promote { node: 4 }]).await;
    cluster.write("later", b"x").await;
    cluster.until_read(4, "later", b"x").await;

    // One that leads hands over before it is removed; that is not what is looked at here.
    until("another leads", || {
        cluster.replica(4).transfer(Some(1));
        cluster.replica(1).status().leader.is_some_and(|leader| leader != 4)
    })
    .await;
    cluster.change(vec![Change::Remove { node: 4 }]).await;
    let removed = cluster.place(4).running.take().unwrap();
    let ended = removed.replica.wait_stopped();
    let ended = tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert!(ended.unwrap().to_string().contains("was removed"));
    removed.stop().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_far_behind_is_sent_a_snapshot() {
    let mut cluster = Cluster::start(3).await;
    cluster.until_identified(3).await;
    cluster.leader().await;
    cluster.stop(3).await;
    let value = [9; 20_000];
    for number in 0..50 {
        cluster.write(&format!("k{number}"), &value).await;
    }
    // What is in tables need not stay in the log.
    let first = |cluster: &Cluster, id| cluster.replica(id).status().first;
    for id in [1, 2] {
        let db = cluster.replica(id).reader().db();
        spawn_blocking(move || db.flush()).await.unwrap().unwrap();
    }
    cluster
        .write_until("the log was cut", || [1, 2].iter().all(|&id| first(&cluster, id) > 20))
        .await;
    cluster.run(3, None).await;
    for number in 0..50 {
        cluster.until_read(3, &format!("k{number}"), &value).await;
    }
    cluster
        .write_until("it does not hold the log from the start", || first(&cluster, 3) > 20)
        .await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_without_its_disk_stops_and_says_what_to_do() {
    let mut cluster = Cluster::start(3).await;
    cluster.until_identified(3).await;
    cluster.write("k", b"v").await;
    cluster.stop(3).await;
    let lost = cluster.folder(3).with_extension("lost");
    lsm_core::fs::Fs::rename(&OsFs, &cluster.folder(3), &lost).unwrap();
    let founders = cluster.founders.clone();
    cluster.run(3, Some(founders)).await;
    let ended = cluster.replica(3).wait_stopped();
    let ended = tokio::time::timeout(PATIENCE, ended).await.unwrap();
    let sentence = ended.unwrap().to_string();
    assert!(sentence.contains("another data folder"), "{sentence}");
    cluster.write("later", b"v").await;
    cluster.end().await;
}
