//! The calls that nodes answer, as types: what is asked, where, and what comes back.

use prost::Message;

use lsm_proto::v1::*;

/// A request with one answer.
pub(crate) trait Rpc: Message + Clone + 'static {
    type Answer: Message + Default + 'static;
    /// Path of the method.
    const PATH: &'static str;
    /// How errors call it.
    const NAME: &'static str;
    /// Whether asking twice may change something that asking once does not.
    const CHANGES: bool = false;

    /// Who answered, where the answer says so.
    fn header(_answer: &Self::Answer) -> Option<&Header> {
        None
    }
}

/// A request that may carry a session.
pub(crate) trait Write: Rpc {
    fn set_session(&mut self, session: Session);
}

macro_rules! rpc {
    ($request:ty => $answer:ty, $path:literal, $name:literal) => {
        impl Rpc for $request {
            type Answer = $answer;
            const PATH: &'static str = concat!("/lsm.v1.", $path);
            const NAME: &'static str = $name;
        }
    };
    ($request:ty => $answer:ty, $path:literal, $name:literal, header) => {
        impl Rpc for $request {
            type Answer = $answer;
            const PATH: &'static str = concat!("/lsm.v1.", $path);
            const NAME: &'static str = $name;

            fn header(answer: &$answer) -> Option<&Header> {
                answer.header.as_ref()
            }
        }
    };
    ($request:ty => $answer:ty, $path:literal, $name:literal, change) => {
        impl Rpc for $request {
            type Answer = $answer;
            const PATH: &'static str = concat!("/lsm.v1.", $path);
            const NAME: &'static str = $name;
            const CHANGES: bool = true;
        }
    };
    ($request:ty => $answer:ty, $path:literal, $name:literal, session) => {
        impl Rpc for $request {
            type Answer = $answer;
            const PATH: &'static str = concat!("/lsm.v1.", $path);
            const NAME: &'static str = $name;
            const CHANGES: bool = true;

            fn header(answer: &$answer) -> Option<&Header> {
                answer.header.as_ref()
            }
        }

        impl Write for $request {
            fn set_session(&mut self, session: Session) {
                self.session = Some(session);
            }
        }
    };
}

rpc!(GetRequest => GetResponse, "KVService/Get", "get", header);
rpc!(ScanRequest => ScanResponse, "KVService/Scan", "scan", header);
rpc!(PutRequest => PutResponse, "KVService/Put", "put", session);
rpc!(DeleteRequest => DeleteResponse, "KVService/Delete", "delete", session);
rpc!(BatchWriteRequest => BatchWriteResponse, "KVService/BatchWrite", "write", session);
rpc!(OpenSessionRequest => OpenSessionResponse, "SessionService/OpenSession", "open session", header);

rpc!(StatusRequest => StatusResponse, "ClusterService/Status", "status");
rpc!(MembersRequest => MembersResponse, "ClusterService/Members", "members");
rpc!(AddLearnerRequest => ChangeResponse, "ClusterService/AddLearner", "add learner", change);
rpc!(PromoteRequest => ChangeResponse, "ClusterService/Promote", "promote", change);
rpc!(RemoveRequest => ChangeResponse, "ClusterService/Remove", "remove", change);
rpc!(
    TransferLeadershipRequest => TransferLeadershipResponse,
    "ClusterService/TransferLeadership", "transfer leadership", change
);
rpc!(HashCheckRequest => HashCheckResponse, "ClusterService/HashCheck", "hash check");

rpc!(FlushMemTableRequest => FlushMemTableResponse, "StorageService/FlushMemTable", "flush");
rpc!(
    TriggerCompactionRequest => TriggerCompactionResponse,
    "StorageService/TriggerCompaction", "compact"
);
rpc!(GetLevelsRequest => GetLevelsResponse, "StorageService/GetLevels", "levels");
rpc!(GetStorageStatsRequest => GetStorageStatsResponse, "StorageService/GetStorageStats", "stats");

/// Path of the scan that streams its pages.
pub(crate) const SCAN_STREAM_PATH: &str = "/lsm.v1.KVService/ScanStream";
