//! The folder that a node was opened in stays, wherever the process goes.
//!
//! One test in a binary of its own: the working directory belongs to the whole process.

#![allow(clippy::disallowed_methods, reason = "looks at real folders from outside")]

use std::env;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use lsm_core::SystemClock;
use lsm_log::fs::OsFs;
use lsm_raft::raft::eraftpb::{Entry, HardState};
use lsm_raft::{Config, Member, Members, Opened, ReplicaOptions, Role};

/// Enough for some segments of the log.
const LAST: u64 = 400;
/// What is behind this is in the log only.
const APPLIED: u64 = 50;

fn options() -> ReplicaOptions {
    let member = Member {
        role: Role::Voter,
        peer_address: "peer:1".into(),
        client_address: "client:1".into(),
        incarnation: None,
    };
    ReplicaOptions {
        config: Config::new(1),
        cluster: "test".into(),
        founders: Some(Members { nodes: [(1, member)].into(), ..Members::default() }),
        engine: lsm_core::Options::default(),
        log_segment_bytes: 64 << 10,
        log_cache_bytes: 1 << 20,
        fs: Arc::new(OsFs),
        clock: Arc::new(SystemClock::new()),
        nonce: 7,
    }
}

fn entry(index: u64) -> Entry {
    let data = if index > APPLIED { vec![index as u8; 1000] } else { Vec::new() };
    Entry { index, term: 1, data: data.into(), ..Entry::default() }
}

#[test]
fn a_node_keeps_its_folder() {
    let root = tempfile::tempdir().unwrap();
    let [home, elsewhere] = ["home", "elsewhere"].map(|name| root.path().join(name));
    for place in [&home, &elsewhere] {
        fs::create_dir(place).unwrap();
    }
    env::set_current_dir(&home).unwrap();
    let opened = options().open_folder(Path::new("node")).unwrap();
    let Opened { log, mut writer, mut machine, lock, .. } = opened;
    env::set_current_dir(&elsewhere).unwrap();

    let hard_state = HardState { term: 1, vote: 1, ..HardState::default() };
    let entries: Vec<Entry> = (2..=LAST).map(entry).collect();
    for entries in entries.chunks(10) {
        log.append(entries);
        writer.write(Some(&hard_state), entries).unwrap();
        writer.sync().unwrap();
    }
    machine.apply(&entries[..(APPLIED - 1) as usize], &[]).unwrap();
    machine.flush().unwrap();
    drop(machine.checkpoint().unwrap());
    machine.close().unwrap();
    drop((log, writer, lock));
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0, "another folder was written to");

    let opened = options().open_folder(&home.join("node")).unwrap();
    let Opened { log, machine, .. } = opened;
    assert_eq!((log.last_index(), machine.applied()), (LAST, (APPLIED, 1)));
    // Read from the segments: the state is behind.
    let found = log.entries(2, LAST + 1, None).unwrap();
    assert!(found == entries, "{} entries", found.len());
    machine.close().unwrap();
    env::set_current_dir("/").unwrap();
}
