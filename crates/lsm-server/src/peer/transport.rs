//! The transport of a replica: one link to each node that it has messages for.
//!
//! Threads: [`send`](Transport::send) is called from threads of the replica and never blocks;
//! all else runs on the runtime.

use std::collections::HashMap;
use std::iter::once;
use std::sync::Arc;
use std::time::Duration;

use lsm_proto::peer::{IdentifyRequest, StateHashRequest};
use lsm_raft::raft::eraftpb::Message;
use lsm_raft::{Outgoing, Replica, Transport};
use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::address_book::AddressBook;
use super::client::{NextTry, PeerClient};
use super::group::Group;
use super::queue::Queue;
use super::snapshot::Senders;
use super::testimony::Testimony;
use super::{hash, link};
use crate::dialer::{Dialer, Network};
use crate::limits::Limits;
use crate::tls::Tls;

/// What is kept of the time for a hash, so that the node's own answer comes through: as a part
/// and at most.
const ANSWER_PART: u32 = 4;
const ANSWER_TIME_MAX: Duration = Duration::from_millis(200);

/// Carries messages and snapshots to other nodes.
pub(crate) struct PeerTransport {
    cluster: String,
    group: u64,
    node: u64,
    limits: Arc<Limits>,
    tls: Option<Arc<Tls>>,
    runtime: Handle,
    directory: Arc<AddressBook>,
    /// None before the replica is attached and after the end.
    caller: RwLock<Option<PeerClient>>,
    links: Arc<RwLock<HashMap<u64, Link>>>,
    senders: Arc<Senders>,
}

struct Link {
    queue: Arc<Queue>,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for PeerTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerTransport").field("node", &self.node).finish_non_exhaustive()
    }
}

impl PeerTransport {
    /// The transport of a node. What is sent before [`attach`](Self::attach) is dropped.
    pub(crate) fn new(
        cluster: &str,
        group: u64,
        node: u64,
        limits: Arc<Limits>,
        tls: Option<Arc<Tls>>,
        runtime: Handle,
    ) -> Arc<Self> {
        Arc::new(Self {
            cluster: cluster.to_owned(),
            group,
            node,
            limits,
            tls,
            runtime,
            directory: Arc::default(),
            caller: RwLock::new(None),
            links: Arc::default(),
            senders: Arc::default(),
        })
    }

    /// Lets messages go out, for this replica.
    ///
    /// # Panics
    ///
    /// If the replica is of another node than the transport was made for.
    pub(crate) fn attach(&self, replica: Replica) {
        self.attach_group(Arc::new(replica), Arc::new(Network));
    }

    /// The same, but for how it connects to other nodes.
    #[cfg(test)]
    pub(crate) fn attach_dialing(&self, replica: Replica, dialer: Arc<dyn Dialer>) {
        self.attach_group(Arc::new(replica), dialer);
    }

    pub(super) fn attach_group(&self, group: Arc<dyn Group>, dialer: Arc<dyn Dialer>) {
        let identity = group.identity();
        assert!(
            (&*identity.cluster, identity.group, identity.node)
                == (&*self.cluster, self.group, self.node),
            "a transport is for one node"
        );
        let (directory, tls) = (Arc::clone(&self.directory), self.tls.clone());
        let testimony = Arc::new(Testimony::default());
        *self.caller.write() = Some(PeerClient { group, directory, testimony, tls, dialer });
    }

    /// Ends all connections and lets go of the replica; what is sent from now on is dropped.
    pub(crate) fn close(&self) {
        *self.caller.write() = None;
        for link in std::mem::take(&mut *self.links.write()).into_values() {
            link.task.abort();
            link.queue.close();
        }
    }

    pub(super) fn directory(&self) -> &Arc<AddressBook> {
        &self.directory
    }

    fn caller(&self) -> Option<PeerClient> {
        self.caller.read().clone()
    }

    /// The queue of a node; its link is made when there is something to send. None at the end,
    /// and if there is no such node: raft answers whoever sends it messages, and anybody can make
    /// up a number.
    fn queue(&self, caller: &PeerClient, node: u64) -> Option<Arc<Queue>> {
        if let Some(link) = self.links.read().get(&node) {
            return Some(Arc::clone(&link.queue));
        }
        if !caller.is_known(node) {
            return None;
        }
        let mut links = self.links.write();
        // After the end no link may come to life again.
        self.caller.read().as_ref()?;
        let link = links.entry(node).or_insert_with(|| {
            let queue = Queue::new();
            let task = self.run_link(caller.clone(), node, Arc::clone(&queue));
            Link { queue, task: self.runtime.spawn(task) }
        });
        Some(Arc::clone(&link.queue))
    }

    /// Runs a link; nothing is left of it when it ends.
    fn run_link(
        &self,
        caller: PeerClient,
        node: u64,
        queue: Arc<Queue>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let links = Arc::clone(&self.links);
        async move {
            link::run(caller.clone(), node, Arc::clone(&queue)).await;
            let mut links = links.write();
            if links.get(&node).is_some_and(|link| Arc::ptr_eq(&link.queue, &queue)) {
                links.remove(&node);
            }
            drop(links);
            if !caller.is_known(node) {
                caller.directory.forget(node);
            }
        }
    }

    /// Nodes that there is a link to.
    #[cfg(test)]
    pub(super) fn linked(&self) -> Vec<u64> {
        let mut linked: Vec<_> = self.links.read().keys().copied().collect();
        linked.sort_unstable();
        linked
    }

    /// The hash that a node, possibly this one, computed of its state at an index where all
    /// nodes were asked to.
    ///
    /// # Errors
    ///
    /// A sentence: the node cannot be reached, or has no such hash within `time`.
    pub(crate) async fn state_hash(
        &self,
        node: u64,
        index: u64,
        time: Duration,
    ) -> Result<Vec<u8>, String> {
        let caller = self.caller().ok_or("this node is stopping")?;
        let until = Instant::now() + time;
        // The node is to say itself that it has none yet: that tells more than silence.
        let wait_until = until - (time / ANSWER_PART).min(ANSWER_TIME_MAX);
        let wait = || wait_until.saturating_duration_since(Instant::now());
        if node == self.node {
            let hash = hash::wait(&*caller.group, index, wait()).await;
            return hash.map(|hash| hash.to_vec()).map_err(|status| status.message().to_owned());
        }
        let ask = async {
            let connected = caller.dial_any(node).await;
            let (mut client, _) = connected.map_err(|lost| lost.reason)?;
            let wait_millis = u64::try_from(wait().as_millis()).unwrap_or(u64::MAX);
            let request = caller.request(node, StateHashRequest { index, wait_millis });
            let answer = client.state_hash(request).await;
            let answer = answer.map_err(|status| status.message().to_owned())?;
            Ok(answer.into_inner().hash.to_vec())
        };
        let answer = timeout_at(until, ask).await;
        answer.unwrap_or_else(|_| Err("no answer in time".into()))
    }

    /// Asks a node to record this node's identity.
    ///
    /// # Errors
    ///
    /// Why it did not, and what to do now.
    pub(super) async fn ask_to_identify(
        &self,
        node: u64,
        attempt: u32,
        request: IdentifyRequest,
    ) -> Result<(), (String, NextTry)> {
        let caller = self.caller().ok_or(("this node is stopping".to_owned(), NextTry::Retry))?;
        let connected = caller.dial(node, attempt).await;
        let (mut client, address) = connected.map_err(|lost| (lost.reason, lost.next))?;
        let mut request = caller.request(node, request);
        request.set_timeout(self.limits.request_time_max);
        let asked = client.identify(request).await;
        asked.map(|_| ()).map_err(|status| {
            let lost = caller.lost(node, &address, &status);
            (lost.reason, lost.next)
        })
    }

    pub(super) fn set_own_address(&self, address: &str) {
        self.directory.set_own(address);
    }
}

impl Transport for PeerTransport {
    fn send(&self, mut messages: Vec<Message>) {
        let Some(caller) = self.caller() else { return };
        // Each queue is locked, and its connection woken, once. The order per node stays.
        messages.sort_by_key(|message| message.to);
        let mut messages = messages.into_iter().peekable();
        while let Some(first) = messages.next() {
            let node = first.to;
            if node == self.node {
                continue;
            }
            let others = std::iter::from_fn(|| messages.next_if(|next| next.to == node));
            let Some(queue) = self.queue(&caller, node) else {
                others.for_each(drop);
                continue;
            };
            if !queue.push(once(first).chain(others)) {
                tracing::warn!(node, "too many messages wait; some were dropped");
                caller.group.unreachable(node);
            }
        }
    }

    fn send_snapshot(&self, message: Message, snapshot: Arc<Outgoing>) {
        if let Some(caller) = self.caller() {
            let task = self.senders.send(caller, message.to, message.term, snapshot);
            self.runtime.spawn(task);
        }
    }
}
