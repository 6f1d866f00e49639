//! A group that only notes what it is told, and nodes around it, for tests.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use lsm_raft::raft::eraftpb::{Message, MessageType};
use lsm_raft::{
    Config, Error, Header, Identity, Incoming, Member, Members, NodeStatus, Refusal, Reply, Role,
    Staged, StateReader, Timing, Transport,
};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use super::auth::server_of;
use super::group::{Group, ReplyFuture};
use super::transport::PeerTransport;
use crate::dialer::Network;
use crate::limits::Limits;

/// Of a call that is no stream.
pub(super) const SHORT_TIME_MAX: Duration = Duration::from_secs(1);
/// Longest wait for what takes a moment, on a machine that does other things, too.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Fake {
    identity: Identity,
    pub(super) timing: Mutex<Timing>,
    /// What it was told of the times of others.
    pub(super) timings: Mutex<Vec<(u64, Timing)>>,
    pub(super) members: Mutex<Arc<Members>>,
    /// What is known of them beyond that, if it is more.
    pub(super) known: Mutex<Option<Arc<Members>>>,
    pub(super) leader: Mutex<Option<u64>>,
    pub(super) delivered: Mutex<Vec<Message>>,
    pub(super) lost: Mutex<Vec<u64>>,
    pub(super) failed: Mutex<Vec<String>>,
    pub(super) proposed: Mutex<Vec<Vec<u8>>>,
    /// What proposals get; `Unknown` when there is no more.
    pub(super) replies: Mutex<VecDeque<Reply>>,
    pub(super) hashed: Mutex<Option<Result<[u8; 16], String>>>,
    /// What takes snapshots, if anything does.
    pub(super) state: Mutex<Option<StateReader>>,
    /// How many were there whole.
    pub(super) snapshots: AtomicUsize,
    /// The next of them is checked until the other end goes.
    pub(super) check: Mutex<Option<Receiver<()>>>,
}

impl Group for Fake {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn members(&self) -> Arc<Members> {
        Arc::clone(&self.members.lock())
    }

    fn known_members(&self) -> Arc<Members> {
        self.known.lock().clone().unwrap_or_else(|| self.members())
    }

    fn status(&self) -> NodeStatus {
        let leader = *self.leader.lock();
        NodeStatus { node: self.identity.node, leader, ..NodeStatus::default() }
    }

    fn timing(&self) -> Timing {
        *self.timing.lock()
    }

    fn note_timing(&self, node: u64, timing: Timing) {
        self.timings.lock().push((node, timing));
    }

    fn deliver(&self, messages: Vec<Message>) {
        self.delivered.lock().extend(messages);
    }

    fn unreachable(&self, node: u64) {
        self.lost.lock().push(node);
    }

    fn snapshot_sent(&self, _: u64, _: bool) {}

    fn begin_snapshot(&self, header: Header) -> lsm_raft::Result<Incoming> {
        match &*self.state.lock() {
            Some(state) => state.receive(header),
            None => Err(Error::Invalid(format!("no room for {} bytes", header.bytes()))),
        }
    }

    fn deliver_snapshot(&self, _: u64, _: u64, _: Staged) -> Result<(), Error> {
        let check = self.check.lock().take();
        self.snapshots.fetch_add(1, Ordering::Relaxed);
        if let Some(check) = check {
            let _ = check.recv();
        }
        Ok(())
    }

    fn propose(&self, command: Vec<u8>) -> ReplyFuture<'_> {
        self.proposed.lock().push(command);
        let reply = self.replies.lock().pop_front();
        Box::pin(std::future::ready(reply.unwrap_or(Err(Refusal::Unknown))))
    }

    fn hash(&self, _: u64) -> Option<Result<[u8; 16], String>> {
        self.hashed.lock().clone()
    }

    fn fail(&self, error: Error) {
        self.failed.lock().push(error.to_string());
    }
}

/// A node: a fake group, its transport, and its service on a port of its own.
pub(super) struct Node {
    pub(super) id: u64,
    pub(super) fake: Arc<Fake>,
    pub(super) transport: Arc<PeerTransport>,
    pub(super) address: String,
    server: Option<JoinHandle<()>>,
}

/// Which folder a node lives in, unless a test says otherwise.
pub(super) fn incarnation(node: u64) -> u64 {
    1000 + node
}

fn limits() -> Limits {
    Limits { request_time_max: Duration::from_secs(2), ..Limits::default() }
}

pub(super) fn identity(node: u64) -> Identity {
    Identity { cluster: "test".into(), group: 1, node, incarnation: incarnation(node) }
}

impl Node {
    pub(super) async fn start(identity: Identity) -> Self {
        let limits = Arc::new(limits());
        let id = identity.node;
        let runtime = tokio::runtime::Handle::current();
        let transport = PeerTransport::new(
            &identity.cluster,
            identity.group,
            id,
            Arc::clone(&limits),
            None,
            runtime,
        );
        let fake = Arc::new(Fake {
            identity,
            timing: Mutex::new(Config::new(id).timing()),
            timings: Mutex::default(),
            members: Mutex::default(),
            known: Mutex::default(),
            leader: Mutex::default(),
            delivered: Mutex::default(),
            lost: Mutex::default(),
            failed: Mutex::default(),
            proposed: Mutex::default(),
            replies: Mutex::default(),
            hashed: Mutex::default(),
            state: Mutex::default(),
            snapshots: AtomicUsize::default(),
            check: Mutex::default(),
        });
        transport.attach_group(Arc::clone(&fake) as Arc<dyn Group>, Arc::new(Network));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut node = Self { id, fake, transport, address, server: None };
        node.serve(listener);
        node
    }

    fn serve(&mut self, listener: TcpListener) {
        let group = Arc::clone(&self.fake) as Arc<dyn Group>;
        let directory = Arc::clone(self.transport.directory());
        let service = server_of(group, directory).with_short_time_max(SHORT_TIME_MAX);
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        self.server = Some(tokio::spawn(async move { serving.await.unwrap() }));
    }

    /// Stops serving. Connections that are there stay: their tasks are on their own.
    pub(super) async fn stop_listening(&mut self) {
        let server = self.server.take().unwrap();
        server.abort();
        let _ = server.await;
    }

    pub(super) async fn listen_again(&mut self) {
        let listener = TcpListener::bind(&self.address).await.unwrap();
        self.serve(listener);
    }

    pub(super) fn send(&self, to: u64, index: u64) {
        self.transport.send(vec![message(self.id, to, index)]);
    }

    /// Indexes of the messages that were delivered here.
    pub(super) fn indexes(&self) -> Vec<u64> {
        self.fake.delivered.lock().iter().map(|message| message.index).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.transport.close();
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

pub(super) fn message(from: u64, to: u64, index: u64) -> Message {
    let mut message = Message::default();
    message.set_msg_type(MessageType::MsgAppendResponse);
    (message.from, message.to, message.index) = (from, to, index);
    message
}

pub(super) fn member(node: &Node) -> Member {
    Member {
        role: Role::Voter,
        peer_address: node.address.clone(),
        client_address: format!("client-{}:1", node.id),
        incarnation: None,
    }
}

/// Lets each node know all of them as members.
pub(super) fn introduce(nodes: &[&Node]) {
    let members = nodes.iter().map(|node| (node.id, member(node))).collect();
    let members = Arc::new(Members { nodes: members, ..Members::default() });
    for node in nodes {
        *node.fake.members.lock() = Arc::clone(&members);
    }
}

/// Changes the members as one node knows them.
pub(super) fn change(node: &Node, change: impl FnOnce(&mut Members)) {
    let mut members = node.fake.members.lock();
    let mut changed = Members::clone(&members);
    change(&mut changed);
    *members = Arc::new(changed);
}

/// Waits for something that must come about.
pub(super) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let looks = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, looks).await;
    assert!(ended.is_ok(), "it never came about: {what}");
}
