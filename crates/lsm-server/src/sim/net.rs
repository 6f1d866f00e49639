//! What lies between the nodes, and between them and their clients: pipes that carry the bytes of
//! connections, late by chance, and not at all where a link is cut.
//!
//! A pipe over a link that is cut carries neither data nor its end. After the cut it stays silent
//! for a while longer, as TCP does; a fresh one gets through at once.
//!
//! Threads: the one of the runtime. The lock is held for a look.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use fastrand::Rng;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::transport::{Channel, Endpoint, Error};

use super::report::Report;
use crate::dialer::Dialer;

/// Bytes that a pipe holds.
const PIPE_BYTES: usize = 64 << 10;
/// Between two looks at whether a link carries again.
const LOOK: Duration = Duration::from_millis(20);
/// How much longer than a cut a connection over it is silent, at most.
const SILENCE_MILLIS: u64 = 12_000;

/// So much of what travels between nodes breaks its connection instead.
const BREAK_ONE_OF: u8 = 200;
/// The number of the first client; those of nodes are less.
pub(super) const FIRST_CLIENT: u64 = 101;

/// A port of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Port {
    Clients = 1,
    Nodes = 2,
}

/// What comes in at a node.
pub(super) type Incoming = mpsc::UnboundedReceiver<io::Result<DuplexStream>>;

/// What lies between.
pub(super) struct Net {
    pub(super) report: Report,
    state: Mutex<State>,
}

struct State {
    rng: Rng,
    /// Links that carry nothing: from, to.
    cut: BTreeSet<(u64, u64)>,
    /// Connections between nodes break now and then, just when something is on its way.
    breaks: bool,
    /// Machines without power.
    dark: BTreeSet<u64>,
    /// Nodes that do nothing until then.
    paused: BTreeMap<u64, Instant>,
    /// All disks take no sync to its end before that.
    stalled: Option<Instant>,
    /// Nodes that clients know of.
    public: BTreeSet<u64>,
    /// How often a node was started: what is left of an earlier process calls nobody.
    lives: BTreeMap<u64, u64>,
    /// Where nodes that are up take connections.
    doors: BTreeMap<(u64, Port), mpsc::UnboundedSender<io::Result<DuplexStream>>>,
    pipes: Vec<Pipe>,
}

struct Pipe {
    from: u64,
    to: u64,
    carriers: [AbortHandle; 2],
    /// It carries nothing any more, not even its end.
    is_silent: Arc<AtomicBool>,
}

/// One direction of a pipe.
struct Way {
    from: u64,
    to: u64,
    is_silent: Arc<AtomicBool>,
    rng: Rng,
}

impl Pipe {
    fn is_open(&self) -> bool {
        self.carriers.iter().any(|carrier| !carrier.is_finished())
    }

    fn touches(&self, node: u64) -> bool {
        self.from == node || self.to == node
    }

    /// Both ends see the end of the other.
    fn break_off(&self) {
        self.carriers.iter().for_each(AbortHandle::abort);
    }
}

impl Net {
    pub(super) fn new(rng: Rng) -> Self {
        let (cut, dark, paused, public, lives) = Default::default();
        let (stalled, doors, pipes, breaks) = (None, BTreeMap::new(), Vec::new(), true);
        let state = State { rng, cut, breaks, dark, paused, stalled, public, lives, doors, pipes };
        Self { report: Report::default(), state: Mutex::new(state) }
    }

    /// Lets clients know of a node, or forget it.
    pub(super) fn publish(&self, node: u64, is_public: bool) {
        let public = &mut self.state.lock().public;
        if is_public {
            public.insert(node)
        } else {
            public.remove(&node)
        };
    }

    /// The nodes that clients know of.
    pub(super) fn public(&self) -> Vec<u64> {
        self.state.lock().public.iter().copied().collect()
    }

    /// A generator of random numbers of its own, for whoever asks.
    pub(super) fn fork_rng(&self) -> Rng {
        self.state.lock().rng.fork()
    }

    pub(super) fn is_cut(&self, from: u64, to: u64) -> bool {
        self.state.lock().cut.contains(&(from, to))
    }

    pub(super) fn cut(&self, from: u64, to: u64) {
        self.state.lock().cut.insert((from, to));
    }

    pub(super) fn heal(&self) {
        self.state.lock().cut.clear();
    }

    pub(super) fn pause(&self, node: u64, until: Instant) {
        self.state.lock().paused.insert(node, until);
    }

    /// Nothing goes wrong any more, but for machines that have no power.
    pub(super) fn calm(&self) {
        let state = &mut *self.state.lock();
        state.breaks = false;
        state.cut.clear();
        state.paused.clear();
        state.stalled = None;
    }

    pub(super) fn is_paused(&self, node: u64) -> bool {
        self.state.lock().paused.get(&node).is_some_and(|&until| until > Instant::now())
    }

    pub(super) fn stall_disks(&self, until: Instant) {
        self.state.lock().stalled = Some(until);
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.state.lock().stalled.is_some_and(|until| until > Instant::now())
    }

    /// Opens the ports of a node that starts: what comes in, and how it calls others.
    pub(super) fn open(self: &Arc<Self>, node: u64) -> ([Incoming; 2], Connector) {
        let state = &mut *self.state.lock();
        state.dark.remove(&node);
        let life = state.lives.entry(node).or_default();
        *life += 1;
        let connector = Connector { net: Arc::clone(self), from: node, life: *life };
        let incoming = [Port::Clients, Port::Nodes].map(|port| {
            let (door, incoming) = mpsc::unbounded_channel();
            state.doors.insert((node, port), door);
            incoming
        });
        (incoming, connector)
    }

    /// A node is gone, with its connections. The other ends hear of it unless its machine lost its
    /// power.
    pub(super) fn close(&self, node: u64, lost_power: bool) {
        let state = &mut *self.state.lock();
        state.doors.retain(|&(at, _), _| at != node);
        if lost_power {
            state.dark.insert(node);
        }
        for pipe in state.pipes.extract_if(.., |pipe| pipe.touches(node)) {
            if lost_power {
                self.report.silenced.add(u64::from(pipe.is_open()));
                pipe.is_silent.store(true, Ordering::Relaxed);
            } else {
                pipe.break_off();
            }
        }
    }

    /// Breaks the connections of a node.
    pub(super) fn break_pipes(&self, node: u64) {
        self.break_off(|pipe| pipe.touches(node));
    }

    fn break_off(&self, is_meant: impl Fn(&Pipe) -> bool) {
        let state = &mut *self.state.lock();
        state.pipes.retain(Pipe::is_open);
        for pipe in state.pipes.extract_if(.., |pipe| is_meant(pipe)) {
            self.report.breaks.one_more();
            pipe.break_off();
        }
    }

    /// Whether what travels this way now breaks the connection instead of arriving.
    fn is_to_break(&self, way: &mut Way) -> bool {
        let between_nodes = way.from.max(way.to) < FIRST_CLIENT;
        between_nodes && way.rng.u8(..BREAK_ONE_OF) == 0 && self.state.lock().breaks
    }

    /// A channel of a client to the node that the endpoint names.
    pub(super) fn channel(self: &Arc<Self>, from: u64, endpoint: &Endpoint) -> Channel {
        Connector { net: Arc::clone(self), from, life: 0 }.dial_lazily(endpoint)
    }

    async fn connect(self: Arc<Self>, from: u64, to: (u64, Port)) -> io::Result<DuplexStream> {
        let (door, to) = (to, to.0);
        // There and back again.
        let mut rng = self.fork_rng();
        for (from, to) in [(from, to), (to, from)] {
            self.pass(from, to, &mut rng).await;
        }
        let (near, near_far) = duplex(PIPE_BYTES);
        let (far_near, far) = duplex(PIPE_BYTES);
        let (near_read, near_write) = split(near_far);
        let (far_read, far_write) = split(far_near);
        let mut state = self.state.lock();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        state.doors.get(&door).ok_or_else(refused)?.send(Ok(far)).map_err(|_| refused())?;
        let is_silent = Arc::new(AtomicBool::new(false));
        let mut carry = |from, to, read, write| {
            let way = Way { from, to, is_silent: Arc::clone(&is_silent), rng: rng.fork() };
            tokio::spawn(Arc::clone(&self).carry(way, read, write)).abort_handle()
        };
        let carriers =
            [carry(from, to, near_read, far_write), carry(to, from, far_read, near_write)];
        state.pipes.push(Pipe { from, to, carriers, is_silent });
        Ok(near)
    }

    /// Carries bytes one way, until their end.
    async fn carry(
        self: Arc<Self>,
        mut way: Way,
        mut read: ReadHalf<DuplexStream>,
        mut write: WriteHalf<DuplexStream>,
    ) {
        let mut buffer = vec![0; 4 << 10];
        loop {
            let len = read.read(&mut buffer).await.unwrap_or(0);
            if self.pass(way.from, way.to, &mut way.rng).await {
                self.report.held.one_more();
                sleep(Duration::from_millis(way.rng.u64(..SILENCE_MILLIS))).await;
            }
            if self.is_to_break(&mut way) {
                self.break_off(|pipe| Arc::ptr_eq(&pipe.is_silent, &way.is_silent));
                // Which ends this task, too.
                std::future::pending::<()>().await;
            }
            if way.is_silent.load(Ordering::Relaxed) {
                // With both its ends in hand.
                std::future::pending::<()>().await;
            }
            if len == 0 || write.write_all(&buffer[..len]).await.is_err() {
                let _ = write.shutdown().await;
                return;
            }
        }
    }

    /// Returns when something that leaves now has arrived: whether a cut held it up.
    async fn pass(&self, from: u64, to: u64, rng: &mut Rng) -> bool {
        sleep(delay(rng)).await;
        let mut held = false;
        loop {
            let is_cut = self.is_cut(from, to);
            let is_dark = self.state.lock().dark.contains(&to);
            if !is_cut && !is_dark && !self.is_paused(from) && !self.is_paused(to) {
                return held;
            }
            held |= is_cut;
            sleep(LOOK).await;
        }
    }
}

/// The time that something takes on its way: most are quick, a few are late.
pub(super) fn delay(rng: &mut Rng) -> Duration {
    let tail = match rng.u8(..100) {
        0 => 200_000,
        1..10 => 20_000,
        _ => 2_000,
    };
    Duration::from_micros(300 + rng.u64(..tail))
}

/// The address of a port of a node.
pub(super) fn address(node: u64, port: Port) -> String {
    format!("node-{node}:{}", port as u16)
}

/// Connects in memory, to nodes that an [`address`] names.
#[derive(Clone)]
pub(super) struct Connector {
    net: Arc<Net>,
    from: u64,
    life: u64,
}

impl Connector {
    /// Whether the process that calls has ended.
    fn is_gone(&self) -> bool {
        self.net.state.lock().lives.get(&self.from).copied().unwrap_or(0) != self.life
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("from", &self.from).finish_non_exhaustive()
    }
}

#[tonic::async_trait]
impl Dialer for Connector {
    fn dial_lazily(&self, endpoint: &Endpoint) -> Channel {
        endpoint.connect_with_connector_lazy(self.clone())
    }

    async fn dial(&self, endpoint: &Endpoint) -> Result<Channel, Error> {
        endpoint.connect_with_connector(self.clone()).await
    }
}

impl Service<http::Uri> for Connector {
    type Response = TokioIo<DuplexStream>;
    type Error = io::Error;
    type Future = BoxFuture<Self::Response, io::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        let node = uri.host().and_then(|host| host.strip_prefix("node-")?.parse().ok());
        let node = node.expect("it is the address of a node");
        let port =
            if uri.port_u16() == Some(Port::Nodes as u16) { Port::Nodes } else { Port::Clients };
        let caller = self.clone();
        Box::pin(async move {
            if caller.is_gone() {
                return std::future::pending().await;
            }
            let connecting = Arc::clone(&caller.net).connect(caller.from, (node, port));
            let connected = connecting.await;
            if caller.is_gone() {
                std::future::pending().await
            } else {
                connected.map(TokioIo::new)
            }
        })
    }
}
