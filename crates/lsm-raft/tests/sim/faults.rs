//! What goes wrong, chosen by the seed.

use std::time::Duration;

use lsm_log::fs::Op as FsOp;
use lsm_raft::{Change, Role};

use crate::cluster::{Cluster, Event, FAULTS_END};
use crate::replica::RESERVE_BYTES;

/// Most nodes that are down on purpose at the same time, but for the rare blackout.
const DOWN_MAX: usize = 2;
/// The last id that a node may get.
const LAST_ID: u64 = 8;

/// One fault, and the time of the next.
pub(crate) fn strike(cluster: &mut Cluster) {
    let pause = cluster.rng.u64(100_000..1_500_000);
    if cluster.now + pause < FAULTS_END {
        cluster.schedule(pause, Event::Fault);
    }
    let nodes = cluster.nodes();
    let victim = match cluster.leader() {
        // The leader more often than chance would have it.
        Some(leader) if cluster.rng.bool() => leader,
        _ => nodes[cluster.rng.usize(..nodes.len())],
    };
    match cluster.rng.u8(..26) {
        0..3 => crash(cluster, victim),
        3 => blackout(cluster),
        4 => isolate(cluster, victim),
        5 => split(cluster),
        6 => cut_one_way(cluster, victim),
        7 | 8 => cluster.network.heal(),
        9 => {
            cluster.network.drop_percent = cluster.rng.u8(..30);
            cluster.network.twice_percent = cluster.rng.u8(..30);
            // Most networks are fast; some take seconds.
            let delay_max = if cluster.rng.u8(..4) == 0 { 4_500_000 } else { 40_000 };
            cluster.network.delay = cluster.rng.u64(100..delay_max);
        }
        10 | 11 => {
            let now = cluster.now;
            let pause = cluster.rng.u64(100_000..4_000_000);
            cluster.host(victim).paused_until = now + pause;
            cluster.report.pauses += 1;
        }
        12 | 13 => stall(cluster, victim),
        14 => {
            let to = nodes[cluster.rng.usize(..nodes.len())];
            cluster.schedule(0, Event::Transfer { to });
        }
        15 => storm(cluster, &nodes),
        16 => fill(cluster, victim),
        17 => fill_all(cluster),
        18 => fail(cluster, victim),
        19 => stop(cluster, victim),
        20 => jump(cluster, victim),
        // One copy of what was acknowledged at a time.
        21 if may_damage(cluster) => cluster.damage(victim),
        _ => change(cluster),
    }
}

/// Whether all others have a good copy, and nobody is missing for good.
fn may_damage(cluster: &Cluster) -> bool {
    cluster.replacing.is_empty() && cluster.hosts.values().all(|host| !host.is_damaged)
}

/// One hand-over after the other.
fn storm(cluster: &mut Cluster, nodes: &[u64]) {
    for _ in 0..cluster.rng.u64(3..15) {
        let to = nodes[cluster.rng.usize(..nodes.len())];
        let delay = cluster.rng.u64(..1_500_000);
        cluster.schedule(delay, Event::Transfer { to });
    }
    cluster.report.storms += 1;
}

/// A disk has little room, or none, or some again.
fn fill(cluster: &mut Cluster, victim: u64) {
    let free_bytes = match cluster.rng.u8(..4) {
        0 => None,
        // Little enough to be noticed before anything fails, most of the time.
        1 | 2 => Some(cluster.rng.u64(RESERVE_BYTES / 4..2 * RESERVE_BYTES)),
        _ => Some(cluster.rng.u64(..RESERVE_BYTES / 4)),
    };
    cluster.report.full_disks += u64::from(free_bytes.is_some());
    cluster.host(victim).set_free_bytes(free_bytes);
}

/// All disks fill together, and later have room again.
fn fill_all(cluster: &mut Cluster) {
    let free_bytes =
        cluster.rng.bool().then(|| cluster.rng.u64(RESERVE_BYTES / 2..2 * RESERVE_BYTES));
    for node in cluster.nodes() {
        cluster.host(node).set_free_bytes(free_bytes);
    }
    cluster.report.full_disks += 1;
}

/// An operation of a disk fails, now or soon.
fn fail(cluster: &mut Cluster, victim: u64) {
    let (op, files) = match cluster.rng.u8(..6) {
        0 | 1 => (FsOp::Sync, ".log"),
        2 => (FsOp::Write, ".log"),
        3 => (FsOp::Sync, ""),
        4 => (FsOp::Rename, ""),
        _ => (FsOp::Create, ""),
    };
    let after = cluster.rng.u64(..20);
    cluster.host(victim).fail(op, files, after);
    cluster.report.failing_disks += 1;
}

/// A node is told to stop, and started again later.
fn stop(cluster: &mut Cluster, victim: u64) {
    cluster.report.told_to_stop += 1;
    cluster.with(victim, |running| running.stepper.stop());
}

/// A machine was asleep: its clock goes on further than the others.
fn jump(cluster: &mut Cluster, victim: u64) {
    let jump = Duration::from_micros(cluster.rng.u64(..10_000_000));
    cluster.host(victim).clock.advance(jump);
    cluster.host(victim).rate = cluster.rng.i64(-40..=40);
    cluster.report.clock_jumps += 1;
}

/// The disk of a node's log does not answer for a while, or is slow from now on.
fn stall(cluster: &mut Cluster, victim: u64) {
    let (now, stall) = (cluster.now, cluster.rng.u64(100_000..5_000_000));
    let slow = cluster.rng.bool().then(|| cluster.rng.u64(20_000..400_000));
    let host = cluster.host(victim);
    match slow {
        Some(time) => host.sync_time = time,
        None => host.stalled_until = now + stall,
    }
    cluster.report.stalls += 1;
}

fn crash(cluster: &mut Cluster, victim: u64) {
    let down = cluster.hosts.values().filter(|host| host.running.is_none()).count();
    if down >= DOWN_MAX {
        return;
    }
    if cluster.rng.bool() {
        cluster.crash_soon(victim);
    } else {
        cluster.crash(victim);
    }
}

fn blackout(cluster: &mut Cluster) {
    for node in cluster.nodes() {
        cluster.crash(node);
    }
}

fn isolate(cluster: &mut Cluster, victim: u64) {
    for other in cluster.nodes() {
        cluster.network.cut_both(victim, other);
    }
    cluster.report.cuts += 1;
}

fn split(cluster: &mut Cluster) {
    let nodes = cluster.nodes();
    let (left, right): (Vec<u64>, Vec<u64>) = nodes.into_iter().partition(|_| cluster.rng.bool());
    for &a in &left {
        for &b in &right {
            cluster.network.cut_both(a, b);
        }
    }
    cluster.report.cuts += 1;
}

fn cut_one_way(cluster: &mut Cluster, victim: u64) {
    let incoming = cluster.rng.bool();
    for other in cluster.nodes().into_iter().filter(|&other| other != victim) {
        if cluster.rng.u8(..3) > 0 {
            let (from, to) = if incoming { (other, victim) } else { (victim, other) };
            cluster.network.cut(from, to);
        }
    }
    cluster.report.cuts += 1;
}

/// Lets the group grow and shrink: a node joins as a learner, becomes a voter, goes.
fn change(cluster: &mut Cluster) {
    let Some(leader) = cluster.leader() else { return };
    let running = cluster.hosts[&leader].running.as_ref().expect("it leads");
    let members = running.replica.members();
    let used = |id: &u64| {
        members.nodes.contains_key(id)
            || members.removed.contains(id)
            || cluster.hosts.contains_key(id)
    };
    let fresh = (1..=LAST_ID).find(|id| !used(id));
    let of = |role: Role| {
        let of_role = members.nodes.iter().filter(move |(_, member)| member.role == role);
        of_role.map(|(&id, _)| id).collect::<Vec<_>>()
    };
    let (voters, learners) = (of(Role::Voter), of(Role::Learner));
    match (learners.first(), fresh) {
        (Some(&learner), _) if voters.len() > 4 && cluster.rng.bool() => {
            // One in, one out, at once: this goes through a joint configuration.
            let gone = voters[cluster.rng.usize(..voters.len())];
            let changes = vec![Change::Promote { node: learner }, Change::Remove { node: gone }];
            cluster.change(changes);
        }
        (Some(&learner), _) => cluster.change(vec![Change::Promote { node: learner }]),
        (None, Some(node)) if voters.len() < 6 => {
            cluster.change(vec![Change::AddLearner {
                node,
                peer_address: format!("peer{node}"),
                client_address: format!("client{node}"),
            }]);
            let setup = cluster.setup(node, None);
            cluster.add_host(setup);
        }
        _ if voters.len() > 3 => {
            let node = voters[cluster.rng.usize(..voters.len())];
            cluster.change(vec![Change::Remove { node }]);
        }
        _ => {}
    }
}
