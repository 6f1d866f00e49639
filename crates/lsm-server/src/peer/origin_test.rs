//! Nodes that do not belong together, and times that differ: replicas over real connections.

use std::time::Duration;

use lsm_core::fs::{Fs, OsFs};
use lsm_proto::peer::GreetRequest;
use lsm_raft::{Identity, Members, Replica};
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use super::client::Client;
use super::fake::until;
use super::headers::PeerHeaders;
use super::test_cluster::Cluster;

fn id_of(replica: &Replica) -> Option<u128> {
    replica.members().origin.cluster_id
}

fn runs(replica: &Replica) -> bool {
    let mut stopped = std::pin::pin!(replica.wait_stopped());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    stopped.as_mut().poll(&mut context).is_pending()
}

/// Three nodes are told three founders, two are told five: both lists have a majority that runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_were_told_different_founders_do_not_vote_for_each_other() {
    let mut cluster = Cluster::found(5, |_| ()).await;
    let five = cluster.founders.clone();
    let mut three = five.clone();
    three.nodes.retain(|&node, _| node <= 3);
    // Those with the longer list first: they would get votes of those that come.
    for (id, founders) in [(4, &five), (5, &five), (1, &three)] {
        cluster.run(id, Some(founders.clone())).await;
    }
    let alone = cluster.replica(1).clone();
    let votes = |replica: &Replica| replica.status().leader;
    tokio::time::sleep(Duration::from_secs(5)).await;
    for id in [1, 4, 5] {
        assert_eq!(votes(cluster.replica(id)), None, "node {id}");
    }
    for id in [2, 3] {
        cluster.run(id, Some(three.clone())).await;
    }
    until("three of three lead", || votes(&alone).is_some()).await;
    cluster.write("acknowledged", b"v").await;
    for id in 1..=3 {
        cluster.until_read(id, "acknowledged", b"v").await;
    }
    // They had time to campaign, and nobody stopped.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for id in [4, 5] {
        assert_eq!(votes(cluster.replica(id)), None, "two of five do not lead");
        assert_eq!(cluster.replica(id).reader().get("acknowledged").unwrap(), None);
    }
    assert!((1..=5).all(|id| runs(cluster.replica(id))));
    assert_eq!(id_of(cluster.replica(4)), None);
    cluster.end().await;
}

/// The same numbers, and one address that is spelled in another way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_founder_with_another_list_gives_no_vote_and_gets_none() {
    let mut cluster = Cluster::found(3, |_| ()).await;
    let right = cluster.founders.clone();
    let mut wrong = right.clone();
    wrong.nodes.get_mut(&2).unwrap().client_address = "client-two:1".into();
    cluster.run(1, Some(right.clone())).await;
    cluster.run(3, Some(wrong)).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!([1, 3].map(|id| cluster.replica(id).status().leader), [None, None]);
    cluster.run(2, Some(right)).await;
    cluster.write_to(&[1, 2], "k", b"v").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let third = cluster.replica(3);
    assert_eq!((third.status().leader, third.reader().get("k").unwrap()), (None, None));
    assert!((1..=3).all(|id| runs(cluster.replica(id))));
    cluster.end().await;
}

/// It has the longer log, a later term, the right number, name, founders and address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_node_of_another_cluster_of_that_name_is_let_in_by_nobody_and_goes_on() {
    let mut cluster = Cluster::start(3).await;
    let founders = cluster.founders.clone();
    cluster.until_identified(3).await;
    for number in 0..20 {
        cluster.write(&format!("old{number}"), b"x").await;
    }
    until("it knows its cluster", || id_of(cluster.replica(3)).is_some()).await;
    let old = id_of(cluster.replica(3));
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    for id in [1, 2] {
        let folder = cluster.folder(id);
        OsFs.rename(&folder, &folder.with_extension("old")).unwrap();
        cluster.run(id, Some(founders.clone())).await;
    }
    cluster.write("new", b"v").await;
    until("both know their cluster", || {
        [1, 2].iter().all(|&id| id_of(cluster.replica(id)).is_some())
    })
    .await;
    assert_ne!(id_of(cluster.replica(1)), old);
    cluster.run(3, Some(founders)).await;
    // It campaigns all the time, and is sent what its number should have.
    for round in 0..20 {
        cluster.write_to(&[1, 2], &format!("later{round}"), b"v").await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for id in [1, 2] {
        cluster.until_read(id, "new", b"v").await;
        assert_eq!(cluster.replica(id).reader().get("old0").unwrap(), None);
    }
    let third = cluster.replica(3);
    assert_eq!((third.status().leader, id_of(third)), (None, old));
    assert_eq!(third.reader().get("new").unwrap(), None);
    assert!((1..=3).all(|id| runs(cluster.replica(id))));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_get_the_id_that_the_first_leader_drew_and_keep_it() {
    let mut cluster = Cluster::start(3).await;
    let known = |cluster: &Cluster| -> Vec<_> {
        (1..=3).map(|id| cluster.replica(id).members().origin).collect()
    };
    until("all know it", || known(&cluster).iter().all(|origin| origin.cluster_id.is_some())).await;
    let before = known(&cluster);
    assert!(before.iter().all(|origin| *origin == before[0]), "{before:?}");
    assert!(before[0].founders.is_some());
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    for id in 1..=3 {
        // Who they are does not count any more.
        cluster.run(id, Some(Members::default())).await;
    }
    cluster.write("k", b"v").await;
    assert_eq!(known(&cluster), before);
    cluster.end().await;
}

/// One call that named another folder of the called node was enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_at_the_port_of_a_running_node_neither_stop_nor_slow_it() {
    let mut cluster = Cluster::start(3).await;
    cluster.until_identified(3).await;
    cluster.write("k", b"v").await;
    until("all know their cluster", || (1..=3).all(|id| id_of(cluster.replica(id)).is_some()))
        .await;
    let (first, address) = (cluster.replica(1).clone(), cluster.nodes[0].proxy.address.clone());
    let endpoint = Endpoint::try_from(format!("http://{address}")).unwrap();
    let mut client = Client::new(endpoint.connect().await.unwrap());
    let (own, known) = (first.identity().clone(), first.members());
    for round in 0..500_u64 {
        let number = [2, 3, 77, 1000 + round][round as usize % 4];
        let identity = Identity { node: number, incarnation: round, ..own.clone() };
        let mut hello = PeerHeaders::new(&identity, first.timing(), &known, 1, Some("a:1".into()));
        hello.to_incarnation = [None, Some(round), Some(own.incarnation)][round as usize % 3];
        if number > 3 {
            hello.origin.cluster_id = [None, Some(u128::from(round))][round as usize % 2];
        }
        let mut request = Request::new(GreetRequest {});
        hello.write(request.metadata_mut());
        let refused = client.greet(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{hello:?}");
    }
    cluster.write("later", b"v").await;
    assert!((1..=3).all(|id| runs(cluster.replica(id))));
    let linked = cluster.place(1).running.as_ref().unwrap().transport.linked();
    assert!(linked.iter().all(|node| [2, 3].contains(node)), "{linked:?}");
    cluster.end().await;
}

/// Its own election timeout is ten times that of the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_a_longer_timeout_answers_no_stale_reads() {
    let mut cluster = Cluster::found(3, |config| {
        config.lease_reads = true;
        if config.node == 1 {
            (config.election_ticks_min, config.election_ticks_max) = (100, 110);
        }
    })
    .await;
    let founders = cluster.founders.clone();
    for id in 1..=3 {
        cluster.run(id, Some(founders.clone())).await;
    }
    cluster.write("k", b"old").await;
    until("it leads", || {
        (2..=3).for_each(|id| cluster.replica(id).transfer(Some(1)));
        cluster.replica(1).status().leads()
    })
    .await;
    let first = cluster.replica(1).clone();
    for _ in 0..20 {
        first.read().await.unwrap();
    }
    // It hears nobody, and nobody hears it.
    let place = cluster.place(1);
    place.proxy.unplug();
    place.running.as_ref().unwrap().transport.close();
    cluster.write_to(&[2, 3], "k", b"new").await;
    // Whatever it answers now is stale.
    for _ in 0..100 {
        let read = tokio::time::timeout(Duration::from_millis(50), first.read()).await;
        assert!(!matches!(read, Ok(Ok(_))), "it still has {:?}", first.reader().get("k"));
    }
    cluster.end().await;
}
