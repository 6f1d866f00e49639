//! The commands of an operator.

use crate::harness::{Cluster, PATIENCE, run, wait_for};

/// Runs a command against a node. Returns its exit code and what it printed.
fn ask(cluster: &Cluster, node: u64, words: &[&str]) -> (i32, String) {
    let address = cluster.address(node).to_string();
    let ended = run(words.iter().copied().chain(["--to", &address]));
    let text = [ended.stdout, ended.stderr].concat();
    (ended.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn operators_see_and_change_the_cluster() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let other = leader % 3 + 1;

    assert_eq!(ask(&cluster, other, &["put", "k1", "v1"]), (0, String::new()));
    assert_eq!(ask(&cluster, leader, &["put", "k2", "v2"]), (0, String::new()));
    assert_eq!(ask(&cluster, other, &["get", "k1"]), (0, "v1\n".to_owned()));
    assert_eq!(ask(&cluster, other, &["scan", "k"]), (0, "k1\tv1\nk2\tv2\n".to_owned()));
    let page = ask(&cluster, other, &["scan", "--reverse", "--limit", "1"]);
    assert_eq!(page, (0, "k2\tv2\n".to_owned()));
    assert_eq!(ask(&cluster, other, &["delete", "k1"]), (0, String::new()));
    let (code, said) = ask(&cluster, other, &["get", "k1"]);
    assert_eq!(code, 1, "{said}");

    let (code, text) = ask(&cluster, other, &["status"]);
    assert_eq!(code, 0, "{text}");
    for node in 1..=3 {
        assert!(text.contains(&cluster.address(node).to_string()), "{text}");
    }
    assert_eq!(text.matches("leader").count(), 1, "{text}");
    let (code, text) = ask(&cluster, other, &["transfer", &other.to_string()]);
    assert_eq!((code, text), (0, format!("node {other} leads\n")));

    let new = cluster.run_joining_node();
    let (id, peer, client) =
        (new.to_string(), cluster.peer_address(new).to_string(), cluster.address(new).to_string());
    let (code, text) = ask(&cluster, other, &["add-learner", &id, &peer, &client]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("4     learner"), "{text}");
    cluster.caught_up().await;
    // Refused until the leader has heard how far it is.
    wait_for("a promotion", PATIENCE, async || {
        let (code, text) = ask(&cluster, other, &["promote", &id]);
        println!("{text}");
        (code == 0).then_some(())
    })
    .await;
    let (code, text) = ask(&cluster, other, &["members"]);
    assert_eq!((code, text.matches("voter").count()), (0, 4), "{text}");
    let (code, text) = ask(&cluster, other, &["hash-check"]);
    assert_eq!((code, text.matches("node ").count()), (0, 4), "{text}");

    let (code, text) = ask(&cluster, other, &["remove", &id]);
    assert_eq!(code, 0, "{text}");
    let (status, said) = cluster.wait_for_end(new).await;
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("removed"), "{said}");
}

#[test]
fn a_cluster_that_is_not_there_is_no_answer() {
    let ended = run(["get", "k", "--to", "127.0.0.1:1", "--timeout", "300ms"]);
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("127.0.0.1:1"), "{said}");
}
