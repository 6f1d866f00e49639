//! What requests of clients may bring in at a time, over all connections: so many requests, so
//! many bytes, and each within a limited time.
//!
//! A request is counted from its head to its answer, its bytes from when they come. One too
//! many is refused as busy, before it has any effect; it does not wait, since those that wait
//! for each other with half of their bytes here would wait for ever. A message that says it is
//! longer than one may be is refused at its header, before anything is set aside for it. Of a
//! batch the writes count too: what is two bytes here may be a hundred once it is decoded.
//!
//! Leaves to others: what may be in a request (its service), how many requests a connection may
//! have (the server), and what answers cost.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};

use crate::convert;
use crate::fields::Fields;
use crate::framing::Framing;
use crate::limits::{BATCH_WRITES_MAX, Limits, WRITE_BYTES};

/// Calls whose requests are short and must come soon. Others, of reflection and health, may
/// go on for as long as they like, since they hold next to nothing.
const TIMED_PREFIX: &str = "/lsm.v1.";
/// The call whose message holds many others.
const BATCH_PATH: &str = "/lsm.v1.KVService/BatchWrite";
/// Fields of such a message: its writes, and the session.
const BATCH_FIELDS_MAX: usize = BATCH_WRITES_MAX + 1;
/// Bytes of one call that is not timed, over all its messages: a thousand questions.
const UNTIMED_BYTES_MAX: usize = 64 << 10;

/// Lets requests through to a service.
#[derive(Clone, Debug)]
pub(crate) struct Intake<S> {
    inner: S,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    requests: Arc<Semaphore>,
    requests_max: usize,
    /// Bytes that may still come.
    bytes_left: AtomicUsize,
    bytes_max: usize,
    message_bytes_max: usize,
    time_max: Duration,
}

impl<S> Intake<S> {
    pub(crate) fn new(inner: S, limits: &Limits) -> Self {
        let shared = Shared {
            requests: Arc::new(Semaphore::new(limits.requests_max)),
            requests_max: limits.requests_max,
            bytes_left: AtomicUsize::new(limits.intake_bytes_max),
            bytes_max: limits.intake_bytes_max,
            message_bytes_max: limits.message_bytes_max(),
            time_max: limits.request_time_max,
        };
        Self { inner, shared: Arc::new(shared) }
    }
}

impl<S> Service<http::Request<Body>> for Intake<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer<S::Future> {
        let Ok(permit) = Arc::clone(&self.shared.requests).try_acquire_owned() else {
            let most = self.shared.requests_max;
            return Answer::Refused(Some(convert::busy(format!(
                "{most} requests are being served already"
            ))));
        };
        let held = Arc::new(Held {
            shared: Arc::clone(&self.shared),
            bytes: AtomicUsize::new(0),
            _request: permit,
        });
        let timed = request.uri().path().starts_with(TIMED_PREFIX);
        let untimed = (!timed).then(Refusal::default);
        let writes = (request.uri().path() == BATCH_PATH).then(Writes::default);
        let request = request.map(|inner| {
            let (untimed, held) = (untimed.clone(), Arc::clone(&held));
            let framing = Framing::default();
            Body::new(CountedBody { inner, untimed, framing, writes, end: None, held })
        });
        Answer::Coming { inner: self.inner.call(request), untimed, _held: held }
    }
}

/// Why a call that is not timed ends. Its service reads beside its answer, and passes over errors
/// of what it reads.
type Refusal = Arc<OnceLock<Status>>;

/// What one request takes up, until it is answered and its bytes are gone.
#[derive(Debug)]
pub(crate) struct Held {
    shared: Arc<Shared>,
    bytes: AtomicUsize,
    _request: OwnedSemaphorePermit,
}

impl Held {
    fn add(&self, bytes: usize) -> Result<(), Status> {
        let take = |left: usize| left.checked_sub(bytes);
        let taken = self.shared.bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        if taken.is_err() {
            return Err(convert::busy(format!(
                "the requests that are being served have {} bytes already",
                self.shared.bytes_max
            )));
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.bytes_left.fetch_add(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

/// The answer to a request.
#[derive(Debug)]
pub(crate) enum Answer<F> {
    /// What the service will say.
    Coming { inner: F, untimed: Option<Refusal>, _held: Arc<Held> },
    /// One too many.
    Refused(Option<Status>),
}

impl<F> Future for Answer<F>
where
    F: Future<Output = Result<http::Response<Body>, Infallible>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        match &mut *self {
            Self::Coming { inner, untimed, .. } => {
                let answer = ready!(Pin::new(inner).poll(context))?;
                Poll::Ready(Ok(match untimed.take() {
                    Some(refusal) => {
                        answer.map(|inner| Body::new(UntimedAnswer { inner, refusal }))
                    }
                    None => answer,
                }))
            }
            Self::Refused(status) => {
                let status = status.take().expect("an answer is asked for once");
                Poll::Ready(Ok(status.into_http()))
            }
        }
    }
}

/// The bytes of a request, counted as they come.
struct CountedBody {
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

impl CountedBody {
    fn take(&mut self, piece: &[u8]) -> Result<(), Status> {
        let mut most = self.held.shared.message_bytes_max;
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
        let came = self.held.bytes.load(Ordering::Relaxed);
        if self.untimed.is_some() && came + piece.len() > UNTIMED_BYTES_MAX {
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

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) else {
            if this.untimed.is_none() {
                let time_max = this.held.shared.time_max;
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

/// The answer to a call that is not timed. It ends with the refusal, if there is one.
struct UntimedAnswer {
    inner: Body,
    refusal: Refusal,
}

impl http_body::Body for UntimedAnswer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        let ends = matches!(&frame, Some(Ok(frame)) if frame.is_trailers());
        let Some(refusal) = self.refusal.get().filter(|_| ends) else {
            return Poll::Ready(frame);
        };
        let mut trailers = http::HeaderMap::new();
        refusal.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
#[path = "intake_test.rs"]
mod tests;
