//! A node that was away so long that it needs a snapshot, while others go on writing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::harness::Cluster;

const VALUE_BYTES: usize = 64 << 10;
/// What a snapshot holds.
const KEYS: u32 = 1000;
/// Between two writes, which makes 8 MiB a second at most.
const PACE: Duration = Duration::from_millis(8);
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_node_that_needs_a_snapshot_catches_up_while_others_write() {
    let flags = "--log-keep-bytes 1MiB --write-buffer-bytes 8MiB";
    let mut cluster = Cluster::builder(3).flags(flags).start().await;
    let leader = cluster.leader().await;
    let away = leader % 3 + 1;
    let client = cluster.client().await;
    cluster.kill(away);
    let value = |number: u32| -> Vec<u8> {
        let mut rng = fastrand::Rng::with_seed(number.into());
        std::iter::repeat_with(|| rng.u8(..)).take(VALUE_BYTES).collect()
    };
    for number in 0..KEYS {
        client.put(format!("{number}"), value(number)).await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (client, stop) = (client.clone(), Arc::clone(&stop));
        async move {
            let mut pace = interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return number;
                }
                pace.tick().await;
                client.put(format!("{}", number % KEYS), value(number)).await.unwrap();
            }
            0
        }
    });
    let begun = Instant::now();
    cluster.run_node(away);
    // As far as the others are, but for what is under way.
    while cluster.told(away).await.applied + 20 < cluster.told(leader).await.applied {
        assert!(begun.elapsed() < PATIENCE, "{}", cluster.process(away).log_end());
        sleep(Duration::from_millis(50)).await;
    }
    let took = begun.elapsed();
    stop.store(true, Ordering::Relaxed);
    let written = writer.await.unwrap();
    let log = std::fs::read_to_string(cluster.log(away)).unwrap();
    let switches = log.matches("switching to a snapshot").count();
    println!(
        "caught up after {took:?}, with {switches} snapshots; {written} were written meanwhile"
    );
    // One is enough, unless another node comes to lead meanwhile.
    assert!((1..=2).contains(&switches), "{switches} snapshots");
    cluster.assert_equal_states().await;
}
