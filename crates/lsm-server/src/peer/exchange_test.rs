//! Nodes with fake groups that talk over real connections.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lsm_core::fs::MemFs;
use lsm_proto::peer::snapshot_piece::Piece;
use lsm_proto::peer::{Envelope, IdentifyRequest, SnapshotChunk, SnapshotHeader, SnapshotPiece};
use lsm_raft::command::{Command, Op, Session};
use lsm_raft::raft::eraftpb::{Entry, Message, MessageType};
use lsm_raft::{Members, Outcome, Refusal, StateMachine, StateOptions, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};

use super::auth::SHORT_BYTES_MAX;
use super::client::PeerClient;
use super::fake::{
    Node, PATIENCE, SHORT_TIME_MAX, change, identity, incarnation, introduce, message, until,
};
use super::group::Group;
use super::{identify, wire};
use crate::dialer::Network;
use crate::limits::{BATCH_BYTES_MOST, BATCH_WRITES_MAX};

async fn pair() -> (Node, Node) {
    let (one, two) = (Node::start(identity(1)).await, Node::start(identity(2)).await);
    introduce(&[&one, &two]);
    (one, two)
}

fn caller(node: &Node) -> PeerClient {
    let group = Arc::clone(&node.fake) as Arc<dyn Group>;
    let directory = Arc::clone(node.transport.directory());
    let (testimony, dialer) = (Arc::default(), Arc::new(Network));
    PeerClient { group, directory, testimony, tls: None, dialer }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_arrive_at_their_node_in_order() {
    let (one, two) = pair().await;
    let three = Node::start(identity(3)).await;
    introduce(&[&one, &two, &three]);
    for index in 0..500 {
        one.transport.send(vec![
            message(1, 2, 3 * index),
            message(1, 3, 3 * index),
            message(1, 2, 3 * index + 1),
            message(1, 1, 0),
            message(1, 3, 3 * index + 1),
        ]);
        two.send(1, index);
    }
    let wanted: Vec<_> = (0..500).flat_map(|index| [3 * index, 3 * index + 1]).collect();
    for node in [&two, &three] {
        until("all arrived", || node.indexes().len() >= 1000).await;
        assert_eq!(node.indexes(), wanted);
    }
    until("the others, too", || one.indexes().len() == 500).await;
    assert_eq!(one.indexes(), (0..500).collect::<Vec<_>>());
    assert!(one.fake.lost.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_batch_and_appends_that_raft_joined_arrive() {
    let (one, two) = pair().await;
    let entry = |index, bytes| {
        let mut entry = Entry::default();
        (entry.index, entry.term, entry.data) = (index, 1, vec![7; bytes].into());
        entry
    };
    let append = |entries: Vec<Entry>| {
        let mut sent = message(1, 2, entries[0].index - 1);
        sent.set_msg_type(MessageType::MsgAppend);
        sent.set_entries(entries.into());
        sent
    };
    let batch_bytes = crate::limits::Limits::default().batch_bytes_max + (1 << 20);
    let joined = (2..40).map(|index| entry(index, 1 << 20)).collect();
    one.transport.send(vec![append(vec![entry(1, batch_bytes)]), append(joined)]);
    let arrived = || -> Vec<u64> {
        let messages = two.fake.delivered.lock();
        let entries = messages.iter().flat_map(Message::get_entries);
        entries.map(|entry| entry.index).collect()
    };
    until("all entries arrived", || arrived().len() >= 39).await;
    assert_eq!(arrived(), (1..40).collect::<Vec<_>>());
    assert!(one.fake.lost.lock().is_empty());
}

/// The receiver may have another `batch-bytes-max` than the leader that took it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_batch_that_any_node_takes_arrives() {
    let (one, two) = pair().await;
    // As many writes as there may be.
    let len = BATCH_BYTES_MOST / BATCH_WRITES_MAX;
    let (key, value) = (&[1; 256][..], &vec![7; len - 256][..]);
    let ops = vec![Op::Put { key, value }; BATCH_WRITES_MAX];
    let session = Some(Session { id: u64::MAX, sequence: u64::MAX });
    let command = Command::Write { session, ops }.to_bytes();
    let mut entry = Entry::default();
    (entry.index, entry.term, entry.data) = (7, 1, command.into());
    let mut sent = message(1, 2, 6);
    sent.set_msg_type(MessageType::MsgAppend);
    sent.set_entries(vec![entry].into());
    one.transport.send(vec![sent]);
    until("it arrived", || two.indexes() == [6]).await;
    assert!(one.fake.lost.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_is_told_once_and_made_again() {
    let (one, mut two) = pair().await;
    two.stop_listening().await;
    one.send(2, 1);
    until("the outage was told", || !one.fake.lost.lock().is_empty()).await;
    for index in 2..10 {
        one.send(2, index);
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(*one.fake.lost.lock(), [2], "once");
    two.listen_again().await;
    // raft sends again what it does not hear of.
    for index in 100.. {
        one.send(2, index);
        sleep(Duration::from_millis(20)).await;
        if two.indexes().iter().any(|index| *index >= 100) {
            break;
        }
        assert!(index < 500, "no connection was made");
    }
    assert!(two.indexes().iter().all(|index| *index >= 100), "old messages are of no use");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_joins_answers_those_who_call_it() {
    let (one, two) = pair().await;
    let joins = Node::start(identity(7)).await;
    // The leader knows it, it knows nobody.
    change(&one, |members| {
        members.nodes.insert(7, super::fake::member(&joins));
    });
    one.send(7, 1);
    until("it was called", || joins.indexes() == [1]).await;
    joins.send(1, 2);
    until("it answered", || one.indexes() == [2]).await;
    joins.send(2, 3);
    assert_eq!(joins.transport.linked(), [1], "it does not know the other");
    assert!(two.indexes().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_moved_is_answered_at_its_new_address() {
    let (one, two) = pair().await;
    change(&one, |members| {
        let old = members.nodes.get_mut(&2).unwrap();
        // A port where nobody listens.
        old.peer_address = "127.0.0.1:1".into();
    });
    one.send(2, 1);
    until("nobody is there", || !one.fake.lost.lock().is_empty()).await;
    two.transport.set_own_address(&two.address);
    two.send(1, 2);
    until("it called", || one.indexes() == [2]).await;
    until("it is answered", || {
        one.send(2, 3);
        two.indexes().contains(&3)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_others_end_the_stream_and_nothing_else() {
    let (one, two) = pair().await;
    let caller = caller(&two);
    let (mut client, _) = caller.dial(1, 0).await.unwrap();
    let good = wire::to_wire(message(2, 1, 7)).unwrap();
    let foreign = wire::to_wire(message(3, 1, 8)).unwrap();
    let mut unknown = good.clone();
    unknown.kind = 99;
    for bad in [foreign, unknown] {
        let good = Envelope { messages: vec![good.clone()] };
        let stream = tokio_stream::iter([good, Envelope { messages: vec![bad] }]);
        let status = client.deliver(caller.request(1, stream)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    assert_eq!(one.indexes(), [7, 7]);
    two.send(1, 9);
    until("others get through", || one.indexes() == [7, 7, 9]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_stream_takes_the_place_of_the_old() {
    let (one, two) = pair().await;
    let caller = caller(&two);
    let (mut client, _) = caller.dial(1, 0).await.unwrap();
    let first = Envelope { messages: vec![wire::to_wire(message(2, 1, 8)).unwrap()] };
    let request = caller.request(1, tokio_stream::iter([first]).chain(tokio_stream::pending()));
    let old = tokio::spawn(async move { client.deliver(request).await });
    until("the old one works", || one.indexes() == [8]).await;
    assert!(!old.is_finished());
    two.send(1, 9);
    until("the new one works", || one.indexes() == [8, 9]).await;
    let ended = timeout(PATIENCE, old).await.expect("the old one ends");
    assert_eq!(ended.unwrap().unwrap_err().code(), Code::Aborted);
    two.send(1, 10);
    until("and goes on", || one.indexes() == [8, 9, 10]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_costs_its_connection_only() {
    let (one, two) = pair().await;
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let preface =
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00".as_slice();
    for _ in 0..30 {
        let mut stream = TcpStream::connect(&one.address).await.unwrap();
        let mut bytes = if rng.bool() { preface.to_vec() } else { Vec::new() };
        let len = rng.usize(..2000);
        bytes.extend(std::iter::repeat_with(|| rng.u8(..)).take(len));
        // The other end may close before it has read all.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = timeout(PATIENCE, read).await.unwrap();
    }
    // A call that is well-formed, but not of a node.
    let (mut client, _) = caller(&two).dial(1, 0).await.unwrap();
    let mut request = Request::new(IdentifyRequest::default());
    request.metadata_mut().insert("lsm-protocol", MetadataValue::from_static("x"));
    let status = client.identify(request).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    two.send(1, 1);
    until("nodes get through", || one.indexes() == [1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_that_make_no_sense_are_refused() {
    let (one, two) = pair().await;
    let caller = caller(&two);
    let (mut client, _) = caller.dial(1, 0).await.unwrap();
    let header = Piece::Header(SnapshotHeader::default());
    let chunk = Piece::Chunk(SnapshotChunk::default());
    let cases = [
        (vec![], Code::InvalidArgument),
        (vec![None], Code::InvalidArgument),
        (vec![Some(chunk)], Code::InvalidArgument),
        // The fake has no room.
        (vec![Some(header)], Code::Internal),
    ];
    for (pieces, code) in cases {
        let pieces: Vec<_> = pieces.into_iter().map(|piece| SnapshotPiece { piece }).collect();
        let request = caller.request(1, tokio_stream::iter(pieces));
        assert_eq!(client.send_snapshot(request).await.unwrap_err().code(), code);
    }
    assert!(one.fake.failed.lock().is_empty());
}

/// Also if its sender goes: checking goes on without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_snapshot_is_received_at_a_time_until_it_is_checked() {
    let (one, two) = pair().await;
    let (fs, engine) = (Arc::new(MemFs::new()), lsm_core::Options::default());
    let state = StateMachine::open(StateOptions { engine, fs }, Path::new("state")).unwrap();
    *one.fake.state.lock() = Some(state.reader());
    let (checked, check) = std::sync::mpsc::channel();
    *one.fake.check.lock() = Some(check);
    let caller = caller(&two);
    let (client, _) = caller.dial(1, 0).await.unwrap();
    let send = || {
        // Of no files: nothing but the header comes.
        let header = SnapshotHeader { term: 1, index: 5, index_term: 1, ..Default::default() };
        let pieces = [SnapshotPiece { piece: Some(Piece::Header(header)) }];
        let (mut client, request) = (client.clone(), caller.request(1, tokio_stream::iter(pieces)));
        tokio::spawn(async move { client.send_snapshot(request).await })
    };
    let first = send();
    let came = || one.fake.snapshots.load(Ordering::Relaxed);
    until("it is there", || came() == 1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    for _ in 0..10 {
        // The node hears of that meanwhile.
        sleep(Duration::from_millis(20)).await;
        let refused = send().await.unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    }
    drop(checked);
    let free = async { while send().await.unwrap().is_err() {} };
    timeout(PATIENCE, free).await.expect("it ends");
    assert_eq!(came(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_place_for_a_snapshot_is_not_for_strangers() {
    let (one, two) = pair().await;
    let caller = caller(&two);
    let (client, _) = caller.dial(1, 0).await.unwrap();
    // Says what it sends, or never does.
    let send = async |header: Option<SnapshotHeader>| {
        let (sender, pieces) = mpsc::channel(1);
        if let Some(header) = header {
            let piece = Some(Piece::Header(header));
            sender.send(SnapshotPiece { piece }).await.unwrap();
        }
        let request = caller.request(1, ReceiverStream::new(pieces));
        let refused = client.clone().send_snapshot(request).await.unwrap_err();
        drop(sender);
        refused.code()
    };
    let header = || Some(SnapshotHeader::default());
    *one.fake.leader.lock() = Some(2);
    let refused = tokio::select! {
        biased;
        _ = send(None) => panic!("it has said nothing"),
        // The place is still free: the fake has no room for what comes.
        refused = async {
            sleep(SHORT_TIME_MAX / 10).await;
            send(header()).await
        } => refused,
    };
    assert_eq!(refused, Code::Internal);
    // Another leads.
    *one.fake.leader.lock() = Some(1);
    assert_eq!(send(header()).await, Code::PermissionDenied);
    // No member, but it knows the id of the cluster: refused before it says anything.
    let mut members = Members::clone(&one.fake.members());
    members.origin.cluster_id = Some(7);
    *two.fake.members.lock() = Arc::new(members.clone());
    members.nodes.remove(&2);
    *one.fake.members.lock() = Arc::new(members);
    assert_eq!(timeout(PATIENCE, send(None)).await.unwrap(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_asks_until_the_leader_has_recorded_it() {
    let (one, two) = pair().await;
    let mut asking = {
        let (fake, transport) = (Arc::clone(&two.fake), Arc::clone(&two.transport));
        let address = two.address.clone();
        tokio::spawn(async move {
            identify::run(&*fake, &transport, address, "client-2:1".into()).await;
        })
    };
    one.fake
        .replies
        .lock()
        .extend([Err(Refusal::NotLeader { leader: None }), Ok(Outcome::Identified)]);
    until("the leader was asked twice", || one.fake.proposed.lock().len() >= 2).await;
    *two.fake.leader.lock() = Some(1);
    assert!(!asking.is_finished());
    change(&two, |members| {
        members.nodes.get_mut(&2).unwrap().incarnation = Some(incarnation(2));
    });
    assert!(timeout(Duration::from_secs(2), &mut asking).await.is_err(), "the group has no id");
    change(&two, |members| members.origin.cluster_id = Some(7));
    timeout(PATIENCE, asking).await.expect("it asks no more").unwrap();
    let proposed = one.fake.proposed.lock()[0].clone();
    let wanted = Command::Identify {
        node: 2,
        incarnation: incarnation(2),
        peer_address: two.address.clone(),
        client_address: "client-2:1".into(),
    };
    assert_eq!(Command::decode(&proposed).unwrap(), wanted);
    assert!(two.fake.failed.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_gives_the_group_an_id_and_no_other_node_does() {
    let (one, two) = pair().await;
    for node in [&one, &two] {
        *node.fake.leader.lock() = Some(1);
    }
    let run = |node: &Node| {
        let (fake, transport) = (Arc::clone(&node.fake), Arc::clone(&node.transport));
        let address = node.address.clone();
        tokio::spawn(async move { identify::run(&*fake, &transport, address, "c:1".into()).await })
    };
    let running = [run(&one), run(&two)];
    let ids = || -> Vec<u128> {
        let proposed = one.fake.proposed.lock();
        let commands = proposed.iter().map(|bytes| Command::decode(bytes).unwrap());
        let id = |command| match command {
            Command::Found { cluster_id } => Some(cluster_id),
            _ => None,
        };
        commands.filter_map(id).collect()
    };
    until("it was proposed again, as it was refused", || ids().len() >= 2).await;
    assert_ne!(ids()[0], ids()[1]);
    assert!(two.fake.proposed.lock().is_empty());
    running.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_impostor_is_told_by_the_leader_and_stops() {
    let (one, two) = pair().await;
    assert!(two.fake.failed.lock().is_empty());
    one.fake.replies.lock().push_back(Ok(Outcome::Impostor("another folder".into())));
    *two.fake.leader.lock() = Some(1);
    let asking = identify::run(&*two.fake, &two.transport, two.address.clone(), "client:1".into());
    timeout(PATIENCE, asking).await.expect("it asks no more");
    assert_eq!(*two.fake.failed.lock(), ["another folder"]);
    assert!(one.fake.failed.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hash_of_a_node_is_waited_for() {
    let (one, two) = pair().await;
    let short = Duration::from_millis(300);
    for of in [1, 2] {
        let late = two.transport.state_hash(of, 5, short).await.unwrap_err();
        assert_eq!(late, "it has no hash of its state at 5 yet");
    }
    let hashed = Arc::clone(&one.fake);
    tokio::spawn(async move {
        // It takes as long as it takes: longer than these nodes give any other request.
        sleep(Duration::from_millis(2500)).await;
        *hashed.hashed.lock() = Some(Ok([7; 16]));
    });
    let long = Duration::from_secs(60);
    assert_eq!(two.transport.state_hash(1, 5, long).await, Ok(vec![7; 16]));
    assert_eq!(one.transport.state_hash(1, 5, long).await, Ok(vec![7; 16]));
    let nobody = two.transport.state_hash(3, 5, long).await.unwrap_err();
    assert!(nobody.contains("not known"), "{nobody}");
}

/// A call without a body that ends, over a connection by hand: its answer.
async fn open_ended(
    node: &Node,
    request: Request<()>,
    method: &str,
    body: Vec<u8>,
) -> (tonic::Status, Duration) {
    let stream = TcpStream::connect(&node.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let uri = format!("http://node/lsm.peer.v1.PeerService/{method}");
    let mut call = http::Request::post(uri).header("content-type", "application/grpc");
    call.headers_mut().unwrap().extend(request.metadata().clone().into_headers());
    let began = tokio::time::Instant::now();
    let (answer, mut sending) = client.send_request(call.body(()).unwrap(), false).unwrap();
    // Fails if the call was refused at its head, and the answer is here already.
    let _ = sending.send_data(body.into(), false);
    let answer = timeout(Duration::from_secs(10), answer).await;
    let answer = answer.expect("it is answered").unwrap();
    drop(sending);
    (tonic::Status::from_header_map(answer.headers()).unwrap(), began.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_refused_before_anything_of_its_call_came() {
    let (one, _two) = pair().await;
    for method in ["Identify", "StateHash", "Deliver", "SendSnapshot"] {
        let (status, _) = open_ended(&one, Request::new(()), method, Vec::new()).await;
        assert_eq!(status.code(), Code::FailedPrecondition, "{method}: {status:?}");
        assert!(status.message().contains("this port is for nodes"), "{method}: {status:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_no_stream_is_short_and_comes_soon() {
    let (one, two) = pair().await;
    let call = || caller(&two).request(1, ());
    for method in ["Identify", "StateHash"] {
        let (status, time) = open_ended(&one, call(), method, Vec::new()).await;
        assert_eq!(status.code(), Code::DeadlineExceeded, "{method}: {status:?}");
        assert!(time >= SHORT_TIME_MAX, "{time:?}");
        // It says that it is a message of a megabyte, and begins.
        let mut long = vec![0, 0, 0x10, 0, 0];
        long.resize(SHORT_BYTES_MAX + 1, 0);
        let (status, time) = open_ended(&one, call(), method, long).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{method}: {status:?}");
        assert!(time < SHORT_TIME_MAX, "{time:?}");
    }
    // A stream may be silent.
    let (mut client, _) = caller(&two).dial(1, 0).await.unwrap();
    let silent = caller(&two).request(1, tokio_stream::pending());
    let delivered = client.deliver(silent);
    assert!(timeout(2 * SHORT_TIME_MAX, delivered).await.is_err());
}
