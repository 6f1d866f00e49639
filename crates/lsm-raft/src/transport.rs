//! How messages get to other nodes: a trait, so that a group runs over gRPC, over channels in a
//! test, or over nothing at all.

use std::sync::Arc;

use raft::eraftpb::Message;

use crate::snapshot::Outgoing;

/// Carries messages to other nodes. May lose, delay, repeat and reorder them.
pub trait Transport: Send + Sync + 'static {
    /// Sends each message to the node in its `to`. Never blocks: what does not fit is dropped.
    fn send(&self, messages: Vec<Message>);

    /// Begins to send `snapshot`, and `message`, which announces it, once the receiver has all
    /// of it. Says how that ended by [`Replica::snapshot_sent`](crate::Replica::snapshot_sent).
    fn send_snapshot(&self, message: Message, snapshot: Arc<Outgoing>);
}
