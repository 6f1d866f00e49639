//! Writes take effect once, or the error says what is known.

use std::time::Duration;

use lsm_client::{Batch, ClientOptions, ErrorKind};
use tokio::time::timeout;
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;

use crate::fake::{Fake, Fault, LONG, options};

fn without_sessions() -> ClientOptions {
    options().exactly_once(false)
}

#[tokio::test]
async fn puts_deletes_and_batches_arrive() {
    let fake = Fake::start(1).await;
    let client = fake.client(0).await;
    assert_eq!(client.put("a", "1").await.unwrap(), 1);
    assert_eq!(client.put(b"b".to_vec(), b"2").await.unwrap(), 2);
    assert_eq!(client.delete("a").await.unwrap(), 3);
    let mut batch = Batch::new();
    batch.put("c", "3").delete("b").put("c", "4");
    assert_eq!(batch.len(), 3);
    assert_eq!(client.write(&batch).await.unwrap(), 4);
    assert_eq!(client.write(&Batch::new()).await.unwrap(), 0);
    let data: Vec<_> = fake.world().data.clone().into_iter().collect();
    assert_eq!(data, [("c".into(), "4".into())]);
    let sequences: Vec<_> = fake.world().asked.iter().filter_map(|asked| asked.session).collect();
    assert!(sequences.iter().all(|session| session.id == 1), "one session is enough");
    assert_eq!(sequences.iter().map(|s| s.sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_takes_effect_once() {
    for fault in [Fault::LoseAnswer, Fault::HangAfter, Fault::Late(Duration::from_millis(10))] {
        let fake = Fake::start(3).await;
        let client = fake.client(1).await;
        fake.fault("put", fault.clone());
        fake.fault("put", fault.clone());
        assert_eq!(client.put("k", "v").await.unwrap(), 1, "{fault:?}");
        assert_eq!(fake.world().history.len(), 1, "{fault:?}");
        assert_eq!(fake.world().count("put"), 3, "{fault:?}");
        let sessions: Vec<_> = fake.world().asked.iter().filter_map(|a| a.session).collect();
        assert!(sessions.iter().all(|session| *session == sessions[0]), "{fault:?}");
    }
}

#[tokio::test]
async fn a_write_survives_the_death_of_the_leader() {
    let mut fake = Fake::start(3).await;
    let client = fake.client(0).await;
    client.put("k", "1").await.unwrap();
    fake.fault("put", Fault::HangAfter);
    let writer = tokio::spawn({
        let client = client.clone();
        async move { client.put("k", "2").await }
    });
    fake.until("the write is applied", |world| world.history.len() == 2).await;
    fake.world().leader = Some(2);
    fake.kill(0).await;
    assert_eq!(writer.await.unwrap().unwrap(), 2);
    assert_eq!(fake.world().history.len(), 2);
}

#[tokio::test]
async fn an_unknown_session_is_replaced_if_nothing_was_lost() {
    let fake = Fake::start(1).await;
    let client = fake.client(0).await;
    // Several sessions are free, and all are forgotten.
    let puts: Vec<_> = (0..8)
        .map(|i| {
            let client = client.clone();
            fake.fault("put", Fault::Slow(Duration::from_millis(50)));
            tokio::spawn(async move { client.put(format!("k{i}"), "v").await })
        })
        .collect();
    for put in puts {
        put.await.unwrap().unwrap();
    }
    assert_eq!(fake.world().count("open"), 8);
    fake.world().asked.clear();
    fake.fault("put", Fault::ForgetSessions);
    client.put("k", "v").await.unwrap();
    assert_eq!(fake.world().count("put"), 2, "the free ones are not gone through");
    assert_eq!(fake.world().count("open"), 1);
    assert_eq!(fake.world().history.len(), 9);
}

#[tokio::test]
async fn an_unknown_session_after_a_lost_try_leaves_the_outcome_unknown() {
    let fake = Fake::start(1).await;
    let client = fake.client(0).await;
    fake.fault("put", Fault::LoseAnswerAndSessions);
    let error = client.put("k", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown);
    assert!(!error.is_safe_to_retry());
    assert_eq!(fake.world().history.len(), 1, "it was not written again");
    client.put("k", "w").await.unwrap();
}

#[tokio::test]
async fn a_session_is_not_used_again_after_a_write_without_answer() {
    let fake = Fake::start(1).await;
    let client = fake.client(0).await;
    client.put("k", "0").await.unwrap();

    fake.fault("put", Fault::Hang);
    let writer = tokio::spawn({
        let client = client.clone();
        async move { client.put("k", "1").await }
    });
    fake.until("the node has the write", |world| world.count("put") == 2).await;
    writer.abort();
    assert!(writer.await.unwrap_err().is_cancelled());
    client.put("k", "2").await.unwrap();

    let short = client.with_timeout(Duration::from_millis(900)).unwrap();
    fake.fault("put", Fault::Hang);
    let error = short.put("k", "3").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout { may_have_applied: true });
    client.put("k", "4").await.unwrap();

    let ids: Vec<_> = fake.world().asked.iter().filter_map(|a| Some(a.session?.id)).collect();
    assert_eq!(ids, [1, 1, 2, 2, 3]);
}

#[tokio::test]
async fn a_refused_write_gives_its_session_back() {
    let fake = Fake::start(1).await;
    let client = fake.client(0).await;
    let error = client.put("", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.node(), Some(&*fake.address(0)));
    assert!(error.to_string().contains("the key is empty"), "{error}");
    assert_eq!(fake.world().count("put"), 1);
    client.put("k", "v").await.unwrap();
    assert_eq!(fake.world().count("open"), 1);
}

#[tokio::test]
async fn without_sessions_a_write_that_may_have_been_applied_is_not_repeated() {
    let lost = [
        (Fault::LoseAnswer, ErrorKind::Unknown),
        (Fault::Fail(Code::Unavailable), ErrorKind::Unknown),
        (Fault::Fail(Code::ResourceExhausted), ErrorKind::Unknown),
        (Fault::Fail(Code::DeadlineExceeded), ErrorKind::Timeout { may_have_applied: true }),
        (Fault::Fail(Code::Internal), ErrorKind::Internal),
    ];
    for (fault, kind) in lost {
        let fake = Fake::start(3).await;
        let client = fake.client_with(0, without_sessions()).await;
        fake.fault("put", fault.clone());
        let error = client.put("k", "v").await.unwrap_err();
        assert_eq!(error.kind(), kind, "{fault:?}");
        assert!(!error.is_safe_to_retry());
        assert_eq!(fake.world().count("put"), 1, "{fault:?}");
        assert_eq!(fake.world().count("open"), 0);
    }
}

#[tokio::test]
async fn without_sessions_a_write_waits_all_the_time_it_has_for_its_only_try() {
    let fake = Fake::start(3).await;
    let client = fake.client_with(0, without_sessions()).await;
    fake.fault("put", Fault::Slow(LONG));
    client.put("k", "v").await.unwrap();
    let client = client.with_timeout(LONG).unwrap();
    fake.fault("put", Fault::Hang);
    let error = client.put("k", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout { may_have_applied: true });
    assert_eq!(fake.world().count("put"), 2);
}

#[tokio::test]
async fn without_sessions_a_write_that_certainly_did_nothing_is_repeated() {
    let mut fake = Fake::start(3).await;
    let client = fake.client_with(0, without_sessions()).await;
    client.put("k", "0").await.unwrap();
    fake.fault("put", Fault::Refuse(Code::Unavailable, "not-leader"));
    fake.fault("put", Fault::Refuse(Code::ResourceExhausted, "busy"));
    client.put("k", "1").await.unwrap();
    fake.world().leader = Some(1);
    fake.kill(0).await;
    // The first try may still find the old connection, which says nothing about the write.
    let again = async { while client.put("k", "2").await.is_err() {} };
    timeout(Duration::from_secs(10), again).await.unwrap();
    for _ in 0..3 {
        client.put("k", "3").await.unwrap();
    }
}

#[tokio::test]
async fn a_cluster_that_stays_busy_is_busy() {
    let fake = Fake::start(1).await;
    let client = fake.client(0).await.with_timeout(Duration::from_secs(2)).unwrap();
    for _ in 0..100 {
        fake.fault("put", Fault::Refuse(Code::ResourceExhausted, "busy"));
    }
    let error = client.put("k", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.is_safe_to_retry());
    assert!(fake.world().count("put") < 20, "it waits longer each time");
}

#[tokio::test]
async fn a_refusal_after_a_lost_try_leaves_the_outcome_unknown() {
    let fake = Fake::start(2).await;
    let client = fake.client(0).await;
    fake.fault("put", Fault::LoseAnswer);
    fake.fault("put", Fault::Fail(Code::PermissionDenied));
    let error = client.put("k", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
    assert_eq!(fake.world().history.len(), 1);
}

#[tokio::test]
async fn without_sessions_a_write_that_was_never_sent_is_repeated() {
    let mut fake = Fake::start(3).await;
    let client = fake.client_with(0, without_sessions()).await;
    fake.world().leader = Some(1);
    for node in [0, 2] {
        fake.kill(node).await;
    }
    // The connections are closed, which the client's side of them notices meanwhile.
    tokio::time::sleep(Duration::from_millis(200)).await;
    client.put("k", "v").await.unwrap();
    assert_eq!(fake.world().history.len(), 1);
}

/// Of its caller, not of the node that reads it.
#[tokio::test]
async fn bytes_that_are_no_request_are_the_mistake_of_who_sent_them() {
    use lsm_proto::v1::{PromoteRequest, PutResponse};

    let fake = Fake::start(1).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", fake.address(0))).unwrap();
    let mut grpc = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
    grpc.ready().await.unwrap();
    // A number, where the key belongs.
    let request = tonic::Request::new(PromoteRequest { id: 1, force: true });
    let path = PathAndQuery::from_static("/lsm.v1.KVService/Put");
    let codec = tonic_prost::ProstCodec::<PromoteRequest, PutResponse>::default();
    let status = grpc.unary(request, path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(status.metadata().get("lsm-error").unwrap(), "invalid");
    assert!(status.message().contains("garbled"), "{status:?}");
    assert_eq!(fake.world().count("put"), 0);
}
