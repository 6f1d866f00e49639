//! raft's messages as they travel between nodes, and back.
//!
//! Total functions: bytes from the network become a message or an error, never a panic. raft's
//! own types come with a protobuf parser; nothing from the network ever gets there. Keys and
//! values are not copied: an entry's data is a slice of the frame it came in.
//!
//! Snapshots have a way of their own, see `snapshot`.

use std::mem::take;

use lsm_proto::peer as proto;
use lsm_raft::raft::eraftpb::{Entry, EntryType, Message, MessageType};

/// The messages that nodes send each other. The rest is local to one node, or, like proposals
/// and snapshots, does not travel as a message.
const KINDS: [MessageType; 12] = [
    MessageType::MsgAppend,
    MessageType::MsgAppendResponse,
    MessageType::MsgRequestVote,
    MessageType::MsgRequestVoteResponse,
    MessageType::MsgHeartbeat,
    MessageType::MsgHeartbeatResponse,
    MessageType::MsgTransferLeader,
    MessageType::MsgTimeoutNow,
    MessageType::MsgReadIndex,
    MessageType::MsgReadIndexResp,
    MessageType::MsgRequestPreVote,
    MessageType::MsgRequestPreVoteResponse,
];

/// Bytes of a message, or of an entry, beside its data and contexts; rather too many.
const FRAME_BYTES: usize = 64;

/// A message that no node sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Bad {
    /// Of a kind that does not travel.
    #[error("messages of kind {0} do not travel between nodes")]
    Kind(u32),
    /// With an entry of an unknown kind.
    #[error("entry {index} has the unknown kind {kind}")]
    Entry {
        /// Where in the log.
        index: u64,
        /// Its kind.
        kind: u32,
    },
    /// Between other nodes than those of the connection.
    #[error("the message is from node {from} to node {to}, the connection is not")]
    Nodes {
        /// Who sent it, it says.
        from: u64,
        /// To whom.
        to: u64,
    },
}

/// About how many bytes a message takes on its way.
pub(super) fn size(message: &Message) -> usize {
    let entries = message.get_entries().iter().map(entry_size);
    FRAME_BYTES + message.context.len() + entries.sum::<usize>()
}

fn entry_size(entry: &Entry) -> usize {
    FRAME_BYTES + entry.data.len() + entry.context.len()
}

/// The message as it travels; none for one that does not.
pub(super) fn to_wire(mut message: Message) -> Option<proto::Message> {
    let kind = message.get_msg_type();
    if !KINDS.contains(&kind) {
        return None;
    }
    let entries = message.take_entries().into_iter().map(entry_to_wire);
    Some(proto::Message {
        kind: kind as u32,
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries: entries.collect(),
        commit: message.commit,
        commit_term: message.commit_term,
        request_snapshot: message.request_snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: take(&mut message.context),
        priority: message.priority,
    })
}

fn entry_to_wire(mut entry: Entry) -> proto::LogEntry {
    proto::LogEntry {
        kind: entry.get_entry_type() as u32,
        term: entry.term,
        index: entry.index,
        data: take(&mut entry.data),
        context: take(&mut entry.context),
    }
}

/// The messages of an envelope that came from node `from` to node `to`.
pub(super) fn from_envelope(
    envelope: proto::Envelope,
    from: u64,
    to: u64,
) -> Result<Vec<Message>, Bad> {
    let messages = envelope.messages.into_iter().map(|message| {
        if (message.from, message.to) != (from, to) {
            return Err(Bad::Nodes { from: message.from, to: message.to });
        }
        from_wire(message)
    });
    messages.collect()
}

/// The message that travelled as `wire`.
pub(super) fn from_wire(wire: proto::Message) -> Result<Message, Bad> {
    let kind = KINDS.into_iter().find(|kind| *kind as u32 == wire.kind);
    let entries: Result<Vec<_>, _> = wire.entries.into_iter().map(entry_from_wire).collect();
    let mut message = Message::default();
    message.set_msg_type(kind.ok_or(Bad::Kind(wire.kind))?);
    message.set_entries(entries?.into());
    message.to = wire.to;
    message.from = wire.from;
    message.term = wire.term;
    message.log_term = wire.log_term;
    message.index = wire.index;
    message.commit = wire.commit;
    message.commit_term = wire.commit_term;
    message.request_snapshot = wire.request_snapshot;
    message.reject = wire.reject;
    message.reject_hint = wire.reject_hint;
    message.context = wire.context;
    message.priority = wire.priority;
    Ok(message)
}

fn entry_from_wire(wire: proto::LogEntry) -> Result<Entry, Bad> {
    let mut entry = Entry::default();
    entry.set_entry_type(match wire.kind {
        0 => EntryType::EntryNormal,
        1 => EntryType::EntryConfChange,
        2 => EntryType::EntryConfChangeV2,
        kind => return Err(Bad::Entry { index: wire.index, kind }),
    });
    entry.term = wire.term;
    entry.index = wire.index;
    entry.data = wire.data;
    entry.context = wire.context;
    Ok(entry)
}

/// Splits an append of more than `bytes_max` into several of less, or of one entry, in order.
///
/// raft joins appends without looking at their size; the receiver has a longest frame.
pub(super) fn split(mut message: Message, bytes_max: usize, mut push: impl FnMut(Message)) {
    let is_append = message.get_msg_type() == MessageType::MsgAppend;
    if !is_append || message.get_entries().len() < 2 || size(&message) <= bytes_max {
        return push(message);
    }
    let mut entries = message.take_entries().into_iter().peekable();
    while let Some(first) = entries.next() {
        let mut part = message.clone();
        let mut bytes = size(&part) + entry_size(&first);
        let mut held = vec![first];
        while let Some(entry) = entries.next_if(|next| bytes + entry_size(next) <= bytes_max) {
            bytes += entry_size(&entry);
            held.push(entry);
        }
        // The next part follows the last entry of this one.
        let last = held.last().expect("it holds the first");
        (message.index, message.log_term) = (last.index, last.term);
        part.set_entries(held.into());
        push(part);
    }
}

#[cfg(test)]
#[path = "wire_test.rs"]
mod tests;
