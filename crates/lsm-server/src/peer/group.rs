//! What nodes need of the replica behind them: a trait, so that connections are tested without
//! one.

use std::pin::Pin;
use std::sync::Arc;

use lsm_raft::raft::eraftpb::Message;
use lsm_raft::{
    Error, Header, Identity, Incoming, Members, NodeStatus, Replica, Reply, Staged, Timing,
};

/// The answer to a proposal, some day.
pub(super) type ReplyFuture<'a> = Pin<Box<dyn Future<Output = Reply> + Send + 'a>>;

/// A replica, as seen from the network. The methods are those of [`Replica`].
pub(super) trait Group: Send + Sync + 'static {
    fn identity(&self) -> &Identity;
    fn timing(&self) -> Timing;
    fn members(&self) -> Arc<Members>;
    fn known_members(&self) -> Arc<Members>;
    fn status(&self) -> NodeStatus;
    fn note_timing(&self, node: u64, timing: Timing);
    fn deliver(&self, messages: Vec<Message>);
    fn unreachable(&self, node: u64);
    fn snapshot_sent(&self, node: u64, whole: bool);
    fn begin_snapshot(&self, header: Header) -> lsm_raft::Result<Incoming>;
    fn deliver_snapshot(&self, from: u64, term: u64, staged: Staged) -> Result<(), Error>;
    fn propose(&self, command: Vec<u8>) -> ReplyFuture<'_>;
    fn hash(&self, index: u64) -> Option<Result<[u8; 16], String>>;
    fn fail(&self, error: Error);
}

impl Group for Replica {
    fn identity(&self) -> &Identity {
        self.identity()
    }

    fn timing(&self) -> Timing {
        self.timing()
    }

    fn members(&self) -> Arc<Members> {
        self.members()
    }

    fn known_members(&self) -> Arc<Members> {
        self.known_members()
    }

    fn status(&self) -> NodeStatus {
        self.status()
    }

    fn note_timing(&self, node: u64, timing: Timing) {
        self.note_timing(node, timing);
    }

    fn deliver(&self, messages: Vec<Message>) {
        self.deliver(messages);
    }

    fn unreachable(&self, node: u64) {
        self.unreachable(node);
    }

    fn snapshot_sent(&self, node: u64, whole: bool) {
        self.snapshot_sent(node, whole);
    }

    fn begin_snapshot(&self, header: Header) -> lsm_raft::Result<Incoming> {
        self.begin_snapshot(header)
    }

    fn deliver_snapshot(&self, from: u64, term: u64, staged: Staged) -> Result<(), Error> {
        self.deliver_snapshot(from, term, staged)
    }

    fn propose(&self, command: Vec<u8>) -> ReplyFuture<'_> {
        Box::pin(self.propose(command))
    }

    fn hash(&self, index: u64) -> Option<Result<[u8; 16], String>> {
        self.hash(index)
    }

    fn fail(&self, error: Error) {
        self.fail(error);
    }
}
