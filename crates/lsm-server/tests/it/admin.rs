//! The commands of an operator.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use crate::harness::{Cluster, PATIENCE, Process, program, run, wait_for};

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

    let here = format!("localhost:{}", cluster.address(other).port());
    let ended = run(["status", "--to", &here]);
    let (code, text) = (ended.status.code().unwrap(), String::from_utf8(ended.stdout).unwrap());
    assert_eq!((code, text.matches("follower").count()), (0, 2), "each node once: {text}");
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
    let (code, text) = ask(&cluster, other, &["status"]);
    assert!(code == 0 && text.contains("4     learner"), "{text}");
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
    assert!(text.contains("4 of 4 compared"), "{text}");

    let (code, text) = ask(&cluster, other, &["remove", &id]);
    assert_eq!(code, 0, "{text}");
    let (status, said) = cluster.wait_for_end(new).await;
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("removed"), "{said}");
}

/// What those who are left know is told, and that it may be old.
#[tokio::test]
async fn members_are_told_when_most_nodes_are_dead() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let left = leader % 3 + 1;
    let dead: Vec<u64> = (1..=3).filter(|node| *node != left).collect();
    cluster.kill_all(&dead);
    let (code, text) = ask(&cluster, left, &["members"]);
    assert_eq!((code, text.matches("voter").count()), (0, 3), "{text}");
    assert!(text.contains(&format!("as node {left} knows them")), "{text}");
    let (code, text) = ask(&cluster, left, &["status"]);
    assert_eq!((code, text.matches("silent").count()), (1, 2), "{text}");
    assert!(text.contains("no node leads") && text.contains("it may be old"), "{text}");
    for node in 1..=3 {
        assert!(text.contains(&cluster.address(node).to_string()), "{text}");
    }
    assert_eq!(ask(&cluster, left, &["get", "k", "--stale"]).0, 1, "there is no such key");
    assert_eq!(ask(&cluster, left, &["scan", "--stale"]), (0, String::new()));
}

/// It is enough that the node itself knows: the others hear it from the node.
#[tokio::test]
async fn a_node_moves_to_another_address() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let moved = leader % 3 + 1;
    // Nobody is node 16, so its ports are free.
    let (old, new) = (cluster.address(moved), cluster.address(16));
    let (old_peer, new_peer) = (cluster.peer_address(moved), cluster.peer_address(16));
    cluster.terminate(moved).await;
    let arguments = cluster.arguments(moved).into_iter().map(|argument| {
        let argument = argument.replace(&old.to_string(), &new.to_string());
        argument.replace(&old_peer.to_string(), &new_peer.to_string())
    });
    let arguments: Vec<_> = arguments.collect();
    let _process = Process::start(&arguments, &cluster.log(16));
    let has_moved = async || {
        let (_, text) = ask(&cluster, leader, &["members"]);
        let addresses = [new.to_string(), new_peer.to_string()];
        addresses.iter().all(|address| text.contains(address)).then_some(())
    };
    wait_for("the move", Duration::from_secs(30), has_moved).await;
    assert_eq!(ask(&cluster, leader, &["put", "k", "v"]).0, 0);
    let to = new.to_string();
    let ended = run(["get", "k", "--to", &to]);
    assert_eq!(ended.stdout, b"v\n");
    let (code, text) = ask(&cluster, leader, &["status"]);
    assert!(code == 0 && !text.contains(&old.to_string()), "{text}");
}

#[tokio::test]
async fn keys_and_values_are_any_bytes() {
    let cluster = Cluster::start(1).await;
    let to = cluster.address(1).to_string();
    let file = cluster.data(1).with_extension("value");
    let value = [0, 255, b'\n', 7];
    std::fs::write(&file, value).unwrap();
    let key = OsStr::from_bytes(b"k\xff");
    let run = |words: &[&OsStr], input: Option<&Path>| {
        let mut command = program();
        if let Some(path) = input {
            command.stdin(File::open(path).unwrap());
        }
        command.args(words).args(["--to", &to]).output().unwrap()
    };
    let word = OsStr::new;
    let get = || run(&[word("get"), key, word("--raw")], None).stdout;
    assert!(run(&[word("put"), key, word("--file"), file.as_os_str()], None).status.success());
    assert_eq!(get(), value);
    assert!(run(&[word("put"), key, word("other")], None).status.success());
    assert_eq!(get(), b"other");
    assert!(run(&[word("put"), key, word("-")], Some(&file)).status.success());
    assert_eq!(get(), value);
    let neither = run(&[word("put"), key], None);
    assert!(!neither.status.success(), "a value is needed");
}

#[tokio::test]
async fn the_engine_of_a_node_is_seen_and_told() {
    let cluster = Cluster::start(1).await;
    let tables = |text: &str| -> u64 {
        text.lines()
            .skip(1)
            .map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap())
            .sum()
    };
    assert_eq!(ask(&cluster, 1, &["put", "k", "v"]).0, 0);
    assert_eq!(ask(&cluster, 1, &["storage", "flush"]), (0, String::new()));
    let (code, text) = ask(&cluster, 1, &["storage", "levels"]);
    assert!(code == 0 && tables(&text) == 1, "{text}");
    assert_eq!(ask(&cluster, 1, &["delete", "k"]).0, 0);
    assert_eq!(ask(&cluster, 1, &["storage", "flush"]).0, 0);
    let compact = ["storage", "compact", "--start", "a", "--end", "z"];
    assert_eq!(ask(&cluster, 1, &compact), (0, String::new()));
    let (_, text) = ask(&cluster, 1, &["storage", "levels"]);
    assert_eq!(tables(&text), 0, "{text}");
    let (code, text) = ask(&cluster, 1, &["storage", "stats"]);
    let flushed = text.lines().any(|line| line.starts_with("flushes ") && !line.ends_with(" 0"));
    assert!(code == 0 && flushed, "{text}");
}

/// A node that needs longer than other requests may take is waited for, and one without a hash
/// is no success.
#[tokio::test]
async fn a_hash_check_is_of_all_nodes_or_fails() {
    let mut cluster = Cluster::builder(3).flags("--request-time-max 3s").start().await;
    let leader = cluster.leader().await;
    let away = leader % 3 + 1;
    cluster.pause(away);
    let address = cluster.address(leader).to_string();
    let asking = tokio::task::spawn_blocking(move || run(["hash-check", "--to", &address]));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!asking.is_finished(), "it has a hash of two nodes only");
    cluster.resume(away);
    let ended = asking.await.unwrap();
    let text = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{text}");
    assert!(text.contains("3 of 3 compared"), "{text}");

    cluster.kill(away);
    let (code, text) = ask(&cluster, leader, &["hash-check"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("2 of 3 compared") && text.contains("not all were compared"), "{text}");
}

#[test]
fn a_cluster_that_is_not_there_is_no_answer() {
    let ended = run(["get", "k", "--to", "127.0.0.1:1", "--timeout", "300ms"]);
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("127.0.0.1:1"), "{said}");
}
