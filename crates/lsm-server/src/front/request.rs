//! The bytes of a request, counted as they come.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;

use super::budget::{CallKind, Permit};
use super::fields::Fields;
use super::framing::Framing;
use super::response::Refusal;
use crate::limits::{BATCH_WRITES_MAX, WRITE_BYTES};
use crate::status;

/// The call whose message holds many others.
const BATCH_PATH: &str = "/lsm.v1.KVService/BatchWrite";
/// Fields of such a message: its writes, and the session.
pub(super) const BATCH_FIELDS_MAX: usize = BATCH_WRITES_MAX + 1;
/// Bytes of one call that is no request, over all its messages: a thousand questions.
pub(super) const QUESTION_BYTES_MAX: usize = 64 << 10;

/// The body of a request.
pub(super) struct RequestBody {
    inner: Body,
    open: Option<Refusal>,
    framing: Framing,
    /// Of a batch.
    writes: Option<Writes>,
    /// Runs from the first wait, of a talk from the last question: most requests come in one
    /// piece, and need none.
    end: Option<Pin<Box<Sleep>>>,
    permit: Arc<Permit>,
}

/// The writes of a batch, as they come.
#[derive(Default)]
struct Writes {
    fields: Fields,
    count: usize,
}

impl RequestBody {
    pub(super) fn new(inner: Body, path: &str, open: Option<Refusal>, permit: Arc<Permit>) -> Self {
        let writes = (path == BATCH_PATH).then(Writes::default);
        Self { inner, open, framing: Framing::default(), writes, end: None, permit }
    }

    fn feed(&mut self, piece: &[u8]) -> Result<(), Status> {
        let is_request = self.permit.kind == CallKind::Client;
        let mut most = self.permit.budget.limits.message_bytes_max();
        if !is_request {
            most = most.min(QUESTION_BYTES_MAX);
        }
        let mut writes = 0;
        let count = |content: &[u8]| {
            if let Some(batch) = &mut self.writes {
                writes += batch.fields.feed(content);
            }
        };
        self.framing.feed(piece, most, count).map_err(|len| {
            self.invalid(format!("the message has {len} bytes; at most {most} are allowed"))
        })?;
        if let Some(batch) = &mut self.writes {
            batch.count += writes;
            if batch.count > BATCH_FIELDS_MAX {
                return Err(self.invalid(format!(
                    "the batch holds more than the {BATCH_WRITES_MAX} writes that are allowed"
                )));
            }
        }
        if !is_request && self.permit.bytes() + piece.len() > QUESTION_BYTES_MAX {
            return Err(self.invalid(format!(
                "the messages of this call have more than the {QUESTION_BYTES_MAX} bytes that are \
                 allowed"
            )));
        }
        self.permit.add(piece.len() + writes * WRITE_BYTES)
    }

    fn invalid(&self, message: String) -> Status {
        self.refuse(status::invalid(message))
    }

    fn refuse(&self, status: Status) -> Status {
        if let Some(refusal) = &self.open {
            let _ = refusal.set(status.clone());
        }
        status
    }

    /// Ready when the next piece has not come for too long.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        let limits = &self.permit.budget.limits;
        let time_max = match self.permit.kind {
            CallKind::Client | CallKind::Unary => limits.request_time_max,
            CallKind::Bidirectional => limits.question_time_max,
            CallKind::ServerStreaming => return Poll::Pending,
        };
        let end = self.end.get_or_insert_with(|| Box::pin(sleep(time_max)));
        ready!(end.as_mut().poll(context));
        Poll::Ready(match self.permit.kind {
            CallKind::Bidirectional => {
                let message = format!("no question came for {} seconds", time_max.as_secs());
                self.refuse(Status::deadline_exceeded(message))
            }
            _ => status::too_late(false),
        })
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
            return this.poll_late(context).map(|status| Some(Err(status)));
        };
        let Some(Ok(frame)) = frame else { return Poll::Ready(frame) };
        if this.permit.kind == CallKind::Bidirectional {
            this.end = None;
        }
        let fed = frame.data_ref().map_or(Ok(()), |piece| this.feed(piece));
        Poll::Ready(Some(fed.map(|()| frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
