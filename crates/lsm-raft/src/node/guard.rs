//! Looks at messages before raft does. raft 0.7 trusts its peers: some messages that no
//! correct peer sends make it panic. Those end here, as an error or by being dropped.

use raft::StateRole;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use super::io::NodeStorage;
use crate::error::{Error, Result};

/// Longest context of a message: reads put 16 bytes there.
const CONTEXT_LEN_MAX: usize = 64;

/// What to do with a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Step,
    /// Not for raft; the reason is for the log.
    Drop(&'static str),
}

/// Judges a message from the network.
///
/// # Errors
///
/// `Corrupt` if the message shows that this node lost something that it had promised to keep:
/// it must not go on.
pub(super) fn judge<S: NodeStorage>(raft: &raft::Raft<S>, message: &Message) -> Result<Verdict> {
    if message.to != raft.id || message.from == raft.id || message.from == 0 {
        return Ok(Verdict::Drop("it is not for this node"));
    }
    if message.context.len() > CONTEXT_LEN_MAX {
        return Ok(Verdict::Drop("its context is too long"));
    }
    // Without a term a message is a node's own to raft, but for a read that is passed on.
    if message.term == 0 && message.get_msg_type() != MessageType::MsgReadIndex {
        return Ok(Verdict::Drop("it has no term"));
    }
    if message.term != 0 && message.term < raft.term {
        // Old news; raft knows what to answer, and takes nothing of it.
        return Ok(Verdict::Step);
    }
    let log = &raft.raft_log;
    match message.get_msg_type() {
        MessageType::MsgAppend => return judge_append(raft, message),
        MessageType::MsgHeartbeat => return judge_heartbeat(raft, message),
        MessageType::MsgAppendResponse => {
            if !message.reject && message.index > log.last_index() {
                return Ok(Verdict::Drop("it acknowledges what was never sent"));
            }
        }
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => {
            let [entry] = message.get_entries() else {
                return Ok(Verdict::Drop("a read has one context"));
            };
            if entry.data.len() > CONTEXT_LEN_MAX {
                return Ok(Verdict::Drop("its context is too long"));
            }
        }
        MessageType::MsgSnapshot => {
            if message.get_snapshot().get_metadata().index == 0 {
                return Ok(Verdict::Drop("a snapshot of nothing"));
            }
        }
        MessageType::MsgHeartbeatResponse
        | MessageType::MsgRequestVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse
        | MessageType::MsgTimeoutNow => {}
        // Proposals are passed on as requests, never as messages; the rest is local.
        _ => return Ok(Verdict::Drop("nodes do not send this")),
    }
    Ok(Verdict::Step)
}

fn judge_append<S: NodeStorage>(raft: &raft::Raft<S>, message: &Message) -> Result<Verdict> {
    let log = &raft.raft_log;
    if (message.index == 0) != (message.log_term == 0) {
        return Ok(Verdict::Drop("it follows an entry without a term"));
    }
    if !in_order(message.index, &message.entries) {
        return Ok(Verdict::Drop("its entries are not in order"));
    }
    if raft.state == StateRole::Leader && message.term == raft.term {
        return Ok(Verdict::Drop("two nodes lead in one term"));
    }
    let known = log.first_index()..=log.committed;
    for entry in message.entries.iter().filter(|entry| known.contains(&entry.index)) {
        if log.term(entry.index).is_ok_and(|term| term != entry.term) {
            if !may_lead(raft, message.from) {
                return Ok(Verdict::Drop("it contradicts what is committed here"));
            }
            let reason = format!(
                "node {} leads with another entry at {}, which is committed here",
                message.from, entry.index
            );
            return Err(Error::corrupt("the log", reason));
        }
    }
    Ok(Verdict::Step)
}

fn judge_heartbeat<S: NodeStorage>(raft: &raft::Raft<S>, message: &Message) -> Result<Verdict> {
    let last = raft.raft_log.last_index();
    if message.commit > last {
        if !may_lead(raft, message.from) {
            return Ok(Verdict::Drop("it knows of entries that are not here"));
        }
        let reason = format!(
            "it ends at {last}, but node {} knows that it held {}: entries were lost",
            message.from, message.commit
        );
        return Err(Error::corrupt("the log", reason));
    }
    if raft.state == StateRole::Leader && message.term == raft.term {
        return Ok(Verdict::Drop("two nodes lead in one term"));
    }
    Ok(Verdict::Step)
}

/// Whether a node votes, as far as is known here: nobody else's word that entries were lost may
/// stop a node.
fn may_lead<S: NodeStorage>(raft: &raft::Raft<S>, node: u64) -> bool {
    let voters = raft.prs().conf().to_conf_state();
    voters.voters.contains(&node) || voters.voters_outgoing.contains(&node)
}

fn in_order(before: u64, entries: &[Entry]) -> bool {
    let mut term = 0;
    entries.iter().zip(1..).all(|(entry, offset)| {
        let ordered = before.checked_add(offset) == Some(entry.index) && entry.term >= term;
        term = entry.term;
        ordered && entry.term > 0
    })
}

/// Whether an entry changes the members.
pub(super) fn is_change(entry: &Entry) -> bool {
    entry.get_entry_type() != EntryType::EntryNormal
}

/// An answer to a heartbeat promises nothing but the term, and a question promises nothing: with
/// the term durable they need not wait for entries. Reads wait for these.
pub(super) fn is_early(message: &Message) -> bool {
    matches!(message.get_msg_type(), MessageType::MsgHeartbeatResponse | MessageType::MsgReadIndex)
}

/// Whether the sender wants to lead.
pub(super) fn is_election(kind: MessageType) -> bool {
    matches!(kind, MessageType::MsgRequestVote | MessageType::MsgRequestPreVote)
}
