//! The calls of one client to any node, by the generated clients.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use lsm_proto::v1::kv_service_client::KvServiceClient;
use lsm_proto::v1::session_service_client::SessionServiceClient;
use lsm_proto::v1::{Header, OpenSessionRequest};
use tokio::time::timeout;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::net::{Net, Port, address};
use crate::status;

/// How much later than its deadline a call may come back, with whatever is late here.
const SPARE: Duration = Duration::from_millis(500);

/// How soon a client finds out that a connection has gone silent: the interval and the time for an
/// answer.
const KEEPALIVE: Duration = Duration::from_millis(700);

/// What a failure proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It certainly did not happen.
    Refused,
    /// Nor did it, as the disk of a node is full,
    NoRoom,
    /// or as its session is not known any more.
    SessionUnknown,
    /// It may have: a node says so.
    Unknown,
    /// It may have: the connection broke, or nobody answered.
    Unanswered,
}

impl Failure {
    /// Whether this try certainly did nothing.
    pub(super) fn is_certain(self) -> bool {
        matches!(self, Self::Refused | Self::NoRoom | Self::SessionUnknown)
    }

    /// By what is promised of the words.
    fn of(status: &Status) -> Self {
        let word = status.metadata().get(status::ERROR_KEY);
        match word.map(MetadataValue::as_bytes) {
            Some(b"not-leader" | b"busy" | b"invalid") => Self::Refused,
            Some(b"no-room") => Self::NoRoom,
            Some(b"session-unknown") => Self::SessionUnknown,
            Some(_) => Self::Unknown,
            None => Self::Unanswered,
        }
    }
}

/// One client's connections to all nodes.
pub(super) struct Stub {
    pub(super) client: u64,
    pub(super) net: Arc<Net>,
    pub(super) rng: Rng,
    channels: BTreeMap<u64, Channel>,
}

impl Stub {
    /// Of the client of this number, which is none of a node.
    pub(super) fn new(net: &Arc<Net>, client: u64) -> Self {
        let channels = BTreeMap::new();
        Self { client, net: Arc::clone(net), rng: net.fork_rng(), channels }
    }

    /// The connection to some node.
    pub(super) fn any(&mut self) -> Channel {
        let nodes = self.net.public();
        let node = nodes[self.rng.usize(..nodes.len())];
        let dial = || {
            let endpoint = format!("http://{}", address(node, Port::Clients));
            let endpoint = Endpoint::from_shared(endpoint).expect("it is an address");
            let endpoint = endpoint
                .connect_timeout(Duration::from_secs(1))
                .http2_keep_alive_interval(KEEPALIVE)
                .keep_alive_timeout(KEEPALIVE);
            self.net.channel(self.client, &endpoint)
        };
        self.channels.entry(node).or_insert_with(dial).clone()
    }

    pub(super) fn kv(&mut self) -> KvServiceClient<Channel> {
        KvServiceClient::new(self.any())
    }

    /// A request with a deadline that is often too short, or long enough for all that may happen.
    pub(super) fn request<T>(&mut self, message: T) -> (Request<T>, Duration) {
        let millis = match self.rng.u8(..4) {
            0 => 5..60,
            1 => 30..2_000,
            _ => 30..6_000,
        };
        let time = Duration::from_millis(self.rng.u64(millis));
        let mut request = Request::new(message);
        request.set_timeout(time);
        (request, time)
    }

    /// Opens a session, however long that takes.
    pub(super) async fn open_session(&mut self) -> u64 {
        loop {
            let mut sessions = SessionServiceClient::new(self.any());
            let (request, time) = self.request(OpenSessionRequest {});
            if let Ok(answer) = within(time, sessions.open_session(request)).await {
                self.net.report.sessions.one_more();
                return answer.id;
            }
            self.pause(50).await;
        }
    }

    pub(super) async fn pause(&mut self, millis_max: u64) {
        tokio::time::sleep(Duration::from_micros(self.rng.u64(..millis_max * 1000))).await;
    }
}

/// The answer, or what its failure proves.
pub(super) async fn within<T>(
    time: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failure> {
    match timeout(time + SPARE, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(Failure::of(&status)),
        Err(_) => Err(Failure::Unanswered),
    }
}

/// Whether another node than the leader answered.
pub(super) fn is_elsewhere(header: Option<&Header>) -> bool {
    header.is_some_and(|header| header.leader != 0 && header.leader != header.node)
}
