//! More connections than a node can have: those are refused, and nothing else happens.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Cluster, PATIENCE, wait_for};

/// What one node may have here; 512 of them are not for clients.
const OPEN_FILES_MAX: u32 = 612;
const CONNECTIONS_MAX: usize = 100;
/// Longer than a segment of the log: more are made meanwhile.
const VALUE_BYTES: usize = 1 << 20;
const VALUES: usize = 40;

/// Whether the other side has closed this connection.
async fn is_closed(stream: &mut TcpStream) -> bool {
    match timeout(Duration::from_millis(1), stream.read_u8()).await {
        Ok(Err(error)) => {
            assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset));
            true
        }
        Ok(Ok(_)) | Err(_) => false,
    }
}

#[tokio::test]
async fn connections_do_not_take_the_file_handles_of_the_log() {
    let mut cluster = Cluster::builder(1).open_files_max(OPEN_FILES_MAX).start().await;
    let log = std::fs::read_to_string(cluster.log(1)).unwrap();
    assert!(log.contains("the limit of open files is low"), "{log}");
    let client = cluster.client().await;
    client.put("before", "value").await.unwrap();
    let address = cluster.address(1);
    let mut streams = Vec::new();
    for _ in 0..3 * CONNECTIONS_MAX {
        streams.push(TcpStream::connect(address).await.unwrap());
    }
    for i in 0..VALUES {
        client.put(format!("k{i}"), vec![i as u8; VALUE_BYTES]).await.unwrap();
    }
    assert!(cluster.process(1).ended().is_none());
    // Whoever came too late knows at once; the others have time to say who they are.
    let closed = wait_for("the others are refused", PATIENCE, async || {
        let mut closed = 0;
        for stream in &mut streams {
            closed += usize::from(is_closed(stream).await);
        }
        let refused = streams.len() - CONNECTIONS_MAX;
        (closed >= refused).then_some(closed)
    });
    println!("{} of {} connections are closed", closed.await, streams.len());
    drop(streams);
    let other = cluster.client().await;
    assert_eq!(other.get("before").await.unwrap().as_deref(), Some(&b"value"[..]));
}
