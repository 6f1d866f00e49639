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

use super::budget::{Budget, CallKind, Permit};
use super::request::RequestBody;
use super::response::{Open, ResponseBody};
use super::slow_readers::SlowReaders;
use crate::limits::Limits;

/// Between two looks at whether anything is served.
const IDLE_LOOK_PAUSE: Duration = Duration::from_millis(5);

/// Lets requests through to a service.
#[derive(Clone, Debug)]
pub(crate) struct Admission<S> {
    inner: S,
    budget: Arc<Budget>,
    closing: watch::Receiver<bool>,
}

impl<S> Admission<S> {
    /// Calls without an end of their own end when `closing` turns true.
    pub(crate) fn new(inner: S, limits: &Limits, closing: watch::Receiver<bool>) -> Self {
        Self { inner, budget: Arc::new(Budget::new(limits)), closing }
    }

    /// Returns once nothing has been served, and no answer on its way, for so long.
    pub(crate) fn idle(&self, time: Duration) -> impl Future<Output = ()> + Send + use<S> {
        let budget = Arc::clone(&self.budget);
        async move {
            let mut since = Instant::now();
            while since.elapsed() < time {
                sleep(IDLE_LOOK_PAUSE).await;
                if !budget.is_idle() {
                    since = Instant::now();
                }
            }
        }
    }
}

impl<S> Service<http::Request<Body>> for Admission<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = http::Response<ResponseBody>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> ResponseFuture<S::Future> {
        // Of the connection; tests may come without one.
        let slow_readers = request.extensions().get::<Arc<SlowReaders>>().cloned();
        let kind = CallKind::of(request.uri().path());
        let permit = match Permit::new(&self.budget, kind, slow_readers) {
            Ok(permit) => permit,
            Err(status) => return ResponseFuture::Refused(Some(status)),
        };
        let open = kind.is_open().then(|| Open::new(self.closing.clone()));
        let (head, body) = request.into_parts();
        let refusal = open.as_ref().map(Open::refusal);
        let body = RequestBody::new(body, head.uri.path(), refusal, Arc::clone(&permit));
        let request = http::Request::from_parts(head, Body::new(body));
        ResponseFuture::Coming { inner: self.inner.call(request), permit: Some(permit), open }
    }
}

/// The answer to a request.
pub(crate) enum ResponseFuture<F> {
    /// What the service will say.
    Coming { inner: F, permit: Option<Arc<Permit>>, open: Option<Open> },
    /// One too many.
    Refused(Option<Status>),
}

impl<F> Future for ResponseFuture<F>
where
    F: Future<Output = Result<http::Response<Body>, Infallible>> + Unpin,
{
    type Output = Result<http::Response<ResponseBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        const ONCE: &str = "an answer is asked for once";
        match &mut *self {
            Self::Coming { inner, permit, open } => {
                let answer = ready!(Pin::new(inner).poll(context))?;
                let (permit, open) = (permit.take().expect(ONCE), open.take());
                if open.is_none() {
                    permit.release_bytes();
                }
                Poll::Ready(Ok(answer.map(|inner| ResponseBody::new(inner, permit, open))))
            }
            Self::Refused(status) => {
                let status = status.take().expect(ONCE);
                Poll::Ready(Ok(status.into_http().map(ResponseBody::refused)))
            }
        }
    }
}

#[cfg(test)]
#[path = "admission_test.rs"]
mod tests;
