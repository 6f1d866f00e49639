//! The closed-loop workloads of the acceptance table, on this engine with its default options.
//!
//! `cargo bench --bench workloads -- --entries 2000000 --value 100 --rounds 3`. Each round starts
//! with an empty folder. Rates are per second of the whole loop; the longest operation is that
//! of all rounds.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the real clock and files")]
#![allow(missing_docs, reason = "a program")]

use std::time::Instant;

use clap::Parser;
use common::{
    AnonPeak, Data, Folder, Lsm, Report, Sizes, Store as _, anon_bytes, digits, rate, rounds,
    run_round,
};
use indicatif::{ProgressBar, ProgressStyle};

/// Fills the active memtable to this part, so that its log is there to be replayed.
const REPLAY_FILL: f64 = 0.8;
const WRITE_BUFFER_BYTES: f64 = (64 << 20) as f64;
/// Memory of an entry in a memtable beside key and value, about.
const NODE_BYTES: u64 = 100;

#[derive(Parser)]
#[command(about = "Closed-loop workloads on lsm-core")]
struct Args {
    /// Entries of the data set
    #[arg(long, default_value_t = 500_000)]
    entries: u64,
    /// Length of a value, in bytes
    #[arg(long, default_value_t = 100)]
    value: usize,
    /// Rounds, each on an empty folder
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    /// Fewer operations of each kind
    #[arg(long)]
    quick: bool,
}

/// What a round tells beside the rates.
struct Round {
    anon_peak: u64,
    anon_settled: u64,
    open_millis: f64,
    replay_mib_per_second: f64,
}

fn main() {
    let args = Args::parse();
    let entries = if args.quick { args.entries.min(100_000) } else { args.entries };
    let data = Data::new(entries, args.value);
    let mut report = Report::default();
    let progress = ProgressBar::new(args.rounds * 14);
    progress.set_style(ProgressStyle::with_template("{bar:40} {elapsed} {msg}").unwrap());
    let measured: Vec<_> = (0..args.rounds).map(|_| round(&data, &mut report, &progress)).collect();
    progress.finish_and_clear();
    println!("{entries} entries of 16 + {} bytes, {}", args.value, rounds(args.rounds));
    report.print();
    let median = |figure: fn(&Round) -> f64| {
        let mut figures: Vec<_> = measured.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        digits(figures[figures.len() / 2])
    };
    println!("anonymous memory, peak     {:>9} MiB", median(|r| mib(r.anon_peak)));
    println!("anonymous memory, settled  {:>9} MiB", median(|r| mib(r.anon_settled)));
    println!("open, empty log            {:>9} ms", median(|r| r.open_millis));
    println!("replay                     {:>9} MiB/s", median(|r| r.replay_mib_per_second));
}

fn round(data: &Data, report: &mut Report, progress: &ProgressBar) -> Round {
    let folder = Folder::new();
    let peak = AnonPeak::watch();
    let lsm = Lsm::open(folder.path());
    let mut anon_settled = 0;
    run_round(&lsm, data, Sizes::of(data.entries), |measured| {
        if measured.name == "full scan" {
            anon_settled = anon_bytes();
        }
        let (name, rate) = (measured.name, rate(measured.per_second()));
        progress.set_message(format!("{name}: {rate}/s"));
        progress.inc(1);
        report.add(measured);
    });
    let anon_peak = peak.stop();
    lsm.settle();
    lsm.db.close().unwrap();
    let (lsm, open) = timed_open(&folder);
    let replay_mib_per_second = replay(lsm, data, &folder, open);
    Round { anon_peak, anon_settled, open_millis: open * 1e3, replay_mib_per_second }
}

fn timed_open(folder: &Folder) -> (Lsm, f64) {
    let start = Instant::now();
    let lsm = Lsm::open(folder.path());
    (lsm, start.elapsed().as_secs_f64())
}

/// Leaves a log behind that no table covers, and measures the open that replays it.
fn replay(lsm: Lsm, data: &Data, folder: &Folder, open_empty: f64) -> f64 {
    let entries = WRITE_BUFFER_BYTES * REPLAY_FILL / (data.entry_bytes() + NODE_BYTES) as f64;
    for n in 0..entries as u64 {
        lsm.put(&data.key(n), data.value(n + 1));
    }
    let log_bytes = lsm.db.stats().log_bytes;
    assert_eq!(lsm.db.stats().flushes, 0, "the log is still needed");
    lsm.db.close().unwrap();
    let (lsm, open) = timed_open(folder);
    lsm.db.close().unwrap();
    mib(log_bytes) / (open - open_empty)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
