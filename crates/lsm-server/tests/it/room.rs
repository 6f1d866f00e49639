//! A cluster whose disks are full, as far as its nodes may fill them.

use lsm_core::fs::{Fs, OsFs};
use lsm_proto::v1::{DeleteRequest, GetRequest, PutRequest};
use tonic::Code;

use crate::harness::{Cluster, PATIENCE, wait_for};

fn put() -> PutRequest {
    PutRequest { key: b"k"[..].into(), value: b"v"[..].into(), ..PutRequest::default() }
}

async fn restart(cluster: &mut Cluster, flags: &str) {
    cluster.kill_all(&[1, 2, 3]);
    cluster.set_flags(flags);
    (1..=3).for_each(|node| cluster.run_node(node));
    cluster.leader().await;
}

#[tokio::test]
async fn with_little_room_reads_and_deletes_are_served() {
    let mut cluster = Cluster::start(3).await;
    cluster.kv(1).put(put()).await.unwrap();
    // Less than that is free, but more than a fourth of it.
    let free = OsFs.space(&cluster.data(1)).unwrap().free;
    restart(&mut cluster, &format!("--disk-reserve-bytes {}", 2 * free)).await;
    let refused = wait_for("a put is refused", PATIENCE, async || {
        let leader = cluster.leader().await;
        cluster.kv(leader).put(put()).await.err()
    });
    let status = refused.await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(status.metadata().get("lsm-error").unwrap(), "no-room");
    assert!(status.message().contains("only reads and deletes are served"), "{status:?}");
    for node in 1..=3 {
        let get = GetRequest { key: b"k"[..].into(), ..GetRequest::default() };
        assert!(cluster.kv(node).get(get).await.unwrap().into_inner().found);
        let delete = DeleteRequest { key: b"gone"[..].into(), ..DeleteRequest::default() };
        cluster.kv(node).delete(delete).await.unwrap();
        let log = std::fs::read_to_string(cluster.log(node)).unwrap();
        assert!(log.contains("little room on the disk"), "{log}");
    }
    restart(&mut cluster, "").await;
    cluster.kv(1).put(put()).await.unwrap();
}
