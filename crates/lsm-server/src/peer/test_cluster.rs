//! Replicas in one process, each with a folder, that talk over real connections: for tests.

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

use super::fake::until;
use super::proxy::Proxy;
use super::{PeerTransport, identify, server};
use crate::limits::Limits;

/// Between two tries of something.
const WAIT: Duration = Duration::from_millis(20);
const TRIES_MAX: usize = 1000;

/// The nodes of a cluster, each behind a proxy, running or not.
pub(super) struct Cluster {
    dir: TempDir,
    pub(super) founders: Members,
    pub(super) nodes: Vec<Place>,
    /// Changes the settings of a node.
    pub(super) configure: fn(&mut Config),
}

pub(super) struct Place {
    pub(super) id: u64,
    pub(super) proxy: Proxy,
    pub(super) running: Option<Running>,
}

pub(super) struct Running {
    pub(super) replica: Replica,
    pub(super) transport: Arc<PeerTransport>,
    tasks: Vec<JoinHandle<()>>,
}

pub(super) fn client_address(node: u64) -> String {
    format!("client-{node}:1")
}

impl Cluster {
    pub(super) async fn start(count: u64) -> Self {
        let mut cluster = Self::found(count, |_| ()).await;
        for id in 1..=count {
            let founders = cluster.founders.clone();
            cluster.run(id, Some(founders)).await;
        }
        cluster
    }

    /// The founders of a cluster, none of which runs.
    pub(super) async fn found(count: u64, configure: fn(&mut Config)) -> Self {
        let mut cluster = Self {
            dir: tempfile::tempdir().unwrap(),
            founders: Members::default(),
            nodes: Vec::new(),
            configure,
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
        cluster
    }

    pub(super) async fn add_place(&mut self, id: u64) -> String {
        let proxy = Proxy::start().await;
        let address = proxy.address.clone();
        self.nodes.push(Place { id, proxy, running: None });
        address
    }

    pub(super) fn folder(&self, id: u64) -> PathBuf {
        self.dir.path().join(id.to_string())
    }

    pub(super) fn place(&mut self, id: u64) -> &mut Place {
        self.nodes.iter_mut().find(|place| place.id == id).unwrap()
    }

    pub(super) fn replica(&self, id: u64) -> &Replica {
        let place = self.nodes.iter().find(|place| place.id == id).unwrap();
        &place.running.as_ref().unwrap().replica
    }

    pub(super) async fn run(&mut self, id: u64, founders: Option<Members>) {
        let mut config = Config::new(id);
        config.tick = Duration::from_millis(100);
        config.log_keep_bytes = 16 << 10;
        (self.configure)(&mut config);
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

    pub(super) async fn stop(&mut self, id: u64) {
        let place = self.place(id);
        place.proxy.unplug();
        let running = place.running.take().unwrap();
        running.stop().await;
    }

    /// Who leads, once all that run agree on it.
    pub(super) async fn leader(&self) -> u64 {
        let leaders = || -> Vec<_> {
            let running = self.nodes.iter().filter_map(|place| place.running.as_ref());
            running.map(|running| running.replica.status().leader).collect()
        };
        let agree = || leaders()[0].is_some() && leaders().iter().all(|l| *l == leaders()[0]);
        until("all know one leader", agree).await;
        leaders()[0].unwrap()
    }

    pub(super) async fn write(&self, key: &str, value: &[u8]) {
        let all: Vec<_> = self.nodes.iter().map(|place| place.id).collect();
        self.write_to(&all, key, value).await;
    }

    /// Asks only these nodes.
    pub(super) async fn write_to(&self, nodes: &[u64], key: &str, value: &[u8]) {
        let op = Op::Put { key: key.as_bytes(), value };
        let command = Command::Write { session: None, ops: vec![op] }.to_bytes();
        for _ in 0..TRIES_MAX {
            for place in self.nodes.iter().filter(|place| nodes.contains(&place.id)) {
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
    pub(super) async fn write_until(&self, what: &str, is_so: impl Fn() -> bool) {
        for number in 0..TRIES_MAX {
            self.write(&format!("more{number}"), b"x").await;
            if is_so() {
                return;
            }
            tokio::time::sleep(WAIT).await;
        }
        panic!("it never came about: {what}");
    }

    pub(super) async fn change(&self, changes: Vec<Change>) {
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
    pub(super) async fn hash(&self) -> u64 {
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

    pub(super) async fn until_read(&self, id: u64, key: &str, value: &[u8]) {
        let reader = self.replica(id).reader();
        let is_there = || reader.get(key).unwrap().is_some_and(|found| *found == *value);
        until(&format!("node {id} has {key}"), is_there).await;
    }

    pub(super) async fn until_identified(&self, count: usize) {
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

    pub(super) async fn end(mut self) {
        for id in self.nodes.iter().map(|place| place.id).collect::<Vec<_>>() {
            if self.place(id).running.is_some() {
                self.stop(id).await;
            }
        }
    }
}

impl Running {
    pub(super) async fn stop(self) {
        let replica = self.replica.clone();
        spawn_blocking(move || replica.stop()).await.unwrap().unwrap();
        self.transport.close();
        for task in self.tasks {
            task.abort();
        }
    }
}
