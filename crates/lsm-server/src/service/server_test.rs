//! The services of one node, over a real connection.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use lsm_core::fs::{Fault, Op as FsOp};
use lsm_proto::v1::kv_service_client::KvServiceClient;
use lsm_proto::v1::{
    BatchWriteRequest, Consistency, DeleteOp, DeleteRequest, FlushMemTableRequest,
    GetLevelsRequest, GetRequest, GetStorageStatsRequest, OpenSessionRequest, PutOp, PutRequest,
    ScanRequest, ScanResponse, Session, StatusRequest, TriggerCompactionRequest, Write, write,
};
use lsm_raft::command::{Command, Op};
use parking_lot::Mutex;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_stream::StreamExt;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::test_group::Group;
use crate::limits::Limits;
use crate::status;

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), session: None }
}

async fn get(group: &Group, key: &str) -> Option<Bytes> {
    let request = GetRequest { key: key.to_owned().into(), consistency: 0 };
    let answer = group.kv(1).get(request).await.unwrap().into_inner();
    answer.found.then_some(answer.value)
}

fn says(status: &Status, code: Code, word: &str) {
    let said = status::says(status, word);
    assert!(status.code() == code && said, "{word} was expected, not {status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_put_read_and_deleted() {
    let group = Group::start(1, Limits::default()).await;
    let mut kv = group.kv(1);
    assert_eq!(get(&group, "a").await, None);
    let first = kv.put(put("a", "1")).await.unwrap().into_inner();
    let header = first.header.unwrap();
    assert_eq!((header.node, header.leader, &*header.leader_address), (1, 1, ""));
    let second = kv.put(put("a", "")).await.unwrap().into_inner();
    assert!(second.index > first.index);
    assert_eq!(get(&group, "a").await.as_deref(), Some(&b""[..]), "an empty value is a value");
    let stale = GetRequest { key: "a".into(), consistency: Consistency::Stale.into() };
    assert!(kv.get(stale).await.unwrap().into_inner().found, "and applied here");
    kv.delete(DeleteRequest { key: "a".into(), session: None }).await.unwrap();
    assert_eq!(get(&group, "a").await, None);
    kv.delete(DeleteRequest { key: "a".into(), session: None }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_applies_in_order_and_as_one() {
    let group = Group::start(1, Limits::default()).await;
    let put = |key: &'static str, value: &'static str| {
        let op = PutOp { key: key.into(), value: value.into() };
        Write { op: Some(write::Op::Put(op)) }
    };
    let delete = Write { op: Some(write::Op::Delete(DeleteOp { key: "b".into() })) };
    let writes = vec![put("a", "1"), put("b", "1"), put("a", "2"), delete];
    let request = BatchWriteRequest { writes, session: None };
    let answer = group.kv(1).batch_write(request).await.unwrap().into_inner();
    assert!(answer.index > 0);
    assert_eq!(get(&group, "a").await.as_deref(), Some(&b"2"[..]));
    assert_eq!(get(&group, "b").await, None);

    let writes = vec![put("c", "1"), put("", "1")];
    let request = BatchWriteRequest { writes, session: None };
    let status = group.kv(1).batch_write(request).await.unwrap_err();
    says(&status, Code::InvalidArgument, "invalid");
    assert_eq!(get(&group, "c").await, None, "nothing of a bad batch is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_in_a_session_applies_once() {
    let group = Group::start(1, Limits::default()).await;
    let (mut kv, mut sessions) = (group.kv(1), group.sessions(1));
    let opened = sessions.open_session(OpenSessionRequest {}).await.unwrap().into_inner();
    let numbered = |value: &str, sequence| PutRequest {
        session: Some(Session { id: opened.id, sequence }),
        ..put("a", value)
    };
    let first = kv.put(numbered("1", 1)).await.unwrap().into_inner();
    kv.put(put("a", "other")).await.unwrap();
    let again = kv.put(numbered("1", 1)).await.unwrap().into_inner();
    assert_eq!(again.index, first.index, "the first result again");
    assert_eq!(get(&group, "a").await.as_deref(), Some(&b"other"[..]), "and nothing written");

    kv.put(numbered("2", 2)).await.unwrap();
    let passed = kv.put(numbered("1", 1)).await.unwrap_err();
    says(&passed, Code::Aborted, "session-passed");
    let unknown = PutRequest {
        session: Some(Session { id: opened.id + 1, sequence: 1 }),
        ..put("a", "lost")
    };
    let unknown = kv.put(unknown).await.unwrap_err();
    says(&unknown, Code::FailedPrecondition, "session-unknown");
    assert_eq!(get(&group, "a").await.as_deref(), Some(&b"2"[..]));
    for session in [Session { id: 0, sequence: 1 }, Session { id: opened.id, sequence: 0 }] {
        let request = PutRequest { session: Some(session), ..put("a", "bad") };
        says(&kv.put(request).await.unwrap_err(), Code::InvalidArgument, "invalid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_or_empty_is_refused() {
    let limits = Limits {
        key_bytes_max: 8,
        value_bytes_max: 1 << 20,
        batch_bytes_max: 2 << 20,
        ..Limits::default()
    };
    let group = Group::start(1, limits.clone()).await;
    let mut kv = group.kv(1);
    let sentence = |status: Status| {
        says(&status, Code::InvalidArgument, "invalid");
        status.message().to_owned()
    };
    assert_eq!(sentence(kv.put(put("", "")).await.unwrap_err()), "a key has at least one byte");
    let long = kv.put(put("123456789", "")).await.unwrap_err();
    assert_eq!(sentence(long), "the key has 9 bytes; at most 8 are allowed");
    let get = GetRequest { key: "".into(), consistency: 0 };
    sentence(kv.get(get).await.unwrap_err());
    let get = GetRequest { key: "k".into(), consistency: 9 };
    sentence(kv.get(get).await.unwrap_err());
    sentence(kv.delete(DeleteRequest::default()).await.unwrap_err());
    sentence(kv.batch_write(BatchWriteRequest::default()).await.unwrap_err());
    let scan = ScanRequest { prefix: "1234567890".into(), ..ScanRequest::default() };
    sentence(kv.scan(scan.clone()).await.unwrap_err());
    sentence(kv.scan_stream(scan).await.unwrap_err());
    let value = vec![0; limits.value_bytes_max + 1];
    let large = PutRequest { value: value.into(), ..put("k", "") };
    assert!(sentence(kv.put(large).await.unwrap_err()).contains("1048576 are allowed"));
    // More than any message may have: refused while it is received.
    let value = vec![0; limits.message_bytes_max() + 1];
    let huge = PutRequest { value: value.into(), ..put("k", "") };
    let most = limits.message_bytes_max();
    let said = sentence(kv.put(huge).await.unwrap_err());
    assert!(said.ends_with(&format!("at most {most} are allowed")), "{said}");
    kv.put(put("12345678", "fits")).await.unwrap();
}

/// Settings may shrink, and what is stored must be readable.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_under_larger_limits_can_be_read() {
    let limits = Limits { value_bytes_max: 1 << 10, batch_bytes_max: 1 << 10, ..Limits::default() };
    let group = Group::start(1, limits).await;
    let value = vec![7; 4 << 20];
    let ops = vec![Op::Put { key: b"large", value: &value }];
    let write = Command::Write { session: None, ops };
    group.replica(1).propose(write.to_bytes()).await.unwrap();
    assert_eq!(get(&group, "large").await.as_deref(), Some(&*value));
    let page = group.kv(1).scan(ScanRequest::default()).await.unwrap().into_inner();
    assert_eq!(page.entries[0].value, value);
    let pages = stream(&group, &ScanRequest::default()).await;
    assert_eq!(pages[0].entries[0].value, value);
}

/// Also by services that are not ours, whose own limits have other words.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_a_question_is_refused() {
    let group = Group::start(1, Limits::default()).await;
    let sentence = |status: Status| {
        says(&status, Code::InvalidArgument, "invalid");
        assert!(status.message().contains("65536"), "{status:?}");
    };
    let service = "x".repeat(5 << 20);
    let mut health = HealthClient::new(group.channel(1));
    let request = HealthCheckRequest { service: service.clone() };
    sentence(health.check(request.clone()).await.unwrap_err());
    sentence(health.watch(request).await.unwrap_err());

    let ask = |name: &str| ServerReflectionRequest {
        host: name.to_owned(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(group.channel(1));
    for questions in [vec![ask("x"), ask(&service)], vec![ask(&service[..1 << 10]); 100]] {
        let asked = tokio_stream::iter(questions);
        let mut answers = reflection.server_reflection_info(asked).await.unwrap().into_inner();
        let ended = loop {
            match answers.next().await {
                Some(Ok(_)) => {}
                ended => break ended,
            }
        };
        sentence(ended.expect("an error stands at the end").unwrap_err());
    }
    group.kv(1).put(put("a", "1")).await.unwrap();
}

/// Random entries, in tables and in memory.
async fn fill(group: &Group, count: usize) -> BTreeMap<Bytes, Bytes> {
    let mut dice = fastrand::Rng::with_seed(7);
    let mut model = BTreeMap::new();
    for i in 0..count {
        let key = Bytes::from(format!("{:03x}", dice.u16(..0xfff)));
        let value = Bytes::from(vec![i as u8; dice.usize(..200)]);
        let request = PutRequest { key: key.clone(), value: value.clone(), session: None };
        group.kv(1).put(request).await.unwrap();
        model.insert(key, value);
        if i == count / 2 {
            group.storage(1).flush_mem_table(FlushMemTableRequest {}).await.unwrap();
        }
    }
    model
}

fn pairs(pages: &[ScanResponse]) -> Vec<(Bytes, Bytes)> {
    let entries = pages.iter().flat_map(|page| &page.entries);
    entries.map(|entry| (entry.key.clone(), entry.value.clone())).collect()
}

/// All pages of a stream.
async fn stream(group: &Group, request: &ScanRequest) -> Vec<ScanResponse> {
    let mut pages = group.kv(1).scan_stream(request.clone()).await.unwrap().into_inner();
    let mut all = Vec::new();
    while let Some(page) = pages.next().await {
        all.push(page.unwrap());
    }
    all
}

/// All pages, one request each.
async fn page_by_page(group: &Group, request: &ScanRequest) -> Vec<ScanResponse> {
    let (mut request, mut all) = (request.clone(), Vec::new());
    loop {
        let page = group.kv(1).scan(request.clone()).await.unwrap().into_inner();
        assert_eq!(page.more, !page.resume.is_empty());
        let resume = page.more.then(|| page.resume.clone());
        all.push(page);
        match (resume, request.reverse) {
            (None, _) => return all,
            (Some(resume), false) => request.start = resume,
            (Some(resume), true) => request.end = resume,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scans_find_what_the_model_holds() {
    let limits = Limits { page_entries_max: 7, page_bytes_max: 900, ..Limits::default() };
    let group = Group::start(1, limits).await;
    let model = fill(&group, 300).await;
    let bytes = |text: &str| Bytes::from(text.to_owned());
    for (start, end, prefix) in [
        ("", "", ""),
        ("4", "", ""),
        ("", "b2", ""),
        ("18", "1e", "1"),
        ("", "", "a"),
        ("9", "2", ""),
    ] {
        for reverse in [false, true] {
            let (start, end, prefix) = (bytes(start), bytes(end), bytes(prefix));
            let inside = |key: &Bytes| {
                *key >= start && (end.is_empty() || *key < end) && key.starts_with(&prefix)
            };
            let mut wanted: Vec<_> =
                model.clone().into_iter().filter(|(key, _)| inside(key)).collect();
            if reverse {
                wanted.reverse();
            }
            let request = ScanRequest { start, end, prefix, reverse, ..ScanRequest::default() };
            let streamed = stream(&group, &request).await;
            assert!(streamed.iter().all(|page| page.entries.len() <= 7 && !page.more));
            assert!(streamed[0].header.is_some());
            assert_eq!(pairs(&streamed), wanted, "{request:?}");
            assert_eq!(pairs(&page_by_page(&group, &request).await), wanted, "{request:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_ends_a_stream_and_keys_come_alone() {
    let limits = Limits { page_entries_max: 7, ..Limits::default() };
    let group = Group::start(1, limits).await;
    let model = fill(&group, 60).await;
    let keys: Vec<_> = model.keys().cloned().collect();
    let request = ScanRequest { limit: 10, keys_only: true, ..ScanRequest::default() };
    let pages = stream(&group, &request).await;
    assert_eq!(pages.iter().map(|page| page.entries.len()).collect::<Vec<_>>(), [7, 3]);
    assert_eq!(pairs(&pages).into_iter().map(|(key, _)| key).collect::<Vec<_>>(), keys[..10]);
    assert!(pairs(&pages).iter().all(|(_, value)| value.is_empty()));
    assert_eq!((pages[0].more, pages[1].more), (false, true));
    assert_eq!(pages[1].resume, keys[10]);
    let request = ScanRequest { limit: 60, ..request };
    assert!(stream(&group, &request).await.iter().all(|page| !page.more), "there is no more");
    let nothing = ScanRequest { start: "x".into(), end: "x".into(), ..ScanRequest::default() };
    let pages = stream(&group, &nothing).await;
    assert!(pages.len() == 1 && pages[0].entries.is_empty() && pages[0].header.is_some());
}

/// Entries of 1 KiB, more than the connection takes at once. Written without a service, and so
/// without its deadline.
async fn fill_large(group: &Group) -> usize {
    let count = 3000;
    for start in (0..count).step_by(500) {
        let keys: Vec<_> = (start..start + 500).map(|i| format!("{i:05}")).collect();
        let puts = keys.iter().map(|key| Op::Put { key: key.as_bytes(), value: &[1; 1024] });
        let command = Command::Write { session: None, ops: puts.collect() };
        group.replica(1).propose(command.to_bytes()).await.unwrap();
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_shows_one_moment() {
    let limits = Limits { page_bytes_max: 16 << 10, ..Limits::default() };
    let group = Group::start(1, limits).await;
    let count = fill_large(&group).await;
    let mut pages = group.kv(1).scan_stream(ScanRequest::default()).await.unwrap().into_inner();
    let mut found = pages.next().await.unwrap().unwrap().entries.len();
    group.kv(1).put(put("99999", "late")).await.unwrap();
    group.kv(1).delete(DeleteRequest { key: "02999".into(), session: None }).await.unwrap();
    while let Some(page) = pages.next().await {
        found += page.unwrap().entries.len();
    }
    assert_eq!(found, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn scans_are_bounded_and_end_with_their_clients() {
    let limits = Limits { scans_max: 1, page_bytes_max: 16 << 10, ..Limits::default() };
    let group = Group::start(1, limits).await;
    fill_large(&group).await;
    let mut held = group.kv(1).scan_stream(ScanRequest::default()).await.unwrap().into_inner();
    held.next().await.unwrap().unwrap();
    let status = group.kv(1).scan(ScanRequest::default()).await.unwrap_err();
    says(&status, Code::ResourceExhausted, "busy");
    let status = group.kv(1).scan_stream(ScanRequest::default()).await.unwrap_err();
    says(&status, Code::ResourceExhausted, "busy");
    drop(held);
    // The server hears of it soon.
    let again = async { while group.kv(1).scan(ScanRequest::default()).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(10), again).await.unwrap();
}

/// Also when there is nothing left to read: its last pages are somewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_runs_until_its_last_page_is_taken() {
    let limits = Limits { scans_max: 1, ..Limits::default() };
    let group = Group::start(1, limits).await;
    // Three pages.
    fill_large(&group).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", group.addresses[0])).unwrap();
    let narrow = endpoint.initial_stream_window_size(1 << 10).connect_lazy();
    let mut slow = KvServiceClient::new(narrow);
    let held = slow.scan_stream(ScanRequest::default()).await.unwrap().into_inner();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let status = group.kv(1).scan(ScanRequest::default()).await.unwrap_err();
    says(&status, Code::ResourceExhausted, "busy");
    drop(held);
    let again = async { while group.kv(1).scan(ScanRequest::default()).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(10), again).await.unwrap();
}

/// Behind a window of one byte the server's part of a call ends long before its answer has left.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_not_taken_are_bounded_and_end_their_connection() {
    let limits = Limits {
        answer_bytes_max: 3 << 20,
        answer_time_max: Duration::from_secs(2),
        ..Limits::default()
    };
    let group = Group::start(1, limits).await;
    let large = PutRequest { value: vec![7; 1 << 20].into(), ..put("large", "") };
    group.kv(1).put(large).await.unwrap();
    for window in [0, 1] {
        let stream = TcpStream::connect(&group.addresses[0]).await.unwrap();
        let mut builder = h2::client::Builder::new();
        let shaken = builder.initial_window_size(window).handshake::<_, Bytes>(stream).await;
        let (client, connection) = shaken.unwrap();
        let ended = tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        let mut answers = Vec::new();
        let mut message = GetRequest { key: "large".into(), consistency: 0 }.encode_to_vec();
        message.splice(0..0, [0, 0, 0, 0, message.len() as u8]);
        for _ in 0..10 {
            let request = http::Request::post("http://test/lsm.v1.KVService/Get")
                .header("content-type", "application/grpc")
                .header("te", "trailers");
            let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
            body.send_data(message.clone().into(), true).unwrap();
            answers.push(answer.await.unwrap().into_body());
        }
        let other = GetRequest { key: "large".into(), consistency: 0 };
        let full = async { while group.kv(1).get(other.clone()).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(1), full).await.expect("there is no room");
        assert_eq!(get(&group, "small").await, None, "what is short gets through");
        group.kv(1).put(put("small", "1")).await.unwrap();
        group.kv(1).delete(DeleteRequest { key: "small".into(), session: None }).await.unwrap();

        let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
        let _ = ended.expect("it is disconnected").unwrap();
        drop(answers);
        let free = async { while group.kv(1).get(other.clone()).await.is_err() {} };
        tokio::time::timeout(Duration::from_secs(10), free).await.expect("there is room again");
    }
}

/// A stream that is cut off must not look complete.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_given_up_with_an_error() {
    let limits = Limits {
        request_time_max: Duration::from_secs(1),
        page_bytes_max: 16 << 10,
        ..Limits::default()
    };
    let group = Group::start(1, limits).await;
    let count = fill_large(&group).await;
    let mut slow = group.kv(1).scan_stream(ScanRequest::default()).await.unwrap().into_inner();
    let mut found = slow.next().await.unwrap().unwrap().entries.len();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let ended = loop {
        match slow.next().await {
            Some(Ok(page)) => found += page.entries.len(),
            ended => break ended,
        }
    };
    let status = ended.expect("an error stands at the end").unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(found < count);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_is_flushed_compacted_and_described() {
    let group = Group::start(1, Limits::default()).await;
    let model = fill(&group, 100).await;
    let mut storage = group.storage(1);
    storage.flush_mem_table(FlushMemTableRequest {}).await.unwrap();
    let levels = storage.get_levels(GetLevelsRequest {}).await.unwrap().into_inner().levels;
    assert!(levels[0].level == 0 && levels[0].sstables.len() == 2, "{levels:?}");
    let table = &levels[0].sstables[0];
    assert!(table.bytes > 0 && table.entries > 0 && table.min_key <= table.max_key);
    assert_eq!(levels[0].bytes, levels[0].sstables.iter().map(|table| table.bytes).sum::<u64>());

    storage.trigger_compaction(TriggerCompactionRequest::default()).await.unwrap();
    let levels = storage.get_levels(GetLevelsRequest {}).await.unwrap().into_inner().levels;
    let (last, upper) = levels.split_last().unwrap();
    assert!(upper.iter().all(|level| level.sstables.is_empty()), "{levels:?}");
    assert_eq!(last.sstables.iter().map(|table| table.entries).sum::<u64>(), model.len() as u64);
    assert_eq!(last.sstables[0].min_key, model.keys().next().unwrap());

    for key in model.keys() {
        get(&group, std::str::from_utf8(key).unwrap()).await.unwrap();
    }
    let stats = storage.get_storage_stats(GetStorageStatsRequest {}).await.unwrap().into_inner();
    let asked = model.len() as u64;
    assert!(stats.gets >= asked && stats.gets_found >= asked, "{stats:?}");
    assert!(stats.read_amplification > 0.0, "{stats:?}");
    assert!(stats.flushes >= 2 && stats.compactions >= 1 && stats.table_bytes > 0, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_tells_its_status_its_health_and_its_services() {
    let group = Group::start(1, Limits::default()).await;
    group.kv(1).put(put("a", "1")).await.unwrap();
    let status = group.cluster(1).status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.node, status.leader, &*status.cluster), (1, 1, "test"));
    assert!(status.applied >= 3 && status.committed >= status.applied, "{status:?}");
    assert!(status.flushed <= status.applied && !status.version.is_empty());

    let healthy = async {
        for service in ["", "lsm.v1.KVService"] {
            let request = HealthCheckRequest { service: service.into() };
            while HealthClient::new(group.channel(1))
                .check(request.clone())
                .await
                .unwrap()
                .into_inner()
                .status
                != 1
            {}
        }
    };
    tokio::time::timeout(Duration::from_secs(10), healthy).await.unwrap();

    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(group.channel(1));
    let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer = answers.into_inner().next().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.iter().map(|service| &*service.name).collect();
    assert!(names.contains(&"lsm.v1.KVService") && names.contains(&"lsm.v1.ClusterService"));
    assert!(!names.iter().any(|name| name.contains("peer")), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_says_so_to_those_who_watch_and_ends_open_calls() {
    let group = Group::start(1, Limits::default()).await;
    let mut health = HealthClient::new(group.channel(1));
    let mut watches = Vec::new();
    for service in ["", "lsm.v1.KVService"] {
        let request = HealthCheckRequest { service: service.into() };
        let mut watch = health.watch(request).await.unwrap().into_inner();
        while watch.next().await.unwrap().unwrap().status != 1 {}
        watches.push(watch);
    }
    let mut talk = ServerReflectionClient::new(group.channel(1));
    let asked = tokio_stream::pending::<ServerReflectionRequest>();
    let mut talk = talk.server_reflection_info(asked).await.unwrap().into_inner();
    group.close(1).await;
    let heard = async {
        for watch in &mut watches {
            assert_eq!(watch.next().await.unwrap().unwrap().status, 2, "it does not serve");
            says(&watch.next().await.unwrap().unwrap_err(), Code::Unavailable, "stopped");
        }
        says(&talk.next().await.unwrap().unwrap_err(), Code::Unavailable, "stopped");
    };
    tokio::time::timeout(Duration::from_secs(10), heard).await.expect("they end");
    // There still is a leader, and that makes it no healthier.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let request = HealthCheckRequest { service: String::new() };
    assert_eq!(health.check(request).await.unwrap().into_inner().status, 2);
    group.kv(1).put(put("a", "1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_disk_does_not_answer_is_not_healthy_until_it_does() {
    let group = Group::start(1, Limits::default()).await;
    let request = HealthCheckRequest { service: String::new() };
    let watch = HealthClient::new(group.channel(1)).watch(request).await;
    let mut watch = watch.unwrap().into_inner();
    let mut told = async |status: i32| {
        let told = async { while watch.next().await.unwrap().unwrap().status != status {} };
        tokio::time::timeout(Duration::from_secs(10), told).await.expect("it is told");
    };
    told(1).await;
    let (answer, hangs) = std::sync::mpsc::channel::<()>();
    let hangs = Mutex::new(hangs);
    // Until the other end goes.
    group.disk.inject(Fault::run(FsOp::Sync, move || _ = hangs.lock().recv()).on(".log"));
    let mut kv = group.kv(1);
    let written = tokio::spawn(async move { kv.put(put("a", "1")).await });
    told(2).await;
    drop(answer);
    written.await.unwrap().unwrap();
    told(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_does_not_exist_is_said_not_to() {
    let group = Group::start(1, Limits::default()).await;
    for path in ["/lsm.v1.KVService/Nope", "/lsm.v1.Nope/Get", "/lsm.peer.v1.PeerService/Identify"]
    {
        let answer = raw_call(&group, path, &[0, 0, 0, 0, 0], true).await;
        // gRPC's UNIMPLEMENTED is 12: two bytes in Huffman's code.
        assert!(contains(&answer, &[0x82, 0x08, 0xbf]), "{path}: {answer:?}");
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A call in HTTP/2 by hand, which ends with the body or says that more will come: what comes
/// back until the stream ends.
async fn raw_call(group: &Group, path: &str, body: &[u8], ends: bool) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        // A literal that is not remembered, its name too.
        headers.extend([0, name.len() as u8]);
        headers.extend(name.bytes());
        headers.push(value.len() as u8);
        headers.extend(value.bytes());
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes.extend(frame(1, 4, 1, &headers));
    bytes.extend(frame(0, u8::from(ends), 1, body));
    let mut stream = TcpStream::connect(&group.addresses[0]).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let answer = async {
        let mut answer = Vec::new();
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; len];
            stream.read_exact(&mut payload).await.unwrap();
            if head[8] == 1 {
                answer.extend(payload);
                // Headers or data with the flag END_STREAM, or a reset.
                if (head[3] <= 1 && head[4] & 1 == 1) || head[3] == 3 {
                    return answer;
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), answer).await.expect("an answer in time")
}

/// Five bytes promise a gigabyte: the answer must come before any of it is awaited.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_claims_to_be_huge_is_refused_at_once() {
    let group = Group::start(1, Limits::default()).await;
    for claim in [1_u32 << 30, u32::MAX] {
        let mut body = vec![0];
        body.extend(claim.to_be_bytes());
        let answer = raw_call(&group, "/lsm.v1.KVService/Put", &body, false).await;
        // gRPC's INVALID_ARGUMENT is 3: a byte in Huffman's code.
        assert!(contains(&answer, &[0x81, 0x67]), "{answer:?}");
    }
    group.kv(1).put(put("a", "1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_harms_only_its_connection() {
    let group = Group::start(1, Limits::default()).await;
    let seed = fastrand::u64(..);
    let mut dice = fastrand::Rng::with_seed(seed);
    for round in 0..20 {
        let mut stream = TcpStream::connect(&group.addresses[0]).await.unwrap();
        let mut garbage = vec![0; dice.usize(..4096)];
        dice.fill(&mut garbage);
        if round % 2 == 0 {
            garbage.splice(0..0, *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        }
        // It may be cut off in the middle.
        let _ = stream.write_all(&garbage).await;
    }
    // Messages that are none, to a method that exists.
    for len in [0, 1, 7, 200_u8] {
        let mut body = vec![0, 0, 0, 0, len];
        body.extend((0..len).map(|_| dice.u8(..)));
        let answer = raw_call(&group, "/lsm.v1.KVService/BatchWrite", &body, true).await;
        assert!(!answer.is_empty(), "seed {seed}");
    }
    group.kv(1).put(put("a", "1")).await.unwrap();
    let mut request = Request::new(put("b", "1"));
    request.metadata_mut().insert("grpc-timeout", "soon".parse().unwrap());
    group.kv(1).put(request).await.unwrap();
}
