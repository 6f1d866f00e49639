//! Snapshots on their way: a description, then the bytes of the files, over a connection of
//! their own so that messages do not wait behind them.
//!
//! Files are read and written on threads that may block. A transfer that makes no progress is
//! given up; raft begins another one, after a pause that grows from one failure to the next: each
//! costs both sides a whole state.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lsm_proto::peer as proto;
use lsm_proto::peer::snapshot_piece::Piece as Part;
use lsm_raft::raft::eraftpb::ConfState;
use lsm_raft::{Error, Header, Incoming, Members, NodeStatus, Outgoing, Piece, SnapshotFile};
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use super::client::PeerClient;
use super::group::Group;

/// Snapshots that this node sends at the same time.
const SENT_MAX: usize = 2;
/// Pieces that were read and wait to be sent.
const PIECES_WAITING_MAX: usize = 4;
/// Longest time without progress, at either end, until all pieces are there.
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);

/// The pause after a failure, and the longest after several in a row.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(16);

/// The snapshots that are being sent.
pub(super) struct Senders {
    receivers: Mutex<HashSet<u64>>,
    turns: Semaphore,
    /// How often in a row it failed, by node.
    failures: Mutex<HashMap<u64, u32>>,
}

impl Default for Senders {
    fn default() -> Self {
        let turns = Semaphore::new(SENT_MAX);
        Self { receivers: Mutex::default(), turns, failures: Mutex::default() }
    }
}

impl Senders {
    /// Sends a snapshot to a node. However that ends, and even if the future is dropped, the
    /// replica is told once.
    pub(super) fn send(
        self: &Arc<Self>,
        caller: PeerClient,
        node: u64,
        term: u64,
        snapshot: Arc<Outgoing>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let senders = Arc::clone(self);
        let report = Report { caller, node, whole: false };
        async move {
            // All of it: a block takes only the fields it names, and copies those it can.
            let mut report = report;
            // The one before was given up by raft, not yet by us.
            let Some(place) = SenderPermit::try_new(&senders, node) else { return };
            let Ok(turn) = senders.turns.acquire().await else { return };
            let (index, bytes) = (snapshot.header().index, snapshot.header().bytes());
            tracing::info!(node, index, bytes, "sending a snapshot");
            match ship(&report.caller, node, term, snapshot).await {
                Ok(()) => {
                    report.whole = true;
                    senders.failures.lock().remove(&node);
                    tracing::info!(node, index, "the snapshot was received");
                }
                Err(reason) => {
                    let pause = senders.failed(node);
                    tracing::warn!(node, index, reason, ?pause, "the snapshot was not sent");
                    drop((place, turn));
                    // raft begins the next when it hears of it.
                    sleep(pause).await;
                }
            }
        }
    }

    /// Counts a failure: how long to wait before the next attempt.
    fn failed(&self, node: u64) -> Duration {
        let mut failures = self.failures.lock();
        let count = failures.entry(node).or_default();
        *count += 1;
        (PAUSE_MIN * 2_u32.pow((*count - 1).min(8))).min(PAUSE_MAX)
    }
}

/// Tells the replica how sending ended when it is dropped.
struct Report {
    caller: PeerClient,
    node: u64,
    whole: bool,
}

impl Drop for Report {
    fn drop(&mut self) {
        self.caller.group.snapshot_sent(self.node, self.whole);
    }
}

/// Holds the only place for sending to one node.
struct SenderPermit {
    senders: Arc<Senders>,
    node: u64,
}

impl SenderPermit {
    fn try_new(senders: &Arc<Senders>, node: u64) -> Option<Self> {
        let is_free = senders.receivers.lock().insert(node);
        is_free.then(|| Self { senders: Arc::clone(senders), node })
    }
}

impl Drop for SenderPermit {
    fn drop(&mut self) {
        self.senders.receivers.lock().remove(&self.node);
    }
}

async fn ship(
    caller: &PeerClient,
    node: u64,
    term: u64,
    snapshot: Arc<Outgoing>,
) -> Result<(), String> {
    let connected = caller.dial_any(node).await;
    let (mut client, address) = connected.map_err(|lost| lost.reason)?;
    let (parts, waiting) = mpsc::channel(PIECES_WAITING_MAX);
    let read = Arc::new(AtomicU64::new(0));
    let progress = Arc::clone(&read);
    let reader = tokio::spawn(read_into(term, snapshot, parts, progress));
    let request = caller.request(node, ReceiverStream::new(waiting));
    let mut call = std::pin::pin!(client.send_snapshot(request));
    let mut seen = 0;
    let answer = loop {
        if let Ok(answer) = timeout(IDLE_TIME_MAX, &mut call).await {
            break answer;
        }
        // Once all was read, the receiver checks it, which takes as long as it takes. If it dies
        // meanwhile, the connection does.
        let now = read.load(Ordering::Relaxed);
        if now == seen && !reader.is_finished() {
            return Err(format!("it got stuck after {now} pieces"));
        }
        seen = now;
    };
    match answer {
        Ok(_) => Ok(()),
        Err(status) => {
            let lost = caller.lost(node, &address, &status);
            // What went wrong here says more than that the stream broke off.
            match reader.await {
                Ok(Err(error)) => Err(error.to_string()),
                _ => Err(lost.reason),
            }
        }
    }
}

/// Reads a snapshot piece by piece, as fast as `parts` takes them.
async fn read_into(
    term: u64,
    snapshot: Arc<Outgoing>,
    parts: mpsc::Sender<proto::SnapshotPiece>,
    progress: Arc<AtomicU64>,
) -> Result<(), Error> {
    let mut part = Part::Header(header_to_wire(term, snapshot.header()));
    let mut pieces = snapshot.pieces();
    loop {
        progress.fetch_add(1, Ordering::Relaxed);
        if parts.send(proto::SnapshotPiece { piece: Some(part) }).await.is_err() {
            return Ok(());
        }
        let read = spawn_blocking(move || (pieces.next(), pieces)).await;
        let piece;
        // It panicked, which was told.
        (piece, pieces) = read.map_err(|_| Error::Raft("reading it failed".into()))?;
        match piece {
            Some(piece) => part = Part::Chunk(chunk_to_wire(piece?)),
            None => return Ok(()),
        }
    }
}

/// Whether node `from` may send a snapshot here: the leader that this node follows may, or a
/// member, while this node follows none or before it has heard that the member leads. A node that
/// joins and knows nobody takes it from whoever calls. Without `term`, whether it may in any.
///
/// # Errors
///
/// Why not.
fn check_sender(
    from: u64,
    term: Option<u64>,
    status: &NodeStatus,
    members: &Members,
) -> Result<(), Status> {
    let known = status.term;
    if let Some(term) = term.filter(|term| *term < known) {
        return Err(Status::aborted(format!("term {term} has passed, this is term {known}")));
    }
    let may_have_won = term.is_none_or(|term| term > known) || status.leader.is_none();
    let may_lead = members.nodes.is_empty() || members.nodes.contains_key(&from);
    if status.leader == Some(from) || (may_lead && may_have_won) {
        return Ok(());
    }
    let leader = status.leader.map_or("nobody".to_owned(), |leader| format!("node {leader}"));
    Err(Status::permission_denied(format!(
        "node {from} may not send a snapshot: in term {known} this node follows {leader}"
    )))
}

/// Receives a snapshot and hands it to the replica. `place` is taken once it is known that the
/// sender may have it, and held until nothing is written any more.
pub(super) async fn receive(
    group: Arc<dyn Group>,
    from: u64,
    mut parts: impl Stream<Item = Result<proto::SnapshotPiece, Status>> + Unpin,
    place: &Arc<AsyncMutex<()>>,
) -> Result<(), Status> {
    // Nothing of a stranger's is read.
    check_sender(from, None, &group.status(), &group.members())?;
    let Some(Part::Header(header)) = next(&mut parts).await? else {
        return Err(Status::invalid_argument("a snapshot begins with its header"));
    };
    let term = header.term;
    check_sender(from, Some(term), &group.status(), &group.members())?;
    let place = Arc::clone(place).try_lock_owned();
    let place =
        place.map_err(|_| Status::resource_exhausted("another snapshot is being received"))?;
    let header = header_from_wire(header);
    tracing::info!(from, index = header.index, bytes = header.bytes(), "receiving a snapshot");
    let begin = Arc::clone(&group);
    let mut receipt = blocking(move || {
        Ok(Receipt {
            incoming: begin.begin_snapshot(header).map_err(|error| of_receiving(&error))?,
            _place: place,
        })
    })
    .await?;
    while let Some(part) = next(&mut parts).await? {
        let Part::Chunk(chunk) = part else {
            return Err(Status::invalid_argument("a snapshot has one header"));
        };
        receipt = blocking(move || receipt.write(chunk)).await?;
    }
    blocking(move || receipt.deliver(&*group, from, term)).await
}

/// A snapshot that is being received, and the right to receive one.
struct Receipt {
    // Goes first: when the place is free, nothing is written any more.
    incoming: Incoming,
    _place: OwnedMutexGuard<()>,
}

impl Receipt {
    fn write(mut self, chunk: proto::SnapshotChunk) -> Result<Self, Status> {
        self.incoming.write(&chunk_from_wire(chunk)).map_err(|error| of_receiving(&error))?;
        Ok(self)
    }

    /// Keeps the place until all is checked, also if the sender has gone by then. By methods and
    /// not by closures, which take only those fields that they name.
    fn deliver(self, group: &dyn Group, from: u64, term: u64) -> Result<(), Status> {
        let Self { incoming, _place: place } = self;
        let staged = incoming.finish().map_err(|error| of_receiving(&error))?;
        let delivered = group.deliver_snapshot(from, term, staged);
        drop(place);
        delivered.map_err(|error| of_receiving(&error))
    }
}

/// The next part of a snapshot; none at the end.
async fn next(
    parts: &mut (impl Stream<Item = Result<proto::SnapshotPiece, Status>> + Unpin),
) -> Result<Option<Part>, Status> {
    match timeout(IDLE_TIME_MAX, parts.next()).await {
        Err(_) => Err(Status::deadline_exceeded("no piece of the snapshot came for too long")),
        Ok(None) => Ok(None),
        Ok(Some(part)) => match part?.piece {
            Some(part) => Ok(Some(part)),
            None => Err(Status::invalid_argument("a piece of a snapshot of no known kind")),
        },
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Status::internal("receiving the snapshot failed: this is a bug")))
}

fn of_receiving(error: &Error) -> Status {
    match error {
        Error::Corrupt { .. } => Status::invalid_argument(error.to_string()),
        _ => Status::internal(error.to_string()),
    }
}

fn header_to_wire(term: u64, header: &Header) -> proto::SnapshotHeader {
    let conf = &header.conf_state;
    let files = header.files.iter();
    proto::SnapshotHeader {
        term,
        index: header.index,
        index_term: header.term,
        voters: conf.voters.clone(),
        learners: conf.learners.clone(),
        voters_outgoing: conf.voters_outgoing.clone(),
        learners_next: conf.learners_next.clone(),
        auto_leave: conf.auto_leave,
        files: files
            .map(|file| proto::SnapshotFile { name: file.name.clone(), bytes: file.bytes })
            .collect(),
    }
}

fn header_from_wire(wire: proto::SnapshotHeader) -> Header {
    let conf_state = ConfState {
        voters: wire.voters,
        learners: wire.learners,
        voters_outgoing: wire.voters_outgoing,
        learners_next: wire.learners_next,
        auto_leave: wire.auto_leave,
        ..ConfState::default()
    };
    let files = wire.files.into_iter();
    Header {
        index: wire.index,
        term: wire.index_term,
        conf_state,
        files: files.map(|file| SnapshotFile { name: file.name, bytes: file.bytes }).collect(),
    }
}

fn chunk_to_wire(piece: Piece) -> proto::SnapshotChunk {
    let Piece { file, offset, data, crc32c } = piece;
    proto::SnapshotChunk { file, offset, data, crc32c }
}

fn chunk_from_wire(wire: proto::SnapshotChunk) -> Piece {
    let proto::SnapshotChunk { file, offset, data, crc32c } = wire;
    Piece { file, offset, data, crc32c }
}

#[cfg(test)]
mod tests {
    use lsm_raft::{Member, Role};

    use super::*;

    #[test]
    fn pauses_grow_from_failure_to_failure_up_to_a_limit() {
        let senders = Senders::default();
        let pauses: Vec<_> = (0..7).map(|_| senders.failed(4).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 16, 16]);
        assert_eq!(senders.failed(5).as_secs(), 1, "each node has its own");
        senders.failures.lock().remove(&4);
        assert_eq!(senders.failed(4).as_secs(), 1);
    }

    #[test]
    fn only_who_may_lead_sends_snapshots() {
        let member = Member {
            role: Role::Voter,
            peer_address: "a:1".into(),
            client_address: "a:2".into(),
            incarnation: None,
        };
        let nodes = [1, 2, 3].map(|node| (node, member.clone()));
        let members = Members { nodes: nodes.into(), ..Members::default() };
        let may = |from, term, leader, members: &Members| {
            let status = NodeStatus { node: 3, term: 5, leader, ..NodeStatus::default() };
            let judged = check_sender(from, Some(term), &status, members);
            assert!(judged.is_err() || check_sender(from, None, &status, members).is_ok());
            judged.is_ok()
        };
        assert!(may(1, 5, Some(1), &members));
        assert!(!may(2, 5, Some(1), &members), "another leads in this term");
        assert!(may(2, 6, Some(1), &members), "it may have won the next");
        assert!(may(2, 5, None, &members));
        assert!(!may(1, 4, Some(1), &members), "it did lead");
        // A member that this node has not heard of leads: its messages say so.
        assert!(may(9, 5, Some(9), &members));
        for (term, leader) in [(5, None), (6, None), (6, Some(1)), (u64::MAX, Some(2))] {
            assert!(!may(9, term, leader, &members), "no member, and no leader");
        }
        assert!(may(9, 5, None, &Members::default()), "a node that joins knows nobody");
    }

    #[test]
    fn descriptions_and_pieces_come_back_as_they_were() {
        let conf_state = ConfState {
            voters: vec![1, 2],
            learners: vec![3],
            voters_outgoing: vec![4],
            learners_next: vec![5],
            auto_leave: true,
            ..ConfState::default()
        };
        let files = vec![
            SnapshotFile { name: "000001.table".into(), bytes: 7 },
            SnapshotFile { name: "CURRENT".into(), bytes: u64::MAX },
        ];
        let header = Header { index: 10, term: 3, conf_state, files };
        let wire = header_to_wire(5, &header);
        assert_eq!((wire.term, wire.index_term), (5, 3));
        assert_eq!(header_from_wire(wire), header);
        let piece = Piece { file: 1, offset: 2, data: vec![3; 4].into(), crc32c: 5 };
        assert_eq!(chunk_from_wire(chunk_to_wire(piece.clone())), piece);
    }
}
