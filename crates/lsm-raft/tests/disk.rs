//! Nodes with their threads, over channels, on disks that fill up or fail.

#![allow(clippy::disallowed_methods, reason = "these tests wait in real time")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use lsm_core::SystemClock;
use lsm_log::fs::{Fault, FaultFs, Fs, MemFs, Op as FsOp, corrupt};
use lsm_raft::command::{Command, Op};
use lsm_raft::raft::eraftpb::Message;
use lsm_raft::{
    Config, Member, Members, Outcome, Outgoing, Refusal, Replica, ReplicaOptions, Reply, Role,
    Room, Transport,
};

const PATIENCE: Duration = Duration::from_secs(60);
const LOG_SEGMENT_BYTES: u32 = 64 << 10;
const LOG_CACHE_BYTES: usize = 1 << 20;

/// Hands messages over at once.
#[derive(Clone, Default)]
struct Wire {
    nodes: Arc<OnceLock<BTreeMap<u64, Replica>>>,
    /// This node gets none; zero is nobody's number.
    away: Arc<AtomicU64>,
}

impl Transport for Wire {
    fn send(&self, messages: Vec<Message>) {
        let Some(nodes) = self.nodes.get() else { return };
        let away = self.away.load(Ordering::Relaxed);
        for message in messages.into_iter().filter(|message| message.to != away) {
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
    wire: Wire,
}

impl Group {
    /// Nothing is held back.
    fn start() -> Self {
        Self::with_reserve(0)
    }

    fn with_reserve(disk_reserve_bytes: u64) -> Self {
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
            // Not so short that a busy machine makes elections that no test wants.
            let tick = Duration::from_millis(100);
            let options = ReplicaOptions {
                config: Config {
                    tick,
                    disk_reserve_bytes: Some(disk_reserve_bytes),
                    ..Config::new(id)
                },
                cluster: "disks".into(),
                founders: Some(founders.clone()),
                engine: lsm_core::Options::default(),
                log_segment_bytes: LOG_SEGMENT_BYTES.into(),
                log_cache_bytes: LOG_CACHE_BYTES,
                fs: Arc::new(disks[&id].clone()),
                clock: Arc::new(SystemClock::new()),
                nonce: id,
            };
            let replica = options.open(PathBuf::from("node"), Arc::new(wire.clone())).unwrap();
            (id, replica)
        };
        let nodes: BTreeMap<_, _> = (1..=3).map(open).collect();
        wire.nodes.set(nodes.clone()).expect("the wire is new");
        Self { nodes, disks, wire }
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

    /// Puts at whichever node leads, as often as the leadership moves meanwhile.
    fn put_to_leader(&self, value: &[u8]) -> Reply {
        self.ask_leader(|node| self.put(node, value))
    }

    /// Reads at whichever node leads.
    fn read_from_leader(&self) -> Option<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let read = |node: u64| {
            let read = self.nodes[&node].read();
            runtime
                .block_on(async { tokio::time::timeout(PATIENCE, read).await })
                .expect("every read is answered")?;
            Ok(self.nodes[&node].reader().get("key").unwrap().map(|value| value.to_vec()))
        };
        self.ask_leader(read).unwrap()
    }

    fn ask_leader<T>(&self, ask: impl Fn(u64) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let begun = Instant::now();
        loop {
            match ask(self.leader(None)) {
                Err(Refusal::NotLeader { .. } | Refusal::Unknown) if begun.elapsed() < PATIENCE => {
                }
                told => return told,
            }
        }
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
        self.nodes.values().for_each(|node| node.stop().unwrap());
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
        group.put_to_leader(&value).unwrap();
    }
    group.assert_stopped(follower, "raft log");
    group.put_to_leader(b"after").unwrap();
    group.stop();
}

/// Until a node has noticed how much room there is.
fn notices(group: &Group, node: u64, room: Room) {
    let begun = Instant::now();
    while group.nodes[&node].room() != room {
        assert!(begun.elapsed() < PATIENCE, "node {node} does not see {room:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_node_without_room_stays_a_member_and_catches_up_when_there_is_some() {
    let group = Group::with_reserve(8 << 20);
    let leader = group.leader(None);
    let follower = leader % 3 + 1;
    group.disks[&follower].set_free_bytes(Some(1 << 20));
    notices(&group, follower, Room::None);
    let value = vec![7; 16 << 10];
    for _ in 0..200 {
        group.put_to_leader(&value).unwrap();
    }
    let refusal = group.put(follower, b"no").unwrap_err();
    assert!(matches!(refusal, Refusal::NoRoom(_)), "{refusal}");
    group.disks[&follower].set_free_bytes(None);
    group.put_to_leader(b"after").unwrap();
    catches_up(&group, follower, b"after");
    group.stop();
}

#[test]
fn where_all_disks_are_full_all_nodes_serve_reads_and_go_on_when_there_is_room() {
    let group = Group::with_reserve(8 << 20);
    group.put_to_leader(b"before").unwrap();
    group.disks.values().for_each(|disk| disk.set_free_bytes(Some(6 << 20)));
    (1..=3).for_each(|node| notices(&group, node, Room::Little));
    (1..=3).for_each(|node| {
        assert!(group.nodes[&node].check_room(Room::Enough).is_err(), "puts are refused");
    });
    group.put_to_leader(b"like a delete").unwrap();
    group.disks.values().for_each(|disk| disk.set_free_bytes(Some(1 << 20)));
    (1..=3).for_each(|node| notices(&group, node, Room::None));
    assert!(matches!(group.put_to_leader(b"no").unwrap_err(), Refusal::NoRoom(_)));
    assert_eq!(group.read_from_leader().as_deref(), Some(&b"like a delete"[..]));
    // One that comes to lead now may read as well: what it begins with takes no room.
    let leader = group.leader(None);
    group.nodes[&leader].transfer(Some(leader % 3 + 1));
    group.leader(Some(leader));
    assert_eq!(group.read_from_leader().as_deref(), Some(&b"like a delete"[..]));
    group.disks.values().for_each(|disk| disk.set_free_bytes(None));
    (1..=3).for_each(|node| notices(&group, node, Room::Enough));
    group.put_to_leader(b"after").unwrap();
    (1..=3).for_each(|node| catches_up(&group, node, b"after"));
    group.stop();
}

/// Until this node holds the value.
fn catches_up(group: &Group, node: u64, value: &[u8]) {
    let begun = Instant::now();
    while group.nodes[&node].reader().get("key").unwrap().as_deref() != Some(value) {
        assert!(begun.elapsed() < PATIENCE, "node {node} does not catch up");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_leader_whose_disk_hangs_hands_over_and_follows_once_it_answers() {
    let group = Group::start();
    let leader = group.leader(None);
    group.put(leader, b"before").unwrap();
    let hang = Duration::from_secs(8);
    let begun = Instant::now();
    group.disks[&leader].inject(Fault::delay(FsOp::Sync, hang).on(".log"));
    let refusal = group.put(leader, b"meanwhile").unwrap_err();
    assert_eq!(refusal, Refusal::Unknown, "the others may have it");
    let next = group.leader(Some(leader));
    group.put(next, b"after").unwrap();
    assert!(begun.elapsed() < hang, "they go on meanwhile");
    // Ten ticks, of which the first had begun.
    assert!(group.nodes[&leader].disk_silence() > Duration::from_millis(500));
    catches_up(&group, leader, b"after");
    assert!(begun.elapsed() >= hang);
    group.stop();
}

#[test]
fn a_leader_whose_disk_is_slow_hands_over_once() {
    let group = Group::start();
    let leader = group.leader(None);
    let slow = Fault::delay(FsOp::Sync, Duration::from_millis(300)).on(".log");
    group.disks[&leader].inject(slow.forever());
    let begun = Instant::now();
    while group.nodes[&leader].status().leads() {
        assert!(begun.elapsed() < PATIENCE, "it leads on");
        // One that comes while another takes over may be refused.
        let _ = group.put(leader, b"slow");
    }
    let next = group.leader(Some(leader));
    let term = group.nodes[&next].status().term;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        group.put(next, b"fast").unwrap();
    }
    assert_eq!(group.nodes[&next].status().term, term, "nobody takes it away");
    group.disks[&leader].clear();
    group.stop();
}

#[test]
fn a_node_whose_disk_hangs_can_be_told_to_stop() {
    let group = Group::start();
    let leader = group.leader(None);
    group.disks[&leader].inject(Fault::delay(FsOp::Sync, PATIENCE).on(".log").forever());
    group.put(leader, b"lost in the disk").unwrap_err();
    let begun = Instant::now();
    let error = group.nodes[&leader].stop().unwrap_err().to_string();
    assert!(error.contains("the disk has not answered for"), "{error}");
    assert!(begun.elapsed() < PATIENCE / 4, "{:?}", begun.elapsed());
    group.nodes.iter().filter(|&(&id, _)| id != leader).for_each(|(_, node)| node.stop().unwrap());
}

/// A follower comes back and needs entries that its leader holds on disk only, and cannot read.
fn come_back_to_a_log_that_is_lost(spoil: impl Fn(&FaultFs), why: &str) {
    let group = Group::start();
    let leader = group.leader(None);
    let away = leader % 3 + 1;
    group.wire.away.store(away, Ordering::Relaxed);
    let value = vec![7; 16 << 10];
    for _ in 0..(2 * LOG_CACHE_BYTES / value.len()) {
        group.put(leader, &value).unwrap();
    }
    spoil(&group.disks[&leader]);
    group.wire.away.store(0, Ordering::Relaxed);
    group.assert_stopped(leader, why);
    let next = group.leader(Some(leader));
    assert!(matches!(group.put(next, b"after").unwrap(), Outcome::Written { .. }));
    catches_up(&group, away, b"after");
    group.stop();
}

#[test]
fn a_leader_whose_log_is_damaged_hands_over_and_names_the_place() {
    let spoil = |disk: &FaultFs| {
        let dir = Path::new("node/log");
        let paths = disk.list(dir).unwrap().into_iter().map(|name| dir.join(name));
        let middle = u64::from(LOG_SEGMENT_BYTES) / 2;
        for path in paths.filter(|path| disk.len(path).unwrap() > middle) {
            corrupt(disk, &path, middle, 1).unwrap();
        }
    };
    come_back_to_a_log_that_is_lost(spoil, ".log, offset ");
}

#[test]
fn a_leader_whose_log_cannot_be_read_hands_over_and_names_the_file() {
    let spoil = |disk: &FaultFs| {
        disk.inject(Fault::error(FsOp::Read, io::ErrorKind::Other).on(".log").forever());
    };
    come_back_to_a_log_that_is_lost(spoil, ".log, offset ");
}
