//! Who is asked: the leader where it matters, whoever is there where it does not.

use std::time::Duration;

use tonic::Code;

use crate::fake::{Fake, Fault, options};

#[tokio::test]
async fn the_client_goes_to_the_leader_that_an_answer_names() {
    let fake = Fake::start(3).await;
    fake.world().leader = Some(2);
    let client = fake.client(0).await;
    for _ in 0..4 {
        client.get("k").await.unwrap();
    }
    assert_eq!(fake.world().nodes("get")[1..], [2, 2, 2]);
    fake.world().leader = Some(1);
    for _ in 0..3 {
        client.put("k", "v").await.unwrap();
    }
    assert_eq!(fake.world().nodes("put")[1..], [1, 1], "passed on first, then direct");
}

#[tokio::test]
async fn the_client_goes_to_the_leader_that_a_refusal_names() {
    let fake = Fake::start(3).await;
    fake.world().forwards = false;
    let client = fake.client(0).await;
    client.get("k").await.unwrap();
    fake.world().leader = Some(2);
    client.get("k").await.unwrap();
    client.put("k", "v").await.unwrap();
    let world = fake.world();
    assert_eq!(world.nodes("get"), [0, 0, 2]);
    assert_eq!(world.nodes("put"), [2]);
}

#[tokio::test]
async fn wrong_hints_are_not_believed_for_long() {
    let fake = Fake::start(3).await;
    let client = fake.client(0).await;
    client.get("k").await.unwrap();
    let hints = ["127.0.0.1:1".to_owned(), fake.address(0), fake.address(1), "nonsense".into()];
    for hint in hints {
        fake.world().asked.clear();
        fake.fault("get", Fault::Hint(hint.clone()));
        fake.fault("get", Fault::Hint(fake.address(0)));
        client.get("k").await.unwrap();
        let asked = fake.world().count("get");
        assert!(asked <= 4, "{hint}: asked {asked} times");
    }
}

#[tokio::test]
async fn the_client_waits_for_a_leader_to_be_elected() {
    let fake = Fake::start(3).await;
    fake.world().leader = None;
    let client = fake.client(0).await;
    let put = client.put("k", "v");
    let elect = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        fake.world().leader = Some(1);
    };
    let (put, ()) = tokio::join!(put, elect);
    put.unwrap();
    assert_eq!(fake.world().history.len(), 1);
}

#[tokio::test]
async fn members_are_learned_from_one_node() {
    let mut fake = Fake::start(3).await;
    fake.world().leader = Some(1);
    let client = fake.client(0).await;
    assert_eq!(client.addresses().len(), 3);
    fake.kill(0).await;
    client.get("k").await.unwrap();
    client.put("k", "v").await.unwrap();
}

#[tokio::test]
async fn members_are_learned_while_nobody_leads() {
    let mut fake = Fake::start(3).await;
    fake.world().leader = None;
    let client = fake.client(0).await;
    assert_eq!(client.addresses().len(), 3);
    assert_eq!(fake.world().count("members"), 0, "nobody could say");
    assert_eq!(client.status().await.unwrap().members.len(), 3);
    fake.kill(0).await;
    fake.world().leader = Some(1);
    client.put("k", "v").await.unwrap();
}

#[tokio::test]
async fn members_are_learned_anew_after_a_failure() {
    let mut fake = Fake::start(4).await;
    fake.world().members = vec![0, 1];
    let client = fake.client(0).await;
    assert_eq!(client.addresses().len(), 2);
    {
        let mut world = fake.world();
        world.members = vec![1, 2, 3];
        world.leader = Some(1);
    }
    // No sooner than a second after they were asked for last.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    fake.fault("get", Fault::Fail(Code::Unavailable));
    client.get("k").await.unwrap();
    let what = "three members, and the address it was given";
    fake.until(what, |_| client.addresses().len() == 4).await;
    fake.kill(0).await;
    fake.kill(1).await;
    fake.world().leader = Some(3);
    client.get("k").await.unwrap();
}

#[tokio::test]
async fn a_dead_address_among_the_given_ones_does_no_harm() {
    let mut fake = Fake::start(3).await;
    fake.kill(1).await;
    let addresses: Vec<_> = (0..3).map(|node| fake.address(node)).collect();
    for _ in 0..5 {
        let client = options().open(&addresses).await.unwrap();
        client.put("k", "v").await.unwrap();
    }
    assert_eq!(fake.world().history.len(), 5);
}

#[tokio::test]
async fn a_node_that_comes_back_is_used_again() {
    let mut fake = Fake::start(1).await;
    let client = fake.client(0).await;
    client.put("k", "1").await.unwrap();
    fake.kill(0).await;
    let put = client.put("k", "2");
    let restart = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        fake.restart(0);
    };
    let (put, ()) = tokio::join!(put, restart);
    put.unwrap();
    assert_eq!(fake.world().history.len(), 2);
}

#[tokio::test]
async fn stale_reads_stay_at_a_node_until_it_fails() {
    let mut fake = Fake::start(3).await;
    let client = fake.client(0).await;
    for _ in 0..5 {
        client.get_stale("k").await.unwrap();
    }
    let nodes = fake.world().nodes("get stale");
    assert!(nodes.iter().all(|node| *node == nodes[0]), "{nodes:?}");
    fake.kill(nodes[0]).await;
    for _ in 0..5 {
        client.get_stale("k").await.unwrap();
    }
    let nodes = fake.world().nodes("get stale")[5..].to_vec();
    assert!(nodes.iter().all(|node| *node == nodes[0]), "{nodes:?}");
}
