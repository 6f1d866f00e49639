//! What the two systems have in common, so that they are measured in the same way: the same
//! connections, the same call, messages of one library.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// Requests of one connection that may wait to be sent.
const WAITING_MAX: usize = 4096;

/// A connection; clones share it.
#[derive(Clone)]
pub(crate) struct Connection(Grpc<Channel>);

impl Connection {
    /// Connected when it is first used. Needs a runtime.
    ///
    /// # Errors
    ///
    /// If the address is not `host:port`.
    pub(crate) fn to(address: &str) -> Result<Self, String> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let endpoint = endpoint.map_err(|error| format!("{address}: {error}"))?;
        Ok(Self(Grpc::new(endpoint.buffer_size(WAITING_MAX).connect_lazy())))
    }

    pub(crate) async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.0.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let path = PathAndQuery::from_static(path);
        let answer = self.0.unary(Request::new(request), path, ProstCodec::<Q, A>::default());
        Ok(answer.await?.into_inner())
    }
}

/// One closed loop's side of a system.
pub(crate) trait Client: Send + Sized + 'static {
    fn put(&mut self, key: Bytes, value: Bytes) -> impl Future<Output = Result<(), Status>> + Send;

    /// Linearizable.
    fn get(&mut self, key: Bytes) -> impl Future<Output = Result<Option<Bytes>, Status>> + Send;
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
