//! Load on a cluster of five nodes: ours, etcd's, or both in turns.
//!
//! `cargo bench --bench load -- --target both --mode put,get --clients 1,64,256`. Without
//! `--endpoints` each round starts a new, empty cluster of five processes on this machine, in
//! `LSM_BENCH_DIR` or beside the built program, and stops it at the end: so only one system
//! runs at a time, and the idle one takes nothing from the other. Both get the same connections,
//! requests and keys in the same order.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the real clock and files")]
#![allow(missing_docs, reason = "a program")]

mod args;
mod check;
mod closed_loop;
mod cluster;
#[allow(dead_code, unused_imports, reason = "a part is used here")]
#[path = "../../crates/lsm-server/src/front/coalesce.rs"]
mod coalesce;
mod etcd;
mod kv;
mod process;
mod report;
mod target;

use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use args::{Args, Mode, System, To};
use clap::Parser;
use closed_loop::Load;
use cluster::Cluster;
use common::{Data, rate};
use etcd::Etcd;
use indicatif::{ProgressBar, ProgressStyle};
use kv::Lsm;
use report::{Measured, Report};
use target::{Connection, Target};
use tokio::runtime::Builder;
use tokio::time::sleep;

/// Between two looks at a running load.
const LOOK: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    match Args::parse().settle().and_then(|args| run(&args)) {
        Ok(report) => {
            report.print();
            if report.wrong() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<Report, String> {
    let workers = args.workers as usize;
    let runtime = Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let mut report = Report::new(args.rounds);
    for round in 0..args.rounds {
        for system in args.systems() {
            runtime.block_on(async {
                match system {
                    System::Etcd => measure_cluster::<Etcd>(args, round, &mut report).await,
                    _ => measure_cluster::<Lsm>(args, round, &mut report).await,
                }
            })?;
        }
    }
    Ok(report)
}

/// Measures every case on one cluster.
async fn measure_cluster<T: Target>(
    args: &Args,
    round: u64,
    report: &mut Report,
) -> Result<(), String> {
    let mut cluster = if args.endpoints.is_empty() {
        // What the last cluster left to be written would slow down the syncs of this one.
        let _ = Command::new("sync").status();
        Cluster::start::<T>().map_err(|error| format!("{}: {error}", T::NAME))?
    } else {
        Cluster::existing(&args.endpoints)
    };
    let data = Arc::new(Data::new(args.keys, args.value));
    let mut is_filled = false;
    for (seed, (mode, clients)) in (round * 64..).zip(args.cases()) {
        let leader = cluster.leader::<T>().await?;
        let connections = connect(args, &cluster, leader, args.connections(clients)).await?;
        if mode != Mode::Put && !args.check && !is_filled {
            is_filled = true;
            closed_loop::fill::<T>(&data, args.sessions, &connections).await?;
        }
        let load = Load::new((mode, clients), args.sessions, args.check, &data, seed);
        let measured = measure::<T>(args, load, &connections, &cluster, leader).await?;
        println!("round {}: {}", round + 1, report.add(measured));
        cluster.check_processes()?;
    }
    Ok(())
}

async fn connect(
    args: &Args,
    cluster: &Cluster,
    leader: usize,
    count: u64,
) -> Result<Vec<Connection>, String> {
    let addresses = match args.to {
        To::Leader => &cluster.clients()[leader..=leader],
        To::All => cluster.clients(),
    };
    let mut connections = Vec::new();
    for address in addresses.iter().cycle().take(count as usize) {
        connections.push(Connection::to(address).await?);
    }
    Ok(connections)
}

async fn measure<T: Target>(
    args: &Args,
    load: Load,
    connections: &[Connection],
    cluster: &Cluster,
    leader: usize,
) -> Result<Measured, String> {
    let load = Arc::new(load);
    let mut nodes = cluster.processes();
    nodes.sort_by_key(|&pid| cluster.processes().get(leader) != Some(&pid));
    let running = closed_loop::start::<T>(&load, connections).await?;
    sleep(args.warmup_time()).await;
    let used = |nodes: &[u32]| -> Vec<_> {
        nodes.iter().map(|&pid| process::processor_time(pid).unwrap_or_default()).collect()
    };
    let own = [std::process::id()];
    let (nodes_before, own_before) = (used(&nodes), used(&own));
    load.begin();
    let start = Instant::now();
    watch::<T>(args, &load, start).await;
    load.stop();
    let time = start.elapsed();
    let (nodes_after, own_after) = (used(&nodes), used(&own));
    let less = |after: Vec<Duration>, before: Vec<Duration>| -> Vec<_> {
        after.iter().zip(&before).map(|(after, before)| after.saturating_sub(*before)).collect()
    };
    let tally = closed_loop::join(running).await;
    Ok(Measured {
        system: T::NAME,
        mode: load.mode,
        clients: load.clients,
        time,
        tally,
        nodes: less(nodes_after, nodes_before),
        generator: less(own_after, own_before).iter().sum(),
        memory: nodes.iter().filter_map(|&pid| process::peak_memory(pid)).collect(),
    })
}

/// Shows the rate until the time of the measurement is over.
async fn watch<T: Target>(args: &Args, load: &Load, start: Instant) {
    let progress = ProgressBar::new(args.measure_time().as_millis() as u64);
    progress.set_style(ProgressStyle::with_template("{bar:40} {msg}").expect("it is constant"));
    let (mut before, mut answered) = (start, 0);
    while start.elapsed() < args.measure_time() {
        sleep(LOOK.min(args.measure_time().saturating_sub(start.elapsed()))).await;
        let (now, all) = (Instant::now(), load.answered());
        let rate = rate((all - answered) as f64 / (now - before).as_secs_f64());
        (before, answered) = (now, all);
        progress.set_position(start.elapsed().as_millis() as u64);
        let (mode, clients) = (load.mode, load.clients);
        progress.set_message(format!("{} {mode:?}, {clients} clients: {rate}/s", T::NAME));
    }
    progress.finish_and_clear();
}
