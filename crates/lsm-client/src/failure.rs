//! What the failure of one try means: whether it may have taken effect, and what to do next.
//! Pure.
//!
//! A node says why it refused in the metadata of its answer: `lsm-error` holds one of the
//! [`words`], `lsm-leader-address` whom to ask instead. Only these words say that nothing was
//! applied; a status code alone does not, since it may stand for a lost answer.

use std::error::Error as StdError;

use lsm_proto::words::{self, ERROR_KEY, LEADER_KEY};
use tonic::{Code, ConnectError, Status, TimeoutExpired};

use crate::error::ErrorKind;

/// What to do after a try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextTry {
    /// Ask another node.
    Elsewhere,
    /// Ask the same node, later.
    Later,
    /// The node cannot do it. Of what is only read another may have a good copy; to a change
    /// nothing helps.
    OtherCopy,
    /// The session is gone; this try did nothing.
    SessionUnknown,
    /// Nothing helps.
    Stop(ErrorKind),
}

/// The failure of one try.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) next: NextTry,
    /// Whether a write may have taken effect, or may yet.
    pub(crate) may_have_applied: bool,
    /// Whether the node could not be reached, or did not answer.
    pub(crate) is_silence: bool,
    /// The leader, if the node named one.
    pub(crate) leader: Option<String>,
    pub(crate) status: Status,
}

impl Failure {
    pub(crate) fn of(status: Status) -> Self {
        let leader = text(&status, LEADER_KEY).map(str::to_owned);
        let (next, may_have_applied) = match text(&status, ERROR_KEY) {
            Some(words::NOT_LEADER) => (NextTry::Elsewhere, false),
            Some(words::BUSY) => (NextTry::Later, false),
            Some(words::NO_ROOM) => (NextTry::Stop(ErrorKind::NoRoom), false),
            Some(words::SESSION_UNKNOWN) => (NextTry::SessionUnknown, false),
            // A later request of the session was applied, which is never ours to see.
            Some(words::SESSION_PASSED) => (NextTry::Stop(ErrorKind::Unknown), true),
            // There was no connection to send the request on.
            _ if caused_by::<ConnectError>(&status) => (NextTry::Elsewhere, false),
            _ => by_code(&status),
        };
        let is_silence = status.source().is_some() || status.code() == Code::DeadlineExceeded;
        Self { next, may_have_applied, is_silence, leader, status }
    }

    /// Whether time ran out at this try.
    pub(crate) fn is_timeout(&self) -> bool {
        match self.status.code() {
            Code::DeadlineExceeded => true,
            // tonic's word for it, on both sides; with another cause, the connection broke.
            Code::Cancelled => {
                self.status.source().is_none() || caused_by::<TimeoutExpired>(&self.status)
            }
            _ => false,
        }
    }
}

fn by_code(status: &Status) -> (NextTry, bool) {
    match status.code() {
        // The connection broke, or the node's host did: tonic keeps the cause for those only.
        _ if status.source().is_some() => (NextTry::Elsewhere, true),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => {
            (NextTry::Elsewhere, true)
        }
        Code::ResourceExhausted => (NextTry::Later, true),
        Code::InvalidArgument
        | Code::OutOfRange
        | Code::FailedPrecondition
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented => (NextTry::Stop(ErrorKind::Invalid), false),
        Code::Internal | Code::DataLoss => (NextTry::OtherCopy, true),
        Code::Ok | Code::Unknown => (NextTry::Stop(ErrorKind::Internal), true),
    }
}

fn caused_by<E: StdError + 'static>(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<E>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn text<'a>(status: &'a Status, key: &str) -> Option<&'a str> {
    let value = status.metadata().get(key)?.to_str().ok()?;
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(mut status: Status, word: &'static str) -> Failure {
        status.metadata_mut().insert(ERROR_KEY, word.parse().unwrap());
        Failure::of(status)
    }

    #[test]
    fn only_words_and_missing_connections_prove_that_nothing_was_applied() {
        let refused = said(Status::unavailable("x"), "not-leader");
        assert_eq!((refused.next, refused.may_have_applied), (NextTry::Elsewhere, false));
        let busy = said(Status::resource_exhausted("x"), "busy");
        assert_eq!((busy.next, busy.may_have_applied), (NextTry::Later, false));
        let full = said(Status::resource_exhausted("x"), "no-room");
        let at_once = (NextTry::Stop(ErrorKind::NoRoom), false);
        assert_eq!((full.next, full.may_have_applied), at_once, "waiting makes no room");
        let unknown = said(Status::failed_precondition("x"), "session-unknown");
        assert_eq!((unknown.next, unknown.may_have_applied), (NextTry::SessionUnknown, false));

        let no_connection = ConnectError("refused".into());
        let failure = Failure::of(Status::from_error(Box::new(no_connection)));
        assert_eq!((failure.next, failure.may_have_applied), (NextTry::Elsewhere, false));

        for status in [Status::unavailable("x"), Status::deadline_exceeded("x")] {
            let failure = Failure::of(status);
            assert_eq!((failure.next, failure.may_have_applied), (NextTry::Elsewhere, true));
        }
        let failure = Failure::of(Status::resource_exhausted("x"));
        assert_eq!((failure.next, failure.may_have_applied), (NextTry::Later, true));
    }

    #[test]
    fn a_broken_connection_is_not_a_broken_node() {
        let broken = std::io::Error::other("reset");
        let failure = Failure::of(Status::from_error(Box::new(broken)));
        assert_eq!((failure.next, failure.may_have_applied), (NextTry::Elsewhere, true));
        for status in [Status::internal("disk"), Status::data_loss("a bad block")] {
            assert_eq!(Failure::of(status).next, NextTry::OtherCopy);
        }
        let failure = Failure::of(Status::invalid_argument("empty key"));
        assert_eq!(failure.next, NextTry::Stop(ErrorKind::Invalid));
    }

    #[test]
    fn the_leader_is_read_from_the_metadata() {
        let mut status = Status::unavailable("x");
        status.metadata_mut().insert(LEADER_KEY, "a:1".parse().unwrap());
        assert_eq!(Failure::of(status).leader.as_deref(), Some("a:1"));
    }
}
