//! Nodes that are asked to stop, or that cannot go on.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Cluster, Load, PATIENCE, Process};

#[tokio::test]
async fn a_leader_that_is_asked_to_stop_hands_over() {
    // An election takes longer than anything that this machine does beside us.
    let mut cluster = Cluster::builder(3).flags("--election-timeout 5s").start().await;
    let client = cluster.client().await;
    let load = Load::start(&client, 4);
    load.more(100).await;
    let old = cluster.leader().await;
    let (status, time) = cluster.terminate(old).await;
    println!("node {old} stopped within {time:?}");
    assert_eq!(status.code(), Some(0));
    assert!(time < Duration::from_secs(20), "{time:?}");
    assert_ne!(cluster.leader().await, old);
    load.more(100).await;
    let written = load.stop().await;
    assert_eq!(written.errors, [""; 0]);
    // An election would have taken longer.
    println!("no writer waited longer than {:?}", written.longest_gap);
    assert!(written.longest_gap < Duration::from_secs(4), "{:?}", written.longest_gap);
    cluster.run_node(old);
    written.assert_kept(&client).await;
    cluster.assert_equal_states().await;
}

/// They have no end of their own.
#[tokio::test]
async fn watches_of_the_health_do_not_hold_up_a_stop() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;

    let mut cluster = Cluster::start(1).await;
    let mut health = HealthClient::new(cluster.channel(1));
    let request = HealthCheckRequest { service: String::new() };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let (status, time) = cluster.terminate(1).await;
    assert_eq!(status.code(), Some(0));
    let log = std::fs::read_to_string(cluster.log(1)).unwrap();
    assert!(!log.contains("did not end in time"), "after {time:?}: {log}");
    let mut last = None;
    while let Ok(Some(told)) = watch.message().await {
        last = Some(told.status());
    }
    assert_eq!(last, Some(ServingStatus::NotServing));
}

/// What a connection begins with, and an empty list of settings.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// As of a node that is cut off, or of a machine that lost its power.
#[tokio::test]
async fn connections_with_nobody_at_the_other_end_do_not_hold_up_a_stop() {
    let mut cluster = Cluster::start(3).await;
    let node = cluster.leader().await % 3 + 1;
    let mut connections = Vec::new();
    for port in [cluster.address(node), cluster.peer_address(node)] {
        let silent = TcpStream::connect(port).await.unwrap();
        let mut greeted = TcpStream::connect(port).await.unwrap();
        greeted.write_all(GREETING).await.unwrap();
        // It is served from now on.
        assert!(greeted.read_u8().await.is_ok());
        connections.extend([silent, greeted]);
    }
    let (status, time) = cluster.terminate(node).await;
    println!("stopped within {time:?}");
    assert_eq!(status.code(), Some(0));
    let log = std::fs::read_to_string(cluster.log(node)).unwrap();
    assert!(!log.contains("did not end in time"), "after {time:?}: {log}");
    drop(connections);
}

#[tokio::test]
async fn all_nodes_may_stop_and_come_back() {
    let mut cluster = Cluster::start(5).await;
    let client = cluster.client().await;
    for i in 0..100 {
        client.put(format!("k{i}"), format!("v{i}")).await.unwrap();
    }
    for node in 1..=5 {
        let (status, _) = cluster.terminate(node).await;
        assert_eq!(status.code(), Some(0), "node {node}");
    }
    for node in 1..=5 {
        cluster.run_node(node);
    }
    cluster.leader().await;
    for i in 0..100 {
        let value = client.get(format!("k{i}")).await.unwrap();
        assert_eq!(value.as_deref(), Some(format!("v{i}").as_bytes()));
    }
    cluster.assert_equal_states().await;
}

/// The disk with the log of lines is full, or whoever read them has gone.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_node_that_cannot_log_goes_on() {
    let mut cluster = Cluster::start(3).await;
    cluster.terminate(3).await;
    let mut node = Process::start(&cluster.arguments(3), Path::new("/dev/full"));
    let begun = Instant::now();
    while cluster.status(3).await.is_none_or(|status| status.leader == 0) {
        assert_eq!(node.ended(), None);
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    node.signal("TERM");
    assert_eq!(node.wait(PATIENCE).await.code(), Some(0));
}

#[tokio::test]
async fn a_folder_in_use_or_of_another_node_is_refused() {
    let mut cluster = Cluster::start(3).await;
    cluster.terminate(3).await;
    let start_with = |cluster: &Cluster, from: &str, to: &str| {
        let arguments = cluster.arguments(3);
        let replaced: Vec<_> = arguments.iter().map(|word| word.replace(from, to)).collect();
        let ended = crate::harness::run(replaced.iter().map(String::as_str));
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    let (code, said) = start_with(&cluster, "node-3", "node-1");
    assert_eq!(code, Some(1));
    assert!(said.contains("in use by another process"), "{said}");

    cluster.kill(2);
    let (code, said) = start_with(&cluster, "node-3", "node-2");
    assert_eq!(code, Some(1));
    assert!(said.contains("belongs to node 2, not 3"), "{said}");

    let (code, said) = start_with(&cluster, "test", "other");
    assert_eq!(code, Some(1));
    assert!(said.contains("belongs to cluster test, not other"), "{said}");
}

#[tokio::test]
async fn a_node_that_lost_its_disk_is_not_let_in_again() {
    let mut cluster = Cluster::start(3).await;
    cluster.client().await.put("k", "v").await.unwrap();
    // Nodes tell the group about their folders, each by an entry of the log; nothing else shows
    // when they have.
    cluster.at_rest().await;
    cluster.kill(3);
    cluster.wipe(3);
    cluster.run_node(3);
    let (status, said) = cluster.wait_for_end(3).await;
    assert_eq!(status.code(), Some(3));
    assert!(said.contains("lsm-server: the node has stopped: "), "{said}");
    assert!(said.contains("under a new id"), "{said}");
    cluster.leader().await;
}

#[tokio::test]
async fn the_log_can_be_for_programs() {
    let mut cluster = Cluster::builder(1).flags("--log-format json").start().await;
    cluster.terminate(1).await;
    let log = std::fs::read_to_string(cluster.log(1)).unwrap();
    let is_object = |line: &str| line.starts_with('{') && line.ends_with('}');
    assert!(log.lines().all(is_object), "{log}");
    for part in ["\"level\":\"INFO\"", "\"message\":\"starting\"", "\"node\":1"] {
        assert!(log.contains(part), "{part}: {log}");
    }
}
