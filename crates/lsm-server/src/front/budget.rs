//! What all requests of clients may take up together, and what each of them does.
//!
//! Counts of our own, not tokio's semaphores: nobody ever waits for these, a semaphore takes a
//! lock to give back, and a request would do so for each piece that comes.
//!
//! Threads: any number; there is no lock, and nothing but the counts themselves depends on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tonic::Status;

use super::slow_readers::{PendingAnswer, SlowReaders};
use crate::limits::Limits;
use crate::status;

/// Pieces of answers up to here are not counted: no more than what each is put together in.
pub(super) const ANSWER_BYTES_SHORT: usize = 8 << 10;

/// How a call is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallKind {
    /// One of ours: as long as settings allow. Its message must come soon.
    Client,
    /// One of another service, which is short. It must come soon, too.
    Unary,
    /// One that is answered for as long as the client likes.
    ServerStreaming,
    /// One that is a question, and an answer, now and then.
    Bidirectional,
}

impl CallKind {
    pub(super) fn of(path: &str) -> Self {
        if path.starts_with("/lsm.v1.") {
            Self::Client
        } else if path == "/grpc.health.v1.Health/Watch" {
            Self::ServerStreaming
        } else if path.starts_with("/grpc.reflection.") {
            Self::Bidirectional
        } else {
            Self::Unary
        }
    }

    /// Whether it has no end of its own.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::ServerStreaming | Self::Bidirectional)
    }
}

/// What may be taken up.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(super) limits: Limits,
    /// Requests that may still begin.
    pub(super) requests_left: AtomicUsize,
    /// Open calls that may still begin.
    pub(super) open_left: AtomicUsize,
    /// Bytes that may still come.
    pub(super) bytes_left: AtomicUsize,
    /// Bytes that answers may still have.
    pub(super) answer_bytes_left: AtomicUsize,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            requests_left: AtomicUsize::new(limits.requests_max),
            open_left: AtomicUsize::new(limits.open_calls_max),
            bytes_left: AtomicUsize::new(limits.requests_bytes_max),
            answer_bytes_left: AtomicUsize::new(limits.answer_bytes_max),
        }
    }

    /// Whether nothing is served, and no answer is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.requests_left.load(Ordering::Relaxed) == self.limits.requests_max
            && self.open_left.load(Ordering::Relaxed) == self.limits.open_calls_max
    }

    /// Where calls of this kind count.
    fn left(&self, kind: CallKind) -> &AtomicUsize {
        if kind.is_open() { &self.open_left } else { &self.requests_left }
    }
}

fn try_acquire(left: &AtomicUsize, wanted: usize) -> bool {
    let less = |left: usize| left.checked_sub(wanted);
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
}

fn release(left: &AtomicUsize, acquired: usize) {
    left.fetch_add(acquired, Ordering::Relaxed);
}

/// What one request takes up, until its answer has left.
#[derive(Debug)]
pub(crate) struct Permit {
    pub(super) budget: Arc<Budget>,
    pub(super) kind: CallKind,
    bytes: AtomicUsize,
    /// Of the connection that it came over.
    slow_readers: Option<Arc<SlowReaders>>,
}

impl Permit {
    /// A request begins.
    pub(super) fn new(
        budget: &Arc<Budget>,
        kind: CallKind,
        slow_readers: Option<Arc<SlowReaders>>,
    ) -> Result<Arc<Self>, Status> {
        if !try_acquire(budget.left(kind), 1) {
            let Limits { requests_max, open_calls_max, .. } = budget.limits;
            return Err(status::busy(if kind.is_open() {
                format!("{open_calls_max} calls of health and reflection are open already")
            } else {
                format!("{requests_max} requests are being served already")
            }));
        }
        let bytes = AtomicUsize::new(0);
        Ok(Arc::new(Self { budget: Arc::clone(budget), kind, bytes, slow_readers }))
    }

    /// Bytes of the request that came.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// More of them came.
    pub(super) fn add(&self, bytes: usize) -> Result<(), Status> {
        if !try_acquire(&self.budget.bytes_left, bytes) {
            let most = self.budget.limits.requests_bytes_max;
            return Err(status::busy(format!(
                "the requests that are being served have {most} bytes already"
            )));
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// They are needed no longer.
    pub(super) fn release_bytes(&self) {
        release(&self.budget.bytes_left, self.bytes.swap(0, Ordering::Relaxed));
    }

    /// A piece of the answer. It counts until the connection has sent it and drops it.
    ///
    /// # Errors
    ///
    /// Busy if it is too large for what is left. Answers to changes are short, so nothing was
    /// changed.
    pub(super) fn answer(self: &Arc<Self>, bytes: Bytes) -> Result<Bytes, Status> {
        let counted = if bytes.len() > ANSWER_BYTES_SHORT { bytes.len() } else { 0 };
        if counted > 0 && !try_acquire(&self.budget.answer_bytes_left, counted) {
            let most = self.budget.limits.answer_bytes_max;
            return Err(status::busy(format!(
                "the answers that clients have not taken yet have {most} bytes already"
            )));
        }
        let waiting = self.slow_readers.as_ref().map(SlowReaders::add);
        let piece = Piece { bytes, counted, permit: Arc::clone(self), _waiting: waiting };
        Ok(Bytes::from_owner(piece))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.release_bytes();
        release(self.budget.left(self.kind), 1);
    }
}

/// A piece of an answer on its way.
#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    counted: usize,
    permit: Arc<Permit>,
    _waiting: Option<PendingAnswer>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        release(&self.permit.budget.answer_bytes_left, self.counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_calls_without_an_end_are_open() {
        for (path, kind) in [
            ("/lsm.v1.KVService/ScanStream", CallKind::Client),
            ("/grpc.health.v1.Health/Check", CallKind::Unary),
            ("/grpc.health.v1.Health/Watch", CallKind::ServerStreaming),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", CallKind::Bidirectional),
            (
                "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                CallKind::Bidirectional,
            ),
            ("/lsm.v1.", CallKind::Client),
            ("/", CallKind::Unary),
        ] {
            assert_eq!(CallKind::of(path), kind, "{path}");
            assert_eq!(
                kind.is_open(),
                matches!(kind, CallKind::ServerStreaming | CallKind::Bidirectional)
            );
        }
    }
}
