//! This project's cluster, with its default settings.

use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use lsm_client::proto::v1::{
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_lsm-server"));
        command.arg("start").arg("--node").arg((index + 1).to_string());
        command.arg("--data").arg(dir).arg("--cluster").arg("load");
        command.arg("--listen").arg(&cluster[index].client);
        command.arg("--peer-listen").arg(&cluster[index].peer);
        command.arg("--members").arg(members.join(","));
        command.stdin(Stdio::null());
        command
    }

    async fn standing(mut connection: Connection) -> Result<Standing, Status> {
        let path = "/lsm.v1.ClusterService/Status";
        let status: StatusResponse = connection.call(path, StatusRequest {}).await?;
        Ok(Standing { node: status.node, leader: status.leader })
    }

    async fn client(mut connection: Connection, sessions: bool) -> Result<LsmClient, Status> {
        let mut session = None;
        if sessions {
            let path = "/lsm.v1.SessionService/OpenSession";
            let opened: OpenSessionResponse = connection.call(path, OpenSessionRequest {}).await?;
            session = Some(Session { id: opened.id, sequence: 0 });
        }
        Ok(LsmClient { connection, session })
    }
}

pub(crate) struct LsmClient {
    connection: Connection,
    /// With the number of the last request.
    session: Option<Session>,
}

impl Client for LsmClient {
    async fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), Status> {
        if let Some(session) = &mut self.session {
            session.sequence += 1;
        }
        let request = PutRequest { key, value, session: self.session };
        let _: PutResponse = self.connection.call("/lsm.v1.KVService/Put", request).await?;
        Ok(())
    }

    async fn get(&mut self, key: Bytes) -> Result<Option<Bytes>, Status> {
        let request = GetRequest { key, consistency: Consistency::Linearizable.into() };
        let answer: GetResponse = self.connection.call("/lsm.v1.KVService/Get", request).await?;
        Ok(answer.found.then_some(answer.value))
    }
}
