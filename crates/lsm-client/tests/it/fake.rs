//! A cluster in this process: real servers on real sockets, over one shared state instead of
//! a replicated one. Its nodes break on command, and what they did is written down.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lsm_client::{Client, ClientOptions};
use lsm_proto::v1::cluster_service_server::ClusterServiceServer;
use lsm_proto::v1::kv_service_server::KvServiceServer;
use lsm_proto::v1::session_service_server::SessionServiceServer;
use lsm_proto::v1::storage_service_server::StorageServiceServer;
use lsm_proto::v1::{Header, Session};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Status};

use crate::services::Service;

const WAIT: Duration = Duration::from_millis(2);
const WAITS_MAX: usize = 10_000;
/// Until a node that is told to stop has closed all its connections.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a try may take: long enough that a busy machine answers within it.
pub(crate) const TRY_TIMEOUT: Duration = Duration::from_secs(1);
/// Longer than a try may take.
pub(crate) const LONG: Duration = Duration::from_millis(1300);

/// How a request goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// An error without a word, before anything was done.
    Fail(Code),
    /// An error that says that nothing was done.
    Refuse(Code, &'static str),
    /// Refused, with this address as the leader's.
    Hint(String),
    /// Applied; but the answer is an error.
    LoseAnswer,
    /// Applied; but no answer ever comes.
    HangAfter,
    /// Not applied, and no answer ever comes.
    Hang,
    /// Applied after the time, although nobody waits for it any more.
    Late(Duration),
    /// Answered after the time, as if nothing were wrong.
    Slow(Duration),
    /// The cluster forgets all sessions first.
    ForgetSessions,
    /// Applied, and then all sessions are forgotten and the answer lost.
    LoseAnswerAndSessions,
}

/// A change of keys: none stands for a delete.
pub(crate) type Change = (Bytes, Option<Bytes>);

/// What all nodes share.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) data: BTreeMap<Bytes, Bytes>,
    /// Each write that took effect.
    pub(crate) history: Vec<Vec<Change>>,
    /// Last number and its index, by id.
    sessions: HashMap<u64, (u64, u64)>,
    sessions_opened: u64,
    /// Position of the leader among the nodes.
    pub(crate) leader: Option<usize>,
    /// Whether nodes pass on what is the leader's to do, or refuse.
    pub(crate) forwards: bool,
    /// Positions of the members.
    pub(crate) members: Vec<usize>,
    pub(crate) addresses: Vec<SocketAddr>,
    /// Method, node and session of each request.
    pub(crate) asked: Vec<Asked>,
    /// What goes wrong with the next requests of a method; `*` stands for any.
    pub(crate) faults: VecDeque<(&'static str, Fault)>,
    /// Chooses faults of writes, if it is there.
    pub(crate) dice: Option<fastrand::Rng>,
    pub(crate) scan: ScanFaults,
}

#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: &'static str,
    pub(crate) node: usize,
    pub(crate) session: Option<Session>,
    /// The deadline that the node was told.
    pub(crate) timeout: Option<String>,
}

/// How streamed scans go.
pub(crate) struct ScanFaults {
    pub(crate) page_entries: usize,
    /// Breaks once after so many pages.
    pub(crate) break_after: Option<(usize, Code)>,
    /// Hangs after so many pages.
    pub(crate) hang_after: Option<usize>,
    /// Ends after so many pages, with `more`.
    pub(crate) stop_after: Option<usize>,
    /// Pages that streams made, of all scans.
    pub(crate) pages_made: usize,
    /// Streams that are open.
    pub(crate) streams: usize,
}

impl Default for ScanFaults {
    fn default() -> Self {
        Self {
            page_entries: 10,
            break_after: None,
            hang_after: None,
            stop_after: None,
            pages_made: 0,
            streams: 0,
        }
    }
}

impl World {
    /// What one node says of who leads; its id is its position and one.
    pub(crate) fn header(&self, node: usize) -> Header {
        let leader_address = match self.leader {
            Some(leader) if leader != node => self.addresses[leader].to_string(),
            _ => String::new(),
        };
        let leader = self.leader.map_or(0, |leader| leader as u64 + 1);
        Header { node: node as u64 + 1, leader, leader_address }
    }

    pub(crate) fn open_session(&mut self) -> u64 {
        self.sessions_opened += 1;
        let id = self.sessions_opened;
        self.sessions.insert(id, (0, 0));
        id
    }

    /// What a replicated state machine does.
    pub(crate) fn apply(
        &mut self,
        session: Option<&Session>,
        changes: &[Change],
    ) -> Result<u64, Status> {
        if let Some(Session { id, sequence }) = session {
            match self.sessions.get(id) {
                None => return Err(said(Code::FailedPrecondition, "session-unknown")),
                Some((last, index)) if last == sequence => return Ok(*index),
                Some((last, _)) if last > sequence => {
                    return Err(said(Code::FailedPrecondition, "session-passed"));
                }
                Some(_) => {}
            }
        }
        for (key, value) in changes {
            match value {
                Some(value) => drop(self.data.insert(key.clone(), value.clone())),
                None => drop(self.data.remove(key)),
            }
        }
        self.history.push(changes.to_vec());
        let index = self.history.len() as u64;
        if let Some(Session { id, sequence }) = session {
            self.sessions.insert(*id, (*sequence, index));
        }
        Ok(index)
    }

    pub(crate) fn forget_sessions(&mut self) {
        self.sessions.clear();
    }

    pub(crate) fn fault(&mut self, method: &'static str) -> Option<Fault> {
        let at = self.faults.iter().position(|(of, _)| *of == method || *of == "*")?;
        self.faults.remove(at).map(|(_, fault)| fault)
    }

    /// How often a method was asked for.
    pub(crate) fn count(&self, method: &str) -> usize {
        self.asked.iter().filter(|asked| asked.method == method).count()
    }

    /// Which nodes were asked for a method.
    pub(crate) fn nodes(&self, method: &str) -> Vec<usize> {
        let of = self.asked.iter().filter(|asked| asked.method == method);
        of.map(|asked| asked.node).collect()
    }
}

/// An error with a word that says why.
pub(crate) fn said(code: Code, word: &'static str) -> Status {
    let mut status = Status::new(code, word);
    status.metadata_mut().insert("lsm-error", word.parse().unwrap());
    status
}

/// The nodes. Dropping it kills them.
pub(crate) struct Fake {
    world: Arc<Mutex<World>>,
    nodes: Vec<Option<Runtime>>,
}

impl Fake {
    /// So many nodes, the first of which leads.
    pub(crate) async fn start(count: usize) -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let mut fake = Self { world, nodes: (0..count).map(|_| None).collect() };
        for node in 0..count {
            // The port stays the node's; it is bound again at once.
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            fake.world.lock().addresses.push(listener.local_addr().unwrap());
            fake.serve(node, listener);
        }
        {
            let mut world = fake.world();
            world.members = (0..count).collect();
            world.leader = Some(0);
            world.forwards = true;
        }
        fake
    }

    fn serve(&mut self, node: usize, listener: std::net::TcpListener) {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let service = Service { world: Arc::clone(&self.world), node };
        runtime.spawn(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = TcpListener::from_std(listener).unwrap();
            tonic::transport::Server::builder()
                .add_service(KvServiceServer::new(service.clone()))
                .add_service(SessionServiceServer::new(service.clone()))
                .add_service(ClusterServiceServer::new(service.clone()))
                .add_service(StorageServiceServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
        });
        self.nodes[node] = Some(runtime);
    }

    /// Kills a node, and waits until its connections are closed.
    pub(crate) async fn kill(&mut self, node: usize) {
        if let Some(runtime) = self.nodes[node].take() {
            let stop = move || runtime.shutdown_timeout(STOP_TIME_MAX);
            tokio::task::spawn_blocking(stop).await.unwrap();
        }
        let address = self.world().addresses[node];
        for _ in 0..WAITS_MAX {
            if TcpStream::connect(address).await.is_err() {
                return;
            }
            tokio::time::sleep(WAIT).await;
        }
        panic!("node {node} does not die");
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, what: &str, mut is_so: impl FnMut(&World) -> bool) {
        for _ in 0..WAITS_MAX {
            if is_so(&self.world()) {
                return;
            }
            tokio::time::sleep(WAIT).await;
        }
        panic!("in vain: {what}");
    }

    /// Starts a killed node where it was.
    pub(crate) fn restart(&mut self, node: usize) {
        let address = self.world().addresses[node];
        let listener = std::net::TcpListener::bind(address).unwrap();
        self.serve(node, listener);
    }

    pub(crate) fn world(&self) -> parking_lot::MutexGuard<'_, World> {
        self.world.lock()
    }

    pub(crate) fn address(&self, node: usize) -> String {
        self.world().addresses[node].to_string()
    }

    pub(crate) fn fault(&self, method: &'static str, fault: Fault) {
        self.world().faults.push_back((method, fault));
    }

    /// A client that knows one node at first, and all soon after. What it asked up to now is
    /// forgotten.
    pub(crate) async fn client(&self, node: usize) -> Client {
        self.client_with(node, options()).await
    }

    pub(crate) async fn client_with(&self, node: usize, options: ClientOptions) -> Client {
        let client = options.open([self.address(node)]).await.unwrap();
        self.world().asked.clear();
        client
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        for node in self.nodes.iter_mut().filter_map(Option::take) {
            node.shutdown_background();
        }
    }
}

/// Times that suit tests: a try is over soon, a call is not.
pub(crate) fn options() -> ClientOptions {
    ClientOptions::default().timeout(Duration::from_secs(20)).try_timeout(TRY_TIMEOUT)
}
