//! The door of the service for other nodes: who calls is checked by the head of the call, before
//! anything of its body is received, and calls that are no streams are short.
//!
//! Leaves to others: who is let in, and whether it still is later (`receiver`).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use lsm_proto::peer::peer_service_server::PeerServiceServer;
use lsm_raft::Replica;
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;

use super::address_book::AddressBook;
use super::group::Group;
use super::receiver::Receiver;
use super::transport::PeerTransport;
use crate::limits::{BATCH_BYTES_MOST, BATCH_WRITES_MAX};

/// The calls whose bodies go on: messages, and snapshots.
const STREAMS: [&str; 2] =
    ["/lsm.peer.v1.PeerService/Deliver", "/lsm.peer.v1.PeerService/SendSnapshot"];
/// All bytes of any other call, and how long they may take to come.
pub(super) const SHORT_BYTES_MAX: usize = 64 << 10;
const SHORT_TIME_MAX: Duration = Duration::from_secs(10);

/// Longest frame of a stream: one message with one entry, which holds one batch. The same on all
/// nodes, whatever their settings: an entry that a leader takes and others do not would stop all
/// writes behind it.
const FRAME_BYTES_MAX: usize = BATCH_BYTES_MOST + FRAME_BYTES_MORE;
/// Room beside the batch: what leads and follows it, and each write in it.
const FRAME_BYTES_MORE: usize = 4 << 20;
/// Of a write in a command, beside its key and value; rather too many.
const WRITE_BYTES_MORE: usize = 16;

const _: () = assert!(BATCH_WRITES_MAX * WRITE_BYTES_MORE <= FRAME_BYTES_MORE / 2);

/// The service for other nodes. What callers say of where they are reached goes to `transport`.
pub(crate) fn server(replica: Replica, transport: &PeerTransport) -> PeerAuth {
    server_of(Arc::new(replica), Arc::clone(transport.directory()))
}

pub(super) fn server_of(group: Arc<dyn Group>, directory: Arc<AddressBook>) -> PeerAuth {
    let receiver = Arc::new(Receiver::new(group, directory));
    let service = PeerServiceServer::from_arc(Arc::clone(&receiver));
    let service = service.max_decoding_message_size(FRAME_BYTES_MAX);
    PeerAuth { receiver, service, short_time_max: SHORT_TIME_MAX }
}

/// The service of one node, behind its door.
#[derive(Clone, Debug)]
pub(crate) struct PeerAuth {
    receiver: Arc<Receiver>,
    service: PeerServiceServer<Receiver>,
    short_time_max: Duration,
}

#[cfg(test)]
impl PeerAuth {
    pub(super) fn with_short_time_max(self, short_time_max: Duration) -> Self {
        Self { short_time_max, ..self }
    }
}

impl NamedService for PeerAuth {
    const NAME: &'static str = PeerServiceServer::<Receiver>::NAME;
}

impl Service<http::Request<Body>> for PeerAuth {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    /// Receivers take any number of calls, and bound each kind of them.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let metadata = MetadataMap::from_headers(request.headers().clone());
        let headers = match self.receiver.let_in(&metadata) {
            Ok(headers) => headers,
            Err(status) => return Box::pin(std::future::ready(Ok(status.into_http()))),
        };
        request.extensions_mut().insert(headers);
        if !STREAMS.contains(&request.uri().path()) {
            let end = Box::pin(sleep(self.short_time_max));
            let short = |inner| Body::new(ShortBody { inner, bytes: 0, end });
            request = request.map(short);
        }
        self.service.call(request)
    }
}

/// The body of a call that is short.
struct ShortBody {
    inner: Body,
    /// That came.
    bytes: usize,
    end: Pin<Box<Sleep>>,
}

impl http_body::Body for ShortBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) else {
            ready!(self.end.as_mut().poll(context));
            let status = Status::deadline_exceeded("the call did not come in time");
            return Poll::Ready(Some(Err(status)));
        };
        if let Some(Ok(frame)) = &frame {
            self.bytes += frame.data_ref().map_or(0, Bytes::len);
        }
        if self.bytes > SHORT_BYTES_MAX {
            let message = format!("this call has at most {SHORT_BYTES_MAX} bytes");
            return Poll::Ready(Some(Err(Status::invalid_argument(message))));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
