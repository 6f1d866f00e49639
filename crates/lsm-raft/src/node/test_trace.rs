//! What nodes do, as text in the words of raft. Entries are `term/index`, with the names of their
//! commands or their changes of members. Heartbeats that carry no read are left out, and their
//! answers.

use std::fmt::Write as _;

use raft::eraftpb::{ConfState, Entry, Message, MessageType};

use super::NodeStatus;
use super::guard::is_change;
use crate::command::{Command, Commands, Op};
use crate::members::{Change, decode_changes};

/// None for heartbeats without a read.
pub(super) fn describe_message(message: &Message) -> Option<String> {
    let kind = message.get_msg_type();
    let beats = [MessageType::MsgHeartbeat, MessageType::MsgHeartbeatResponse];
    if beats.contains(&kind) && message.context.is_empty() {
        return None;
    }
    let mut text = format!("{}->{} {kind:?}", message.from, message.to);
    let mut add = |is_there: bool, part: String| text += if is_there { &part } else { "" };
    add(message.term > 0, format!(" Term:{}", message.term));
    add(message.index > 0, format!(" Log:{}/{}", message.log_term, message.index));
    add(message.reject, format!(" Rejected Hint:{}", message.reject_hint));
    add(message.commit > 0, format!(" Commit:{}", message.commit));
    let snapshot = message.get_snapshot().get_metadata();
    add(snapshot.index > 0, format!(" Snapshot:{}/{}", snapshot.term, snapshot.index));
    add(message.request_snapshot > 0, format!(" Request:{}", message.request_snapshot));
    add(!message.context.is_empty(), describe_context(&message.context));
    let reads = [MessageType::MsgReadIndex, MessageType::MsgReadIndexResp];
    if reads.contains(&kind) {
        message.entries.iter().for_each(|entry| add(true, describe_context(&entry.data)));
    } else {
        add(true, describe_entries(&message.entries));
    }
    Some(text)
}

/// The number of a round of reads, behind the nonce of its node; or text.
fn describe_context(context: &[u8]) -> String {
    match context.split_first_chunk::<8>() {
        Some((_, &[round, 0, ..])) => format!(" Read:{round}"),
        _ => format!(" Context:{}", context.escape_ascii()),
    }
}

pub(super) fn describe_entries(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let entries: Vec<_> = entries.iter().map(describe_entry).collect();
    format!(" Entries:[{}]", entries.join(", "))
}

/// An entry with the names of its commands, or its changes of members.
fn describe_entry(entry: &Entry) -> String {
    let mut text = format!("{}/{}", entry.term, entry.index);
    if is_change(entry) {
        let changes = decode_changes(&entry.context).unwrap();
        for change in &changes {
            let _ = match change {
                Change::AddLearner { node, .. } => write!(text, " +{node}"),
                Change::Promote { node } => write!(text, " ^{node}"),
                Change::Remove { node } => write!(text, " -{node}"),
            };
        }
        return text + if changes.is_empty() { " leave joint" } else { "" };
    }
    for command in Commands::new(&entry.data) {
        if let Command::Write { ops, .. } = command.unwrap()
            && let [Op::Put { key, .. }] = ops[..]
        {
            let _ = write!(text, " {}", key.escape_ascii());
        }
    }
    text
}

pub(super) fn describe_members(conf_state: &ConfState) -> String {
    let groups = [
        ("Voters", &conf_state.voters),
        ("Outgoing", &conf_state.voters_outgoing),
        ("Learners", &conf_state.learners),
    ];
    let present = groups.iter().filter(|(_, ids)| !ids.is_empty());
    let sorted = |ids: &[u64]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    };
    present.map(|(name, ids)| format!(" {name}:{:?}", sorted(ids))).collect()
}

/// Who leads, and of whom a leader hears nothing.
pub(super) fn describe_leader(status: &NodeStatus) -> String {
    let leader = status.leader.map_or("none".to_owned(), |id| id.to_string());
    let silent = status.peers.iter().filter(|peer| !peer.active);
    let silent: Vec<_> = silent.map(|peer| peer.node).collect();
    let inactive = if silent.is_empty() { String::new() } else { format!(" Inactive:{silent:?}") };
    format!("Term:{} Leader:{leader}{inactive}", status.term)
}

/// All that is known of a node, and what a leader knows of the others: `Matched:[node at index]`.
pub(super) fn describe_status(status: &NodeStatus) -> String {
    let NodeStatus { first, last, committed, applied, flushed, .. } = status;
    let mut text = describe_leader(status);
    let _ = write!(text, " Log:{first}..{last} Commit:{committed} Applied:{applied}");
    let _ = write!(text, " Flushed:{flushed}");
    let peers = status.peers.iter().map(|peer| {
        let snapshot = if peer.snapshot { " in snapshot" } else { "" };
        format!("{} at {}{snapshot}", peer.node, peer.matched)
    });
    let peers: Vec<_> = peers.collect();
    if !peers.is_empty() {
        let _ = write!(text, " Matched:[{}]", peers.join(", "));
    }
    text
}
