//! A node whose log lost entries to damage, which it had acknowledged.
//!
//! A leader counts it among those who hold them, so they may be committed by its word. Until it has
//! them again it helps nobody to lead: whoever leads without its vote has every committed entry, as
//! those who hold one are a quorum with it and meet every quorum without it. Its term and vote are
//! not lost: the log notes them behind everything that was acknowledged.
//!
//! A leader does not send again what it was told is durable: raft's progress of a node only grows.
//! So the node says where its log ends now, in a rejection that is marked, and the leader of its
//! term takes it at its word.

use raft::eraftpb::{Message, MessageType};
use raft::{ProgressState, Raft, Storage};

/// Marks the rejection.
const LOST: &[u8] = b"lost";

#[derive(Debug)]
pub(super) struct Losses {
    /// Zero if nothing is lost.
    through: u64,
}

impl Losses {
    pub(super) fn new(through: u64) -> Self {
        Self { through }
    }

    /// Whether something is missing still, of a log that ends at `last`.
    pub(super) fn remain(&mut self, last: u64) -> bool {
        if self.through > 0 && self.through <= last {
            tracing::info!(last, "what was lost of the raft log is here again");
            self.through = 0;
        }
        self.through > 0
    }
}

/// Takes from a message what only a log without losses can. True if its sender is to be told where
/// this log ends.
pub(super) fn clamp(message: &mut Message, last: u64) -> bool {
    match message.get_msg_type() {
        MessageType::MsgHeartbeat if message.commit > last => {
            message.commit = last;
            true
        }
        MessageType::MsgAppend => message.index > last,
        _ => false,
    }
}

/// What the leader is told.
pub(super) fn report<S: Storage>(raft: &Raft<S>) -> Option<Message> {
    if raft.leader_id == raft::INVALID_ID || raft.leader_id == raft.id {
        return None;
    }
    let last = raft.raft_log.last_index();
    let mut message = Message::default();
    message.set_msg_type(MessageType::MsgAppendResponse);
    (message.from, message.to, message.term) = (raft.id, raft.leader_id, raft.term);
    (message.reject, message.index, message.reject_hint) = (true, last + 1, last);
    message.context = LOST.to_vec().into();
    Some(message)
}

/// Whether this is what a node that lost entries says.
pub(super) fn is_report(message: &Message) -> bool {
    message.get_msg_type() == MessageType::MsgAppendResponse
        && message.reject
        && message.context == LOST
}

/// Takes back, in the leader's progress, that a node holds more than it says.
pub(super) fn rewind_progress<S: Storage>(raft: &mut Raft<S>, message: &Message) {
    if message.term != raft.term {
        return;
    }
    let Some(progress) = raft.mut_prs().get_mut(message.from) else { return };
    progress.recent_active = true;
    // One that is being sent a snapshot gets all that it needs.
    if message.reject_hint >= progress.matched || progress.state == ProgressState::Snapshot {
        return;
    }
    tracing::warn!(
        node = message.from,
        last = message.reject_hint,
        matched = progress.matched,
        "a node lost entries of its log; they are sent to it again"
    );
    progress.matched = message.reject_hint;
    progress.become_probe();
    raft.send_append(message.from);
}
