//! The service that other nodes call.
//!
//! Each call was checked at the door when it comes here, and each stream of messages is again
//! whenever the members change. Whatever is wrong with a call costs that call only.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lsm_proto::peer::peer_service_server::PeerService;
use lsm_proto::peer::{
    Delivered, Envelope, GreetRequest, GreetResponse, IdentifyRequest, IdentifyResponse,
    SnapshotPiece, SnapshotTaken, StateHashRequest, StateHashResponse,
};
use lsm_proto::words;
use lsm_raft::command::Command;
use lsm_raft::{ADDRESS_LEN_MAX, MEMBERS_MAX, Outcome, Refusal};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response, Status, Streaming};

use super::address_book::AddressBook;
use super::group::Group;
use super::headers::PeerHeaders;
use super::refused::{Cause, Refused};
use super::told::Told;
use super::{handshake, hash, snapshot, wire};
use crate::limits::MAINTENANCE_TIME_MAX;

/// Nodes that may have a stream of messages to this one; members always may.
const STREAMS_MAX: usize = 2 * MEMBERS_MAX;

/// The service of one node.
pub(crate) struct Receiver {
    group: Arc<dyn Group>,
    directory: Arc<AddressBook>,
    streams: Arc<Streams>,
    told: Told,
    /// Held while a snapshot is received.
    snapshot: Arc<tokio::sync::Mutex<()>>,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("identity", self.group.identity()).finish_non_exhaustive()
    }
}

impl Receiver {
    pub(super) fn new(group: Arc<dyn Group>, directory: Arc<AddressBook>) -> Self {
        let (streams, snapshot) = (Arc::default(), Arc::default());
        Self { group, directory, streams, told: Told::default(), snapshot }
    }

    /// Checks who calls, and remembers where members are reached.
    pub(super) fn let_in(&self, metadata: &MetadataMap) -> Result<PeerHeaders, Status> {
        let hello = PeerHeaders::read(metadata, self.group.identity());
        // Of one that cannot be read not even the number is known.
        let hello = hello.map_err(|refused| self.refuse(0, refused))?;
        self.check(&hello)?;
        self.told.forget(hello.from);
        if self.is_member(hello.from) {
            self.directory.hear(hello.from, hello.peer_address.clone());
        }
        Ok(hello)
    }

    fn check(&self, hello: &PeerHeaders) -> Result<(), Status> {
        let known = self.group.known_members();
        let checked = handshake::check(hello, self.group.identity(), &known);
        checked.map_err(|refused| self.refuse(hello.from, refused))
    }

    /// Whoever calls stops nobody by what it says, and fills no log.
    fn refuse(&self, from: u64, refused: Refused) -> Status {
        let Refused { cause, sentence } = &refused;
        if self.told.is_news(from, Some(*cause), &self.group.members()) {
            tracing::warn!(from, reason = sentence, "calls are refused; this is told once");
        }
        refused.into()
    }

    fn is_member(&self, node: u64) -> bool {
        self.group.members().nodes.contains_key(&node)
    }

    /// What follows of this node was sent under these times.
    fn note_timing(&self, hello: &PeerHeaders) {
        self.group.note_timing(hello.from, hello.timing);
        let own = self.group.identity().node;
        let clash = handshake::clash(own, &self.group.timing(), hello.from, &hello.timing);
        if let Some(reason) = clash
            && self.told.is_news(hello.from, None, &self.group.members())
        {
            tracing::warn!(from = hello.from, reason, "times do not fit");
        }
    }

    async fn take_messages(
        &self,
        hello: &PeerHeaders,
        mut envelopes: Streaming<Envelope>,
    ) -> Result<(), Status> {
        let mut members = self.group.known_members();
        // They may have changed since it came through the door.
        self.check(hello)?;
        self.note_timing(hello);
        while let Some(envelope) = envelopes.message().await? {
            let now = self.group.known_members();
            if !Arc::ptr_eq(&members, &now) {
                self.check(hello)?;
                // It may be a member only now.
                self.note_timing(hello);
                members = now;
            }
            let messages = wire::from_envelope(envelope, hello.from, hello.to);
            let messages = messages.map_err(|bad| {
                tracing::warn!(from = hello.from, %bad, "a stream of messages is ended");
                Status::invalid_argument(bad.to_string())
            })?;
            self.group.deliver(messages);
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl PeerService for Receiver {
    async fn greet(
        &self,
        request: Request<GreetRequest>,
    ) -> Result<Response<GreetResponse>, Status> {
        let from = hello(&request)?.from;
        let (identity, members) = (self.group.identity(), self.group.known_members());
        let (timing, address) = (self.group.timing(), self.directory.own());
        let mut answer = Response::new(GreetResponse {});
        PeerHeaders::new(identity, timing, &members, from, address).write(answer.metadata_mut());
        Ok(answer)
    }

    async fn deliver(
        &self,
        request: Request<Streaming<Envelope>>,
    ) -> Result<Response<Delivered>, Status> {
        let hello = hello(&request)?;
        let is_member = self.is_member(hello.from);
        // Declared first: it ends when the place is free.
        let _visit;
        let (_place, replaced) = StreamPermit::new(&self.streams, hello.from, is_member)?;
        _visit = Visit::begin(self, &hello);
        tokio::select! {
            biased;
            _ = replaced => Err(Status::aborted("another stream of this node took its place")),
            taken = self.take_messages(&hello, request.into_inner()) => {
                taken.map(|()| Response::new(Delivered {}))
            }
        }
    }

    async fn send_snapshot(
        &self,
        request: Request<Streaming<SnapshotPiece>>,
    ) -> Result<Response<SnapshotTaken>, Status> {
        let hello = hello(&request)?;
        let group = Arc::clone(&self.group);
        snapshot::receive(group, hello.from, request.into_inner(), &self.snapshot).await?;
        Ok(Response::new(SnapshotTaken {}))
    }

    async fn identify(
        &self,
        request: Request<IdentifyRequest>,
    ) -> Result<Response<IdentifyResponse>, Status> {
        let hello = hello(&request)?;
        let asked = request.into_inner();
        if (asked.node, asked.incarnation) != (hello.from, hello.incarnation) {
            return Err(Status::invalid_argument("a node identifies itself, not another"));
        }
        identify(&*self.group, asked).await?;
        Ok(Response::new(IdentifyResponse {}))
    }

    async fn state_hash(
        &self,
        request: Request<StateHashRequest>,
    ) -> Result<Response<StateHashResponse>, Status> {
        let StateHashRequest { index, wait_millis } = request.into_inner();
        let time_max = Duration::from_millis(wait_millis).min(MAINTENANCE_TIME_MAX);
        let hash = hash::wait(&*self.group, index, time_max).await?;
        Ok(Response::new(StateHashResponse { hash: hash.to_vec().into() }))
    }
}

/// What the call said at the door.
fn hello<T>(request: &Request<T>) -> Result<PeerHeaders, Status> {
    let hello = request.extensions().get().cloned();
    hello.ok_or_else(|| Status::internal("the call came past the door: this is a bug"))
}

/// Lets the group agree on the identity of a node; only where this node leads.
///
/// # Errors
///
/// A refusal if the node must stop; `Unavailable` if it should ask again, perhaps elsewhere.
pub(super) async fn identify(group: &dyn Group, asked: IdentifyRequest) -> Result<(), Status> {
    let addresses = [&asked.peer_address, &asked.client_address];
    if addresses.iter().any(|address| address.is_empty() || address.len() > ADDRESS_LEN_MAX) {
        return Err(Status::invalid_argument(format!(
            "addresses have 1 to {ADDRESS_LEN_MAX} bytes"
        )));
    }
    let command = Command::Identify {
        node: asked.node,
        incarnation: asked.incarnation,
        peer_address: asked.peer_address,
        client_address: asked.client_address,
    };
    match group.propose(command.to_bytes()).await {
        Ok(Outcome::Identified) => Ok(()),
        Ok(Outcome::Impostor(sentence)) => Err(Refused { cause: Cause::Identity, sentence }.into()),
        Ok(other) => Err(Status::internal(format!("identifying led to {other:?}"))),
        Err(refusal) => {
            let mut status = Status::unavailable(refusal.to_string());
            if matches!(refusal, Refusal::NotLeader { .. }) {
                let value = MetadataValue::from_static(words::NOT_LEADER);
                status.metadata_mut().insert(words::ERROR_KEY, value);
            }
            Err(status)
        }
    }
}

/// While a node sends messages it is remembered where it is reached, member or not.
struct Visit<'a> {
    receiver: &'a Receiver,
    node: u64,
}

impl<'a> Visit<'a> {
    fn begin(receiver: &'a Receiver, hello: &PeerHeaders) -> Self {
        receiver.directory.hear(hello.from, hello.peer_address.clone());
        Self { receiver, node: hello.from }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        // A later stream of it goes on.
        let is_back = self.receiver.streams.by_node.lock().contains_key(&self.node);
        if !is_back && !self.receiver.is_member(self.node) {
            self.receiver.directory.forget(self.node);
        }
    }
}

/// The streams of messages that come in: one for each node. Dropping a sender ends its stream.
#[derive(Default)]
struct Streams {
    by_node: Mutex<HashMap<u64, (u64, oneshot::Sender<()>)>>,
}

/// The place of one stream.
struct StreamPermit {
    streams: Arc<Streams>,
    node: u64,
    number: u64,
}

impl StreamPermit {
    /// Takes the place of a node, from an older stream if there is one: the node would not
    /// have made a new one if it still used that. The other value ends when this happens again.
    fn new(
        streams: &Arc<Streams>,
        node: u64,
        is_member: bool,
    ) -> Result<(Self, oneshot::Receiver<()>), Status> {
        let mut by_node = streams.by_node.lock();
        if by_node.len() >= STREAMS_MAX && !is_member && !by_node.contains_key(&node) {
            return Err(Status::resource_exhausted("too many nodes send messages"));
        }
        let number = by_node.get(&node).map_or(0, |(number, _)| number + 1);
        let (here, replaced) = oneshot::channel();
        by_node.insert(node, (number, here));
        drop(by_node);
        Ok((Self { streams: Arc::clone(streams), node, number }, replaced))
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut by_node = self.streams.by_node.lock();
        if by_node.get(&self.node).is_some_and(|(number, _)| *number == self.number) {
            by_node.remove(&self.node);
        }
    }
}
