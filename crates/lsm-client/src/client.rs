//! The client: every public call, each a short delegation.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lsm_proto::rpc::Rpc;
use lsm_proto::v1::*;

use crate::address_book::AddressBook;
use crate::attempts::Repeat;
use crate::batch::Batch;
use crate::calls::Shared;
use crate::error::Result;
use crate::into_bytes::IntoBytes;
use crate::node_client::NodeClient;
use crate::options::{ClientOptions, validate_time};
use crate::route::To;
use crate::scan::{Page, Scan};
use crate::scan_stream::ScanStream;

/// A client of one cluster.
///
/// Clones are cheap and share everything: make one client, and clone it for every task. It
/// belongs to the tokio runtime that it was made in. One connection to each node is enough for
/// any number of tasks; a second client has connections of its own.
///
/// A value or key that was read keeps the received message alive as long as it is held: copy
/// it to keep a small piece of a large page for long.
///
/// # Errors
///
/// Every call may end in any of these kinds:
///
/// * `Invalid`: the request can never work.
/// * `Unavailable`: no node served it in time, and none applied it.
/// * `Busy`: the cluster, or this client, has too much to do already.
/// * `Timeout`: the last answer did not come in time.
/// * `Internal`: a node failed in a way that it should not; of reads, every node that could be
///   asked.
///
/// What changes something may also end in `Unknown`, or in a `Timeout` with
/// `may_have_applied`. [`Error::is_safe_to_retry`](crate::Error::is_safe_to_retry) says which
/// is which.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    time: Duration,
}

impl ClientOptions {
    /// Makes a client, and returns when one of the nodes has answered. The others are learned
    /// from it.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad address or setting; else those of a read.
    pub async fn open<A: AsRef<str>>(
        self,
        addresses: impl IntoIterator<Item = A>,
    ) -> Result<Client> {
        self.validate()?;
        let time = self.timeout;
        let directory = AddressBook::new(addresses, &self, fastrand::usize(..))?;
        let shared = Arc::new(Shared::new(self, directory));
        let (name, request) = ("connecting", StatusRequest {});
        let status = shared.ask_as(name, &request, &To::Any, Repeat::Freely, time).await?;
        shared.directory.set_members(&status.members);
        // Those may be old. Without a leader they have to do for now.
        if status.leader != 0 {
            shared.ask_members().await;
        }
        Ok(Client { shared, time })
    }
}

/// Keys and values.
impl Client {
    /// Makes a client with the default options: see [`ClientOptions::open`].
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad address; else those of a read.
    pub async fn connect<A: AsRef<str>>(addresses: impl IntoIterator<Item = A>) -> Result<Self> {
        ClientOptions::default().open(addresses).await
    }

    /// The same client, whose calls may take so long each: from a millisecond to a year.
    ///
    /// # Errors
    ///
    /// `Invalid` beyond these limits.
    pub fn with_timeout(&self, time: Duration) -> Result<Self> {
        validate_time("timeout", time)?;
        Ok(Self { shared: Arc::clone(&self.shared), time })
    }

    /// The value of a key: the last one that was acknowledged before the call, or a later one.
    pub async fn get(&self, key: impl IntoBytes) -> Result<Option<Bytes>> {
        let key = key.into_bytes();
        let request = GetRequest { key, consistency: Consistency::Linearizable.into() };
        let answer = self.ask(&request).await?;
        Ok(answer.found.then_some(answer.value))
    }

    /// The value of a key as some node has it: cheap, and possibly old. The same node is asked
    /// as long as it answers; [`node`](Self::node) chooses one.
    pub async fn get_stale(&self, key: impl IntoBytes) -> Result<Option<Bytes>> {
        let key = key.into_bytes();
        let request = GetRequest { key, consistency: Consistency::Stale.into() };
        let answer = self.shared.ask(&request, &To::Any, Repeat::Freely, self.time).await?;
        Ok(answer.found.then_some(answer.value))
    }

    /// Sets the value of a key. Returns where in the replicated log the write stands.
    pub async fn put(&self, key: impl IntoBytes, value: impl IntoBytes) -> Result<u64> {
        let (key, value) = (key.into_bytes(), value.into_bytes());
        let answer = self.shared.write(PutRequest { key, value, session: None }, self.time).await?;
        Ok(answer.index)
    }

    /// Removes a key, whether or not it is there. Returns where in the replicated log that
    /// stands.
    pub async fn delete(&self, key: impl IntoBytes) -> Result<u64> {
        let key = key.into_bytes();
        let answer = self.shared.write(DeleteRequest { key, session: None }, self.time).await?;
        Ok(answer.index)
    }

    /// Makes all the changes of a batch, or none. Returns where in the replicated log they
    /// stand; 0 for an empty batch, for which no node is asked.
    pub async fn write(&self, batch: &Batch) -> Result<u64> {
        if batch.is_empty() {
            return Ok(0);
        }
        Ok(self.shared.write(batch.to_request(), self.time).await?.index)
    }

    /// The entries of a scan as they were at one moment, as a stream in bounded memory.
    pub fn scan(&self, scan: Scan) -> ScanStream {
        let to = destination(&scan);
        ScanStream::new(Arc::clone(&self.shared), scan, to, self.time)
    }

    /// One page of a scan, and the scan of the rest. A page has as many entries as the limit
    /// says and the cluster puts into one; each page is of its own moment.
    pub async fn scan_page(&self, scan: Scan) -> Result<Page> {
        let Some(request) = scan.request() else {
            return Ok(Page { entries: Vec::new(), next: None });
        };
        let to = destination(&scan);
        let answer = self.shared.ask(&request, &to, Repeat::Freely, self.time).await?;
        Ok(Page::new(scan, answer))
    }
}

/// The cluster.
impl Client {
    /// One node, member or not: what it knows of itself, and its engine.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad address.
    pub fn node(&self, address: &str) -> Result<NodeClient> {
        let node = self.shared.directory.node(address)?;
        Ok(NodeClient::new(Arc::clone(&self.shared), node, self.time))
    }

    /// Addresses of the nodes that the client would ask now: the members, as far as they are
    /// known, and the addresses that it was given.
    pub fn addresses(&self) -> Vec<String> {
        self.shared.directory.addresses()
    }

    /// What the leader knows of itself, of its log, and of its followers; or some other node
    /// while no leader is known to this client. [`NodeClient::status`] asks a certain one.
    pub async fn status(&self) -> Result<StatusResponse> {
        self.ask(&StatusRequest {}).await
    }

    /// The members of the group, for which a leader is needed. [`status`](Self::status) also
    /// tells who they were when the node that answers last heard.
    pub async fn members(&self) -> Result<Vec<Member>> {
        let members = self.ask(&MembersRequest {}).await?.members;
        self.shared.directory.set_members(&members);
        Ok(members)
    }

    /// Adds a node that receives the log and does not count, under an id that was never used.
    /// It may be started before or after. Returns the members.
    pub async fn add_learner(
        &self,
        id: u64,
        peer_address: impl Into<String>,
        client_address: impl Into<String>,
    ) -> Result<Vec<Member>> {
        let (peer_address, client_address) = (peer_address.into(), client_address.into());
        self.change(AddLearnerRequest { id, peer_address, client_address }).await
    }

    /// Makes a learner that has caught up a voter. Returns the members. With `force` it need
    /// not have caught up: then the group may stand still until it has.
    pub async fn promote(&self, id: u64, force: bool) -> Result<Vec<Member>> {
        self.change(PromoteRequest { id, force }).await
    }

    /// Removes a node for ever: its id cannot come back. Returns the members. Refused if most of
    /// the voters that would remain do not answer, unless with `force`: then the group may stand
    /// still until they do.
    pub async fn remove(&self, id: u64, force: bool) -> Result<Vec<Member>> {
        self.change(RemoveRequest { id, force }).await
    }

    /// Hands the leadership to a voter, or with `None` to the one that is furthest; returns
    /// the leader's id when that leads.
    pub async fn transfer_leadership(&self, to: Option<u64>) -> Result<u64> {
        let request = TransferLeadershipRequest { to: to.unwrap_or(0) };
        let repeat = Repeat::IfNotApplied;
        Ok(self.shared.ask(&request, &To::Leader, repeat, self.time).await?.leader)
    }

    /// Lets all nodes hash their state at one index, and compares those that have a hash then:
    /// see how many there are. It reads everything that is stored, which may take longer than
    /// the client waits unless told: [`with_timeout`](Self::with_timeout).
    pub async fn hash_check(&self) -> Result<HashCheckResponse> {
        let repeat = Repeat::Patiently;
        self.shared.ask(&HashCheckRequest {}, &To::Leader, repeat, self.time).await
    }

    async fn ask<R: Rpc>(&self, request: &R) -> Result<R::Response> {
        self.shared.ask(request, &To::Leader, Repeat::Freely, self.time).await
    }

    async fn change<R: Rpc<Response = ChangeResponse>>(&self, request: R) -> Result<Vec<Member>> {
        let repeat = Repeat::IfNotApplied;
        let members = self.shared.ask(&request, &To::Leader, repeat, self.time).await?.members;
        self.shared.directory.set_members(&members);
        Ok(members)
    }
}

fn destination(scan: &Scan) -> To {
    if scan.is_stale() { To::Any } else { To::Leader }
}
