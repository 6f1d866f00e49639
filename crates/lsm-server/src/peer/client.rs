//! Calls to other nodes: connecting, getting to know each other, and heeding refusals.

use std::sync::Arc;
use std::time::Duration;

use lsm_proto::peer::GreetRequest;
use lsm_proto::peer::peer_service_client::PeerServiceClient;
use lsm_raft::Error;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::address_book::AddressBook;
use super::group::Group;
use super::handshake;
use super::headers::PeerHeaders;
use super::refused::{Cause, Refused};
use super::testimony::Testimony;
use crate::dialer::Dialer;
use crate::tls::{Tls, endpoint};

const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// Longest time for the answer to a greeting.
const GREET_TIME_MAX: Duration = Duration::from_secs(5);
/// Silence after which a connection is probed, and how long the answer may take. Heartbeats
/// come far more often, so this only finds a node that vanished without a word.
const PROBE_INTERVAL: Duration = Duration::from_secs(3);
const PROBE_TIME_MAX: Duration = Duration::from_secs(5);

pub(super) type Client = PeerServiceClient<Channel>;

/// This node, as one that calls others.
#[derive(Clone)]
pub(super) struct PeerClient {
    pub(super) group: Arc<dyn Group>,
    pub(super) directory: Arc<AddressBook>,
    pub(super) testimony: Arc<Testimony>,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) dialer: Arc<dyn Dialer>,
}

/// What to do after a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextTry {
    /// Try again.
    Retry,
    /// Try again, but slowly: someone must do something first.
    RetrySlowly,
    /// Nothing: this node stops.
    Stop,
}

/// Why there is no connection any more, or never was.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) reason: String,
    pub(super) next: NextTry,
    /// Of a refusal, at either end.
    pub(super) cause: Option<Cause>,
}

impl Lost {
    pub(super) fn retry(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), next: NextTry::Retry, cause: None }
    }
}

impl PeerClient {
    /// Connects to a node, and makes sure that it is the one that was meant.
    pub(super) async fn dial(&self, node: u64, attempt: u32) -> Result<(Client, String), Lost> {
        let address = self.directory.address(node, &self.group.members(), attempt);
        let address = address.ok_or_else(|| Lost::retry("its address is not known"))?;
        let endpoint = endpoint(&address, self.tls.as_deref(), CONNECT_TIME_MAX)
            .map_err(|error| {
                Lost::retry(format!("{address:?} cannot be called: {}", causes(&error)))
            })?
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PROBE_INTERVAL)
            .keep_alive_timeout(PROBE_TIME_MAX)
            .keep_alive_while_idle(true);
        // The endpoint bounds the connecting; this also bounds what comes before and after.
        let connected =
            tokio::time::timeout(2 * CONNECT_TIME_MAX, self.dialer.dial(&endpoint)).await;
        let channel = match connected {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(Lost::retry(format!("{address}: {}", causes(&error)))),
            Err(_) => return Err(Lost::retry(format!("{address}: no connection in time"))),
        };
        let mut client = Client::new(channel);
        self.greet(node, &mut client, &address).await?;
        Ok((client, address))
    }

    /// Lets both ends of a connection know each other.
    pub(super) async fn greet(
        &self,
        node: u64,
        client: &mut Client,
        address: &str,
    ) -> Result<(), Lost> {
        let greeting = client.greet(self.request(node, GreetRequest {}));
        let answer = match tokio::time::timeout(GREET_TIME_MAX, greeting).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(status)) => return Err(self.lost(node, address, &status)),
            Err(_) => return Err(Lost::retry(format!("{address}: no answer in time"))),
        };
        let (identity, members) = (self.group.identity(), self.group.known_members());
        let hello = PeerHeaders::read(answer.metadata(), identity);
        let checked =
            hello.and_then(|hello| handshake::check_answer(&hello, node, identity, &members));
        checked.map_err(|Refused { cause, sentence }| Lost {
            reason: format!("{address}: {sentence}"),
            next: NextTry::RetrySlowly,
            cause: Some(cause),
        })?;
        self.testimony.take_back(node);
        Ok(())
    }

    /// What is to be made of a failed call to a node. A refusal by one of them stops this node
    /// only if that one leads, or others agree.
    pub(super) fn lost(&self, node: u64, address: &str, status: &Status) -> Lost {
        let refused = Refused::read(status);
        // What it said; or what the connection died of, as a refused certificate.
        let reason = match std::error::Error::source(status) {
            Some(cause) => format!("{address}: {}", causes(cause)),
            None => format!("{address}: {}", status.message()),
        };
        let cause = refused.as_ref().map(|refused| refused.cause);
        let next = refused.map_or(NextTry::Retry, |refused| self.heed(node, refused));
        Lost { reason, next, cause }
    }

    fn heed(&self, node: u64, refused: Refused) -> NextTry {
        if !refused.cause.is_final() {
            return NextTry::RetrySlowly;
        }
        let (own, members) = (self.group.identity().node, self.group.members());
        let leader = self.group.status().leader;
        if !self.testimony.hear(node, own, &members, leader) {
            return NextTry::RetrySlowly;
        }
        self.group.fail(Error::Refused(refused.sentence));
        NextTry::Stop
    }

    /// Connects to a node, at whichever of its addresses answers.
    pub(super) async fn dial_any(&self, node: u64) -> Result<(Client, String), Lost> {
        match self.dial(node, 0).await {
            Ok(connected) => Ok(connected),
            Err(_) => self.dial(node, 1).await,
        }
    }

    /// A call to a node, with what it must say.
    pub(super) fn request<T>(&self, node: u64, message: T) -> Request<T> {
        let (identity, members) = (self.group.identity(), self.group.known_members());
        let (timing, address) = (self.group.timing(), self.directory.own());
        let hello = PeerHeaders::new(identity, timing, &members, node, address);
        let mut request = Request::new(message);
        hello.write(request.metadata_mut());
        request
    }

    pub(super) fn is_member(&self, node: u64) -> bool {
        self.group.members().nodes.contains_key(&node)
    }

    /// Whether there is a node of this number, as far as this one knows: a member, or one that
    /// has a stream of messages to here.
    pub(super) fn is_known(&self, node: u64) -> bool {
        let may_come = || !self.group.members().removed.contains(&node) && self.directory.has(node);
        self.is_member(node) || may_come()
    }
}

/// An error with what caused it: the outermost alone says little.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}
