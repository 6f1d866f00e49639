//! Requests are judged here before anything is queued. Pure.

use lsm_proto::v1;
use lsm_raft::command::{Op, Session};
use tonic::Status;

use crate::limits::{BATCH_WRITES_MAX, Limits};
use crate::status::invalid;

/// What the bound of a scan may be longer than a key: the least key behind the longest.
const BOUND_SPARE: usize = 1;

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

/// A key that is read or written.
pub(crate) fn check_key(key: &[u8], limits: &Limits) -> Result<(), Status> {
    if key.is_empty() {
        return Err(invalid("a key has at least one byte"));
    }
    check_len("key", key.len(), limits.key_bytes_max)
}

/// A number that stands for no consistency is refused: it may ask for more than there is.
pub(crate) fn check_consistency(number: i32) -> Result<(), Status> {
    match v1::Consistency::try_from(number) {
        Ok(_) => Ok(()),
        Err(_) => Err(invalid(format!("there is no consistency number {number}"))),
    }
}

fn check_len(what: &str, len: usize, max: usize) -> Result<(), Status> {
    if len > max {
        return Err(invalid(format!("the {what} has {len} bytes; at most {max} are allowed")));
    }
    Ok(())
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

/// The changes of a batch that was checked, as the state machine knows them.
pub(crate) fn ops(writes: &[v1::Write]) -> Vec<Op<'_>> {
    let ops = writes.iter().filter_map(|write| match write.op.as_ref()? {
        v1::write::Op::Put(op) => Some(Op::Put { key: &op.key, value: &op.value }),
        v1::write::Op::Delete(op) => Some(Op::Delete { key: &op.key }),
    });
    ops.collect()
}

#[cfg(test)]
#[path = "validate_test.rs"]
mod tests;
