//! Calls to other nodes: connecting, saying who calls, and heeding refusals.

use std::sync::Arc;
use std::time::Duration;

use lsm_client::proto::peer::peer_service_client::PeerServiceClient;
use lsm_raft::Error;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::directory::Directory;
use super::group::Group;
use super::handshake::{Hello, Refused};
use crate::tls::{Tls, endpoint};

const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// Silence after which a connection is probed, and how long the answer may take. Heartbeats
/// come far more often, so this only finds a node that vanished without a word.
const PROBE_INTERVAL: Duration = Duration::from_secs(3);
const PROBE_TIME_MAX: Duration = Duration::from_secs(5);

pub(super) type Client = PeerServiceClient<Channel>;

/// This node, as one that calls others.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) group: Arc<dyn Group>,
    pub(super) directory: Arc<Directory>,
    pub(super) tls: Option<Arc<Tls>>,
}

/// What to do after a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Try again.
    Retry,
    /// Try again, but slowly: someone must do something first.
    RetrySlowly,
}

impl Caller {
    /// Connects to a node.
    pub(super) async fn dial(&self, node: u64, attempt: u32) -> Result<(Client, String), String> {
        let address = self.directory.address(node, &self.group.members(), attempt);
        let address = address.ok_or("its address is not known")?;
        let endpoint = endpoint(&address, self.tls.as_deref(), CONNECT_TIME_MAX)
            .map_err(|error| format!("{address:?} cannot be called: {}", causes(&error)))?
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PROBE_INTERVAL)
            .keep_alive_timeout(PROBE_TIME_MAX)
            .keep_alive_while_idle(true);
        // The endpoint bounds the connecting; this also bounds what comes before and after.
        match tokio::time::timeout(2 * CONNECT_TIME_MAX, endpoint.connect()).await {
            Ok(Ok(channel)) => Ok((Client::new(channel), address)),
            Ok(Err(error)) => Err(format!("{address}: {}", causes(&error))),
            Err(_) => Err(format!("{address}: no connection in time")),
        }
    }

    /// Connects to a node, at whichever of its addresses answers.
    pub(super) async fn dial_any(&self, node: u64) -> Result<(Client, String), String> {
        match self.dial(node, 0).await {
            Ok(connected) => Ok(connected),
            Err(_) => self.dial(node, 1).await,
        }
    }

    /// A call to a node, with what it must say.
    pub(super) fn request<T>(&self, node: u64, message: T) -> Request<T> {
        let (identity, members) = (self.group.identity(), self.group.members());
        let hello = Hello::new(identity, &members, node, self.directory.own());
        let mut request = Request::new(message);
        hello.write(request.metadata_mut());
        request
    }

    /// Reacts to a refusal: a node that is not let in must not go on.
    pub(super) fn heed(&self, status: &Status) -> Next {
        match Refused::read(status) {
            Some(Refused::Identity(sentence) | Refused::Removed(sentence)) => {
                self.group.fail(Error::Refused(sentence));
                Next::RetrySlowly
            }
            Some(Refused::Elsewhere(_) | Refused::Receiver(_)) => Next::RetrySlowly,
            None => Next::Retry,
        }
    }

    /// Whether a node was removed from the group.
    pub(super) fn is_removed(&self, node: u64) -> bool {
        self.group.members().removed.contains(&node)
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
