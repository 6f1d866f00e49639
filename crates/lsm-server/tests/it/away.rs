//! What a node that is away costs the others: a bounded part of their memory and disks, however
//! much is written meanwhile. When it comes back it gets what it missed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};

use crate::harness::Cluster;

const MIB: u64 = 1 << 20;
/// Written while a node is away.
const WRITTEN_BYTES: u64 = 384 * MIB;
const VALUE_BYTES: u64 = 256 << 10;
/// Keys that are written again and again, so that the engine has little to merge.
const KEYS: u64 = 64;
const WRITERS: usize = 8;
/// The time for one write: together no more than 64 MiB a second, on any machine.
const PACE: Duration = Duration::from_millis(4);

/// A busy node without that (80 MiB), the youngest entries of the log (32 MiB), messages for the
/// node that is away (64 MiB, and what the connection has taken of them), memtables (8 MiB, and
/// three times as much on its way to tables), and what the allocator keeps of all these.
const MEMORY_BYTES_MAX: u64 = 304 * MIB;
/// The log is cut once a second: what is written in one (64 MiB), what is not in tables (four
/// memtables: 32 MiB) or kept (1 MiB), segments of 16 MiB that are kept to be used again (4), and
/// what is written while a busy machine is late with any of these.
const LOG_BYTES_MAX: u64 = 256 * MIB;

/// The most that a node had at any look.
#[derive(Clone, Copy, Debug, Default)]
struct Peak {
    memory_bytes: u64,
    log_bytes: u64,
}

/// Writes, and looks at these nodes all the while.
async fn write(cluster: &mut Cluster, nodes: &[u64]) -> Vec<Peak> {
    let client = cluster.client().await;
    let permits = Arc::new(Semaphore::new(WRITERS));
    let mut pace = interval(PACE);
    // After a stall there is no burst.
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut puts = Vec::new();
    let mut peaks = vec![Peak::default(); nodes.len()];
    for number in 0..WRITTEN_BYTES / VALUE_BYTES {
        pace.tick().await;
        let permit = Arc::clone(&permits).acquire_owned().await.unwrap();
        let client = client.clone();
        puts.push(tokio::spawn(async move {
            let value = vec![number as u8; VALUE_BYTES as usize];
            client.put(format!("{}", number % KEYS), value).await.unwrap();
            drop(permit);
        }));
        for (node, peak) in nodes.iter().zip(&mut peaks) {
            peak.memory_bytes = peak.memory_bytes.max(cluster.process(*node).memory_bytes());
            peak.log_bytes = peak.log_bytes.max(cluster.log_bytes(*node));
        }
    }
    for put in puts {
        put.await.unwrap();
    }
    peaks
}

/// What the others had at most while one was away, with so much log kept for it. It is back, and
/// has what they have; true if the log was enough.
async fn be_away(log_keep: &str) -> (Vec<Peak>, bool) {
    let flags = "--write-buffer-bytes 8MiB --block-cache-bytes 1MiB --log-keep-bytes";
    let mut cluster = Cluster::builder(3).flags(&format!("{flags} {log_keep}")).start().await;
    let leader = cluster.leader().await;
    let away = leader % 3 + 1;
    let others = [leader, 6 - leader - away];
    let last = cluster.told(away).await.last_index;
    // Its connections stay, so that messages for it pile up.
    cluster.pause(away);
    let peaks = write(&mut cluster, &others).await;
    println!("nodes {others:?}, of which {leader} led: {peaks:?}");
    let first = cluster.told(leader).await.first_index;
    cluster.resume(away);
    cluster.assert_equal_states().await;
    (peaks, first <= last + 1)
}

#[tokio::test]
async fn a_node_that_is_away_costs_the_others_little_memory() {
    let (peaks, had_log) = be_away("1GiB").await;
    assert!(had_log, "all of the log is kept, and on disk only");
    for peak in peaks {
        assert!(peak.log_bytes >= WRITTEN_BYTES, "{peak:?}");
        assert!(peak.memory_bytes <= MEMORY_BYTES_MAX, "{peak:?}");
    }
}

#[tokio::test]
async fn a_node_that_is_away_costs_the_others_little_log() {
    let (peaks, had_log) = be_away("1MiB").await;
    assert!(!had_log, "it needs a snapshot");
    for peak in peaks {
        assert!(peak.log_bytes <= LOG_BYTES_MAX, "{peak:?}");
        assert!(peak.memory_bytes <= MEMORY_BYTES_MAX, "{peak:?}");
    }
}
