//! This project's cluster, with its default settings.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use http::Uri;
use lsm_proto::rpc::Rpc;
use lsm_proto::v1::{
    Consistency, GetRequest, GetResponse, OpenSessionRequest, OpenSessionResponse, PutRequest,
    PutResponse, Session, StatusRequest, StatusResponse,
};
use tonic::Status;

use super::target::{Addresses, Client, Connection, Standing, Target};

pub(crate) struct Lsm;

impl Target for Lsm {
    const NAME: &'static str = "lsm";
    type Client = LsmClient;

    fn command(index: usize, cluster: &[Addresses], dir: &Path) -> Command {
        let members = cluster.iter().enumerate();
        let members = members.map(|(at, node)| format!("{}={}/{}", at + 1, node.peer, node.client));
        let members: Vec<_> = members.collect();
        // Another build to compare with, or else the one of this source.
        let program = env::var_os("LSM_BENCH_SERVER");
        let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_lsm-server").into());
        let mut command = Command::new(program);
        command.arg("start").arg("--node").arg((index + 1).to_string());
        command.arg("--data").arg(dir).arg("--cluster").arg("load");
        command.arg("--listen").arg(&cluster[index].client);
        command.arg("--peer-listen").arg(&cluster[index].peer);
        command.arg("--members").arg(members.join(","));
        command.stdin(Stdio::null());
        command
    }

    async fn standing(mut connection: Connection) -> Result<Standing, Status> {
        let method = connection.method(StatusRequest::PATH);
        let status: StatusResponse = connection.call(method, &StatusRequest {}).await?;
        Ok(Standing { node: status.node, leader: status.leader })
    }

    async fn client(mut connection: Connection, sessions: bool) -> Result<LsmClient, Status> {
        let mut session = None;
        if sessions {
            let method = connection.method(OpenSessionRequest::PATH);
            let opened: OpenSessionResponse =
                connection.call(method, &OpenSessionRequest {}).await?;
            session = Some(Session { id: opened.id, sequence: 0 });
        }
        let put = connection.method(PutRequest::PATH);
        let get = connection.method(GetRequest::PATH);
        Ok(LsmClient { connection, put, get, session })
    }
}

pub(crate) struct LsmClient {
    connection: Connection,
    put: Uri,
    get: Uri,
    /// With the number of the last request.
    session: Option<Session>,
}

impl Client for LsmClient {
    async fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), Status> {
        if let Some(session) = &mut self.session {
            session.sequence += 1;
        }
        let request = PutRequest { key, value, session: self.session };
        let _: PutResponse = self.connection.call(self.put.clone(), &request).await?;
        Ok(())
    }

    async fn get(&mut self, key: Bytes) -> Result<Option<Bytes>, Status> {
        let request = GetRequest { key, consistency: Consistency::Linearizable.into() };
        let answer: GetResponse = self.connection.call(self.get.clone(), &request).await?;
        Ok(answer.found.then_some(answer.value))
    }
}
