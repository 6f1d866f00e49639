//! A node that is cut off from the others in silence, and comes back.

use std::time::{Duration, Instant};

use lsm_proto::v1::kv_service_client::KvServiceClient;
use lsm_proto::v1::{GetRequest, PutRequest};
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::harness::{Cluster, Network, PATIENCE};

/// From the end of a cut until all is as before. On a machine that does nothing else it takes
/// half of one; what a dead connection costs where nobody looks after it is six and more.
const BACK_TIME_MAX: Duration = Duration::from_secs(5);
/// Of one try of a client.
const TRY_TIME: Duration = Duration::from_secs(9);

fn put(key: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: "value".into(), session: None }
}

/// How long it takes until a node serves: one call after the other, each with much time.
async fn served(kv: &KvServiceClient<Channel>, key: &str) -> Duration {
    let begun = Instant::now();
    let once = async || -> Result<(), Status> {
        let mut kv = kv.clone();
        let mut request = Request::new(put(key));
        request.set_timeout(TRY_TIME);
        kv.put(request).await?;
        let read = kv.get(GetRequest { key: key.to_owned().into(), consistency: 0 }).await?;
        assert!(read.into_inner().found);
        Ok(())
    };
    while let Err(status) = once().await {
        println!("after {:?}: {status}", begun.elapsed());
        assert!(begun.elapsed() < PATIENCE);
        sleep(Duration::from_millis(10)).await;
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_cut_off_serves_soon_after() {
    let network = Network::new();
    let cluster = Cluster::builder(3).over(&network).start().await;
    let leader = cluster.leader().await;
    let node = leader % 3 + 1;
    let kv = cluster.kv(node);
    served(&kv, "before").await;
    // Until it knows that it is alone, and while it still believes in a leader.
    for cut_time in [Duration::from_secs(2), Duration::from_millis(300)] {
        network.cut_off(node);
        // Goes to the leader, and gets no answer.
        let mut waiting = kv.clone();
        let waiting = tokio::spawn(async move { waiting.put(put("lost")).await });
        sleep(cut_time).await;
        network.heal();
        let time = served(&kv, "after").await;
        println!("cut off for {cut_time:?}, and back within {time:?}");
        assert!(time < BACK_TIME_MAX, "{time:?}");
        // It may not be done twice, and whoever asked for it is told what is known.
        let told = timeout(BACK_TIME_MAX, waiting).await.expect("it still waits").unwrap();
        println!("a put on its way: {told:?}");
    }
    cluster.assert_equal_states().await;
}
