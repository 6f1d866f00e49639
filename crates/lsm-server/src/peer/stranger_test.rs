//! What nodes that do not belong to a group, or that err, can do to one that does: nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lsm_proto::peer::peer_service_server::{PeerService, PeerServiceServer};
use lsm_proto::peer::{
    Delivered, Envelope, GreetRequest, GreetResponse, IdentifyRequest, IdentifyResponse,
    SnapshotPiece, SnapshotTaken, StateHashRequest, StateHashResponse,
};
use lsm_raft::{Config, Identity, Members, Origin};
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};

use super::client::Client;
use super::fake::{Node, change, identity, incarnation, introduce, member, until};
use super::headers::PeerHeaders;
use super::wire;

const ORIGIN: Origin = Origin { founders: Some(1), cluster_id: Some(10) };

/// Nodes 1 to `count`, who know each other and their cluster.
async fn group(count: u64) -> Vec<Node> {
    let mut nodes = Vec::new();
    for id in 1..=count {
        nodes.push(Node::start(identity(id)).await);
    }
    introduce(&nodes.iter().collect::<Vec<_>>());
    nodes.iter().for_each(|node| change(node, |members| members.origin = ORIGIN));
    nodes
}

/// What is remembered of nodes that are no members: in links, streams and addresses.
fn is_clean(node: &Node) -> bool {
    let members = Arc::clone(&node.fake.members.lock());
    let is_member = |id: u64| members.nodes.contains_key(&id);
    node.transport.linked().into_iter().all(is_member)
        && node.transport.directory().nodes().into_iter().all(is_member)
}

fn knows_wiped(node: &Node, wiped: u64) {
    change(node, |members| {
        members.nodes.get_mut(&wiped).unwrap().incarnation = Some(incarnation(wiped));
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_disk_stops_once_most_voters_have_refused_it() {
    let mut nodes = group(2).await;
    nodes.push(Node::start(Identity { incarnation: 5, ..identity(3) }).await);
    introduce(&nodes.iter().collect::<Vec<_>>());
    let [one, two, wiped] = &nodes[..] else { unreachable!() };
    knows_wiped(one, 3);
    wiped.send(1, 5);
    until("one has refused it", || !wiped.fake.lost.lock().is_empty()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(wiped.fake.failed.lock().is_empty(), "on the word of one");
    knows_wiped(two, 3);
    wiped.send(2, 5);
    until("it stops", || !wiped.fake.failed.lock().is_empty()).await;
    let sentence = wiped.fake.failed.lock()[0].clone();
    assert!(sentence.contains("another data folder") && sentence.contains("learner"), "{sentence}");
    for node in [one, two] {
        assert!(node.indexes().is_empty() && node.fake.failed.lock().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_stops_on_the_word_of_the_leader_that_it_follows() {
    // So many that these two are not most of them.
    let nodes = group(5).await;
    let [one, two, three, ..] = &nodes[..] else { unreachable!() };
    *three.fake.leader.lock() = Some(1);
    three.send(1, 5);
    until("it is let in", || one.indexes() == [5]).await;
    for node in [one, two] {
        change(node, |members| {
            members.nodes.remove(&3);
            members.removed.insert(3);
        });
    }
    three.send(2, 6);
    until("the other refuses it", || *three.fake.lost.lock() == [2]).await;
    assert!(three.fake.failed.lock().is_empty(), "one that does not lead");
    // Also one that is connected.
    three.send(1, 6);
    until("it stops", || !three.fake.failed.lock().is_empty()).await;
    assert!(three.fake.failed.lock()[0].contains("was removed"));
    assert_eq!(one.indexes(), [5]);
}

/// After a crash it knows more by its log than by its state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_only_the_log_of_a_node_names_is_let_in_nowhere() {
    let nodes = group(2).await;
    let [one, two] = &nodes[..] else { unreachable!() };
    two.send(1, 1);
    until("it is let in", || one.indexes() == [1]).await;
    let mut known = Members::clone(&one.fake.members.lock());
    known.nodes.get_mut(&2).unwrap().incarnation = Some(99);
    *one.fake.known.lock() = Some(Arc::new(known));
    two.send(1, 2);
    until("its stream ends", || !two.fake.lost.lock().is_empty()).await;
    one.send(2, 3);
    until("nor is it called", || !one.fake.lost.lock().is_empty()).await;
    assert!(one.indexes() == [1] && two.indexes().is_empty());
}

/// It says that a node lives in another folder; or a correct node does, of one that was wiped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_caller_stops_the_node_that_it_calls() {
    let nodes = group(2).await;
    let [one, two] = &nodes[..] else { unreachable!() };
    change(one, |members| {
        members.nodes.get_mut(&2).unwrap().incarnation = Some(99);
    });
    one.send(2, 1);
    until("it is refused", || !one.fake.lost.lock().is_empty()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(two.fake.failed.lock().is_empty() && one.fake.failed.lock().is_empty());
    assert!(two.indexes().is_empty());
}

/// The names, groups, founders and ids that two nodes may have are many; either end refuses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_from_elsewhere_is_refused_and_goes_on() {
    let two = || identity(2);
    let cases = [
        (Identity { cluster: "other".into(), ..two() }, ORIGIN),
        (Identity { group: 2, ..two() }, ORIGIN),
        (Identity { node: 1, ..two() }, ORIGIN),
        (two(), Origin { cluster_id: Some(20), ..ORIGIN }),
        (two(), Origin { founders: Some(2), cluster_id: None }),
    ];
    for (bad, origin) in cases {
        let (one, bad) = (Node::start(identity(1)).await, Node::start(bad).await);
        let mut members = Members { origin: ORIGIN, ..Members::default() };
        members.nodes.insert(1, member(&one));
        members.nodes.insert(2, member(&bad));
        *one.fake.members.lock() = Arc::new(members.clone());
        *bad.fake.members.lock() = Arc::new(Members { origin, ..members });
        one.send(2, 1);
        bad.send(1, 2);
        until("it is refused", || !one.fake.lost.lock().is_empty()).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        for node in [&one, &bad] {
            assert!(node.indexes().is_empty() && node.fake.failed.lock().is_empty(), "{origin:?}");
        }
    }
}

/// They met before either had an id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_turn_out_to_be_of_two_clusters_part() {
    let nodes = group(2).await;
    let [one, two] = &nodes[..] else { unreachable!() };
    for node in [one, two] {
        change(node, |members| members.origin.cluster_id = None);
    }
    one.send(2, 1);
    two.send(1, 1);
    until("they talk", || one.indexes() == [1] && two.indexes() == [1]).await;
    change(one, |members| members.origin.cluster_id = Some(10));
    change(two, |members| members.origin.cluster_id = Some(20));
    let parted = || [one, two].iter().all(|node| !node.fake.lost.lock().is_empty());
    until("they part", parted).await;
    let before = (one.indexes(), two.indexes());
    for index in 2..20 {
        one.send(2, index);
        two.send(1, index);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((one.indexes(), two.indexes()), before);
    assert!(nodes.iter().all(|node| node.fake.failed.lock().is_empty()));
}

async fn client(node: &Node) -> Client {
    let endpoint = Endpoint::try_from(format!("http://{}", node.address)).unwrap();
    Client::new(endpoint.connect().await.unwrap())
}

/// Every kind of handshake, under many numbers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_up_nodes_leave_nothing_behind() {
    let nodes = group(2).await;
    let [one, two] = &nodes[..] else { unreachable!() };
    knows_wiped(one, 2);
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut client = client(one).await;
    let some = |dice: &mut fastrand::Rng| dice.choice([None, Some(1), Some(10), Some(99)]).unwrap();
    for round in 0..2000 {
        let from = *dice.choice(&[0, 1, 2, 3, 9, round, u64::MAX - round]).unwrap();
        let right = PeerHeaders {
            cluster: "test".into(),
            group: 1,
            from,
            incarnation: *dice.choice(&[5, incarnation(from.min(9))]).unwrap(),
            to: 1,
            to_incarnation: *dice.choice(&[None, Some(incarnation(1)), Some(5)]).unwrap(),
            peer_address: dice.bool().then(|| "127.0.0.1:1".into()),
            origin: Origin { founders: some(&mut dice), cluster_id: some(&mut dice) },
            timing: Config::new(1).timing(),
        };
        let wrong = match dice.u8(..8) {
            0 => PeerHeaders { cluster: "other".into(), ..right },
            1 => PeerHeaders { group: 2, ..right },
            2 => PeerHeaders { to: 3, ..right },
            _ => right,
        };
        let is_let_in =
            super::handshake::check(&wrong, &identity(1), &one.fake.members.lock()).is_ok();
        let mut request = Request::new(());
        wrong.write(request.metadata_mut());
        let messages = || {
            let sent = wire::to_wire(super::fake::message(from, 1, 7)).unwrap();
            tokio_stream::iter([Envelope { messages: vec![sent] }])
        };
        let answer = match dice.u8(..3) {
            0 => client.greet(request.map(|()| GreetRequest {})).await.map(drop),
            1 => client.deliver(request.map(|()| messages())).await.map(drop),
            _ => client.identify(request.map(|()| IdentifyRequest::default())).await.map(drop),
        };
        if !is_let_in {
            assert_eq!(answer.unwrap_err().code(), Code::FailedPrecondition, "{wrong:?}");
        }
        // As raft answers whoever sends it something.
        one.send(from, round);
    }
    let linked = one.transport.linked();
    assert!(linked.iter().all(|&node| node == 2), "{linked:?}");
    assert!(is_clean(one));
    assert!(one.fake.failed.lock().is_empty());
    let delivered = one.indexes().len();
    two.send(1, 9);
    until("nodes get through", || one.indexes().len() > delivered).await;
}

/// It may be a member that this node has not heard of yet; then it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_knows_the_cluster_is_answered_while_it_calls_and_forgotten_then() {
    let nodes = group(1).await;
    let one = &nodes[0];
    let late = Node::start(identity(77)).await;
    change(&late, |members| {
        members.origin = ORIGIN;
        members.nodes.insert(1, member(one));
    });
    late.transport.set_own_address(&late.address);
    late.send(1, 3);
    until("it is heard", || one.indexes() == [3]).await;
    until("it is answered", || {
        one.send(77, 4);
        late.indexes().contains(&4)
    })
    .await;
    assert_eq!(one.transport.linked(), [77]);
    drop(late);
    until("it is forgotten", || is_clean(one)).await;
    one.send(77, 5);
    assert!(one.transport.linked().is_empty());
}

/// A server that lets everybody in, and does not say who it is.
#[derive(Default)]
struct Mute {
    greeted: Arc<AtomicUsize>,
    called: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl PeerService for Mute {
    async fn greet(&self, _: Request<GreetRequest>) -> Result<Response<GreetResponse>, Status> {
        self.greeted.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(GreetResponse {}))
    }

    async fn deliver(
        &self,
        _: Request<Streaming<Envelope>>,
    ) -> Result<Response<Delivered>, Status> {
        self.called.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(Delivered {}))
    }

    async fn send_snapshot(
        &self,
        _: Request<Streaming<SnapshotPiece>>,
    ) -> Result<Response<SnapshotTaken>, Status> {
        self.called.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(SnapshotTaken {}))
    }

    async fn identify(
        &self,
        _: Request<IdentifyRequest>,
    ) -> Result<Response<IdentifyResponse>, Status> {
        self.called.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(IdentifyResponse {}))
    }

    async fn state_hash(
        &self,
        _: Request<StateHashRequest>,
    ) -> Result<Response<StateHashResponse>, Status> {
        self.called.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(StateHashResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_does_not_say_who_it_is_gets_no_message() {
    let nodes = group(1).await;
    let one = &nodes[0];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mute = Mute::default();
    let (greeted, called) = (Arc::clone(&mute.greeted), Arc::clone(&mute.called));
    let serving = Server::builder()
        .add_service(PeerServiceServer::new(mute))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let serving = tokio::spawn(serving);
    change(one, |members| {
        let peer_address = address.clone();
        members.nodes.insert(2, lsm_raft::Member { peer_address, ..members.nodes[&1].clone() });
    });
    one.send(2, 1);
    until("it was greeted", || greeted.load(Ordering::Relaxed) > 0).await;
    let is_called = || called.load(Ordering::Relaxed) > 0;
    let is_lost = || !one.fake.lost.lock().is_empty();
    until("its answer was looked at", || is_lost() || is_called()).await;
    assert!(!is_called(), "its answer was not good enough");
    let hash = one.transport.state_hash(2, 5, Duration::from_secs(5)).await;
    assert!(hash.unwrap_err().contains("the call has no"));
    assert!(!is_called());
    serving.abort();
}

/// A lease rests on the times of its voters: they must be known before their answers are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_times_of_a_node_are_told_before_its_messages() {
    let nodes = group(2).await;
    let [one, two] = &nodes[..] else { unreachable!() };
    let mut config = Config::new(2);
    (config.lease_reads, config.election_ticks_min) = (true, 17);
    *two.fake.timing.lock() = config.timing();
    two.send(1, 1);
    until("it is heard", || one.indexes() == [1]).await;
    assert_eq!(one.fake.timings.lock().first(), Some(&(2, config.timing())));
    // And again to one that did not know yet that it is a member.
    let count = one.fake.timings.lock().len();
    change(one, |_| ());
    two.send(1, 2);
    until("they are told again", || one.fake.timings.lock().len() > count).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_cannot_take_the_streams_of_members() {
    let nodes = group(2).await;
    let [one, two] = &nodes[..] else { unreachable!() };
    let mut client = client(one).await;
    let mut held = Vec::new();
    for from in 1000..1200 {
        let hello = PeerHeaders {
            cluster: "test".into(),
            group: 1,
            from,
            incarnation: 1,
            to: 1,
            to_incarnation: None,
            peer_address: None,
            origin: ORIGIN,
            timing: Config::new(1).timing(),
        };
        let stream = tokio_stream::iter([]).chain(tokio_stream::pending());
        let mut request = Request::new(stream);
        hello.write(request.metadata_mut());
        let mut client = client.clone();
        held.push(tokio::spawn(async move { client.deliver(request).await }));
    }
    until("some are refused", || held.iter().any(tokio::task::JoinHandle::is_finished)).await;
    two.send(1, 4);
    until("a member gets through", || one.indexes() == [4]).await;
    held.iter().for_each(tokio::task::JoinHandle::abort);
    let _ = client.greet(Request::new(GreetRequest {})).await;
    until("nothing of them is left", || is_clean(one)).await;
}
