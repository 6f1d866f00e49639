//! All rows of the record (`docs/benchmarks.md`), on this engine with its default options.
//!
//! `cargo bench --bench workloads -- --entries 2000000 --rounds 3`. Each scene of a round starts
//! with an empty folder. The same on other engines: `peers`.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the real clock and files")]
#![allow(missing_docs, reason = "a program")]

use std::time::Instant;

use clap::Parser;
use common::{
    AnonPeak, Data, Folder, Lsm, Report, SCENES, Scene, Sizes, Store as _, digits, rate, rounds,
    spread,
};
use indicatif::{ProgressBar, ProgressStyle};

/// Fills the active memtable to this part, so that its log is there to be replayed.
const REPLAY_FILL: f64 = 0.8;
const WRITE_BUFFER_BYTES: f64 = (64 << 20) as f64;
/// Memory of an entry in a memtable beside key and value, about.
const NODE_BYTES: u64 = 100;

#[derive(Parser)]
#[command(about = "The rows of docs/benchmarks.md on lsm-core")]
struct Args {
    /// Entries of the data set
    #[arg(long, default_value_t = 500_000)]
    entries: u64,
    /// Rounds
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// Only the rows whose names hold one of these
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    /// Fewer operations of each kind
    #[arg(long)]
    quick: bool,
}

/// What a round tells beside the rows.
struct Round {
    anon_peak: u64,
    open_millis: f64,
    replay_mib_per_second: f64,
}

fn main() {
    let mut args = Args::parse();
    if args.quick {
        args.entries = args.entries.min(100_000);
    }
    let mut report = Report::default();
    let progress = ProgressBar::new(args.rounds * SCENES.len() as u64);
    progress.set_style(ProgressStyle::with_template("{bar:40} {elapsed} {msg}").unwrap());
    let measured: Vec<_> = (0..args.rounds).map(|_| round(&args, &mut report, &progress)).collect();
    progress.finish_and_clear();
    println!("{} entries of 16 + 100 bytes, {}", args.entries, rounds(args.rounds));
    report.print();
    let median = |figure: fn(&Round) -> f64| {
        spread(measured.iter().map(figure)).map_or(String::new(), |(median, ..)| digits(median))
    };
    println!();
    println!("anonymous memory, peak     {:>9} MiB", median(|r| mib(r.anon_peak)));
    println!("open, empty log            {:>9} ms", median(|r| r.open_millis));
    println!("replay                     {:>9} MiB/s", median(|r| r.replay_mib_per_second));
}

fn round(args: &Args, report: &mut Report, progress: &ProgressBar) -> Round {
    let peak = AnonPeak::watch();
    // With the default options everything is compressed with LZ4 already.
    for scene in SCENES.iter().filter(|scene| !scene.lz4) {
        run(scene, args, report, progress);
        progress.inc(1);
    }
    let anon_peak = peak.stop();
    let folder = Folder::new();
    Lsm::open(folder.path()).db.close().unwrap();
    let (lsm, open) = timed_open(&folder);
    let data = Data::new(args.entries, 100);
    let replay_mib_per_second = replay(lsm, &data, &folder, open);
    progress.inc(1);
    Round { anon_peak, open_millis: open * 1e3, replay_mib_per_second }
}

fn run(scene: &Scene, args: &Args, report: &mut Report, progress: &ProgressBar) {
    let wanted = |name: &str| {
        args.rows.is_empty() || args.rows.iter().any(|row| name.contains(row.as_str()))
    };
    if !scene.rows().any(|(_, name)| wanted(name)) {
        return;
    }
    progress.set_message(scene.name);
    let folder = Folder::new();
    let lsm = Lsm::open(folder.path());
    let sizes = Sizes::of(args.entries);
    scene.run(&lsm, folder.path(), (args.entries, sizes), &wanted, &mut |measured| {
        progress.set_message(format!("{}: {}/s", measured.name, rate(measured.per_second())));
        report.add(measured);
    });
    lsm.db.close().unwrap();
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
