//! What a node is started with, and what it says if that cannot be.

use std::net::TcpListener;

use crate::harness::{free_ports, program, run};

const LEAST: [&str; 7] =
    ["start", "--node", "1", "--data", "unused", "--members", "1=127.0.0.1:5001/127.0.0.1:4001"];

#[test]
fn flags_come_before_variables_and_variables_before_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lsm.toml");
    std::fs::write(&file, "scans-max = 1\nstreams-max = 2\nthreads = 3\ncluster = \"f\"\n")
        .unwrap();
    let mut command = program();
    command.args(LEAST).args(["--check", "--scans-max", "31"]);
    command.env("LSM_CONFIG", &file).env("LSM_SCANS_MAX", "21").env("LSM_STREAMS_MAX", "22");
    command.env("LSM_LEASE_READS", "true").env("LSM_HEARTBEAT", "150ms");
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for line in [
        "scans-max = 31",
        "streams-max = 22",
        "threads = 3",
        "cluster = \"f\"",
        "lease-reads = true",
        "heartbeat = \"150ms\"",
        "page-bytes-max = \"1MiB\"",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}: {text}");
    }
    // What is printed is a file that says the same.
    std::fs::write(&file, &text).unwrap();
    let again = run(["start", "--check", "--config", file.to_str().unwrap()]);
    assert_eq!(String::from_utf8(again.stdout).unwrap(), text);
}

/// And with a code that keeps a supervisor from starting it like that for ever.
#[test]
fn bad_settings_end_the_program_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lsm.toml");
    std::fs::write(&file, "node = 1\nlissen = \"x\"\n").unwrap();
    let ended = run(["start", "--config", file.to_str().unwrap()]);
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert!(said.contains("lsm.toml") && said.contains("unknown field `lissen`"), "{said}");

    let ended = run(LEAST.into_iter().chain(["--join"]));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert!(said.starts_with("lsm-server: --members and --join contradict"), "{said}");

    for check in [&["--check"][..], &[]] {
        let ended = run(LEAST.into_iter().chain(["--heartbeat", "1ms"]).chain(check.to_vec()));
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        // A file may be there at the next start, with another certificate in it.
        let files = ["--tls-cert", "no-file", "--tls-key", "no-file", "--tls-ca", "no-file"];
        let ended = run(LEAST.into_iter().chain(files).chain(check.to_vec()));
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let ended = run(LEAST.into_iter().chain(files[..2].to_vec()).chain(check.to_vec()));
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    }
}

#[test]
fn a_port_in_use_is_named_and_the_folder_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let port = free_ports(2);
    for (taken, flag) in [(port, "--listen"), (port + 1, "--peer-listen")] {
        let _taken = TcpListener::bind(("127.0.0.1", taken)).unwrap();
        let listen = format!("127.0.0.1:{port}");
        let peer_listen = format!("127.0.0.1:{}", port + 1);
        let ended = run([
            "start",
            "--node",
            "1",
            "--join",
            "--data",
            data.to_str().unwrap(),
            "--listen",
            &listen,
            "--peer-listen",
            &peer_listen,
        ]);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1));
        for part in [&format!("127.0.0.1:{taken}"), flag, "another process has it"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!data.exists());
    }
}
