//! A node that does nothing for a while, as one whose machine is moved or swaps.

use std::time::Duration;

use lsm_proto::v1::StatusRequest;
use lsm_proto::v1::cluster_service_client::ClusterServiceClient;
use tonic::{Code, Request};

use crate::harness::Cluster;

/// Calls that are given up meanwhile, and those that wait.
const GIVEN_UP: usize = 1000;
const PATIENT: usize = 26;

#[tokio::test]
async fn calls_that_were_given_up_do_not_take_those_with_them_that_wait() {
    let cluster = Cluster::start(1).await;
    let client = ClusterServiceClient::new(cluster.channel(1));
    let call = |time: Option<Duration>| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let mut request = Request::new(StatusRequest {});
            if let Some(time) = time {
                request.set_timeout(time);
            }
            client.status(request).await
        })
    };
    // The connection is there.
    call(None).await.unwrap().unwrap();
    cluster.pause(1);
    let patient: Vec<_> = (0..PATIENT).map(|_| call(None)).collect();
    let hasty = (0..GIVEN_UP).map(|_| call(Some(Duration::from_millis(100))));
    for call in hasty.collect::<Vec<_>>() {
        let status = call.await.unwrap().unwrap_err();
        // That of the client itself.
        assert!(matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded), "{status}");
    }
    cluster.resume(1);
    for call in patient {
        call.await.unwrap().unwrap();
    }
}
