//! What goes wrong, chosen by the seed.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep};

use super::fleet::Fleet;
use super::net::Net;

/// Faults happen for so long.
const FAULTS_TIME: Duration = Duration::from_secs(15);
/// The longest pause between two faults.
const PAUSE_MILLIS: u64 = 1_000;
/// The longest that a node is paused, or down.
const AWAY_MILLIS: u64 = 3_000;

/// Lets things go wrong for a while, and all be well in the end.
pub(super) async fn strike(fleet: &mut Fleet) {
    let end = Instant::now() + FAULTS_TIME;
    while Instant::now() < end {
        sleep(Duration::from_millis(fleet.rng.u64(50..PAUSE_MILLIS))).await;
        fleet.tend().await;
        one(fleet).await;
    }
    fleet.net.calm();
    fleet.heal().await;
}

async fn one(fleet: &mut Fleet) {
    let (victim, members) = (fleet.victim(), fleet.members());
    let away = Duration::from_millis(fleet.rng.u64(100..AWAY_MILLIS));
    let choice = fleet.rng.u8(..24);
    let (net, rng) = (&fleet.net, &mut fleet.rng);
    match choice {
        0 | 1 => fleet.crash(victim, away).await,
        2 => {
            net.report.cuts.one_more();
            let others = members.iter().filter(|&&node| node != victim);
            others.for_each(|&node| cut_both(net, victim, node));
        }
        3 => split(net, &members, rng),
        4 => cut_one_way(net, victim, &members, rng),
        5..8 => {
            net.report.heals.one_more();
            net.heal();
        }
        8 => {
            net.report.pauses.one_more();
            net.pause(victim, Instant::now() + away);
        }
        9 | 10 => {
            let to = members[rng.usize(..members.len())];
            transfer(fleet, to);
        }
        11 | 12 => {
            net.report.stalls.one_more();
            net.stall_disks(Instant::now() + away / 2);
        }
        13..16 => net.break_pipes(victim),
        16 => fleet.wipe(victim).await,
        17 => fleet.double(victim).await,
        18 => fleet.intrude().await,
        19 => fleet.correct().await,
        20 => fleet.fill(&[victim]),
        21 => fleet.fill(&members),
        _ => fleet.resize().await,
    }
}

fn transfer(fleet: &Fleet, to: u64) {
    if let Some((leader, replica)) = fleet.leader()
        && leader != to
    {
        fleet.net.report.transfers.one_more();
        replica.transfer(Some(to));
    }
}

fn cut_both(net: &Net, a: u64, b: u64) {
    net.cut(a, b);
    net.cut(b, a);
}

fn split(net: &Net, members: &[u64], rng: &mut Rng) {
    net.report.cuts.one_more();
    let (left, right): (Vec<u64>, Vec<u64>) = members.iter().partition(|_| rng.bool());
    for &a in &left {
        for &b in &right {
            cut_both(net, a, b);
        }
    }
}

/// So that requests arrive, and answers do not, or the other way round.
fn cut_one_way(net: &Net, victim: u64, members: &[u64], rng: &mut Rng) {
    net.report.one_way_cuts.one_more();
    let incoming = rng.bool();
    for &other in members.iter().filter(|&&other| other != victim) {
        if rng.u8(..3) > 0 {
            let (from, to) = if incoming { (other, victim) } else { (victim, other) };
            net.cut(from, to);
        }
    }
}
