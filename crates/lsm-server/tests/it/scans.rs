//! What many scans at once cost the node that serves them: a bounded part of its memory, however
//! much they are over, and whether or not their clients take what comes.

use std::time::{Duration, Instant};

use lsm_client::Batch;
use lsm_proto::v1::{ScanRequest, ScanResponse};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tonic::{Code, Streaming};

use crate::harness::{Cluster, PATIENCE};

const MIB: u64 = 1 << 20;
/// Scans at a time: more than are served.
const SCANS: usize = 80;
/// How long scans of which nobody takes a page may fill what there is to fill.
const FILL_TIME: Duration = Duration::from_secs(3);

/// A node that is idle (90 MiB), pages that wait (64 MiB), what connections have taken of them
/// (64 times 512 KiB), and what is encoded and what the allocator keeps of all these: as much
/// again. Long values wait in answers, of which there are 256 MiB.
const SHORT_MEMORY_MAX: u64 = 384 * MIB;
const LONG_MEMORY_MAX: u64 = 768 * MIB;

/// A cluster of one that holds so many values of one length.
async fn filled(count: usize, value_bytes: usize) -> Cluster {
    let flags = "--write-buffer-bytes 8MiB --block-cache-bytes 1MiB";
    let cluster = Cluster::builder(1).flags(flags).start().await;
    let client = cluster.client().await;
    let batch_len = (MIB as usize / 2).div_ceil(value_bytes);
    for first in (0..count).step_by(batch_len) {
        let mut batch = Batch::new();
        for number in first..count.min(first + batch_len) {
            batch.put(format!("{number:010}"), vec![b'v'; value_bytes]);
        }
        client.write(&batch).await.unwrap();
    }
    cluster.node(1).await.flush().await.unwrap();
    cluster
}

/// As many as are served.
async fn scans(cluster: &Cluster) -> Vec<Streaming<ScanResponse>> {
    let begin = || {
        let mut kv = cluster.kv(1).max_decoding_message_size(usize::MAX);
        tokio::spawn(async move { kv.scan_stream(ScanRequest::default()).await })
    };
    let mut served = Vec::new();
    for begun in (0..SCANS).map(|_| begin()).collect::<Vec<_>>() {
        match begun.await.unwrap() {
            Ok(answer) => served.push(answer.into_inner()),
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status}"),
        }
    }
    assert!(served.len() > SCANS / 2, "{}", served.len());
    served
}

/// The entries of a stream.
async fn count(mut pages: Streaming<ScanResponse>) -> usize {
    let mut count = 0;
    while let Some(page) = pages.message().await.unwrap() {
        count += page.entries.len();
    }
    count
}

/// The most memory that the node takes while scans are served, that nobody takes and that
/// somebody does.
async fn peak(cluster: &mut Cluster, entries: usize) -> u64 {
    let mut peak = 0;
    let mut look = |cluster: &mut Cluster| peak = cluster.process(1).memory_bytes().max(peak);
    let (begun, untaken) = (Instant::now(), scans(cluster).await);
    while begun.elapsed() < FILL_TIME {
        look(cluster);
        sleep(Duration::from_millis(5)).await;
    }
    // Some are served to their ends.
    let taken: Vec<JoinHandle<usize>> =
        untaken.into_iter().take(SCANS / 4).map(|pages| tokio::spawn(count(pages))).collect();
    let begun = Instant::now();
    while taken.iter().any(|taken| !taken.is_finished()) {
        assert!(begun.elapsed() < 4 * PATIENCE);
        look(cluster);
        sleep(Duration::from_millis(5)).await;
    }
    for taken in taken {
        assert_eq!(taken.await.unwrap(), entries);
    }
    println!("{} MiB at most", peak / MIB);
    peak
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_scans_take_a_bounded_part_of_the_memory() {
    let entries = 600_000;
    let mut cluster = filled(entries, 100).await;
    let peak = peak(&mut cluster, entries).await;
    assert!(peak <= SHORT_MEMORY_MAX, "{} MiB", peak / MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_scans_of_long_values_take_a_bounded_part_of_the_memory() {
    let mut cluster = filled(12, 6 << 20).await;
    let begun = Instant::now();
    let untaken = scans(&cluster).await;
    let mut peak = 0;
    while begun.elapsed() < FILL_TIME {
        peak = cluster.process(1).memory_bytes().max(peak);
        sleep(Duration::from_millis(5)).await;
    }
    println!("{} MiB at most", peak / MIB);
    assert!(peak <= LONG_MEMORY_MAX, "{} MiB", peak / MIB);
    drop(untaken);
}
