//! A deterministic simulation of a group: five nodes, their disks, clocks and network, and
//! their clients, all in one thread, driven by one seed. The nodes are production nodes, opened and
//! called as a server does; only when their threads go on is decided here. Simulated are the
//! network, the time, and the disks, which lose what was not synced, stall, fail and fill up.
//!
//! `LSM_SIM_SEED=7` runs one seed and prints its trace; `LSM_SIM_SEEDS=10000` that many, from
//! `LSM_SIM_FIRST` on.

mod clients;
mod cluster;
mod faults;
mod host;
mod network;
mod oracle;
mod pair;
mod replica;
mod report;

use cluster::Cluster;
use report::Report;

/// Seeds in an ordinary test run.
const SEEDS: u64 = 300;
/// How many of them are run twice, to compare the traces.
const REPEATED: u64 = 10;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn run(seed: u64, print: bool) -> Report {
    Cluster::new(seed, print).run()
}

#[test]
fn nothing_acknowledged_is_lost_and_no_read_is_stale() {
    if let Some(seed) = number("LSM_SIM_SEED") {
        let report = run(seed, true);
        println!("seed {seed}: {report:?}");
        return;
    }
    let (first, count) =
        (number("LSM_SIM_FIRST").unwrap_or(0), number("LSM_SIM_SEEDS").unwrap_or(SEEDS));
    // Two at a time: each is one thread.
    let total = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            scope.spawn(move || {
                let mut total = Report::default();
                for seed in (first..first + count).filter(|seed| seed % 2 == half) {
                    let told = std::panic::catch_unwind(|| run(seed, false));
                    match told {
                        Ok(report) => total.add(&report),
                        Err(cause) => {
                            eprintln!("failed with LSM_SIM_SEED={seed}");
                            std::panic::resume_unwind(cause);
                        }
                    }
                }
                total
            })
        });
        halves.into_iter().fold(Report::default(), |mut sum, half| {
            sum.add(&half.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause)));
            sum
        })
    });
    println!("{count} seeds from {first}: {total:?}");
    if count >= SEEDS {
        total.assert_all_happened();
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..REPEATED {
        assert_eq!(run(seed, false).trace, run(seed, false).trace, "LSM_SIM_SEED={seed}");
    }
}
