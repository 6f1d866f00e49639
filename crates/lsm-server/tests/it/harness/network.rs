//! The network between the nodes of a cluster, from which nodes can be cut off: a port before
//! each port of theirs, under which the others know it.
//!
//! What a cut does to a connection stays when it has healed, since the system's own pauses until
//! it tries again may be long: all that is sent over it is taken and nothing arrives. New
//! connections get through as soon as there is no cut.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, copy, copy_bidirectional, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

/// The ports, and who is cut off. Connections end with the runtime.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    cut: watch::Sender<BTreeSet<u64>>,
    /// Process ids of the nodes.
    processes: Arc<Mutex<BTreeMap<u64, u32>>>,
}

impl Network {
    pub(crate) fn new() -> Self {
        Self { cut: watch::Sender::new(BTreeSet::new()), processes: Arc::default() }
    }

    /// A node runs as this process.
    pub(crate) fn runs(&self, node: u64, process: u32) {
        self.processes.lock().unwrap().insert(node, process);
    }

    /// Nothing passes between this node and the others, in silence.
    pub(crate) fn cut_off(&self, node: u64) {
        self.cut.send_modify(|cut| _ = cut.insert(node));
    }

    fn is_cut_off(&self, node: u64) -> bool {
        self.cut.borrow().contains(&node)
    }

    /// Nobody is cut off any more.
    pub(crate) fn heal(&self) {
        self.cut.send_modify(BTreeSet::clear);
    }

    /// A port before one of a node's.
    pub(crate) async fn port_before(&self, node: u64, port: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let network = self.clone();
        tokio::spawn(async move {
            loop {
                let (stream, from) = listener.accept().await.unwrap();
                let network = network.clone();
                tokio::spawn(async move {
                    let mut ends = vec![node];
                    // Looking for the other end costs some milliseconds: only where it matters.
                    if !network.is_cut_off(node) {
                        let network = network.clone();
                        let owner = move || network.owner(from.port(), address.port());
                        ends.extend(spawn_blocking(owner).await.unwrap());
                    }
                    carry(stream, port, ends, network.cut.subscribe()).await;
                });
            }
        });
        address
    }

    /// The node whose process has the connection from one port to another.
    fn owner(&self, from: u16, to: u16) -> Option<u64> {
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let ends = |line: &&str| {
            let mut words = line.split_whitespace().skip(1);
            let mut port = || u16::from_str_radix(words.next()?.split_once(':')?.1, 16).ok();
            (port(), port()) == (Some(from), Some(to))
        };
        let inode = sockets.lines().find(ends)?.split_whitespace().nth(9)?;
        let socket = format!("socket:[{inode}]");
        let processes = self.processes.lock().unwrap();
        let has = |process: u32| {
            let files = std::fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten();
            let mut links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
            links.any(|link| link.to_str() == Some(&*socket))
        };
        processes.iter().find(|(_, process)| has(**process)).map(|(node, _)| *node)
    }
}

/// One connection, between these nodes.
async fn carry(
    mut from: TcpStream,
    to: SocketAddr,
    ends: Vec<u64>,
    mut cut: watch::Receiver<BTreeSet<u64>>,
) {
    let swallowed = cut.wait_for(|cut| ends.iter().any(|node| cut.contains(node)));
    let mut swallowed = std::pin::pin!(swallowed);
    let connected = tokio::select! {
        biased;
        _ = &mut swallowed => None,
        connected = TcpStream::connect(to) => Some(connected),
    };
    let Some(connected) = connected else { return swallow(&mut from).await };
    let Ok(mut to) = connected else { return };
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    let is_cut = tokio::select! {
        biased;
        _ = &mut swallowed => true,
        _ = copy_bidirectional(&mut from, &mut to) => false,
    };
    if is_cut {
        tokio::join!(swallow(&mut from), swallow(&mut to));
    }
}

/// Takes what is sent, and says nothing, to the end.
async fn swallow(stream: &mut (impl AsyncRead + Unpin)) {
    let _ = copy(stream, &mut sink()).await;
}
