//! The sessions that make retries safe, and who uses which.
//!
//! A session runs one request at a time. A request borrows one, and gives it back once it was
//! answered; if it ends without an answer, the session is thrown away, because the cluster may
//! yet apply what was sent under it. There are never more than the pool's limit in use.
//!
//! Threads: any number. The lock is held for a push or a pop.

use std::fmt;

use lsm_proto::v1;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// Sessions that a client uses at a time, and so its writes under way; more wait.
pub(crate) const SESSIONS_MAX: usize = 1024;

pub(crate) struct Sessions {
    /// The last one given back is taken first, so that the others may be forgotten.
    free: Mutex<Vec<Free>>,
    permits: Semaphore,
}

#[derive(Clone, Copy)]
struct Free {
    id: u64,
    /// Number of its next request.
    sequence: u64,
}

/// The right to use a session.
pub(crate) struct Permit<'a> {
    sessions: &'a Sessions,
    _permit: SemaphorePermit<'a>,
}

/// A session in use. Dropped without an answer, it is never used again.
pub(crate) struct Lease<'a> {
    permit: Permit<'a>,
    session: Free,
}

impl Sessions {
    pub(crate) fn new(max: usize) -> Self {
        Self { free: Mutex::new(Vec::new()), permits: Semaphore::new(max) }
    }

    /// The right to use a session; none if all are in use until the deadline.
    pub(crate) async fn permit(&self, deadline: Instant) -> Option<Permit<'_>> {
        let permit = match self.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => timeout_at(deadline, self.permits.acquire()).await.ok()?.ok()?,
        };
        Some(Permit { sessions: self, _permit: permit })
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sessions({} free)", self.free.lock().len())
    }
}

impl<'a> Permit<'a> {
    /// A session that is open already.
    pub(crate) fn reuse(self) -> Result<Lease<'a>, Self> {
        let free = self.sessions.free.lock().pop();
        match free {
            Some(session) => Ok(Lease { permit: self, session }),
            None => Err(self),
        }
    }

    /// A session just opened.
    pub(crate) fn begin(self, id: u64) -> Lease<'a> {
        Lease { permit: self, session: Free { id, sequence: 1 } }
    }
}

impl<'a> Lease<'a> {
    /// What the request carries, at every try.
    pub(crate) fn session(&self) -> v1::Session {
        v1::Session { id: self.session.id, sequence: self.session.sequence }
    }

    /// The request was answered: the session is free for the next.
    pub(crate) fn answered(self) {
        let Free { id, sequence } = self.session;
        let next = Free { id, sequence: sequence + 1 };
        self.permit.sessions.free.lock().push(next);
    }

    /// The cluster does not know the session: another can take its place.
    pub(crate) fn forgotten(self) -> Permit<'a> {
        self.permit
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[tokio::test]
    async fn an_answered_session_counts_on_and_an_unanswered_one_is_gone() {
        let sessions = Sessions::new(2);
        let permit = sessions.permit(soon()).await.unwrap();
        let lease = permit.reuse().err().unwrap().begin(7);
        assert_eq!(lease.session(), v1::Session { id: 7, sequence: 1 });
        lease.answered();
        let lease = sessions.permit(soon()).await.unwrap().reuse().ok().unwrap();
        assert_eq!(lease.session(), v1::Session { id: 7, sequence: 2 });
        drop(lease);
        assert!(sessions.permit(soon()).await.unwrap().reuse().is_err());
    }

    #[tokio::test]
    async fn no_more_than_the_limit_are_in_use() {
        let sessions = Sessions::new(2);
        let first = sessions.permit(soon()).await.unwrap().begin(1);
        let _second = sessions.permit(soon()).await.unwrap().begin(2);
        assert!(sessions.permit(soon()).await.is_none());
        let (third, ()) = tokio::join!(sessions.permit(soon()), async { first.answered() });
        assert_eq!(third.unwrap().reuse().ok().unwrap().session().id, 1);
    }
}
