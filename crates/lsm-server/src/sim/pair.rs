//! Two keys that are always written together, in one batch, and read together, in one scan: both
//! have the same value, and none older than what was acknowledged, or seen, before the scan began.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lsm_proto::v1::write::Op;
use lsm_proto::v1::{BatchWriteRequest, Entry, PutOp, ScanRequest, ScanResponse, Session, Write};
use tonic::{Response, Status};

use super::history::History;
use super::stub::{Failure, Stub, within};

const KEYS: [&str; 2] = ["pair-a", "pair-b"];
const PREFIX: &str = "pair-";
const PAUSE_MILLIS: u64 = 150;

/// What all who write or read the pair share: the latest batch that was acknowledged or seen.
#[derive(Debug, Default)]
pub(super) struct Pair {
    least: AtomicU64,
}

/// Writes one batch after the other, each until it is answered.
pub(super) async fn write(pair: Arc<Pair>, mut stub: Stub, history: Arc<History>) {
    let mut session = Session { id: stub.open_session().await, sequence: 0 };
    let mut number = 0;
    while !history.is_over() {
        stub.pause(PAUSE_MILLIS).await;
        history.begin(stub.client);
        number += 1;
        session.sequence += 1;
        let writes = KEYS.map(|key| Write {
            op: Some(Op::Put(PutOp { key: key.into(), value: number.to_string().into() })),
        });
        loop {
            let batch = BatchWriteRequest { writes: writes.to_vec(), session: Some(session) };
            let (request, time) = stub.request(batch);
            match within(time, stub.kv().batch_write(request)).await {
                Ok(_) => break,
                // The same once more does no harm: nobody else writes these.
                Err(Failure::SessionUnknown) => {
                    stub.net.report.lost_sessions.one_more();
                    session = Session { id: stub.open_session().await, sequence: 1 };
                }
                Err(_) => {}
            }
            stub.net.report.repeats.one_more();
            stub.pause(80).await;
        }
        pair.least.fetch_max(number, Ordering::Relaxed);
        stub.net.report.batches.one_more();
        history.note_served(stub.client);
    }
}

/// Reads it, by one kind of scan or the other.
pub(super) async fn read(pair: Arc<Pair>, mut stub: Stub, history: Arc<History>) {
    while !history.is_over() {
        stub.pause(PAUSE_MILLIS).await;
        history.begin(stub.client);
        let least = pair.least.load(Ordering::Relaxed);
        let scan = ScanRequest { prefix: PREFIX.into(), ..ScanRequest::default() };
        let (request, time) = stub.request(scan);
        let (streams, mut kv, net) = (stub.rng.bool(), stub.kv(), Arc::clone(&stub.net));
        let found = within(time, async {
            if streams {
                return collect(kv.scan_stream(request).await?.into_inner()).await;
            }
            kv.scan(request).await.map(|answer| Response::new(answer.into_inner().entries))
        });
        let Ok(entries) = found.await else { continue };
        if streams {
            net.report.scan_streams.one_more();
        } else {
            net.report.scans.one_more();
        }
        let numbers: Vec<u64> = entries.iter().map(number).collect();
        let whole = matches!(numbers[..], [] | [_, _]) && numbers.first() == numbers.last();
        assert!(whole, "a batch was seen in part: {numbers:?}");
        let seen = numbers.first().copied().unwrap_or(0);
        assert!(seen >= least, "a scan saw batch {seen}, and {least} was known before it began");
        pair.least.fetch_max(seen, Ordering::Relaxed);
        history.note_served(stub.client);
    }
}

async fn collect(
    mut pages: tonic::Streaming<ScanResponse>,
) -> Result<Response<Vec<Entry>>, Status> {
    let mut entries = Vec::new();
    while let Some(page) = pages.message().await? {
        entries.extend(page.entries);
    }
    Ok(Response::new(entries))
}

fn number(entry: &Entry) -> u64 {
    let text = std::str::from_utf8(&entry.value).ok();
    text.and_then(|text| text.parse().ok()).expect("that is how they are written")
}
