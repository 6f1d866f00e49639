//! The calls that nodes answer, as types: what is asked, where, and what comes back.
//!
//! Listed once, for those who ask and for nodes that pass requests on.

use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::v1::*;

/// A request with one answer.
pub trait Rpc: Message + Clone + 'static {
    /// What comes back.
    type Response: Message + Default + 'static;
    /// Path of the method.
    const PATH: &'static str;
    /// How messages to people call it.
    const NAME: &'static str;
    /// Whether it changes what the cluster holds: keys, sessions, members, who leads.
    const CHANGES: bool = false;

    /// The session that lets it be sent again, if it carries one.
    fn session(&self) -> Option<&Session> {
        None
    }

    /// Who answered, where the answer says so.
    fn header(_answer: &Self::Response) -> Option<&Header> {
        None
    }

    /// Writes who answered, where the answer has room for it.
    fn set_header(_answer: &mut Self::Response, _header: Header) {}
}

/// A request that may carry a session.
pub trait Write: Rpc {
    /// From now on it carries this one.
    fn set_session(&mut self, session: Session);
}

/// Sends a request, and waits for its answer.
///
/// # Errors
///
/// What the node says, or what the connection died of.
pub async fn call<R: Rpc>(
    mut connection: Grpc<Channel>,
    request: Request<R>,
) -> Result<R::Response, Status> {
    connection.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let path = PathAndQuery::from_static(R::PATH);
    let codec = ProstCodec::<R, R::Response>::default();
    Ok(connection.unary(request, path, codec).await?.into_inner())
}

/// Begins a scan that streams its pages.
///
/// # Errors
///
/// As of [`call`].
pub async fn scan_stream(
    mut connection: Grpc<Channel>,
    request: Request<ScanRequest>,
) -> Result<Streaming<ScanResponse>, Status> {
    connection.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let path = PathAndQuery::from_static("/lsm.v1.KVService/ScanStream");
    let codec = ProstCodec::<ScanRequest, ScanResponse>::default();
    Ok(connection.server_streaming(request, path, codec).await?.into_inner())
}

macro_rules! rpcs {
    ($($request:ident -> $answer:ident, $path:literal, $name:literal $(, $with:ident)*;)*) => {
        $(impl Rpc for $request {
            type Response = $answer;
            const PATH: &'static str = concat!("/lsm.v1.", $path);
            const NAME: &'static str = $name;
            $(with!($with $answer);)*
        })*
    };
}

macro_rules! with {
    (changes $answer:ident) => {
        const CHANGES: bool = true;
    };
    (session $answer:ident) => {
        fn session(&self) -> Option<&Session> {
            self.session.as_ref()
        }
    };
    (header $answer:ident) => {
        fn header(answer: &$answer) -> Option<&Header> {
            answer.header.as_ref()
        }

        fn set_header(answer: &mut $answer, header: Header) {
            answer.header = Some(header);
        }
    };
}

macro_rules! writes {
    ($($request:ident)*) => {
        $(impl Write for $request {
            fn set_session(&mut self, session: Session) {
                self.session = Some(session);
            }
        })*
    };
}

rpcs! {
    GetRequest -> GetResponse, "KVService/Get", "get", header;
    ScanRequest -> ScanResponse, "KVService/Scan", "scan", header;
    PutRequest -> PutResponse, "KVService/Put", "put", changes, session, header;
    DeleteRequest -> DeleteResponse, "KVService/Delete", "delete", changes, session, header;
    BatchWriteRequest -> BatchWriteResponse,
        "KVService/BatchWrite", "write", changes, session, header;
    OpenSessionRequest -> OpenSessionResponse,
        "SessionService/OpenSession", "open session", changes, header;

    StatusRequest -> StatusResponse, "ClusterService/Status", "status";
    MembersRequest -> MembersResponse, "ClusterService/Members", "members";
    AddLearnerRequest -> ChangeResponse, "ClusterService/AddLearner", "add learner", changes;
    PromoteRequest -> ChangeResponse, "ClusterService/Promote", "promote", changes;
    RemoveRequest -> ChangeResponse, "ClusterService/Remove", "remove", changes;
    TransferLeadershipRequest -> TransferLeadershipResponse,
        "ClusterService/TransferLeadership", "transfer leadership", changes;
    HashCheckRequest -> HashCheckResponse, "ClusterService/HashCheck", "hash check";

    FlushMemTableRequest -> FlushMemTableResponse, "StorageService/FlushMemTable", "flush";
    TriggerCompactionRequest -> TriggerCompactionResponse,
        "StorageService/TriggerCompaction", "compact";
    GetLevelsRequest -> GetLevelsResponse, "StorageService/GetLevels", "levels";
    GetStorageStatsRequest -> GetStorageStatsResponse, "StorageService/GetStorageStats", "stats";
}

writes! { PutRequest DeleteRequest BatchWriteRequest }
