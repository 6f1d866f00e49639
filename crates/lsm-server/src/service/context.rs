//! What all services of a node share, and what every request begins with.

use std::sync::Arc;
use std::time::Duration;

use lsm_proto::v1::Header;
use lsm_raft::{NodeStatus, Outcome, Refusal, Replica};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::timeout_at;
use tonic::Status;

use super::deadline::{Backoff, RequestDeadline};
use super::forward::Forward;
use super::lookups::Lookups;
use crate::limits::Limits;
use crate::status;
use crate::tls::Tls;

/// Works of operators that run at the same time.
const MAINTENANCE_MAX: usize = 8;
/// Pages that are read at the same time. More would not be read faster, and each thread that reads
/// keeps some megabytes of memory to itself.
const READERS_MAX: usize = 8;

/// The hashes that other nodes computed.
#[tonic::async_trait]
pub(crate) trait Peers: Send + Sync + 'static {
    /// The hash that `node`, possibly this one, computed at `index`; waits up to `time` until it
    /// is there.
    async fn state_hash(&self, node: u64, index: u64, time: Duration) -> Result<Vec<u8>, String>;
}

/// What all services of a node share.
#[derive(Clone)]
pub(crate) struct Context {
    pub(super) replica: Replica,
    pub(super) limits: Arc<Limits>,
    pub(super) forward: Arc<Forward>,
    pub(super) peers: Arc<dyn Peers>,
    pub(super) node: u64,
    pub(super) status: watch::Receiver<NodeStatus>,
    /// One permit a scan that runs.
    pub(super) scans: Arc<Semaphore>,
    pub(super) lookups: Arc<Lookups>,
    /// One permit a page that is being read.
    pub(super) readers: Arc<Semaphore>,
    /// One permit a KiB of the pages that wait to be taken.
    pub(super) pages: Arc<Semaphore>,
    /// One permit a work of an operator that runs.
    pub(super) maintenance: Arc<Semaphore>,
    /// Held while the nodes hash what they store.
    pub(super) hashing: Arc<Mutex<()>>,
}

impl Context {
    /// Of a replica that runs. With `tls` other nodes are called so.
    pub(crate) fn new(
        replica: Replica,
        limits: Arc<Limits>,
        tls: Option<Arc<Tls>>,
        peers: Arc<dyn Peers>,
    ) -> Self {
        Self {
            node: replica.identity().node,
            status: replica.watch(),
            forward: Arc::new(Forward::new(Arc::clone(&limits), tls)),
            scans: Arc::new(Semaphore::new(limits.scans_max)),
            lookups: Arc::default(),
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            pages: Arc::new(Semaphore::new(limits.pages_bytes_max() >> 10)),
            maintenance: Arc::new(Semaphore::new(MAINTENANCE_MAX)),
            hashing: Arc::default(),
            replica,
            limits,
            peers,
        }
    }

    /// The same, but for how it connects to other nodes.
    #[cfg(test)]
    pub(crate) fn dialing(self, dialer: Arc<dyn crate::dialer::Dialer>) -> Self {
        Self { forward: Arc::new(Forward::dialing(Arc::clone(&self.limits), dialer)), ..self }
    }

    /// Who leads, as far as this node knows.
    pub(super) fn leader(&self) -> Option<u64> {
        self.status.borrow().leader
    }

    /// Who answers, and who leads.
    pub(super) fn header(&self) -> Header {
        let leader = self.leader();
        Header {
            node: self.node,
            leader: leader.unwrap_or(0),
            leader_address: self.other_address(leader),
        }
    }

    /// The header of an answer that this node gave as the leader.
    pub(super) fn leader_header(&self) -> Header {
        Header { node: self.node, leader: self.node, leader_address: String::new() }
    }

    /// This node does not lead, and there is no time to wait for one that does.
    pub(super) fn not_leader(&self) -> Status {
        let leader = self.leader().filter(|&leader| leader != self.node);
        status::not_leader(leader, &self.other_address(leader))
    }

    fn other_address(&self, node: Option<u64>) -> String {
        match node {
            Some(node) if node != self.node => {
                let members = self.replica.members();
                let address = members.nodes.get(&node).map(|member| member.client_address.clone());
                address.unwrap_or_default()
            }
            _ => String::new(),
        }
    }

    /// Returns once this node holds everything that was acknowledged before the call. Waits for
    /// a leader, but not for long.
    pub(super) async fn catch_up(&self, asked: &RequestDeadline) -> Result<(), Status> {
        match timeout_at(asked.until, self.catch_up_at_last()).await {
            Ok(done) => done,
            Err(_) if self.leader().is_none() => Err(self.not_leader()),
            Err(_) => Err(status::too_late(false)),
        }
    }

    async fn catch_up_at_last(&self) -> Result<(), Status> {
        let mut patience = Backoff::new(self.limits.leader_wait_max);
        loop {
            match self.replica.read().await {
                Ok(Outcome::Readable { .. }) => return Ok(()),
                Ok(other) => return Err(status::unexpected(&other)),
                Err(Refusal::NotLeader { leader }) => {
                    if !patience.wait(&self.status, leader).await {
                        return Err(self.not_leader());
                    }
                }
                // Nothing is undecided about a read.
                Err(Refusal::Unknown) => return Err(status::stopped("the node is stopping")),
                Err(refusal) => return Err(status::refused(&refusal)),
            }
        }
    }
}
