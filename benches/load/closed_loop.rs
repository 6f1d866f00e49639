//! The load itself: many clients, each of which waits for its answer before it asks again.
//!
//! A request counts if it was answered while the measurement ran; the load begins before and
//! ends after it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::Data;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::Status;

use super::args::Mode;
use super::check::{Checked, Ledger};
use super::target::{Client, Connection, Target, in_time};

/// After a request that failed, so that a cluster without a leader is not flooded.
const FAILED_PAUSE: Duration = Duration::from_millis(20);
/// Clients that write the keys which gets are to find.
const FILL_CLIENTS: u64 = 256;

const WARMUP: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

/// What all clients share.
pub(crate) struct Load {
    pub(crate) mode: Mode,
    pub(crate) clients: u64,
    pub(crate) sessions: bool,
    pub(crate) check: bool,
    pub(crate) data: Arc<Data>,
    /// Sets the keys of this measurement apart from those of the others.
    pub(crate) seed: u64,
    phase: AtomicU8,
    /// Requests answered in the phase.
    answered: AtomicU64,
}

/// What the clients saw.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Of each request, in microseconds.
    pub(crate) puts: Vec<u32>,
    pub(crate) gets: Vec<u32>,
    /// Gets that found nothing.
    pub(crate) missing: u64,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) checked: Checked,
}

impl Load {
    pub(crate) fn new(
        (mode, clients): (Mode, u64),
        sessions: bool,
        check: bool,
        data: &Arc<Data>,
        seed: u64,
    ) -> Self {
        let (phase, answered) = (AtomicU8::new(WARMUP), AtomicU64::new(0));
        let data = Arc::clone(data);
        Self { mode, clients, sessions, check, data, seed, phase, answered }
    }

    pub(crate) fn begin(&self) {
        self.answered.store(0, Ordering::Relaxed);
        self.phase.store(MEASURE, Ordering::Relaxed);
    }

    pub(crate) fn stop(&self) {
        self.phase.store(STOP, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// The number of a client's `n`-th key.
    fn pick(&self, client: u64, n: u64) -> u64 {
        let keys = self.data.entries;
        let number = self.data.pick((self.seed << 52) ^ (client << 32) ^ n);
        if !self.check {
            return number;
        }
        // Keys of its own: every `clients`-th from its number on.
        let own = (keys - client).div_ceil(self.clients);
        client + self.clients * (number % own)
    }

    fn is_put(&self, client: u64, n: u64) -> bool {
        match self.mode {
            Mode::Put => true,
            Mode::Get => false,
            Mode::Mixed => (client + n).is_multiple_of(2),
        }
    }
}

/// Starts the clients, which share the connections; they run until the load stops.
///
/// # Errors
///
/// The first error of a client that could not begin.
pub(crate) async fn start<T: Target>(
    load: &Arc<Load>,
    connections: &[Connection],
) -> Result<JoinSet<Tally>, String> {
    let clients = clients::<T>(load.clients, load.sessions, connections).await?;
    let mut running = JoinSet::new();
    for (number, client) in (0..).zip(clients) {
        running.spawn(run(client, number, Arc::clone(load)));
    }
    Ok(running)
}

/// Adds up what the clients saw.
pub(crate) async fn join(mut running: JoinSet<Tally>) -> Tally {
    let mut sum = Tally::default();
    while let Some(tally) = running.join_next().await {
        let tally = tally.expect("clients do not panic");
        sum.puts.extend(tally.puts);
        sum.gets.extend(tally.gets);
        sum.missing += tally.missing;
        for (error, count) in tally.errors {
            *sum.errors.entry(error).or_default() += count;
        }
        sum.checked.add(tally.checked);
    }
    sum
}

async fn clients<T: Target>(
    count: u64,
    sessions: bool,
    connections: &[Connection],
) -> Result<Vec<T::Client>, String> {
    let mut opened = Vec::new();
    for connection in connections.iter().cycle().take(count as usize) {
        let client = in_time(T::client(connection.clone(), sessions)).await;
        let client = client
            .map_err(|status| format!("{}: a client cannot begin: {}", T::NAME, kind(&status)))?;
        opened.push(client);
    }
    Ok(opened)
}

async fn run<C: Client>(mut client: C, number: u64, load: Arc<Load>) -> Tally {
    let mut tally = Tally::default();
    let mut ledger = Ledger::new(number);
    for n in 0.. {
        let is_put = load.is_put(number, n);
        let at = load.pick(number, n);
        let key = Bytes::copy_from_slice(&load.data.key(at));
        let value = is_put.then(|| {
            let mut value = load.data.value(n ^ number << 20).to_vec();
            if load.check {
                ledger.stamp(at, &mut value);
            }
            Bytes::from(value)
        });
        let start = Instant::now();
        let answer = match value {
            Some(value) => in_time(client.put(key, value)).await.map(|()| false),
            None => in_time(client.get(key)).await.map(|value| value.is_none()),
        };
        let time = start.elapsed();
        if is_put && load.check {
            ledger.answered(at, answer.is_ok());
        }
        let phase = load.phase.load(Ordering::Relaxed);
        match answer {
            Ok(missing) => {
                load.answered.fetch_add(1, Ordering::Relaxed);
                if phase == MEASURE {
                    let times = if is_put { &mut tally.puts } else { &mut tally.gets };
                    times.push(time.as_micros().try_into().unwrap_or(u32::MAX));
                    tally.missing += u64::from(missing);
                }
            }
            Err(status) => {
                if phase == MEASURE {
                    *tally.errors.entry(kind(&status)).or_default() += 1;
                }
                sleep(FAILED_PAUSE).await;
            }
        }
        if phase == STOP {
            break;
        }
    }
    if load.check {
        tally.checked = ledger.check(&mut client, &load.data).await;
    }
    tally
}

/// Writes every key once.
///
/// # Errors
///
/// The first error.
pub(crate) async fn fill<T: Target>(
    data: &Arc<Data>,
    sessions: bool,
    connections: &[Connection],
) -> Result<(), String> {
    let mut running = JoinSet::new();
    let clients = clients::<T>(FILL_CLIENTS, sessions, connections).await?;
    for (first, mut client) in (0..).zip(clients) {
        let data = Arc::clone(data);
        running.spawn(async move {
            for number in (first..data.entries).step_by(FILL_CLIENTS as usize) {
                let key = Bytes::copy_from_slice(&data.key(number));
                in_time(client.put(key, Bytes::copy_from_slice(data.value(number)))).await?;
            }
            Ok(())
        });
    }
    while let Some(filled) = running.join_next().await {
        let filled: Result<(), Status> = filled.expect("clients do not panic");
        filled.map_err(|status| format!("{}: while filling: {}", T::NAME, kind(&status)))?;
    }
    Ok(())
}

/// What errors are counted by.
fn kind(status: &Status) -> String {
    let detail = status.metadata().get("lsm-error").and_then(|kind| kind.to_str().ok());
    format!("{:?}: {}", status.code(), detail.unwrap_or(status.message()))
}
