//! Single scenes that chance would show rarely, or hide among others.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use lsm_proto::v1::{PutRequest, Session};
use tokio::time::{Instant, sleep};
use tonic::Request;

use super::fleet::Fleet;
use super::net::Net;
use super::stub::{Failure, Stub, within};

/// Who asks.
const CLIENT: u64 = 101;
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A fleet that has a leader, all of whose nodes are members; and who leads.
async fn peaceful(seed: u64) -> (Fleet, u64) {
    let net = Arc::new(Net::new(Rng::with_seed(seed)));
    let mut fleet = Fleet::found_whole(&net, Rng::with_seed(seed)).await;
    net.calm();
    loop {
        fleet.tend().await;
        if let Some((leader, replica)) = fleet.leader()
            && replica.members().nodes.values().all(|member| member.incarnation.is_some())
        {
            return (fleet, leader);
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn put(stub: &mut Stub, session: Option<Session>) -> Result<(), Failure> {
    let put = PutRequest { key: "k".into(), value: "v".into(), session };
    let mut request = Request::new(put);
    request.set_timeout(PATIENCE);
    within(PATIENCE, stub.kv().put(request)).await.map(drop)
}

/// Its connections stay alive, and its machine, too: nothing but the others' word tells that it is
/// not the leader any more.
#[tokio::test(start_paused = true)]
async fn what_was_passed_to_a_leader_that_stands_still_is_given_up_once_another_leads() {
    for seed in 0..5 {
        let (mut fleet, leader) = peaceful(seed).await;
        let mut stub = Stub::new(&fleet.net, CLIENT);
        let session = Session { id: stub.open_session().await, sequence: 1 };
        // Only the others are asked from here on.
        fleet.net.publish(leader, false);
        let mut other = Stub::new(&fleet.net, CLIENT + 1);
        fleet.net.pause(leader, Instant::now() + PATIENCE);
        let begun = Instant::now();
        let (again, once) = tokio::join!(put(&mut stub, Some(session)), put(&mut other, None));
        let time = begun.elapsed();
        assert_eq!(again, Ok(()), "seed {seed}: it is safe to ask another");
        // It may yet be done, should the first leader go on.
        assert_eq!(once, Err(Failure::Unknown), "seed {seed}");
        assert!(time < Duration::from_secs(5), "seed {seed}: both were done after {time:?}");
        fleet.stop().await;
    }
}
