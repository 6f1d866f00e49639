//! What a measurement found, and the tables of it.

use std::collections::BTreeMap;
use std::time::Duration;

use common::{digits, rate, rounds};
use hdrhistogram::Histogram;

use super::args::Mode;
use super::closed_loop::Tally;

/// One measurement of one system.
pub(crate) struct Measured {
    pub(crate) system: &'static str,
    pub(crate) mode: Mode,
    pub(crate) clients: u64,
    pub(crate) time: Duration,
    pub(crate) tally: Tally,
    /// Processor time of each node, where that is known; the leader's first.
    pub(crate) nodes: Vec<Duration>,
    pub(crate) generator: Duration,
    /// Peak memory of each node in bytes; the leader's first.
    pub(crate) memory: Vec<u64>,
}

/// The part of a measurement that is kept: figures in the order of [`COLUMNS`].
struct Row {
    system: &'static str,
    case: String,
    figures: Vec<f64>,
}

const COLUMNS: [&str; 9] =
    ["per s", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms", "servers", "leader", "clients"];

const KEY: &str = "
per s    requests answered in a second
p50..    half of the requests took no longer than p50, 99 of 100 no longer than p99
servers  processor time of all nodes for one request, in microseconds
leader   the leader's part of that
clients  processor time of the load generator for one request, in microseconds
";

#[derive(Default)]
pub(crate) struct Report {
    rounds: u64,
    rows: Vec<Row>,
    errors: BTreeMap<String, u64>,
    missing: u64,
    wrong: u64,
    right: u64,
    /// The largest of all rounds, by system.
    memory: BTreeMap<&'static str, Vec<u64>>,
}

impl Report {
    pub(crate) fn new(rounds: u64) -> Self {
        Self { rounds, ..Self::default() }
    }

    /// Takes a measurement, and returns it in one line.
    pub(crate) fn add(&mut self, mut measured: Measured) -> String {
        let Measured { system, mode, clients, .. } = measured;
        let (puts, gets) = (&mut measured.tally.puts, &mut measured.tally.gets);
        // Processor time belongs to all of them together.
        let requests = puts.len() + gets.len();
        let kinds = match mode {
            Mode::Put => vec![("put", std::mem::take(puts))],
            Mode::Get => vec![("get", std::mem::take(gets))],
            Mode::Mixed => {
                let all = puts.iter().chain(gets.iter()).copied().collect();
                let (puts, gets) = (std::mem::take(puts), std::mem::take(gets));
                vec![("mixed", all), ("  puts", puts), ("  gets", gets)]
            }
        };
        let mut line = String::new();
        for (kind, times) in kinds {
            let row = Row {
                system,
                case: format!("{kind}, {clients} clients"),
                figures: figures(&measured, requests, &times),
            };
            let [per_second, p50, _, p99, ..] = row.figures[..] else {
                unreachable!("nine columns")
            };
            if line.is_empty() {
                let (rate, p50, p99) = (rate(per_second), digits(p50), digits(p99));
                line = format!("{system} {}: {rate}/s, p50 {p50} ms, p99 {p99} ms", row.case);
            }
            self.rows.push(row);
        }
        for (error, count) in &measured.tally.errors {
            line += &format!(", {count} x {error}");
            *self.errors.entry(format!("{system} {error}")).or_default() += count;
        }
        let checked = &measured.tally.checked;
        for complaint in &checked.complaints {
            line += &format!("\n  WRONG: {complaint}");
        }
        self.missing += measured.tally.missing;
        self.right += checked.right;
        self.wrong += checked.wrong;
        let memory = self.memory.entry(system).or_insert_with(|| vec![0; measured.memory.len()]);
        for (most, memory) in memory.iter_mut().zip(measured.memory) {
            *most = (*most).max(memory);
        }
        line
    }

    /// Keys that did not hold what was acknowledged.
    pub(crate) fn wrong(&self) -> u64 {
        self.wrong
    }

    pub(crate) fn print(&self) {
        let line = |name: &str, system: &str, columns: &[String]| {
            print!("{name:22} {system:5}");
            columns.iter().for_each(|column| print!(" {column:>9}"));
            println!();
        };
        println!("\nmedians of {}", rounds(self.rounds));
        line("", "", &COLUMNS.map(String::from));
        let mut cases: Vec<_> = self.rows.iter().map(|row| &row.case).collect();
        let mut seen = Vec::new();
        cases.retain(|case| !seen.contains(case) && (seen.push(*case), true).1);
        for case in &cases {
            for system in self.systems(case) {
                let medians = (0..COLUMNS.len()).map(|at| self.spread(case, system, at).0);
                let text: Vec<_> = (0..).zip(medians).map(|(at, m)| figure(at, m)).collect();
                line(case, system, &text);
            }
        }
        println!("{KEY}");
        println!("requests per second: median [least, greatest]");
        for case in &cases {
            self.print_rates(case);
        }
        for (system, memory) in &self.memory {
            let memory: Vec<_> = memory.iter().map(|bytes| (bytes >> 20).to_string()).collect();
            if !memory.is_empty() {
                println!(
                    "{system}: peak memory of the nodes, leader first: {} MiB",
                    memory.join(" ")
                );
            }
        }
        for (error, count) in &self.errors {
            println!("{count} x {error}");
        }
        if self.missing > 0 {
            println!("{} gets found nothing", self.missing);
        }
        if self.right + self.wrong > 0 {
            println!("read back: {} keys right, {} wrong", self.right, self.wrong);
        }
    }

    fn print_rates(&self, case: &str) {
        let mut rates = Vec::new();
        for system in self.systems(case) {
            let (median, min, max) = self.spread(case, system, 0);
            println!("{case:22} {system:5} {:>9} [{}, {}]", rate(median), rate(min), rate(max));
            rates.push(median);
        }
        if let [first, second] = rates[..] {
            println!("{:22} ratio {:>9.2}", "", first / second);
        }
    }

    fn systems(&self, case: &str) -> Vec<&'static str> {
        let mut systems = Vec::new();
        for row in self.rows.iter().filter(|row| row.case == case) {
            if !systems.contains(&row.system) {
                systems.push(row.system);
            }
        }
        systems
    }

    /// Median, least and greatest of a column.
    fn spread(&self, case: &str, system: &str, column: usize) -> (f64, f64, f64) {
        let rows = self.rows.iter().filter(|row| row.case == case && row.system == system);
        let mut figures: Vec<_> = rows.map(|row| row.figures[column]).collect();
        figures.sort_by(f64::total_cmp);
        (figures[figures.len() / 2], figures[0], figures[figures.len() - 1])
    }
}

fn figures(measured: &Measured, requests: usize, times: &[u32]) -> Vec<f64> {
    let mut histogram = Histogram::<u64>::new(3).expect("three digits are possible");
    for &micros in times {
        histogram.record(u64::from(micros)).expect("it grows as needed");
    }
    let seconds = measured.time.as_secs_f64();
    let mut figures = vec![times.len() as f64 / seconds];
    for quantile in [0.5, 0.9, 0.99, 0.999, 1.0] {
        figures.push(histogram.value_at_quantile(quantile) as f64 / 1e3);
    }
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / requests.max(1) as f64;
    figures.push(micros(measured.nodes.iter().sum()));
    figures.push(micros(measured.nodes.first().copied().unwrap_or_default()));
    figures.push(micros(measured.generator));
    figures
}

fn figure(column: usize, figure: f64) -> String {
    match column {
        0 => rate(figure),
        _ => digits(figure),
    }
}
