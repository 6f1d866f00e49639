//! Lets requests through to a service, or refuses them at their head.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};

use super::answer::{AnswerBody, Open};
use super::kind::Kind;
use super::request::RequestBody;
use super::room::{Held, Room};
use crate::limits::Limits;
use crate::untaken::Untaken;

/// Between two looks at whether anything is served.
const IDLE_LOOK_PAUSE: Duration = Duration::from_millis(5);

/// Lets requests through to a service.
#[derive(Clone, Debug)]
pub(crate) struct Intake<S> {
    inner: S,
    room: Arc<Room>,
    closing: watch::Receiver<bool>,
}

impl<S> Intake<S> {
    /// Calls without an end of their own end when `closing` turns true.
    pub(crate) fn new(inner: S, limits: &Limits, closing: watch::Receiver<bool>) -> Self {
        Self { inner, room: Arc::new(Room::new(limits)), closing }
    }

    /// Returns once nothing has been served, and no answer on its way, for so long.
    pub(crate) fn idle(&self, time: Duration) -> impl Future<Output = ()> + Send + use<S> {
        let room = Arc::clone(&self.room);
        async move {
            let mut since = Instant::now();
            while since.elapsed() < time {
                sleep(IDLE_LOOK_PAUSE).await;
                if !room.is_idle() {
                    since = Instant::now();
                }
            }
        }
    }
}

impl<S> Service<http::Request<Body>> for Intake<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = http::Response<AnswerBody>;
    type Error = Infallible;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer<S::Future> {
        // Of the connection; tests may come without one.
        let untaken = request.extensions().get::<Arc<Untaken>>().cloned();
        let kind = Kind::of(request.uri().path());
        let held = match Held::new(&self.room, kind, untaken) {
            Ok(held) => held,
            Err(status) => return Answer::Refused(Some(status)),
        };
        let open = kind.is_open().then(|| Open::new(self.closing.clone()));
        let (head, body) = request.into_parts();
        let refusal = open.as_ref().map(Open::refusal);
        let body = RequestBody::new(body, head.uri.path(), refusal, Arc::clone(&held));
        let request = http::Request::from_parts(head, Body::new(body));
        Answer::Coming { inner: self.inner.call(request), held: Some(held), open }
    }
}

/// The answer to a request.
pub(crate) enum Answer<F> {
    /// What the service will say.
    Coming { inner: F, held: Option<Arc<Held>>, open: Option<Open> },
    /// One too many.
    Refused(Option<Status>),
}

impl<F> Future for Answer<F>
where
    F: Future<Output = Result<http::Response<Body>, Infallible>> + Unpin,
{
    type Output = Result<http::Response<AnswerBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        const ONCE: &str = "an answer is asked for once";
        match &mut *self {
            Self::Coming { inner, held, open } => {
                let answer = ready!(Pin::new(inner).poll(context))?;
                let (held, open) = (held.take().expect(ONCE), open.take());
                if open.is_none() {
                    held.release_bytes();
                }
                Poll::Ready(Ok(answer.map(|inner| AnswerBody::new(inner, held, open))))
            }
            Self::Refused(status) => {
                let status = status.take().expect(ONCE);
                Poll::Ready(Ok(status.into_http().map(AnswerBody::refused)))
            }
        }
    }
}

#[cfg(test)]
#[path = "service_test.rs"]
mod tests;
