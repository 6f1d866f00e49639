//! The bytes of a request, counted as they come.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;

use super::answer::Refusal;
use super::room::Held;
use crate::convert;
use crate::fields::Fields;
use crate::framing::Framing;
use crate::limits::{BATCH_WRITES_MAX, WRITE_BYTES};

/// The call whose message holds many others.
const BATCH_PATH: &str = "/lsm.v1.KVService/BatchWrite";
/// Fields of such a message: its writes, and the session.
pub(super) const BATCH_FIELDS_MAX: usize = BATCH_WRITES_MAX + 1;
/// Bytes of one call that is not timed, over all its messages: a thousand questions.
pub(super) const UNTIMED_BYTES_MAX: usize = 64 << 10;

/// The body of a request.
pub(super) struct RequestBody {
    inner: Body,
    /// None if the call is timed.
    untimed: Option<Refusal>,
    framing: Framing,
    /// Of a batch.
    writes: Option<Writes>,
    /// Runs from the first wait: most requests come in one piece, and need none.
    end: Option<Pin<Box<Sleep>>>,
    held: Arc<Held>,
}

/// The writes of a batch, as they come.
#[derive(Default)]
struct Writes {
    fields: Fields,
    count: usize,
}

impl RequestBody {
    pub(super) fn new(inner: Body, path: &str, untimed: Option<Refusal>, held: Arc<Held>) -> Self {
        let writes = (path == BATCH_PATH).then(Writes::default);
        Self { inner, untimed, framing: Framing::default(), writes, end: None, held }
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), Status> {
        let mut most = self.held.room.limits.message_bytes_max();
        if self.untimed.is_some() {
            most = most.min(UNTIMED_BYTES_MAX);
        }
        let mut writes = 0;
        let count = |content: &[u8]| {
            if let Some(batch) = &mut self.writes {
                writes += batch.fields.take(content);
            }
        };
        self.framing.take(piece, most, count).map_err(|len| {
            self.refuse(format!("the message has {len} bytes; at most {most} are allowed"))
        })?;
        if let Some(batch) = &mut self.writes {
            batch.count += writes;
            if batch.count > BATCH_FIELDS_MAX {
                return Err(self.refuse(format!(
                    "the batch holds more than the {BATCH_WRITES_MAX} writes that are allowed"
                )));
            }
        }
        if self.untimed.is_some() && self.held.bytes() + piece.len() > UNTIMED_BYTES_MAX {
            return Err(self.refuse(format!(
                "the messages of this call have more than the {UNTIMED_BYTES_MAX} bytes that are \
                 allowed"
            )));
        }
        self.held.add(piece.len() + writes * WRITE_BYTES)
    }

    fn refuse(&self, message: String) -> Status {
        let status = convert::invalid(message);
        if let Some(refusal) = &self.untimed {
            let _ = refusal.set(status.clone());
        }
        status
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) else {
            if this.untimed.is_none() {
                let time_max = this.held.room.limits.request_time_max;
                let end = this.end.get_or_insert_with(|| Box::pin(sleep(time_max)));
                ready!(end.as_mut().poll(context));
                return Poll::Ready(Some(Err(convert::too_late(false))));
            }
            return Poll::Pending;
        };
        let Some(Ok(frame)) = frame else { return Poll::Ready(frame) };
        let taken = frame.data_ref().map_or(Ok(()), |piece| this.take(piece));
        Poll::Ready(Some(taken.map(|()| frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
