//! The commands of an operator.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Output, Stdio};
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
    let (code, page) = ask(&cluster, other, &["scan", "--reverse", "--limit", "1"]);
    assert!(code == 0 && page.starts_with("k2\tv2\n") && !page.contains("k1"), "{page}");
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
    // For good, and so that a supervisor can tell.
    for _ in 0..2 {
        let (status, said) = cluster.wait_for_end(new).await;
        assert_eq!(status.code(), Some(3));
        assert!(said.contains("removed"), "{said}");
        cluster.run_node(new);
    }

    // Nobody has started it.
    let (_, text) = ask(&cluster, other, &["add-learner", "9", "127.0.0.1:1", "127.0.0.1:2"]);
    assert!(text.contains("9     learner"), "{text}");
    let (code, text) = ask(&cluster, other, &["status"]);
    assert!(code == 0 && text.contains("node 9 has not answered yet"), "{text}");
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
    // What a living node says is worth more than the silence of the dead.
    let to = [dead[0], left, dead[1]].map(|node| cluster.address(node).to_string()).join(",");
    let ended = run(["get", "k", "--to", &to, "--timeout", "8s"]);
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert!(said.contains("get did not succeed") && said.contains("no leader is known"), "{said}");
    assert!(said.contains("a majority of the nodes") && !said.contains("applied"), "{said}");
    let (code, said) = ask(&cluster, left, &["put", "k", "v", "--timeout", "5s"]);
    assert_eq!(code, 2);
    assert!(said.contains("put did not succeed") && said.contains("nothing was applied"), "{said}");

    // Who asks one node for itself is not told of another.
    let to = [dead[0], left].map(|node| cluster.address(node).to_string()).join(",");
    for words in [&["get", "k", "--stale"][..], &["scan", "--stale"], &["storage", "compact"]] {
        let ended = run(words.iter().copied().chain(["--to", &to]));
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.code() == Some(2) && said.contains("refused"), "{said}");
        assert!(!said.contains("majority") && !said.contains("applied"), "{said}");
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

/// Runs a command with this as its standard input.
fn feed(cluster: &Cluster, words: &[&str], input: &[u8]) -> Output {
    let mut command = program();
    command.args(words).args(["--to", &cluster.address(1).to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[tokio::test]
async fn a_scan_prints_everything_or_says_what_it_leaves_out() {
    let cluster = Cluster::start(1).await;
    let lines: String = (0..2500).map(|i| format!("k{i:04}\tv{i}\n")).collect();
    let put = feed(&cluster, &["load"], lines.as_bytes());
    assert_eq!(put.stdout, b"2500 entries were put\n", "{put:?}");
    let (code, text) = ask(&cluster, 1, &["scan"]);
    assert_eq!((code, text == lines), (0, true), "{} lines", text.lines().count());
    let (code, text) = ask(&cluster, 1, &["scan", "--stale"]);
    assert_eq!((code, text == lines), (0, true), "{} lines", text.lines().count());

    let limited = |limit: &str| {
        let ended = feed(&cluster, &["scan", "k1", "--limit", limit], b"");
        let printed = String::from_utf8(ended.stdout).unwrap().lines().count();
        (ended.status.code(), printed, String::from_utf8(ended.stderr).unwrap())
    };
    let (code, printed, said) = limited("999");
    assert_eq!((code, printed), (Some(0), 999), "{said}");
    assert!(said.contains("--limit 999 is reached, and there are more"), "{said}");
    assert_eq!(limited("1000"), (Some(0), 1000, String::new()), "that was all");
    assert_eq!(limited(&u64::MAX.to_string()), (Some(0), 1000, String::new()));
    let (code, printed, said) = limited("0");
    assert_eq!((code, printed), (Some(2), 0));
    assert!(said.contains("from 1 up"), "{said}");
}

/// What one command prints another one reads, whatever it is.
#[tokio::test]
async fn what_is_printed_is_one_line_each_and_reads_back() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client().await;
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let entries: [(&[u8], &[u8]); 5] = [
        (b"a", b""),
        (b"a\tb\nc", b"two\nlines"),
        (br"a\tb", br"no \ tab"),
        ("käse".as_bytes(), "\u{202e}gut".as_bytes()),
        (&all, &all),
    ];
    for (key, value) in entries {
        client.put(key, value).await.unwrap();
    }
    let (code, text) = ask(&cluster, 1, &["scan"]);
    assert_eq!((code, text.lines().count()), (0, entries.len()), "{text}");
    assert!(text.contains("a\\tb\\nc\ttwo\\nlines\n"), "{text}");
    assert!(text.contains("a\\\\tb\tno \\\\ tab\n"), "{text}");

    for line in text.lines() {
        let (key, value) = line.split_once('\t').unwrap();
        let read = ask(&cluster, 1, &["get", "--escaped", key]);
        assert_eq!(read, (0, format!("{value}\n")));
        assert_eq!(ask(&cluster, 1, &["scan", "--escaped", key]).0, 0);
        assert_eq!(ask(&cluster, 1, &["delete", "--escaped", key]).0, 0);
    }
    assert_eq!(ask(&cluster, 1, &["scan"]), (0, String::new()));
    for line in text.lines().take(2) {
        let (key, value) = line.split_once('\t').unwrap();
        assert_eq!(ask(&cluster, 1, &["put", "--escaped", key, value]).0, 0);
    }
    let loaded = feed(&cluster, &["load"], text.as_bytes());
    assert!(loaded.status.success(), "{loaded:?}");
    assert_eq!(ask(&cluster, 1, &["scan"]), (0, text));
    for (key, value) in entries {
        assert_eq!(client.get(key).await.unwrap().as_deref(), Some(value));
    }

    let (code, said) = ask(&cluster, 1, &["get", "--escaped", r"a\b"]);
    assert!(code == 2 && said.contains("backslash"), "{said}");
    let cut = feed(&cluster, &["load"], b"x\t1\ny\t2");
    let said = String::from_utf8(cut.stderr).unwrap();
    assert!(said.contains("line 2: ") && said.contains("cut off"), "{said}");
    assert!(said.contains("the 1 before it were put"), "{said}");
    assert_eq!(ask(&cluster, 1, &["get", "x"]).0, 0);
    assert_eq!(ask(&cluster, 1, &["get", "y"]).0, 1);
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client().await;
    // More than a pipe holds.
    for i in 0..20 {
        client.put(format!("k{i:02}"), vec![b'x'; 100_000]).await.unwrap();
    }
    let mut command = program();
    command.args(["scan", "--to", &cluster.address(1).to_string()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("k00\tx"), "{} bytes", first.len());
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), &ended.stderr[..]), (Some(0), &b""[..]), "{ended:?}");
}

/// Where a disk is full output is lost, which nobody would notice otherwise.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn output_that_cannot_be_written_is_a_failure() {
    let cluster = Cluster::start(1).await;
    cluster.client().await.put("k", "v").await.unwrap();
    let mut command = program();
    command.args(["scan", "--to", &cluster.address(1).to_string()]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let ended = command.stdout(full).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(2) && said.contains("standard output: "), "{said}");
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
    for words in [
        &["get", "k", "--timeout", "300ms"][..],
        // With a time of ten minutes for the answer itself.
        &["hash-check"],
        &["storage", "compact"],
        &["put", "k", "v"],
        &["scan"],
    ] {
        let ended = run(words.iter().copied().chain(["--to", "127.0.0.1:1"]));
        assert_eq!(ended.status.code(), Some(2));
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(said.contains("127.0.0.1:1") && said.contains("refused"), "{said}");
        assert!(said.contains("connecting") && said.contains("one of the nodes runs"), "{said}");
        for word in ["status", "applied", "majority"] {
            assert!(!said.contains(word), "{word:?} is in: {said}");
        }
    }
}

/// On the host of a node both are set.
#[tokio::test]
async fn variables_of_a_node_say_nothing_to_commands() {
    let cluster = Cluster::start(1).await;
    let address = cluster.address(1).to_string();
    let mut command = program();
    command.args(["put", "k", "v"]).env("LSM_CLIENT_TO", &address);
    for name in ["LSM_TLS_CA", "LSM_TLS_CERT", "LSM_TLS_KEY", "LSM_LISTEN"] {
        command.env(name, "/nowhere");
    }
    let ended = command.output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let mut command = program();
    command.args(["get", "k", "--to", &address]).env("LSM_CLIENT_TLS_CA", "/nowhere/ca.pem");
    let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(said.contains("/nowhere/ca.pem"), "{said}");
}
