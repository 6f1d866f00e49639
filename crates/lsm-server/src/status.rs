//! Refusals, errors and outcomes, as the statuses that clients see. Pure.
//!
//! A status says in its metadata what a program should know: `lsm-error`, one of the words
//! below, and `lsm-leader-address`, whom to ask instead. `not-leader`, `busy`,
//! `session-unknown` and `invalid` promise that nothing was applied.

use std::error::Error as StdError;
use std::iter;

use lsm_core::ErrorKind;
pub(crate) use lsm_proto::words::*;
use lsm_raft::{Outcome, Refusal};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Code, ConnectError, Status};

/// A status that says why in a word for programs.
pub(crate) fn with_word(code: Code, word: &'static str, message: impl Into<String>) -> Status {
    let mut metadata = MetadataMap::with_capacity(2);
    metadata.insert(ERROR_KEY, MetadataValue::from_static(word));
    Status::with_metadata(code, message, metadata)
}

/// A request that can never work.
pub(crate) fn invalid(message: impl Into<String>) -> Status {
    with_word(Code::InvalidArgument, INVALID, message)
}

/// Too much is waiting, or running.
pub(crate) fn busy(message: impl Into<String>) -> Status {
    with_word(Code::ResourceExhausted, BUSY, message)
}

/// This node does not lead; `leader` does, if one is known.
pub(crate) fn not_leader(leader: Option<u64>, address: &str) -> Status {
    let Some(leader) = leader else {
        let message = "no leader is known; an election may be under way, or too few nodes run";
        return with_word(Code::Unavailable, NOT_LEADER, message);
    };
    let mut status =
        with_word(Code::Unavailable, NOT_LEADER, format!("node {leader} leads, at {address:?}"));
    if let Ok(address) = address.parse::<MetadataValue<Ascii>>() {
        status.metadata_mut().insert(LEADER_KEY, address);
    }
    status
}

/// The answer did not come in time.
pub(crate) fn too_late(changes: bool) -> Status {
    if changes {
        let message = "the answer did not come in time; the request may still take effect";
        return with_word(Code::DeadlineExceeded, UNKNOWN_OUTCOME, message);
    }
    Status::deadline_exceeded("the answer did not come in time")
}

/// What became of a change is not known.
pub(crate) fn unknown_outcome(message: impl Into<String>) -> Status {
    with_word(Code::Unavailable, UNKNOWN_OUTCOME, message)
}

/// The node cannot go on.
pub(crate) fn stopped(message: impl Into<String>) -> Status {
    with_word(Code::Unavailable, STOPPED, message)
}

/// A refusal of the replica. Callers try elsewhere on `NotLeader`, and know more than this.
pub(crate) fn refused(refusal: &Refusal) -> Status {
    let message = refusal.to_string();
    match refusal {
        Refusal::NotLeader { .. } => with_word(Code::Unavailable, NOT_LEADER, message),
        Refusal::Busy { .. } => busy(message),
        Refusal::NoRoom(_) => with_word(Code::ResourceExhausted, NO_ROOM, message),
        Refusal::Invalid(_) => invalid(message),
        Refusal::Stopped(_) => stopped(message),
        // Of a kind that is not known here, as little is known.
        _ => unknown_outcome(message),
    }
}

/// Where in the log a write stands.
pub(crate) fn written(outcome: Outcome) -> Result<u64, Status> {
    match outcome {
        Outcome::Written { index } => Ok(index),
        Outcome::SessionUnknown => Err(with_word(
            Code::FailedPrecondition,
            SESSION_UNKNOWN,
            "the session is not known: it was never opened, or given up for younger ones",
        )),
        Outcome::SessionPassed { last } => Err(with_word(
            Code::Aborted,
            SESSION_PASSED,
            format!("the session has gone on: its last request was number {last}"),
        )),
        other => Err(unexpected(&other)),
    }
}

/// An outcome that does not belong to the request.
pub(crate) fn unexpected(outcome: &Outcome) -> Status {
    Status::internal(format!("the request came out as {outcome:?}: this is a bug"))
}

/// An error of the node while it read.
pub(crate) fn failed(error: &lsm_raft::Error) -> Status {
    match error {
        lsm_raft::Error::Storage { cause, .. } => engine_failed(cause),
        lsm_raft::Error::Corrupt { .. } => Status::data_loss(error.to_string()),
        _ => Status::internal(error.to_string()),
    }
}

/// An error of the engine.
pub(crate) fn engine_failed(error: &lsm_core::Error) -> Status {
    match error.kind() {
        ErrorKind::Corrupt => Status::data_loss(error.to_string()),
        // By the node's stop, or because a snapshot took the place of the state.
        ErrorKind::Closed => stopped(format!("{error}; try again")),
        _ => Status::internal(error.to_string()),
    }
}

/// What another node said, without what its transport added.
pub(crate) fn passed_on(said: &Status) -> Status {
    let mut metadata = MetadataMap::new();
    for key in [ERROR_KEY, LEADER_KEY] {
        if let Some(value) = said.metadata().get(key) {
            metadata.insert(key, value.clone());
        }
    }
    Status::with_metadata(said.code(), said.message(), metadata)
}

/// Whether a status carries this word.
pub(crate) fn says(status: &Status, word: &str) -> bool {
    status.metadata().get(ERROR_KEY).is_some_and(|value| value.as_bytes() == word.as_bytes())
}

/// Whether there was no connection to send the request on.
pub(crate) fn never_sent(status: &Status) -> bool {
    let mut causes = iter::successors(status.source(), |&error| error.source());
    causes.any(<dyn StdError>::is::<ConnectError>)
}

#[cfg(test)]
#[path = "status_test.rs"]
mod tests;
