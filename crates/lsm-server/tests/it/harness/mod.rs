//! Starts clusters, breaks them, and looks at what is left.
//!
//! ```ignore
//! let mut cluster = Cluster::start(5).await;     // five processes, and a leader
//! let client = cluster.client().await;
//! client.put("k", "v").await.unwrap();
//! let leader = cluster.leader().await;
//! cluster.kill(leader);                          // also: terminate, pause, resume
//! cluster.leader_within(ELECTION_TIME_MAX).await;
//! cluster.run_node(leader);                      // again, on the same folder
//! ```
//!
//! When a test fails, the logs of all nodes are printed. Clusters run one at a time: several
//! would only take the time from each other that the tests measure.

mod certificates;
mod cluster;
mod load;
mod network;
mod ports;
mod process;

pub(crate) use certificates::Certificates;
pub(crate) use cluster::Cluster;
pub(crate) use load::Load;
pub(crate) use network::Network;
pub(crate) use ports::{free_ports, free_ports_and};
pub(crate) use process::{Process, program, run};

use std::time::{Duration, Instant};

/// Longest wait for what should take a few seconds, on a machine that does other things, too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// In which a leader that is gone is replaced. On a machine that does nothing else it takes less
/// than three seconds; how long it took is printed.
pub(crate) const ELECTION_TIME_MAX: Duration = Duration::from_secs(20);

/// Asks again until there is an answer.
///
/// # Panics
///
/// If there is none in time.
pub(crate) async fn wait_for<T>(
    what: &str,
    time_max: Duration,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < time_max, "{what}: not within {time_max:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
