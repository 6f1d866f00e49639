//! `lsm-server local`.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, free_ports_and, program, run};

/// Between the ports of a node for clients and for nodes.
const PEER_PORT_OFFSET: u16 = 1000;
/// In which `local` looks at its nodes several times.
const LOOKS_TIME: Duration = Duration::from_secs(2);

/// A cluster that was started by `local`, and what it prints.
struct Local {
    child: Child,
    lines: Receiver<String>,
    port: u16,
}

impl Local {
    /// Three nodes and a leader; with their folder, and the process of node 3.
    fn running() -> (Self, String, u32) {
        let local = Self::start(&[]);
        let first = local.line_with("3 nodes on this machine");
        let dir = first.split("data in ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        let row = local.line_with("  3  ");
        let pid = row.split_whitespace().nth(1).unwrap().parse().unwrap();
        local.line_with("leads (term");
        (local, dir, pid)
    }

    /// Three nodes.
    fn start(flags: &[&str]) -> Self {
        let port = free_ports_and(3, PEER_PORT_OFFSET);
        let mut command = program();
        command.args(["local", "--nodes", "3", "--port", &port.to_string()]).args(flags);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines() {
                let _ = sender.send(line.unwrap());
            }
        });
        Self { child, lines, port }
    }

    /// The next line with this in it.
    fn line_with(&self, part: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("{part:?} was not printed; but: {seen:#?}"),
            }
        }
    }

    fn signal(&self, name: &str, pid: u32) {
        let arguments = [format!("-{name}"), pid.to_string()];
        assert!(std::process::Command::new("kill").args(arguments).status().unwrap().success());
    }

    fn ask(&self, words: &[&str]) -> String {
        let to = format!("127.0.0.1:{},127.0.0.1:{}", self.port, self.port + 1);
        let ended = run(words.iter().copied().chain(["--to", &to]));
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8(ended.stdout).unwrap()
    }

    /// Waits until all nodes are there, and `local` knows it, which it does not say.
    fn wait_until_all_are_up(&self) {
        for port in self.port..self.port + 3 {
            let ended = run(["status", "--to", &format!("127.0.0.1:{port}"), "--timeout", "30s"]);
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        }
        std::thread::sleep(LOOKS_TIME);
    }

    /// Waits until nothing listens at the nodes' ports.
    fn assert_nodes_end(&self) {
        let start = Instant::now();
        for port in self.port..self.port + 3 {
            while TcpListener::bind(("127.0.0.1", port)).is_err() {
                assert!(start.elapsed() < PATIENCE, "the node at {port} goes on");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_local_cluster_runs_tells_what_happens_and_leaves_nothing() {
    let (mut local, dir, pid) = Local::running();
    local.ask(&["put", "hello", "world"]);

    // Only who was there can be back.
    local.wait_until_all_are_up();
    local.signal("KILL", pid);
    local.line_with("node 3 has ended");
    let command = local.line_with("start --node 3");
    assert_eq!(local.ask(&["get", "hello"]), "world\n");
    // As it says.
    let again = std::process::Command::new("sh")
        .args(["-c", &format!("exec {}", command.trim())])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let again = Killed(again);
    local.line_with("node 3 is back");
    drop(again);

    local.signal("TERM", local.child.id());
    local.line_with("stopping the nodes");
    assert!(local.child.wait().unwrap().success());
    assert!(!std::path::Path::new(&dir).exists(), "{dir}");
    local.assert_nodes_end();
}

/// As it was told to.
#[test]
fn the_folder_is_not_removed_under_a_node_that_was_started_by_hand() {
    let (mut local, dir, pid) = Local::running();
    local.signal("KILL", pid);
    let command = local.line_with("start --node 3");
    let again = std::process::Command::new("sh")
        .args(["-c", &format!("exec {}", command.trim())])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut again = Killed(again);
    let address = format!("127.0.0.1:{}", local.port + 2);
    // It answers, whoever leads.
    let ended = run(["get", "k", "--stale", "--to", &address, "--timeout", "30s"]);
    assert_eq!(ended.status.code(), Some(1), "{}", String::from_utf8_lossy(&ended.stderr));

    local.signal("TERM", local.child.id());
    let told = local.line_with("is kept");
    assert!(told.contains("node 3") && told.contains(&dir), "{told}");
    assert!(local.child.wait().unwrap().success());
    assert!(std::path::Path::new(&dir).join("node-3/NODE").exists(), "{dir}");
    assert_eq!(again.0.try_wait().unwrap(), None, "it goes on");
    drop(again);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn flags_that_no_node_can_start_with_end_it() {
    let port = free_ports_and(3, PEER_PORT_OFFSET).to_string();
    for (flags, why) in [
        (&["--node", "3"][..], "--node cannot be a flag for all nodes"),
        (&["--heartbeat", "200"], "write 250ms, 10s or 2m"),
    ] {
        let words = ["local", "--nodes", "3", "--port", &port, "--"];
        let ended = run(words.into_iter().chain(flags.iter().copied()));
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.code() == Some(1) && said.contains(why), "{said}");
        assert_eq!(ended.stdout, b"", "no node was started");
    }
    // Each node finds that it cannot make its folder only when it runs.
    let dir = tempfile::tempdir().unwrap();
    for node in 1..=3 {
        std::fs::write(dir.path().join(format!("node-{node}")), "no folder").unwrap();
    }
    let data = dir.path().to_str().unwrap();
    let ended = run(["local", "--nodes", "3", "--port", &port, "--data", data]);
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(1) && said.contains("all nodes have ended"), "{said}");
}

#[test]
fn nodes_do_not_outlive_their_parent() {
    let dir = tempfile::tempdir().unwrap();
    let mut local = Local::start(&["--data", dir.path().to_str().unwrap()]);
    local.line_with("leads (term");
    local.child.kill().unwrap();
    local.child.wait().unwrap();
    local.assert_nodes_end();
    assert!(dir.path().join("node-1").exists());
}

#[test]
fn a_taken_port_is_named() {
    let port = free_ports_and(3, PEER_PORT_OFFSET);
    let _taken = TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    let ended = run(["local", "--nodes", "3", "--port", &port.to_string()]);
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(said.contains(&format!("127.0.0.1:{}", port + 1)), "{said}");
    assert!(said.contains("node 2") && said.contains("--port"), "{said}");
}
