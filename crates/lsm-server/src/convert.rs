//! Between the wire and what lies behind it: requests are judged here before anything is
//! queued, refusals and errors become statuses. Pure.
//!
//! A status says in its metadata what a program should know: `lsm-error`, one of the words
//! below, and `lsm-leader-address`, whom to ask instead. `not-leader`, `busy`,
//! `session-unknown` and `invalid` promise that nothing was applied.

use std::error::Error as StdError;
use std::iter;
use std::time::Duration;

use lsm_core::ErrorKind;
use lsm_proto::v1;
pub(crate) use lsm_proto::words::*;
use lsm_raft::command::{Op, Session};
use lsm_raft::{Members, Outcome, Refusal, Role};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Code, ConnectError, Status};

use crate::limits::{BATCH_WRITES_MAX, Limits};

/// What the bound of a scan may be longer than a key: the least key behind the longest.
const BOUND_SPARE: usize = 1;

/// A status that says why in a word for programs.
pub(crate) fn status(code: Code, word: &'static str, message: impl Into<String>) -> Status {
    let mut metadata = MetadataMap::with_capacity(2);
    metadata.insert(ERROR_KEY, MetadataValue::from_static(word));
    Status::with_metadata(code, message, metadata)
}

/// A request that can never work.
pub(crate) fn invalid(message: impl Into<String>) -> Status {
    status(Code::InvalidArgument, INVALID, message)
}

/// Too much is waiting, or running.
pub(crate) fn busy(message: impl Into<String>) -> Status {
    status(Code::ResourceExhausted, BUSY, message)
}

/// This node does not lead; `leader` does, if one is known.
pub(crate) fn not_leader(leader: Option<u64>, address: &str) -> Status {
    let Some(leader) = leader else {
        let message = "no leader is known; an election may be under way, or too few nodes run";
        return status(Code::Unavailable, NOT_LEADER, message);
    };
    let mut status =
        status(Code::Unavailable, NOT_LEADER, format!("node {leader} leads, at {address:?}"));
    if let Ok(address) = address.parse::<MetadataValue<Ascii>>() {
        status.metadata_mut().insert(LEADER_KEY, address);
    }
    status
}

/// The answer did not come in time.
pub(crate) fn too_late(changes: bool) -> Status {
    if changes {
        let message = "the answer did not come in time; the request may still take effect";
        return status(Code::DeadlineExceeded, UNKNOWN_OUTCOME, message);
    }
    Status::deadline_exceeded("the answer did not come in time")
}

/// What became of a change is not known.
pub(crate) fn unknown_outcome(message: impl Into<String>) -> Status {
    status(Code::Unavailable, UNKNOWN_OUTCOME, message)
}

/// The node cannot go on.
pub(crate) fn stopped(message: impl Into<String>) -> Status {
    status(Code::Unavailable, STOPPED, message)
}

/// A refusal of the replica. Callers try elsewhere on `NotLeader`, and know more than this.
pub(crate) fn refused(refusal: &Refusal) -> Status {
    let message = refusal.to_string();
    match refusal {
        Refusal::NotLeader { .. } => status(Code::Unavailable, NOT_LEADER, message),
        Refusal::Busy { .. } => busy(message),
        Refusal::NoRoom(_) => status(Code::ResourceExhausted, NO_ROOM, message),
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
        Outcome::SessionUnknown => Err(status(
            Code::FailedPrecondition,
            SESSION_UNKNOWN,
            "the session is not known: it was never opened, or given up for younger ones",
        )),
        Outcome::SessionPassed { last } => Err(status(
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

/// A key that is read or written.
pub(crate) fn check_key(key: &[u8], limits: &Limits) -> Result<(), Status> {
    if key.is_empty() {
        return Err(invalid("a key has at least one byte"));
    }
    check_len("key", key.len(), limits.key_bytes_max)
}

fn check_len(what: &str, len: usize, max: usize) -> Result<(), Status> {
    if len > max {
        return Err(invalid(format!("the {what} has {len} bytes; at most {max} are allowed")));
    }
    Ok(())
}

/// What to scan.
pub(crate) fn check_scan(request: &v1::ScanRequest, limits: &Limits) -> Result<(), Status> {
    check_range(&request.start, &request.end, limits)?;
    check_len("prefix", request.prefix.len(), limits.key_bytes_max + BOUND_SPARE)?;
    check_consistency(request.consistency)
}

/// The bounds of a range, which need not be keys.
pub(crate) fn check_range(start: &[u8], end: &[u8], limits: &Limits) -> Result<(), Status> {
    let max = limits.key_bytes_max + BOUND_SPARE;
    check_len("start of the range", start.len(), max)?;
    check_len("end of the range", end.len(), max)
}

/// A number that stands for no consistency is refused: it may ask for more than there is.
pub(crate) fn check_consistency(number: i32) -> Result<(), Status> {
    match v1::Consistency::try_from(number) {
        Ok(_) => Ok(()),
        Err(_) => Err(invalid(format!("there is no consistency number {number}"))),
    }
}

/// Whether a read takes what the asked node has.
pub(crate) fn is_stale(number: i32) -> bool {
    number == i32::from(v1::Consistency::Stale)
}

/// The session of a write, if it has one.
pub(crate) fn session(session: Option<&v1::Session>) -> Result<Option<Session>, Status> {
    let Some(&v1::Session { id, sequence }) = session else { return Ok(None) };
    if id == 0 {
        return Err(invalid("0 is no session: OpenSession gives the id"));
    }
    if sequence == 0 {
        return Err(invalid("the requests of a session are numbered from 1"));
    }
    Ok(Some(Session { id, sequence }))
}

/// A put.
pub(crate) fn check_put(key: &[u8], value: &[u8], limits: &Limits) -> Result<(), Status> {
    check_key(key, limits)?;
    check_len("value", value.len(), limits.value_bytes_max)
}

/// Every change of a batch, and all together.
pub(crate) fn check_batch(writes: &[v1::Write], limits: &Limits) -> Result<(), Status> {
    if writes.is_empty() {
        return Err(invalid("a batch holds at least one write"));
    }
    if writes.len() > BATCH_WRITES_MAX {
        let count = writes.len();
        return Err(invalid(format!(
            "the batch holds {count} writes; at most {BATCH_WRITES_MAX} are allowed"
        )));
    }
    let mut bytes = 0;
    for (at, write) in writes.iter().enumerate() {
        bytes += check_write(write, limits)
            .map_err(|status| invalid(format!("write {at} of the batch: {}", status.message())))?;
    }
    check_len("batch", bytes, limits.batch_bytes_max)
}

/// Bytes of its key and value.
fn check_write(write: &v1::Write, limits: &Limits) -> Result<usize, Status> {
    match &write.op {
        Some(v1::write::Op::Put(op)) => {
            check_put(&op.key, &op.value, limits)?;
            Ok(op.key.len() + op.value.len())
        }
        Some(v1::write::Op::Delete(op)) => {
            check_key(&op.key, limits)?;
            Ok(op.key.len())
        }
        None => Err(invalid("it is neither a put nor a delete")),
    }
}

/// The changes of a batch that was checked, as the state machine knows them.
pub(crate) fn ops(writes: &[v1::Write]) -> Vec<Op<'_>> {
    let ops = writes.iter().filter_map(|write| match write.op.as_ref()? {
        v1::write::Op::Put(op) => Some(Op::Put { key: &op.key, value: &op.value }),
        v1::write::Op::Delete(op) => Some(Op::Delete { key: &op.key }),
    });
    ops.collect()
}

/// The time that gRPC's `grpc-timeout` leaves; none without one, or if it makes no sense.
pub(crate) fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let value = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// The members as clients are told of them.
pub(crate) fn members(members: &Members) -> Vec<v1::Member> {
    let nodes = members.nodes.iter().map(|(&id, member)| v1::Member {
        id,
        role: match member.role {
            Role::Voter => v1::Role::Voter.into(),
            Role::Learner => v1::Role::Learner.into(),
        },
        peer_address: member.peer_address.clone(),
        client_address: member.client_address.clone(),
    });
    nodes.collect()
}

#[cfg(test)]
#[path = "convert_test.rs"]
mod tests;
