//! What the two systems have in common, so that they are measured in the same way: the same
//! connections, the same call, messages of one library.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::{Method, Request, Uri};
use prost::Message;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::coalesce::CoalescingStream;

/// Bytes of answers on their way, on a stream and on the connection.
const WINDOW_BYTES: u32 = 4 << 20;
/// For one answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// In front of a message: whether it is packed, and its length.
const FRAME_HEAD_LEN: usize = 5;

/// A connection; clones share it. A client's requests cost as little as they can, since the
/// generator runs on the machine that it measures: no layer lies between it and HTTP/2.
#[derive(Clone)]
pub(crate) struct Connection {
    requests: SendRequest<Bytes>,
    address: String,
}

impl Connection {
    /// # Errors
    ///
    /// If nobody listens at the address, `host:port`, or not for HTTP/2.
    pub(crate) async fn to(address: &str) -> Result<Self, String> {
        let connect = async {
            let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            let mut builder = Builder::new();
            builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
            builder
                .handshake(CoalescingStream::new(stream))
                .await
                .map_err(|error| error.to_string())
        };
        let (requests, connection) =
            connect.await.map_err(|error: String| format!("{address}: {error}"))?;
        // Its end is seen by the requests on it.
        tokio::spawn(connection);
        Ok(Self { requests, address: address.to_owned() })
    }

    /// The address of a method, such as `/lsm.v1.KVService/Put`, on this connection.
    pub(crate) fn method(&self, path: &str) -> Uri {
        format!("http://{}{path}", self.address).parse().expect("both parts are good")
    }

    pub(crate) async fn call<Q, A>(&mut self, method: Uri, request: &Q) -> Result<A, Status>
    where
        Q: Message,
        A: Message + Default,
    {
        let mut requests = self.requests.clone().ready().await.map_err(broken)?;
        let head = Request::builder().method(Method::POST).uri(method);
        let head = head.header("content-type", "application/grpc").header("te", "trailers");
        let head = head.body(()).expect("its parts are good");
        let (answer, mut body) = requests.send_request(head, false).map_err(broken)?;
        body.send_data(frame(request), true).map_err(broken)?;
        let message = receive(answer).await?;
        let message = message.get(FRAME_HEAD_LEN..).ok_or_else(|| Status::internal("no answer"))?;
        A::decode(message).map_err(|error| Status::internal(error.to_string()))
    }
}

fn frame(message: &impl Message) -> Bytes {
    let len = message.encoded_len();
    let mut frame = BytesMut::with_capacity(FRAME_HEAD_LEN + len);
    frame.put_u8(0);
    frame.put_u32(len as u32);
    message.encode(&mut frame).expect("there is room");
    frame.freeze()
}

/// The frame of an answer, whose status must be good.
async fn receive(answer: ResponseFuture) -> Result<Bytes, Status> {
    let (head, mut body) = answer.await.map_err(broken)?.into_parts();
    let mut frame = Bytes::new();
    while let Some(part) = body.data().await {
        let part = part.map_err(broken)?;
        body.flow_control().release_capacity(part.len()).map_err(broken)?;
        frame = if frame.is_empty() { part } else { [frame, part].concat().into() };
    }
    let trailers = body.trailers().await.map_err(broken)?;
    let status = Status::from_header_map(trailers.as_ref().unwrap_or(&head.headers));
    let status = status.unwrap_or_else(|| Status::unknown("the answer has no status"));
    if status.code() == Code::Ok { Ok(frame) } else { Err(status) }
}

#[allow(clippy::needless_pass_by_value, reason = "it is what `map_err` passes")]
fn broken(error: h2::Error) -> Status {
    Status::unavailable(format!("the connection broke: {error}"))
}

/// One closed loop's side of a system.
pub(crate) trait Client: Send + Sized + 'static {
    fn put(&mut self, key: Bytes, value: Bytes) -> impl Future<Output = Result<(), Status>> + Send;

    /// Linearizable.
    fn get(&mut self, key: Bytes) -> impl Future<Output = Result<Option<Bytes>, Status>> + Send;
}

/// Waits for an answer, but not for ever.
pub(crate) async fn in_time<A>(
    answer: impl Future<Output = Result<A, Status>>,
) -> Result<A, Status> {
    match timeout(ANSWER_TIME, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}

/// Where a node of a cluster listens, as `host:port`.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub(crate) client: String,
    pub(crate) peer: String,
}

/// A node, as it sees itself; the numbers are its system's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) node: u64,
    /// 0: it knows none.
    pub(crate) leader: u64,
}

/// A system.
pub(crate) trait Target {
    const NAME: &'static str;
    type Client: Client;

    /// How the node of this index, of a new cluster with these addresses, is started.
    fn command(index: usize, cluster: &[Addresses], dir: &Path) -> Command;

    fn standing(connection: Connection) -> impl Future<Output = Result<Standing, Status>> + Send;

    fn client(
        connection: Connection,
        sessions: bool,
    ) -> impl Future<Output = Result<Self::Client, Status>> + Send;
}
