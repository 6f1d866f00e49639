//! Processes that are killed: nothing acknowledged is lost, and the rest goes on.

use std::time::{Duration, Instant};

use lsm_proto::v1::GetRequest;

use tonic::Code;

use crate::harness::{Cluster, ELECTION_TIME_MAX, Load, PATIENCE, wait_for};

#[tokio::test]
async fn everything_survives_the_death_of_all() {
    let mut cluster = Cluster::builder(5).flags("--write-buffer-bytes 128KiB").start().await;
    let load = Load::start(&cluster.client().await, 16);
    load.more(3000).await;
    // In the middle of it.
    cluster.kill_all(&[1, 2, 3, 4, 5]);
    for node in 1..=5 {
        cluster.run_node(node);
    }
    cluster.leader().await;
    load.more(100).await;
    let written = load.stop().await;
    written.assert_kept(&cluster.client().await).await;
    cluster.assert_equal_states().await;
}

#[tokio::test]
async fn a_dead_leader_is_replaced_and_nothing_is_lost() {
    let mut cluster = Cluster::start(5).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 8);
    for _ in 0..3 {
        load.more(200).await;
        let old = cluster.leader().await;
        cluster.kill(old);
        let start = Instant::now();
        let new = cluster.leader_within(ELECTION_TIME_MAX).await;
        println!("node {new} leads {:?} after node {old} was killed", start.elapsed());
        assert_ne!(new, old);
        load.more(200).await;
        cluster.run_node(old);
        cluster.leader().await;
    }
    let written = load.stop().await;
    assert_eq!(written.errors, [""; 0]);
    written.assert_kept(&client).await;
    cluster.assert_equal_states().await;
}

#[tokio::test]
async fn two_dead_nodes_of_five_are_survived() {
    let mut cluster = Cluster::start(5).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 8);
    load.more(200).await;
    let leader = cluster.leader().await;
    let other = leader % 5 + 1;
    cluster.kill_all(&[leader, other]);
    let start = Instant::now();
    let new = cluster.leader_within(ELECTION_TIME_MAX).await;
    println!("node {new} leads {:?} after two were killed", start.elapsed());
    load.more(500).await;
    let written = load.stop().await;
    assert_eq!(written.errors, [""; 0]);
    written.assert_kept(&client).await;

    // A third is one too many: nothing is acknowledged, until one comes back.
    let third = cluster.running()[0];
    cluster.kill(third);
    let hasty = client.with_timeout(Duration::from_secs(4)).unwrap();
    let error = hasty.put("k", "v").await.unwrap_err();
    println!("without a quorum: {error}");
    cluster.run_node(third);
    client.put("k", "w").await.unwrap();
    cluster.run_node(leader);
    cluster.run_node(other);
    written.assert_kept(&client).await;
    assert_eq!(client.get("k").await.unwrap().as_deref(), Some(&b"w"[..]));
    cluster.assert_equal_states().await;
}

#[tokio::test]
async fn a_leader_that_was_asleep_leads_no_more() {
    let cluster = Cluster::start(5).await;
    let client = cluster.client().await;
    let load = Load::start(&client, 8);
    load.more(200).await;
    let old = cluster.leader().await;
    cluster.pause(old);
    let others: Vec<_> = cluster.running().into_iter().filter(|node| *node != old).collect();
    let start = Instant::now();
    let new = cluster.leader_of(&others, ELECTION_TIME_MAX).await;
    println!("node {new} leads {:?} after node {old} fell asleep", start.elapsed());
    load.more(200).await;
    client.put("k", "new").await.unwrap();
    cluster.resume(old);
    // Asked at once, while it may still believe that it leads. It may take long to find out who
    // does: but it must not answer with what it knows itself.
    let request = GetRequest { key: "k".into(), ..GetRequest::default() };
    let answer = wait_for("an answer", PATIENCE, async || {
        match cluster.kv(old).get(request.clone()).await {
            Ok(answer) => Some(answer.into_inner()),
            Err(status) => {
                let waits = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded);
                assert!(waits, "{status:?}");
                None
            }
        }
    });
    assert_eq!(answer.await.value, &b"new"[..]);
    assert_ne!(cluster.leader().await, old);
    let written = load.stop().await;
    assert_eq!(written.errors, [""; 0]);
    written.assert_kept(&client).await;
    assert_eq!(cluster.node(old).await.get_stale("k").await.unwrap().as_deref(), Some(&b"new"[..]));
    cluster.assert_equal_states().await;
}
