//! etcd 3.4 or later, with its default settings. Its messages, as far as they are used here, are
//! written down by hand: field numbers are those of etcd's `rpc.proto` and `kv.proto`.

use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use http::Uri;
use tonic::Status;

use super::target::{Addresses, Client, Connection, Standing, Target};

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
}

/// Without `serializable`, field 7, a read is linearizable.
#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

pub(crate) struct Etcd;

impl Target for Etcd {
    const NAME: &'static str = "etcd";
    type Client = EtcdClient;

    fn command(index: usize, cluster: &[Addresses], dir: &Path) -> Command {
        let name = |index: usize| format!("node{}", index + 1);
        let url = |address: &str| format!("http://{address}");
        let founders = cluster.iter().enumerate();
        let founders = founders.map(|(at, node)| format!("{}={}", name(at), url(&node.peer)));
        let founders: Vec<_> = founders.collect();
        let Addresses { client, peer } = &cluster[index];
        let mut command = Command::new("etcd");
        command.arg("--name").arg(name(index)).arg("--data-dir").arg(dir);
        command.arg("--listen-client-urls").arg(url(client));
        command.arg("--advertise-client-urls").arg(url(client));
        command.arg("--listen-peer-urls").arg(url(peer));
        command.arg("--initial-advertise-peer-urls").arg(url(peer));
        command.arg("--initial-cluster").arg(founders.join(","));
        command.arg("--initial-cluster-state").arg("new");
        command.stdin(Stdio::null());
        command
    }

    async fn standing(mut connection: Connection) -> Result<Standing, Status> {
        let method = connection.method("/etcdserverpb.Maintenance/Status");
        let status: StatusResponse = connection.call(method, &StatusRequest {}).await?;
        let node = status.header.map_or(0, |header| header.member_id);
        Ok(Standing { node, leader: status.leader })
    }

    async fn client(connection: Connection, _sessions: bool) -> Result<EtcdClient, Status> {
        let put = connection.method("/etcdserverpb.KV/Put");
        let get = connection.method("/etcdserverpb.KV/Range");
        Ok(EtcdClient { connection, put, get })
    }
}

pub(crate) struct EtcdClient {
    connection: Connection,
    put: Uri,
    get: Uri,
}

impl Client for EtcdClient {
    async fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), Status> {
        let request = PutRequest { key, value };
        let _: PutResponse = self.connection.call(self.put.clone(), &request).await?;
        Ok(())
    }

    async fn get(&mut self, key: Bytes) -> Result<Option<Bytes>, Status> {
        let request = RangeRequest { key };
        let mut answer: RangeResponse = self.connection.call(self.get.clone(), &request).await?;
        Ok(answer.kvs.pop().map(|entry| entry.value))
    }
}
