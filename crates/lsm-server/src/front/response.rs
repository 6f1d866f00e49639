//! The answer to a request, counted until it has left.
//!
//! The connection takes a piece of an answer before its client has room for it, keeps it until
//! that has, and is done with the answer long before. So it is not the answer that counts, but
//! each piece.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::HeaderMap;

use super::budget::Permit;
use crate::status;

/// Why an open call ends. Its service reads beside its answer, and passes over errors
/// of what it reads.
pub(super) type Refusal = Arc<OnceLock<Status>>;

/// What ends an open call.
pub(crate) struct Open {
    refusal: Refusal,
    /// The node stops.
    closing: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Open {
    pub(super) fn new(mut closing: watch::Receiver<bool>) -> Self {
        let closing = async move {
            let _ = closing.wait_for(|closing| *closing).await;
        };
        Self { refusal: Refusal::default(), closing: Box::pin(closing) }
    }

    pub(super) fn refusal(&self) -> Refusal {
        Arc::clone(&self.refusal)
    }
}

/// The body of an answer.
pub(crate) struct ResponseBody {
    inner: Body,
    /// None if the request was refused: what says so has no body.
    permit: Option<Arc<Permit>>,
    open: Option<Open>,
}

impl ResponseBody {
    pub(super) fn new(inner: Body, permit: Arc<Permit>, open: Option<Open>) -> Self {
        Self { inner, permit: Some(permit), open }
    }

    /// Of a request that was refused.
    pub(super) fn refused(inner: Body) -> Self {
        Self { inner, permit: None, open: None }
    }

    /// Ends the answer.
    fn end(&mut self, status: &Status) -> Result<Frame<Bytes>, Status> {
        self.inner = Body::empty();
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers)?;
        Ok(Frame::trailers(trailers))
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(ended) => return Poll::Ready(ended),
            // Only now: a watch may have to tell that the node does not serve any more.
            Poll::Pending => {
                let Some(open) = &mut this.open else { return Poll::Pending };
                ready!(open.closing.as_mut().poll(context));
                let stopped = status::stopped("the node is stopping");
                return Poll::Ready(Some(this.end(&stopped)));
            }
        };
        let frame = match (frame.into_data(), &this.permit) {
            (Ok(bytes), Some(permit)) => match permit.answer(bytes) {
                Ok(bytes) => Ok(Frame::data(bytes)),
                Err(status) => this.end(&status),
            },
            (Ok(bytes), None) => Ok(Frame::data(bytes)),
            (Err(trailers), _) => {
                match this.open.as_ref().and_then(|open| open.refusal.get().cloned()) {
                    Some(status) => this.end(&status),
                    None => Ok(trailers),
                }
            }
        };
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
