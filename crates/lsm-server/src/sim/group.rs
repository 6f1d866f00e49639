//! One seed: nodes, clients, faults, and what must hold in the end.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use lsm_raft::testkit::check;
use tokio::time::{Instant, sleep, timeout};

use super::client::Client;
use super::faults;
use super::fleet::Fleet;
use super::history::History;
use super::net::{FIRST_CLIENT, Net};
use super::pair::{self, Pair};
use super::report::Report;
use super::sessions;
use super::stub::Stub;

const CLIENTS: u64 = 8;
const SCANNERS: u64 = 2;
/// What a client begins after the last fault is done within this time, in as many tries as it
/// takes, also if the node that led stays away. Two seconds pass until another stands for election,
/// and up to two more if the votes are split; half a second later whoever waits for the one that
/// led tries the other (`service/leader.rs`). No connection adds to that by its silence: a fresh one
/// takes its place beside (`probe.rs`).
const RECOVERY_MAX: Duration = Duration::from_secs(5);
/// A request that was begun before may wait until its own deadline.
const SERVED_MAX: Duration = Duration::from_secs(12);
const LOOK: Duration = Duration::from_millis(50);
/// By then the operator has done what there was to do, and who is refused has stopped.
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// For so long clients go on after that.
const QUIET_TIME: Duration = Duration::from_secs(2);
/// Whatever was begun by then is answered within this time.
const END_MAX: Duration = Duration::from_secs(30);

/// Runs one seed.
///
/// # Panics
///
/// If something does not hold that must.
pub(super) async fn run(seed: u64) -> Report {
    let mut rng = Rng::with_seed(seed);
    // What production draws by itself, on this thread.
    fastrand::seed(rng.u64(..));
    let net = Arc::new(Net::new(rng.fork()));
    let history = Arc::new(History::new());
    let mut fleet = Fleet::found(&net, rng).await;
    let mut tasks = Vec::new();
    for id in FIRST_CLIENT..FIRST_CLIENT + CLIENTS {
        let client = Client::new(id, id % 4 == 0, &net, &history);
        tasks.push(tokio::spawn(client.run()));
    }
    let pair = Arc::new(Pair::default());
    let stub = |at| Stub::new(&net, FIRST_CLIENT + CLIENTS + at);
    let written = pair::write(Arc::clone(&pair), stub(0), Arc::clone(&history));
    tasks.push(tokio::spawn(written));
    let left = sessions::open_and_leave(stub(1 + SCANNERS), Arc::clone(&history));
    tasks.push(tokio::spawn(left));
    for at in 1..=SCANNERS {
        let read = pair::read(Arc::clone(&pair), stub(at), Arc::clone(&history));
        tasks.push(tokio::spawn(read));
    }

    faults::strike(&mut fleet).await;
    let late = recover(&mut fleet, &history, FIRST_CLIENT..FIRST_CLIENT + tasks.len() as u64).await;
    history.end();
    // First what one of them has seen.
    for (id, task) in (FIRST_CLIENT..).zip(tasks) {
        let ended = timeout(END_MAX, task).await;
        let ended = ended.unwrap_or_else(|_| panic!("client {id} still waits"));
        ended.unwrap_or_else(|end| std::panic::resume_unwind(end.into_panic()));
    }
    assert_eq!(late, None, "this client was not served after the last fault");
    timeout(END_MAX, fleet.compare()).await.expect("the members compare what they hold");
    fleet.stop().await;
    if let Err(failure) = check(&history.recorder.history()) {
        panic!("{failure}");
    }
    let report = Report::default();
    report.add(&net.report);
    report
}

/// The last fault has ended: returns some time after each client was served, or with one that was
/// not in time.
async fn recover(fleet: &mut Fleet, history: &History, mut clients: Range<u64>) -> Option<u64> {
    fleet.tend().await;
    let absent = fleet.leave();
    history.heal();
    let healed = Instant::now();
    while history.served().len() < clients.clone().count() && healed.elapsed() < SERVED_MAX {
        fleet.tend().await;
        sleep(LOOK).await;
    }
    let served = history.served();
    let longest = served.values().max().copied().unwrap_or_default();
    fleet.net.report.recovered_after(longest.as_millis() as u64);
    if let Some(absent) = absent {
        fleet.net.calm();
        fleet.net.publish(absent, true);
    }
    while !fleet.is_settled().await {
        assert!(
            healed.elapsed() < SETTLE_MAX,
            "the operator still waits, or a node that is refused"
        );
        sleep(LOOK).await;
    }
    sleep(QUIET_TIME).await;
    fleet.tend().await;
    clients.find(|id| served.get(id).is_none_or(|time| *time > RECOVERY_MAX))
}
