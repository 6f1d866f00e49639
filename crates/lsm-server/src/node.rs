//! One node: its replica, the way to the others, and the two servers in front.
//!
//! Leaves to others: what is asked for (`service`) and what nodes say to each other (`peer`).
//!
//! ```text
//!   bind both ports -> open the folder -> serve
//!     stop asked:  not healthy -> no new connections -> hand over -> finish requests -> close the folder
//!     it fails:    all ends at once; the process says why
//! ```
//!
//! Invariants:
//! * A folder is opened only by a process that can also be reached.
//! * Other nodes are served until the replica has stopped: handing over needs them.
//!
//! Threads: the runtime's for requests, the replica's own for everything on disk.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use lsm_core::fs::OsFs;
use lsm_core::{Event, SystemClock};
use lsm_raft::{Replica, ReplicaOptions};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use crate::config::Settings;
use crate::exit;
use crate::front::Admission;
use crate::front::handles;
use crate::front::listener;
use crate::limits::{Limits, NODE_CONNECTIONS_MAX};
use crate::peer::{self, PeerTransport};
use crate::service::{self, Context, Health, Peers};
use crate::signals::StopSignal;

/// Bytes of one segment of the replicated log.
const LOG_SEGMENT_BYTES: u64 = 16 << 20;
/// Bytes of the youngest entries of the log that are held in memory.
const LOG_CACHE_BYTES: usize = 32 << 20;
/// Longest time that requests get to finish when the node stops.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
/// How long nothing is served until the connections may be cut off: the last answers leave, and
/// requests that came before come to light.
const IDLE_TIME: Duration = Duration::from_millis(200);
/// Longest time that the replica gets to close its folder when the node stops.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(60);
/// Why a node could not start, or has ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Handles(#[from] handles::TooFew),
    #[error(transparent)]
    Listen(#[from] listener::Error),
    #[error("the node cannot start: {0}")]
    Open(lsm_raft::Error),
    #[error("the node has stopped: {0}")]
    Stopped(lsm_raft::Error),
    #[error("the node has stopped on its own: this is a bug")]
    Ended,
    #[error("the server has stopped: {0}")]
    Serve(String),
    #[error("asked twice to stop; what was going on is left as it is")]
    AskedTwice,
    #[error("the folder is not closed, but nothing acknowledged is lost: {0}")]
    NotClosed(lsm_raft::Error),
    #[error("the folder could not be closed within {} seconds", CLOSE_TIME_MAX.as_secs())]
    CloseTimeout,
    #[error("the system refuses what the node needs: {0}")]
    System(io::Error),
}

impl Error {
    /// What the process exits with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Open(lsm_raft::Error::Refused(_))
            | Self::Stopped(lsm_raft::Error::Refused(_)) => exit::REFUSED,
            _ => exit::FAILED,
        }
    }
}

/// By hand: the text holds what the system said, and a source would say it again.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Runs a node until the process is asked to stop.
///
/// # Errors
///
/// If it could not start, or did not end as it should.
pub(crate) fn run(settings: &Settings, stop_with_stdin: bool) -> Result<(), Error> {
    let mut settings = settings.clone();
    handles::provide(&mut settings.limits)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(settings.threads)
        .thread_name("serve")
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let stop = StopSignal::listen(stop_with_stdin)?;
        tokio::select! {
            ended = run_node(&settings, &stop) => ended,
            () = stop.asked_again() => Err(Error::AskedTwice),
        }
    });
    // What still runs is not waited for: it was given its time.
    runtime.shutdown_background();
    ended
}

async fn run_node(settings: &Settings, stop: &StopSignal) -> Result<(), Error> {
    let clients = listener::bind(settings.listen, "listen").await?;
    let peers = listener::bind(settings.peer_listen, "peer-listen").await?;
    tracing::info!(
        node = settings.node,
        cluster = settings.cluster,
        version = env!("CARGO_PKG_VERSION"),
        data = %settings.data.display(),
        listen = %settings.listen,
        peer_listen = %settings.peer_listen,
        tls = settings.tls.is_some(),
        "starting"
    );
    let (replica, transport) = open(settings).await?;
    tokio::spawn(peer::identify(
        replica.clone(),
        Arc::clone(&transport),
        settings.advertise_peer.to_string(),
        settings.advertise.to_string(),
    ));
    let mut node = Node::serve(replica, transport, settings, clients, peers).await?;
    tracing::info!(node = settings.node, "serving");
    let ended = tokio::select! {
        () = stop.asked() => None,
        error = node.failed() => Some(error),
    };
    match ended {
        None => {
            tracing::info!("stopping");
            node.stop().await?;
            tracing::info!("stopped");
            Ok(())
        }
        Some(error) => {
            tracing::error!(%error, "stopping");
            node.abandon().await;
            Err(error)
        }
    }
}

async fn open(settings: &Settings) -> Result<(Replica, Arc<PeerTransport>), Error> {
    let limits = Arc::new(settings.limits.clone());
    let (cluster, group) = (&settings.cluster, settings.raft.group);
    let (node, tls, runtime) = (settings.node, settings.tls.clone(), Handle::current());
    let transport = PeerTransport::new(cluster, group, node, limits, tls, runtime);
    let options = ReplicaOptions {
        config: settings.raft.clone(),
        cluster: cluster.clone(),
        founders: settings.founders.clone(),
        engine: settings.engine.clone().on_event(log_event),
        log_segment_bytes: LOG_SEGMENT_BYTES,
        log_cache_bytes: LOG_CACHE_BYTES,
        fs: Arc::new(OsFs),
        clock: Arc::new(SystemClock::new()),
        nonce: fastrand::u64(1..),
    };
    let (data, carrier) = (settings.data.clone(), Arc::clone(&transport));
    let opened = spawn_blocking(move || options.open(data, carrier)).await;
    let replica = opened.map_err(io::Error::other)?.map_err(Error::Open)?;
    transport.attach(replica.clone());
    Ok((replica, transport))
}

/// What the engine tells of itself, as a line of the log.
fn log_event(event: &Event) {
    match event {
        Event::JobRecovered { .. } => tracing::info!(%event, "engine"),
        Event::JobFailed { .. } => tracing::warn!(%event, "engine"),
        _ => tracing::error!(%event, "engine"),
    }
}

/// A node that serves.
struct Node {
    replica: Replica,
    transport: Arc<PeerTransport>,
    health: Health,
    /// Turns true when clients are to be served no longer.
    closing: watch::Sender<bool>,
    /// Ends when nothing has been served for a moment.
    idle: Pin<Box<dyn Future<Output = ()> + Send>>,
    client_server: JoinHandle<Result<(), tonic::transport::Error>>,
    peer_server: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Node {
    async fn serve(
        replica: Replica,
        transport: Arc<PeerTransport>,
        settings: &Settings,
        clients: TcpListener,
        peers: TcpListener,
    ) -> Result<Self, Error> {
        let limits = Arc::new(settings.limits.clone());
        let tls = settings.tls.clone();
        let others: Arc<dyn Peers> = Arc::clone(&transport) as _;
        let context = Context::new(replica.clone(), Arc::clone(&limits), tls.clone(), others);
        let routes = service::routes(&context).await;
        let (routes, health) = routes.map_err(|error| Error::Serve(error.to_string()))?;
        let (closing, mut closed) = watch::channel(false);
        let admission = Admission::new(routes, &limits, closed.clone());
        let idle = Box::pin(admission.idle(IDLE_TIME));
        let closed = async move {
            let _ = closed.wait_for(|closing| *closing).await;
        };
        let for_clients = tls.as_ref().map(|tls| Arc::clone(&tls.clients));
        let for_nodes = tls.as_ref().map(|tls| Arc::clone(&tls.nodes));
        let incoming = listener::incoming(clients, &limits, for_clients);
        let client_server =
            listener::server(&limits).serve_with_incoming_shutdown(admission, incoming, closed);
        let few = Limits { connections_max: NODE_CONNECTIONS_MAX, ..(*limits).clone() };
        let incoming = listener::incoming(peers, &few, for_nodes);
        let peer_server = listener::server(&limits)
            .add_service(peer::server(replica.clone(), &transport))
            .serve_with_incoming(incoming);
        Ok(Self {
            replica,
            transport,
            health,
            closing,
            idle,
            client_server: tokio::spawn(client_server),
            peer_server: tokio::spawn(peer_server),
        })
    }

    /// Returns when the node cannot go on.
    async fn failed(&mut self) -> Error {
        tokio::select! {
            error = self.replica.wait_stopped() => error.map_or(Error::Ended, Error::Stopped),
            ended = &mut self.client_server => Error::Serve(format!("clients: {ended:?}")),
            ended = &mut self.peer_server => Error::Serve(format!("nodes: {ended:?}")),
        }
    }

    /// Hands over, lets requests finish, and closes the folder.
    async fn stop(self) -> Result<(), Error> {
        // Who watches the health hears of it before all watches end.
        self.health.close().await;
        self.closing.send_replace(true);
        self.replica.transfer(None);
        // Requests are waited for, and not connections: one whose other end is gone, or has never
        // said a word, does not end before anybody finds out.
        let drained = timeout(DRAIN_TIME_MAX, async {
            tokio::select! {
                _ = self.client_server => {}
                () = self.idle => {}
            }
        });
        if drained.await.is_err() {
            tracing::warn!("some requests did not end in time; they are cut off");
        }
        let replica = self.replica.clone();
        let closed = timeout(CLOSE_TIME_MAX, spawn_blocking(move || replica.stop())).await;
        self.transport.close();
        self.peer_server.abort();
        let closed = closed.map_err(|_| Error::CloseTimeout)?.map_err(io::Error::other)?;
        closed.map_err(Error::NotClosed)?;
        // The replica may have failed while it closed.
        self.replica.wait_stopped().await.map_or(Ok(()), |error| Err(Error::Stopped(error)))
    }

    /// Ends what has failed already.
    async fn abandon(self) {
        self.client_server.abort();
        let replica = self.replica.clone();
        match timeout(CLOSE_TIME_MAX, spawn_blocking(move || replica.stop())).await {
            Ok(Ok(Err(error))) => tracing::error!(%error, "the folder is not closed"),
            Ok(_) => {}
            Err(_) => tracing::error!("the folder could not be closed in time"),
        }
        self.transport.close();
        self.peer_server.abort();
    }
}
