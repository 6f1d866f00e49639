//! One seed: nodes, clients, faults, and what must hold in the end.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use lsm_core::fs::CrashImage;
use lsm_raft::testkit::check;
use tokio::time::{sleep, timeout};

use super::client::Client;
use super::faults;
use super::history::History;
use super::host::{Host, Replicas};
use super::net::Net;
use super::pair::{self, Pair};
use super::report::Report;
use super::stub::Stub;

const CLIENTS: u64 = 6;
/// The number of the first client; those of nodes are less.
const FIRST_CLIENT: u64 = 101;
const SCANNERS: u64 = 2;
/// After the last fault each client is served within this time.
const RECOVERY_MAX: Duration = Duration::from_secs(8);
/// Whatever was begun by then is answered within this time.
const END_MAX: Duration = Duration::from_secs(15);

/// Runs one seed.
///
/// # Panics
///
/// If something does not hold that must.
pub(super) async fn run(seed: u64) -> Report {
    let mut rng = Rng::with_seed(seed);
    let net = Arc::new(Net::new(rng.fork()));
    let (replicas, history) = (Replicas::default(), Arc::new(History::new()));
    let (count, lease_reads) = (rng.u64(3..=5), rng.u8(..3) == 0);
    let mut hosts: Vec<Host> =
        (1..=count).map(|id| Host::new(id, count, lease_reads, &net, &replicas)).collect();
    for host in &mut hosts {
        host.start().await;
    }
    let mut clients = Vec::new();
    for id in FIRST_CLIENT..FIRST_CLIENT + CLIENTS {
        let client = Client::new(id, count, id % 2 == 0, &net, &history);
        clients.push(tokio::spawn(client.run()));
    }
    let (pair, mut pairs) = (Arc::new(Pair::default()), Vec::new());
    let stub = |at| Stub::new(&net, FIRST_CLIENT + CLIENTS + at, count);
    let written = pair::write(Arc::clone(&pair), stub(0), Arc::clone(&history));
    pairs.push(tokio::spawn(written));
    for at in 1..=SCANNERS {
        let read = pair::read(Arc::clone(&pair), stub(at), Arc::clone(&history));
        pairs.push(tokio::spawn(read));
    }

    faults::strike(&net, &replicas, &mut hosts, rng).await;
    history.heal();
    sleep(RECOVERY_MAX).await;
    history.end();

    for (id, client) in (FIRST_CLIENT..).zip(clients) {
        let served = timeout(END_MAX, client).await;
        let served = served.unwrap_or_else(|_| panic!("client {id} still waits"));
        let served = served.unwrap_or_else(|end| std::panic::resume_unwind(end.into_panic()));
        let served = served.unwrap_or_else(|| panic!("client {id} is not served after the faults"));
        assert!(served < RECOVERY_MAX, "client {id} was served {served:?} after the faults");
        net.report.recovered_after(served.as_millis() as u64);
    }
    for pair in pairs {
        let ended = timeout(END_MAX, pair).await.expect("whoever uses the pair still waits");
        ended.unwrap_or_else(|end| std::panic::resume_unwind(end.into_panic()));
    }
    for host in &mut hosts {
        host.crash(CrashImage::Kept).await;
    }
    if let Err(failure) = check(&history.recorder.history()) {
        panic!("{failure}");
    }
    let report = Report::default();
    report.add(&net.report);
    report
}
