//! Nodes with their threads, over channels, on disks that fill up or fail.

#![allow(clippy::disallowed_methods, reason = "these tests wait in real time")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use lsm_core::SystemClock;
use lsm_core::fs::{FaultFs, MemFs};
use lsm_raft::command::{Command, Op};
use lsm_raft::raft::eraftpb::Message;
use lsm_raft::{
    Config, Member, Members, Outcome, Outgoing, Refusal, Replica, ReplicaOptions, Reply, Role,
    Transport,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Hands messages over at once.
#[derive(Clone, Default)]
struct Wire(Arc<OnceLock<BTreeMap<u64, Replica>>>);

impl Transport for Wire {
    fn send(&self, messages: Vec<Message>) {
        let Some(nodes) = self.0.get() else { return };
        for message in messages {
            nodes[&message.to].deliver(vec![message]);
        }
    }

    fn send_snapshot(&self, _: Message, _: Arc<Outgoing>) {
        unreachable!("nobody is that far behind")
    }
}

struct Group {
    nodes: BTreeMap<u64, Replica>,
    disks: BTreeMap<u64, FaultFs>,
}

impl Group {
    fn start() -> Self {
        let wire = Wire::default();
        let member = |id: u64| Member {
            role: Role::Voter,
            peer_address: format!("peer{id}"),
            client_address: format!("client{id}"),
            incarnation: None,
        };
        let founders =
            Members { nodes: (1..=3).map(|id| (id, member(id))).collect(), ..Members::default() };
        let disks: BTreeMap<_, _> =
            (1..=3).map(|id| (id, FaultFs::new(Arc::new(MemFs::default())))).collect();
        let open = |id: u64| {
            let tick = Duration::from_millis(20);
            let options = ReplicaOptions {
                config: Config { tick, ..Config::new(id) },
                cluster: "disks".into(),
                founders: Some(founders.clone()),
                engine: lsm_core::Options::default(),
                log_segment_bytes: 64 << 10,
                log_cache_bytes: 1 << 20,
                fs: Arc::new(disks[&id].clone()),
                clock: Arc::new(SystemClock::new()),
                nonce: id,
            };
            let replica = options.open(PathBuf::from("node"), Arc::new(wire.clone())).unwrap();
            (id, replica)
        };
        let nodes: BTreeMap<_, _> = (1..=3).map(open).collect();
        wire.0.set(nodes.clone()).expect("the wire is new");
        Self { nodes, disks }
    }

    fn leader(&self, but: Option<u64>) -> u64 {
        let begun = Instant::now();
        loop {
            let others = self.nodes.iter().filter(|&(&id, _)| Some(id) != but);
            if let Some((id, _)) = others.clone().find(|(_, node)| node.status().leads()) {
                return *id;
            }
            assert!(begun.elapsed() < PATIENCE, "nobody leads");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn put(&self, node: u64, value: &[u8]) -> Reply {
        let ops = vec![Op::Put { key: b"key", value }];
        let command = Command::Write { session: None, ops }.to_bytes();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let replica = &self.nodes[&node];
        let told = runtime
            .block_on(async { tokio::time::timeout(PATIENCE, replica.propose(command)).await });
        told.expect("every proposal is answered")
    }

    fn assert_stopped(&self, node: u64, why: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let replica = &self.nodes[&node];
        let ended = runtime
            .block_on(async { tokio::time::timeout(PATIENCE, replica.wait_stopped()).await });
        let error = ended.expect("it stops").expect("for a reason").to_string();
        assert!(error.contains(why), "{error}");
    }

    fn stop(self) {
        self.nodes.values().for_each(Replica::stop);
    }
}

/// Writes until one is not acknowledged.
fn fill(group: &Group, node: u64) -> Refusal {
    let value = vec![7; 16 << 10];
    for _ in 0..10_000 {
        if let Err(refusal) = group.put(node, &value) {
            return refusal;
        }
    }
    panic!("the disk never filled up");
}

#[test]
fn a_leader_whose_disk_is_full_hands_over_and_stops() {
    let group = Group::start();
    let leader = group.leader(None);
    group.put(leader, b"before").unwrap();
    group.disks[&leader].set_free_bytes(Some(0));
    let refusal = fill(&group, leader);
    println!("the leader says: {refusal}");
    let begun = Instant::now();
    let next = group.leader(Some(leader));
    println!("node {next} leads after {:?}", begun.elapsed());
    assert!(matches!(group.put(next, b"after").unwrap(), Outcome::Written { .. }));
    group.assert_stopped(leader, "raft log");
    let value = group.nodes[&next].reader().get("key").unwrap();
    assert_eq!(value.as_deref(), Some(&b"after"[..]));
    group.stop();
}

#[test]
fn a_follower_whose_disk_is_full_stops_and_the_others_go_on() {
    let group = Group::start();
    let leader = group.leader(None);
    let follower = leader % 3 + 1;
    group.disks[&follower].set_free_bytes(Some(0));
    let value = vec![7; 16 << 10];
    for _ in 0..200 {
        group.put(leader, &value).unwrap();
    }
    group.assert_stopped(follower, "raft log");
    group.put(leader, b"after").unwrap();
    group.stop();
}
