//! The cluster's own calls, and those of single nodes.

use lsm_client::{ErrorKind, Scan};
use tonic::Code;

use crate::fake::{Fake, Fault, LONG, TRY_TIMEOUT};

#[tokio::test]
async fn members_change() {
    let fake = Fake::start(3).await;
    fake.world().members = vec![0, 1];
    let client = fake.client(0).await;
    assert_eq!(client.members().await.unwrap().len(), 2);
    assert_eq!(client.add_learner(3, "peer:1", "client:1").await.unwrap().len(), 3);
    assert_eq!(client.addresses().len(), 3, "the client knows it at once");
    assert_eq!(client.promote(3, false).await.unwrap().len(), 3);
    assert_eq!(client.remove(2, false).await.unwrap().len(), 2);
    assert!(!client.addresses().contains(&fake.address(1)));
    assert_eq!(client.transfer_leadership(Some(3)).await.unwrap(), 3);
    assert_eq!(client.transfer_leadership(None).await.unwrap(), 1);
    assert!(client.hash_check().await.unwrap().equal);
}

#[tokio::test]
async fn a_change_that_may_have_happened_is_not_repeated() {
    let fake = Fake::start(3).await;
    let client = fake.client(0).await;
    fake.fault("remove", Fault::LoseAnswer);
    let error = client.remove(2, false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown);
    assert_eq!(fake.world().count("remove"), 1);
    fake.fault("remove", Fault::Refuse(Code::Unavailable, "not-leader"));
    client.remove(3, false).await.unwrap();
    assert_eq!(fake.world().count("remove"), 3);
}

#[tokio::test]
async fn a_hash_check_is_waited_for_and_repeated() {
    let fake = Fake::start(3).await;
    let client = fake.client(0).await;
    fake.fault("hash", Fault::Fail(Code::Unavailable));
    fake.fault("hash", Fault::Slow(LONG));
    assert_eq!(client.hash_check().await.unwrap().index, 7);
    assert_eq!(fake.world().count("hash"), 2);
}

#[tokio::test]
async fn a_node_is_asked_for_itself() {
    let fake = Fake::start(3).await;
    let client = fake.client(0).await;
    fake.world().data.insert("k".into(), "v".into());
    for node in 0..3 {
        let one = client.node(&fake.address(node)).unwrap();
        assert_eq!(one.address(), fake.address(node));
        fake.fault("*", Fault::Fail(Code::Unavailable));
        let status = one.status().await.unwrap();
        assert_eq!((status.node, status.leader), (node as u64 + 1, 1));
        assert_eq!(one.get_stale("k").await.unwrap().unwrap(), "v");
        let entry = one.scan_stale(Scan::prefix("k")).next().await.unwrap().unwrap();
        assert_eq!(entry.value, "v");
        fake.fault("flush", Fault::Slow(LONG));
        one.flush().await.unwrap();
        assert_eq!(one.levels().await.unwrap()[0].level, node as u32);
        assert_eq!(one.stats().await.unwrap().gets, node as u64);
        one.compact("a"..="b").await.unwrap();
        assert_eq!(fake.world().data["compacted".as_bytes()], "ab\0");
        one.compact::<&str>(..).await.unwrap();
        assert_eq!(fake.world().data["compacted".as_bytes()], "");
    }
    assert!(client.node("nonsense").is_err());
    let world = fake.world();
    assert!((0..3).all(|node| world.nodes("flush")[node] == node));
    assert_eq!(world.nodes("status"), [0, 0, 1, 1, 2, 2], "a retry goes nowhere else");
}

#[tokio::test]
async fn a_dead_node_is_unavailable_while_the_others_are_not() {
    let mut fake = Fake::start(2).await;
    let client = fake.client(0).await;
    fake.kill(1).await;
    let address = fake.address(1);
    let quick = client.with_timeout(TRY_TIMEOUT).unwrap();
    let error = quick.node(&address).unwrap().status().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.tried().collect::<Vec<_>>(), [&*address]);
    assert_eq!(client.status().await.unwrap().node, 1);
}
