//! Writers that go on whatever happens, and remember what was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lsm_client::Client;
use tokio::task::JoinHandle;

/// Writers that run.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: Vec<JoinHandle<Written>>,
}

/// What writers did.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Keys whose write was acknowledged; the value of each is its key.
    pub(crate) keys: Vec<String>,
    /// Writes and reads that failed.
    pub(crate) errors: Vec<String>,
    /// The longest time between two acknowledgements of one writer.
    pub(crate) longest_gap: Duration,
}

impl Load {
    /// Starts writers, each of which reads back what it wrote now and then.
    pub(crate) fn start(client: &Client, writers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let start = |writer| {
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            tokio::spawn(write(client, writer, stop, Arc::clone(&acknowledged)))
        };
        let writers = (0..writers).map(start).collect();
        Self { stop, acknowledged, writers }
    }

    /// Writes acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Waits until so many more were acknowledged.
    pub(crate) async fn more(&self, count: u64) {
        let goal = self.acknowledged() + count;
        super::wait_for("writes", Duration::from_secs(120), async || {
            (self.acknowledged() >= goal).then_some(())
        })
        .await;
    }

    /// Ends the writers.
    pub(crate) async fn stop(self) -> Written {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Written::default();
        for writer in self.writers {
            let written = writer.await.unwrap();
            all.keys.extend(written.keys);
            all.errors.extend(written.errors);
            all.longest_gap = all.longest_gap.max(written.longest_gap);
        }
        all
    }
}

impl Written {
    /// Asserts that everything that was acknowledged is there.
    pub(crate) async fn assert_kept(&self, client: &Client) {
        for keys in self.keys.chunks(64) {
            let reads: Vec<_> = keys
                .iter()
                .map(|key| {
                    let (client, key) = (client.clone(), key.clone());
                    tokio::spawn(async move { (client.get(key.as_str()).await.unwrap(), key) })
                })
                .collect();
            for read in reads {
                let (value, key) = read.await.unwrap();
                assert_eq!(value.as_deref(), Some(key.as_bytes()), "{key} was acknowledged");
            }
        }
    }
}

async fn write(
    client: Client,
    writer: usize,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
) -> Written {
    let mut written = Written::default();
    let mut last = Instant::now();
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let key = format!("load/{writer:03}/{number:08}");
        if let Err(error) = client.put(key.as_str(), key.as_str()).await {
            written.errors.push(format!("put {key}: {error}"));
            continue;
        }
        written.longest_gap = written.longest_gap.max(last.elapsed());
        last = Instant::now();
        acknowledged.fetch_add(1, Ordering::SeqCst);
        written.keys.push(key.clone());
        if number % 16 == 0 {
            match client.get(key.as_str()).await {
                Ok(value) => assert_eq!(value.as_deref(), Some(key.as_bytes()), "{key}"),
                Err(error) => written.errors.push(format!("get {key}: {error}")),
            }
        }
    }
    written
}
