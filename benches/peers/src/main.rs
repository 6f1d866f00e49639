//! The closed-loop workloads on this engine and on others, round by round in one run.
//!
//! The engines take turns within a round, so that whatever else the machine does meets all of
//! them. What each setting means in each engine stands in its file; see also ../README.md.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the real clock and files")]

mod fjall_store;
mod lmdb_store;
mod redb_store;
#[cfg(feature = "rocksdb")]
mod rocksdb_store;

use std::path::Path;

use clap::Parser;
use common::{Data, Folder, Lsm, Report, Sizes, Store, rate, rounds, run_round};
use indicatif::{ProgressBar, ProgressStyle};

/// Memory for blocks, for every engine that has such a cache.
const CACHE_BYTES: usize = 64 << 20;
/// Size of a memtable, for every engine that has one.
const WRITE_BUFFER_BYTES: usize = 64 << 20;

#[derive(Parser)]
#[command(about = "Closed-loop workloads on lsm-core and other engines")]
struct Args {
    /// Entries of the data set
    #[arg(long, default_value_t = 500_000)]
    entries: u64,
    /// Length of a value, in bytes
    #[arg(long, default_value_t = 100)]
    value: usize,
    /// Rounds, each on an empty folder for each engine
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    /// Only the engines whose names hold one of these
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// An engine: its name, and one round on it.
struct Engine {
    name: &'static str,
    round: fn(&Path, &Data, &mut Report),
    report: Report,
}

fn engine<S: Opened>(name: &'static str) -> Engine {
    let round = |dir: &Path, data: &Data, report: &mut Report| {
        let store = S::opened(dir, data);
        run_round(&store, data, Sizes::of(data.entries), |measured| report.add(measured));
    };
    Engine { name, round, report: Report::default() }
}

/// How a store starts.
trait Opened: Store + Sized {
    /// Makes a store in an empty folder, with room for the data set.
    fn opened(dir: &Path, data: &Data) -> Self;
}

impl Opened for Lsm {
    fn opened(dir: &Path, _: &Data) -> Self {
        Self::open(dir)
    }
}

fn engines() -> Vec<Engine> {
    vec![
        engine::<Lsm>("lsm-core"),
        engine::<fjall_store::Fjall>("fjall"),
        engine::<redb_store::Redb>("redb"),
        engine::<lmdb_store::Lmdb>("lmdb"),
        #[cfg(feature = "rocksdb")]
        engine::<rocksdb_store::Rocks>("rocksdb"),
    ]
}

fn main() {
    let args = Args::parse();
    let data = Data::new(args.entries, args.value);
    let mut engines = engines();
    if !args.only.is_empty() {
        engines.retain(|engine| args.only.iter().any(|only| engine.name.contains(only.as_str())));
    }
    assert!(!engines.is_empty(), "no engine has such a name");
    let progress = ProgressBar::new(args.rounds * engines.len() as u64);
    progress.set_style(ProgressStyle::with_template("{bar:40} {elapsed} {msg}").unwrap());
    for round in 1..=args.rounds {
        for engine in &mut engines {
            progress.set_message(format!("round {round}: {}", engine.name));
            let folder = Folder::new();
            (engine.round)(folder.path(), &data, &mut engine.report);
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    println!("{} entries of 16 + {} bytes, {}", args.entries, args.value, rounds(args.rounds));
    println!("median operations a second; in brackets, as a multiple of the first engine's");
    print(&engines);
}

fn print(engines: &[Engine]) {
    print!("{:24}", "workload");
    engines.iter().for_each(|engine| print!("{:>20}", engine.name));
    println!();
    for name in engines[0].report.names() {
        print!("{name:24}");
        let median = |engine: &Engine| engine.report.rates(name).map_or(0.0, |rates| rates.0);
        for engine in engines {
            let (own, first) = (median(engine), median(&engines[0]));
            print!("{:>20}", format!("{} ({:.2})", rate(own), own / first));
        }
        println!();
    }
}
