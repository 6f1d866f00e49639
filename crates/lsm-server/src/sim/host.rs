//! One simulated node: a production replica whose threads take their turns in a task, and what
//! production puts around it: the way to the other nodes, and both servers.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use lsm_core::fs::{CrashFs, CrashImage, FaultFs};
use lsm_core::{Clock, KeyspaceOptions, ManualClock};
use lsm_raft::{Config, Error, Member, Members, Replica, ReplicaOptions, Role, Stepper};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::net::{Net, Port, address};
use crate::front::Admission;
use crate::front::listener;
use crate::limits::Limits;
use crate::peer::{self, PeerTransport};
use crate::service::{Context, Health, routes};

const DIR: &str = "node";
/// The cluster that all of this is about.
pub(super) const CLUSTER: &str = "simulated";
const GROUP: u64 = 1;
/// So few that some are given up all the time.
pub(super) const SESSIONS_MAX: u64 = 12;
/// So little that nodes that were away need snapshots.
const LOG_KEEP_BYTES: u64 = 8 << 10;
/// On a disk that is about to be full so much is held back.
pub(super) const RESERVE_BYTES: u64 = 256 << 10;

/// What a node is started with, apart from its disk.
#[derive(Clone)]
pub(super) struct Setup {
    /// Its number in its group.
    pub(super) id: u64,
    /// Where it is: the number in its addresses, and that of no other.
    pub(super) place: u64,
    pub(super) cluster: &'static str,
    pub(super) founders: Option<Members>,
    pub(super) lease_reads: bool,
}

/// What a node is to the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Member,
    /// It was told other founders, and is let in by nobody.
    Odd,
    /// The group knows its number with another disk: it is told to stop.
    Impostor,
    /// So is this one, once the group knows it no longer.
    Removed,
    /// Of another group: it is not let in, and goes on.
    Stranger,
}

impl Standing {
    pub(super) fn is_refused(self) -> bool {
        matches!(self, Self::Impostor | Self::Removed)
    }
}

/// A node, running or not.
pub(super) struct Host {
    pub(super) setup: Setup,
    pub(super) standing: Standing,
    net: Arc<Net>,
    /// What loses power,
    disk: CrashFs,
    /// and what fills up on top of it.
    faults: FaultFs,
    /// It had little room since the node was started last.
    was_full: Arc<AtomicBool>,
    running: Option<Running>,
}

struct Running {
    replica: Replica,
    transport: Arc<PeerTransport>,
    turns: JoinHandle<()>,
    /// Who it is, and both servers.
    tasks: [JoinHandle<()>; 3],
    health: Health,
    _closing: watch::Sender<bool>,
}

impl Host {
    pub(super) fn new(setup: Setup, standing: Standing, net: &Arc<Net>) -> Self {
        let disk = CrashFs::new();
        let faults = FaultFs::new(Arc::new(disk.clone()));
        let (was_full, running) = (Arc::default(), None);
        Self { setup, standing, net: Arc::clone(net), disk, faults, was_full, running }
    }

    pub(super) fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// The replica, if the node runs.
    pub(super) fn replica(&self) -> Option<&Replica> {
        self.running.as_ref().map(|running| &running.replica)
    }

    /// Starts it; false if there is no room for that.
    pub(super) async fn start(&mut self) -> bool {
        let Setup { id, place, cluster, .. } = self.setup;
        let ([clients, nodes], connector) = self.net.open(place);
        let (limits, connector) = (Arc::new(Limits::default()), Arc::new(connector));
        let runtime = Handle::current();
        let transport = PeerTransport::new(cluster, GROUP, id, Arc::clone(&limits), None, runtime);
        let mut rng = self.net.fork_rng();
        let clock = Arc::new(ManualClock::default());
        self.was_full = Arc::new(AtomicBool::new(self.faults.free_bytes().is_some()));
        let options = self.options(&clock, &mut rng);
        let opened = options.open_stepped(Path::new(DIR), Arc::clone(&transport) as _);
        let (replica, stepper) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                assert!(self.was_full(), "node {place} cannot start: {error}");
                self.net.close(place, false);
                return false;
            }
        };
        transport.attach_dialing(replica.clone(), Arc::clone(&connector) as _);
        let identifying = peer::identify(
            replica.clone(),
            Arc::clone(&transport),
            address(place, Port::Nodes),
            address(place, Port::Clients),
        );
        let peers = Arc::clone(&transport) as _;
        let context = Context::new(replica.clone(), Arc::clone(&limits), None, peers);
        let (routes, health) =
            routes(&context.dialing(connector)).await.expect("services are described");
        let (closing, closed) = watch::channel(false);
        let admission = Admission::new(routes, &limits, closed);
        let client_server = listener::server(&limits)
            .serve_with_incoming(admission, UnboundedReceiverStream::new(clients));
        let peer_server = listener::server(&limits)
            .add_service(peer::server(replica.clone(), &transport))
            .serve_with_incoming(UnboundedReceiverStream::new(nodes));
        let tasks = [
            tokio::spawn(identifying),
            tokio::spawn(async move { client_server.await.expect("until it is aborted") }),
            tokio::spawn(async move { peer_server.await.expect("until it is aborted") }),
        ];
        let (net, started) = (Arc::clone(&self.net), replica.clone());
        let was_full = Arc::clone(&self.was_full);
        let turns = Turns { place, net, was_full, replica: started, stepper, clock, rng };
        let turns = tokio::spawn(turns.take());
        self.running =
            Some(Running { replica, transport, turns, tasks, health, _closing: closing });
        true
    }

    /// What is left of it is the disk, and of that perhaps only what was synced.
    pub(super) async fn crash(&mut self, image: CrashImage) {
        let Some(running) = self.running.take() else { return };
        self.set_disk(self.disk.image(image));
        self.net.close(self.setup.place, image != CrashImage::Kept);
        running.tasks.iter().for_each(JoinHandle::abort);
        running.transport.close();
        running.turns.abort();
        if let Err(end) = running.turns.await
            && end.is_panic()
        {
            std::panic::resume_unwind(end.into_panic());
        }
        running.health.close().await;
    }

    /// The node comes to a new disk: its old one is lost.
    pub(super) fn lose_disk(&mut self) {
        assert!(!self.is_up(), "it would go on writing");
        self.set_disk(CrashFs::new());
    }

    fn set_disk(&mut self, disk: CrashFs) {
        let free_bytes = self.faults.free_bytes();
        self.faults = FaultFs::new(Arc::new(disk.clone()));
        self.faults.set_free_bytes(free_bytes);
        self.disk = disk;
    }

    /// So much room is left; all of it with none.
    pub(super) fn set_free_bytes(&self, free_bytes: Option<u64>) {
        self.was_full.fetch_or(free_bytes.is_some(), Ordering::Relaxed);
        self.faults.set_free_bytes(free_bytes);
    }

    pub(super) fn was_full(&self) -> bool {
        self.was_full.load(Ordering::Relaxed)
    }

    /// If it runs no longer, although nobody ended it: why.
    pub(super) async fn ended(&mut self) -> Option<Error> {
        let running = self.running.as_ref().filter(|running| running.turns.is_finished())?;
        let replica = running.replica.clone();
        self.crash(CrashImage::Kept).await;
        Some(replica.wait_stopped().await.expect("nobody told it to stop"))
    }

    fn options(&self, clock: &Arc<ManualClock>, rng: &mut Rng) -> ReplicaOptions {
        let tables = KeyspaceOptions::default().write_buffer_bytes(64 << 10);
        let Setup { id, cluster, ref founders, lease_reads, .. } = self.setup;
        ReplicaOptions {
            config: Config {
                lease_reads,
                sessions_max: SESSIONS_MAX as usize,
                log_keep_bytes: LOG_KEEP_BYTES,
                disk_reserve_bytes: Some(RESERVE_BYTES),
                ..Config::new(id)
            },
            cluster: cluster.into(),
            founders: founders.clone(),
            engine: lsm_core::Options::default().default_keyspace(tables).stepped(rng.u64(..)),
            log_segment_bytes: 16 << 10,
            log_cache_bytes: 64 << 10,
            fs: Arc::new(self.faults.clone()),
            clock: Arc::clone(clock) as Arc<dyn Clock>,
            nonce: rng.u64(1..),
        }
    }
}

/// These nodes as founders, each in the place of its number.
pub(super) fn founders(ids: impl IntoIterator<Item = u64>) -> Members {
    let member = |id: u64| Member {
        role: Role::Voter,
        peer_address: address(id, Port::Nodes),
        client_address: address(id, Port::Clients),
        incarnation: None,
    };
    let nodes = ids.into_iter().map(|id| (id, member(id))).collect();
    Members { nodes, ..Members::default() }
}

/// The threads of a node.
struct Turns {
    place: u64,
    net: Arc<Net>,
    was_full: Arc<AtomicBool>,
    replica: Replica,
    stepper: Stepper,
    clock: Arc<ManualClock>,
    rng: Rng,
}

impl Turns {
    /// Until the node stops by itself.
    async fn take(mut self) {
        let (begun, mut was_restoring) = (Instant::now(), false);
        while !self.stepper.has_ended() {
            sleep(Duration::from_micros(self.rng.u64(200..4_000))).await;
            if self.net.is_paused(self.place) {
                continue;
            }
            self.clock.advance(begun.elapsed() - self.clock.now());
            if self.stepper.raft_is_due() || self.stepper.next_tick() <= self.clock.now() {
                self.stepper.raft();
            }
            let restores = self.stepper.is_restoring();
            self.net.report.snapshots.add(u64::from(restores && !was_restoring));
            was_restoring = restores;
            // A disk takes longer now and then, and so does what is applied.
            if self.stepper.log_is_due() && self.rng.u8(..3) > 0 && !self.net.is_stalled() {
                self.stepper.log();
            }
            if self.stepper.apply_is_due() && self.rng.u8(..3) > 0 {
                self.stepper.apply();
            }
            // One that stops closes its state.
            if self.rng.u8(..50) == 0 && self.stepper.status().is_some() {
                self.maintain();
            }
        }
    }

    /// Some work of the engine, and of the node, in the background.
    fn maintain(&mut self) {
        self.stepper.beside();
        let db = self.replica.reader().db();
        let flushed = if self.rng.u8(..4) == 0 { db.flush() } else { Ok(()) };
        if let Err(error) = flushed.and_then(|()| db.step().map(drop)) {
            assert!(self.was_full.load(Ordering::Relaxed), "node {}: {error}", self.place);
        }
    }
}
