//! The command line.

use std::time::Duration;

use clap::{Parser, ValueEnum};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum System {
    Lsm,
    Etcd,
    /// One after the other, in each round.
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Put,
    /// Linearizable
    Get,
    /// One put, one get
    Mixed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum To {
    /// The node that leads when a measurement begins
    Leader,
    /// Connections spread over all nodes
    All,
}

/// Closed-loop load on a cluster of five: each client sends its next request when the last one
/// is answered.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Args {
    /// What to measure; both take turns
    #[arg(long, value_enum, default_value = "lsm")]
    pub(crate) target: System,
    /// Requests to send; several modes are measured one after the other
    #[arg(long, value_enum, value_delimiter = ',', default_value = "put")]
    pub(crate) mode: Vec<Mode>,
    /// Closed loops at a time; several numbers are measured one after the other
    #[arg(long, value_delimiter = ',', default_value = "64",
        value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) clients: Vec<u64>,
    /// Connections that the clients share; without it one for 16 clients
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) connections: Option<u64>,
    /// Where the connections go
    #[arg(long, value_enum, default_value = "leader")]
    pub(crate) to: To,
    /// Distinct keys, of 16 bytes each
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) keys: u64,
    /// Length of a value, in bytes
    #[arg(long, default_value_t = 100)]
    pub(crate) value: usize,
    /// Length of a measurement
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,
    /// Seconds of the same load before it
    #[arg(long, default_value_t = 3)]
    pub(crate) warmup: u64,
    /// Rounds, each with new, empty clusters
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rounds: u64,
    /// Whether writes to lsm carry the number of a session, as its client's do
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) sessions: bool,
    /// Each client writes keys of its own, and at the end reads back what was acknowledged
    #[arg(long)]
    pub(crate) check: bool,
    /// Addresses, `host:port`, of a cluster that runs already; without them one is started
    #[arg(long, value_delimiter = ',')]
    pub(crate) endpoints: Vec<String>,
    /// Threads of the generator
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=256))]
    pub(crate) workers: u64,
    /// A first look: one round of three seconds
    #[arg(long)]
    pub(crate) quick: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// The head of a checked value.
const CHECKED_MIN: usize = 16;

impl Args {
    /// # Errors
    ///
    /// What cannot be used together, as a sentence.
    pub(crate) fn settle(mut self) -> Result<Self, String> {
        if self.quick {
            (self.rounds, self.seconds, self.warmup) = (1, self.seconds.min(3), 1);
        }
        if self.target == System::Both && !self.endpoints.is_empty() {
            return Err("--endpoints are those of one system: choose a --target".into());
        }
        if self.check && self.value < CHECKED_MIN {
            return Err(format!("--check needs values of {CHECKED_MIN} bytes or more"));
        }
        if self.check && self.clients.iter().any(|&clients| clients > self.keys) {
            return Err("--check gives each client keys of its own: there are too few".into());
        }
        Ok(self)
    }

    pub(crate) fn systems(&self) -> Vec<System> {
        match self.target {
            System::Both => vec![System::Lsm, System::Etcd],
            one => vec![one],
        }
    }

    pub(crate) fn connections(&self, clients: u64) -> u64 {
        self.connections.unwrap_or(clients / 16).clamp(1, clients)
    }

    /// What each cluster is measured with, in order.
    pub(crate) fn cases(&self) -> Vec<(Mode, u64)> {
        let of = |&mode| self.clients.iter().map(move |&clients| (mode, clients));
        self.mode.iter().flat_map(of).collect()
    }

    pub(crate) fn measure_time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    pub(crate) fn warmup_time(&self) -> Duration {
        Duration::from_secs(self.warmup)
    }
}
