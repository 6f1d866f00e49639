//! The three tests that the whole thing began with.

use lsm_client::Client;
use lsm_proto::v1::kv_service_client::KvServiceClient;
use lsm_proto::v1::storage_service_client::StorageServiceClient;
use lsm_proto::v1::{
    BatchWriteRequest, DeleteOp, DeleteRequest, FlushMemTableRequest, GetLevelsRequest, GetRequest,
    GetResponse, GetStorageStatsRequest, PutOp, PutRequest, ScanRequest, TriggerCompactionRequest,
    Write, write,
};
use tonic::transport::Channel;

use crate::harness::Cluster;

/// Requests on their way at the same time.
const PARALLEL: usize = 64;

async fn put(kv: &mut KvServiceClient<Channel>, key: &str, value: &str) {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    kv.put(PutRequest { key, value, session: None }).await.unwrap();
}

async fn get(kv: &mut KvServiceClient<Channel>, key: &str) -> GetResponse {
    let request = GetRequest { key: key.to_owned().into(), ..GetRequest::default() };
    kv.get(request).await.unwrap().into_inner()
}

/// Puts `entries`, many at a time.
async fn put_all(client: &Client, entries: Vec<(String, String)>) {
    let per_task = entries.len().div_ceil(PARALLEL);
    let mut entries = entries.into_iter().peekable();
    let mut tasks = Vec::new();
    while entries.peek().is_some() {
        let (client, part) = (client.clone(), entries.by_ref().take(per_task).collect::<Vec<_>>());
        tasks.push(tokio::spawn(async move {
            for (key, value) in part {
                client.put(key, value).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn basic_operations() {
    let cluster = Cluster::start(5).await;
    let mut kv = cluster.kv(cluster.leader().await);
    put(&mut kv, "hello", "world").await;
    let answer = get(&mut kv, "hello").await;
    assert!(answer.found);
    assert_eq!(answer.value, &b"world"[..]);

    let writes = [
        write::Op::Put(PutOp { key: "a".into(), value: "1".into() }),
        write::Op::Put(PutOp { key: "b".into(), value: "2".into() }),
        write::Op::Delete(DeleteOp { key: "hello".into() }),
    ];
    let writes = writes.map(|op| Write { op: Some(op) }).to_vec();
    kv.batch_write(BatchWriteRequest { writes, session: None }).await.unwrap();
    assert!(!get(&mut kv, "hello").await.found);
    let page = kv.scan(ScanRequest::default()).await.unwrap().into_inner();
    let keys: Vec<_> = page.entries.iter().map(|entry| &entry.key[..]).collect();
    assert_eq!(keys, [&b"a"[..], b"b"]);
    assert!(!page.more);

    kv.delete(DeleteRequest { key: "a".into(), session: None }).await.unwrap();
    // Every other node sees it, too.
    for node in 1..=5 {
        let mut kv = cluster.kv(node);
        assert!(!get(&mut kv, "a").await.found, "node {node}");
        assert_eq!(get(&mut kv, "b").await.value, &b"2"[..], "node {node}");
    }
}

#[tokio::test]
async fn compaction_merges_levels() {
    let cluster = Cluster::builder(5).flags("--write-buffer-bytes 128KiB").start().await;
    let leader = cluster.leader().await;
    let client = cluster.client().await;
    let entry = |i| (format!("key_{i:05}"), format!("value_{i}"));
    put_all(&client, (0..10_000).map(entry).collect()).await;
    cluster.caught_up().await;

    let mut storage = StorageServiceClient::new(cluster.channel(leader));
    storage.flush_mem_table(FlushMemTableRequest {}).await.unwrap();
    let stats = storage.get_storage_stats(GetStorageStatsRequest {}).await.unwrap().into_inner();
    assert!(stats.flushes > 1, "{stats:?}");
    // What is compacted already needs no trigger: something new does. So little is not compacted
    // before it is asked for if it is the only table in L0.
    storage.trigger_compaction(TriggerCompactionRequest::default()).await.unwrap();
    put_all(&client, (10_000..10_100).map(entry).collect()).await;
    cluster.caught_up().await;
    storage.flush_mem_table(FlushMemTableRequest {}).await.unwrap();
    let mut tables_in_l0 = async || {
        let levels = storage.get_levels(GetLevelsRequest {}).await.unwrap().into_inner().levels;
        levels[0].sstables.len()
    };
    let before = tables_in_l0().await;
    assert!(before > 0);

    let mut storage = StorageServiceClient::new(cluster.channel(leader));
    storage.trigger_compaction(TriggerCompactionRequest::default()).await.unwrap();
    let after = tables_in_l0().await;
    assert!(after < before, "{after} tables in L0, and {before} before");
    let mut kv = cluster.kv(leader);
    for i in [0, 4_999, 9_999, 10_099] {
        let (key, value) = entry(i);
        assert_eq!(get(&mut kv, &key).await.value, value);
    }
}

#[tokio::test]
async fn filters_spare_reads() {
    let cluster = Cluster::start(5).await;
    let leader = cluster.leader().await;
    let mut kv = cluster.kv(leader);
    let entries = (0..1000).map(|i| (format!("key_{i}"), "value".to_owned())).collect();
    put_all(&cluster.client().await, entries).await;
    cluster.caught_up().await;
    let mut storage = StorageServiceClient::new(cluster.channel(leader));
    storage.flush_mem_table(FlushMemTableRequest {}).await.unwrap();
    let stats = async |storage: &mut StorageServiceClient<Channel>| {
        storage.get_storage_stats(GetStorageStatsRequest {}).await.unwrap().into_inner()
    };

    let before = stats(&mut storage).await;
    for i in 0..1000 {
        assert!(!get(&mut kv, &format!("nonexistent_{i}")).await.found);
    }
    let after = stats(&mut storage).await;
    assert!(after.gets >= before.gets + 1000, "{before:?} {after:?}");
    assert!(after.read_amplification < 2.0, "{after:?}");
    let let_through = after.false_positives - before.false_positives;
    assert!(let_through < 50, "{let_through} of 1000 were let through");
}
