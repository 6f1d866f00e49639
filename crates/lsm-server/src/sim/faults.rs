//! What goes wrong, chosen by the seed.

use std::time::Duration;

use fastrand::Rng;
use lsm_core::fs::CrashImage;
use tokio::time::{Instant, sleep};

use super::host::{Host, Replicas};
use super::net::Net;

/// Faults happen for so long.
const FAULTS_TIME: Duration = Duration::from_secs(15);
/// The longest pause between two faults.
const PAUSE_MILLIS: u64 = 1_000;
/// The longest that a node is paused, or down.
const AWAY_MILLIS: u64 = 3_000;

/// Lets things go wrong for a while, and all be well in the end.
pub(super) async fn strike(net: &Net, replicas: &Replicas, hosts: &mut [Host], mut rng: Rng) {
    let end = Instant::now() + FAULTS_TIME;
    let mut starts: Vec<Option<Instant>> = vec![None; hosts.len()];
    while Instant::now() < end {
        sleep(Duration::from_millis(rng.u64(50..PAUSE_MILLIS))).await;
        for (host, start) in hosts.iter_mut().zip(&mut starts) {
            if start.is_some_and(|start| start <= Instant::now()) {
                *start = None;
                host.start().await;
            }
        }
        let victim = victim(replicas, hosts.len() as u64, &mut rng);
        let away = Duration::from_millis(rng.u64(100..AWAY_MILLIS));
        match rng.u8(..16) {
            0 | 1 => {
                let at = victim as usize - 1;
                if hosts[at].is_up() {
                    net.report.crashes.one_more();
                    hosts[at].crash(image(&mut rng)).await;
                    starts[at] = Some(Instant::now() + away);
                }
            }
            2 => {
                net.report.cuts.one_more();
                let others = (1..=hosts.len() as u64).filter(|&node| node != victim);
                others.for_each(|node| cut_both(net, victim, node));
            }
            3 => split(net, hosts.len() as u64, &mut rng),
            4 => cut_one_way(net, victim, hosts.len() as u64, &mut rng),
            5..8 => {
                net.report.heals.one_more();
                net.heal();
            }
            8 => {
                net.report.pauses.one_more();
                net.pause(victim, Instant::now() + away);
            }
            9 | 10 => {
                let to = rng.u64(1..=hosts.len() as u64);
                transfer(net, replicas, to);
            }
            11 | 12 => {
                net.report.stalls.one_more();
                net.stall_disks(Instant::now() + away / 2);
            }
            _ => net.break_pipes(victim),
        }
    }
    net.calm();
    for host in hosts.iter_mut().filter(|host| !host.is_up()) {
        host.start().await;
    }
}

/// The leader more often than chance would have it.
fn victim(replicas: &Replicas, count: u64, rng: &mut Rng) -> u64 {
    match leader(replicas) {
        Some(leader) if rng.bool() => leader,
        _ => rng.u64(1..=count),
    }
}

/// Of all that think that they lead the one with the latest term.
fn leader(replicas: &Replicas) -> Option<u64> {
    let replicas = replicas.lock();
    let statuses = replicas.iter().map(|(&node, replica)| (node, replica.status()));
    let leaders = statuses.filter(|(_, status)| status.leads());
    leaders.max_by_key(|(_, status)| status.term).map(|(node, _)| node)
}

fn transfer(net: &Net, replicas: &Replicas, to: u64) {
    let Some(leader) = leader(replicas).filter(|&leader| leader != to) else { return };
    net.report.transfers.one_more();
    replicas.lock()[&leader].transfer(Some(to));
}

fn image(rng: &mut Rng) -> CrashImage {
    match rng.u8(..3) {
        0 => CrashImage::Lost,
        1 => CrashImage::Kept,
        _ => CrashImage::Torn { seed: rng.u64(..) },
    }
}

fn cut_both(net: &Net, a: u64, b: u64) {
    net.cut(a, b);
    net.cut(b, a);
}

fn split(net: &Net, count: u64, rng: &mut Rng) {
    net.report.cuts.one_more();
    let (left, right): (Vec<u64>, Vec<u64>) = (1..=count).partition(|_| rng.bool());
    for &a in &left {
        for &b in &right {
            cut_both(net, a, b);
        }
    }
}

/// So that requests arrive, and answers do not, or the other way round.
fn cut_one_way(net: &Net, victim: u64, count: u64, rng: &mut Rng) {
    net.report.one_way_cuts.one_more();
    let incoming = rng.bool();
    for other in (1..=count).filter(|&other| other != victim) {
        if rng.u8(..3) > 0 {
            let (from, to) = if incoming { (other, victim) } else { (victim, other) };
            net.cut(from, to);
        }
    }
}
