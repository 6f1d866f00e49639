//! One simulated node: a production replica whose threads take their turns in a task, and the
//! production services in front of it.
//!
//! The log is kept whole, so no node ever needs a snapshot: those are simulated below this, with
//! the replicas alone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use lsm_core::fs::{CrashFs, CrashImage};
use lsm_core::{Clock, KeyspaceOptions, ManualClock};
use lsm_raft::raft::eraftpb::Message;
use lsm_raft::{
    Config, Member, Members, Outgoing, Replica, ReplicaOptions, Role, Stepper, Transport,
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Server;

use super::net::{Net, address, delay};
use crate::admission::Admission;
use crate::limits::Limits;
use crate::service::{Context, Dialer, Health, Peers, routes};

const DIR: &str = "node";

/// All replicas that run.
pub(super) type Replicas = Arc<Mutex<std::collections::BTreeMap<u64, Replica>>>;

/// A node, running or not.
pub(super) struct Host {
    id: u64,
    net: Arc<Net>,
    replicas: Replicas,
    disk: CrashFs,
    lease_reads: bool,
    founders: Members,
    running: Option<Running>,
}

struct Running {
    turns: JoinHandle<()>,
    server: JoinHandle<()>,
    health: Health,
    _closing: watch::Sender<bool>,
}

impl Host {
    pub(super) fn new(
        id: u64,
        count: u64,
        lease_reads: bool,
        net: &Arc<Net>,
        replicas: &Replicas,
    ) -> Self {
        Self {
            id,
            net: Arc::clone(net),
            replicas: Arc::clone(replicas),
            disk: CrashFs::new(),
            lease_reads,
            founders: founders(count),
            running: None,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.running.is_some()
    }

    pub(super) async fn start(&mut self) {
        let mut rng = self.net.fork_rng();
        let clock = Arc::new(ManualClock::default());
        let wire = Arc::new(Wire {
            node: self.id,
            net: Arc::clone(&self.net),
            replicas: Arc::clone(&self.replicas),
            rng: Mutex::new(rng.fork()),
        });
        let options = self.options(&clock, &mut rng);
        let timing = options.config.timing();
        let (replica, stepper) = options
            .open_stepped(Path::new(DIR), Arc::clone(&wire) as _)
            .unwrap_or_else(|error| panic!("node {} cannot start: {error}", self.id));
        for &node in self.founders.nodes.keys() {
            replica.note_timing(node, timing);
        }
        self.replicas.lock().insert(self.id, replica.clone());
        let limits = Arc::new(Limits::default());
        let (net, id) = (Arc::clone(&self.net), self.id);
        let dialer = Dialer::new(move |endpoint| net.channel(id, endpoint));
        let context =
            Context::new(replica.clone(), Arc::clone(&limits), None, wire).dialing(dialer);
        let (routes, health) = routes(&context).await.expect("services are described");
        let (closing, closed) = watch::channel(false);
        let admission = Admission::new(routes, &limits, closed);
        let incoming = UnboundedReceiverStream::new(self.net.open(self.id));
        let server = tokio::spawn(async move {
            let served = Server::builder()
                .http2_keepalive_interval(Some(limits.keepalive_interval))
                .http2_keepalive_timeout(Some(limits.keepalive_timeout))
                .serve_with_incoming(admission, incoming);
            served.await.expect("it serves until it is aborted");
        });
        let turns = Turns { id: self.id, net: Arc::clone(&self.net), replica, stepper, clock, rng };
        let turns = tokio::spawn(turns.take());
        self.running = Some(Running { turns, server, health, _closing: closing });
    }

    /// What is left of it is the disk, and of that perhaps only what was synced.
    pub(super) async fn crash(&mut self, image: CrashImage) {
        let Some(running) = self.running.take() else { return };
        self.disk = self.disk.image(image);
        self.replicas.lock().remove(&self.id);
        self.net.close(self.id, image != CrashImage::Kept);
        running.server.abort();
        running.turns.abort();
        let ended = running.turns.await;
        assert!(ended.is_err_and(|end| end.is_cancelled()), "node {} ended by itself", self.id);
        running.health.close().await;
    }

    fn options(&self, clock: &Arc<ManualClock>, rng: &mut Rng) -> ReplicaOptions {
        let tables = KeyspaceOptions::default().write_buffer_bytes(64 << 10);
        ReplicaOptions {
            config: Config {
                lease_reads: self.lease_reads,
                disk_reserve_bytes: Some(0),
                ..Config::new(self.id)
            },
            cluster: "simulated".into(),
            founders: Some(self.founders.clone()),
            engine: lsm_core::Options::default().default_keyspace(tables).stepped(rng.u64(..)),
            log_segment_bytes: 256 << 10,
            log_cache_bytes: 64 << 10,
            fs: Arc::new(self.disk.clone()),
            clock: Arc::clone(clock) as Arc<dyn Clock>,
            nonce: rng.u64(1..),
        }
    }
}

fn founders(count: u64) -> Members {
    let member = |id: u64| Member {
        role: Role::Voter,
        peer_address: address(id),
        client_address: address(id),
        incarnation: None,
    };
    Members { nodes: (1..=count).map(|id| (id, member(id))).collect(), ..Members::default() }
}

/// The threads of a node.
struct Turns {
    id: u64,
    net: Arc<Net>,
    replica: Replica,
    stepper: Stepper,
    clock: Arc<ManualClock>,
    rng: Rng,
}

impl Turns {
    async fn take(mut self) {
        let begun = Instant::now();
        loop {
            sleep(Duration::from_micros(self.rng.u64(200..4_000))).await;
            if self.net.is_paused(self.id) {
                continue;
            }
            self.clock.advance(begun.elapsed() - self.clock.now());
            if self.stepper.raft_is_due() || self.stepper.next_tick() <= self.clock.now() {
                self.stepper.raft();
            }
            // A disk takes longer now and then, and so does what is applied.
            if self.stepper.log_is_due() && self.rng.u8(..3) > 0 && !self.net.is_stalled() {
                self.stepper.log();
            }
            if self.stepper.apply_is_due() && self.rng.u8(..3) > 0 {
                self.stepper.apply();
            }
            if self.rng.u8(..50) == 0 {
                self.maintain();
            }
            assert!(!self.stepper.has_ended(), "node {} has stopped by itself", self.id);
        }
    }

    /// Some work of the engine, and of the node, in the background.
    fn maintain(&mut self) {
        self.stepper.beside();
        let db = self.replica.reader().db();
        if self.rng.u8(..4) == 0 {
            db.flush().expect("the disk is well");
        }
        db.step().expect("the disk is well");
    }
}

/// Carries messages of raft from one node to the others.
struct Wire {
    node: u64,
    net: Arc<Net>,
    replicas: Replicas,
    rng: Mutex<Rng>,
}

impl Transport for Wire {
    fn send(&self, messages: Vec<Message>) {
        for message in messages {
            let (from, to) = (self.node, message.to);
            if self.net.is_cut(from, to) {
                continue;
            }
            let (delay, replicas) = (delay(&mut self.rng.lock()), Arc::clone(&self.replicas));
            tokio::spawn(async move {
                sleep(delay).await;
                let replica = replicas.lock().get(&to).cloned();
                if let Some(replica) = replica {
                    replica.deliver(vec![message]);
                }
            });
        }
    }

    fn send_snapshot(&self, message: Message, _: Arc<Outgoing>) {
        panic!("node {} needs a snapshot, although the log is kept", message.to);
    }
}

#[tonic::async_trait]
impl Peers for Wire {
    async fn state_hash(&self, node: u64, _: u64, _: Duration) -> Result<Vec<u8>, String> {
        Err(format!("nobody asks for the hash of node {node}"))
    }
}
