//! How far one request is: its tries, what may be tried again, and the error it ends with.
//! Decides; waits and sends nothing.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;

use crate::backoff::Backoff;
use crate::error::{About, Error, ErrorKind};
use crate::failure::{Failure, NextTry};
use crate::route::Route;

/// What may be done about a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Try again: it does no harm.
    Freely,
    /// As `Freely`, but the answer may take long: one try gets all the time there is.
    Patiently,
    /// Try again unless the try may have taken effect. One try gets all the time there is.
    IfNotApplied,
}

/// How far a request is, over all its tries.
#[derive(Debug)]
pub(crate) struct Attempts {
    /// How errors call the request.
    pub(crate) name: &'static str,
    pub(crate) about: About,
    pub(crate) deadline: Instant,
    pub(crate) route: Route,
    pub(crate) backoff: Backoff,
    repeat: Repeat,
    time: Duration,
    /// Whether an earlier try may have taken effect.
    may_have_applied: bool,
    /// Addresses that failed, each once.
    tried: Vec<Arc<str>>,
    last: Option<(Arc<str>, Failure)>,
}

/// How a request ended without its answer.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The cluster does not know the session, and no try took effect.
    SessionUnknown,
    Failed(Error),
}

impl Attempts {
    /// A request that may take so long.
    pub(crate) fn new(name: &'static str, about: About, repeat: Repeat, time: Duration) -> Self {
        Self {
            name,
            about,
            deadline: Instant::now() + time,
            route: Route::default(),
            backoff: Backoff::new(),
            repeat,
            time,
            may_have_applied: false,
            tried: Vec::new(),
            last: None,
        }
    }

    /// Another request on behalf of this one, within its time. Its errors are this one's: nobody
    /// asked for anything else.
    pub(crate) fn inner(&self) -> Self {
        let new = Self::new(self.name, self.about, Repeat::Freely, self.time);
        Self { deadline: self.deadline, ..new }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.last.is_some()
    }

    /// Until when a try may take that begins now.
    pub(crate) fn until(&self, now: Instant, try_timeout: Duration) -> Instant {
        match self.repeat {
            Repeat::Freely => (now + try_timeout).min(self.deadline),
            Repeat::Patiently | Repeat::IfNotApplied => self.deadline,
        }
    }

    /// Takes in the failure of a try at `address`. `changes` is whether the request would have
    /// an effect.
    ///
    /// # Errors
    ///
    /// How the request ends, if it must not be tried again.
    pub(crate) fn failed(
        &mut self,
        address: &Arc<str>,
        failure: Failure,
        changes: bool,
    ) -> Result<(), Ended> {
        if !self.tried.contains(address) {
            self.tried.push(Arc::clone(address));
        }
        let lost = changes && failure.may_have_applied;
        let lost_before = self.may_have_applied;
        self.may_have_applied |= lost;
        let (next, timed_out) = (failure.next, failure.is_timeout());
        if self.says_more(address, &failure) {
            self.last = Some((Arc::clone(address), failure));
        }
        let kind = match next {
            NextTry::SessionUnknown if !lost_before => return Err(Ended::SessionUnknown),
            // This try did nothing, an earlier one may have.
            NextTry::SessionUnknown | NextTry::Stop(_) if lost_before => ErrorKind::Unknown,
            NextTry::Stop(kind) => kind,
            _ if !lost || self.repeat != Repeat::IfNotApplied => return Ok(()),
            _ if timed_out => ErrorKind::Timeout { may_have_applied: true },
            _ => ErrorKind::Unknown,
        };
        Err(Ended::Failed(self.error(kind, "failed")))
    }

    /// Whether a failure says more about why there is no answer than the one before it.
    fn says_more(&self, address: &Arc<str>, failure: &Failure) -> bool {
        let Some((known, last)) = &self.last else { return true };
        // A try that had all the time there was.
        if failure.is_timeout() && self.repeat != Repeat::Freely {
            return true;
        }
        // One that was cut off by the end of the request's time says nothing.
        if failure.is_timeout() && Instant::now() >= self.deadline {
            return false;
        }
        // What a living node says weighs more than the silence of another.
        !failure.is_silence || last.is_silence || known == address
    }

    /// The error of a request whose time is over.
    pub(crate) fn out_of_time(&mut self) -> Error {
        let kind = match &self.last {
            _ if self.may_have_applied => ErrorKind::Timeout { may_have_applied: true },
            Some((_, failure)) if failure.next == NextTry::Later => ErrorKind::Busy,
            Some((_, failure)) if !failure.is_timeout() => ErrorKind::Unavailable,
            _ => ErrorKind::Timeout { may_have_applied: false },
        };
        self.error(kind, &format!("did not succeed within {:?}", self.time))
    }

    fn error(&mut self, kind: ErrorKind, how: &str) -> Error {
        let name = self.name;
        match self.last.take() {
            None => Error::new(kind, self.about, format!("{name} {how}")),
            Some((address, Failure { status, .. })) => {
                let message = format!("{name} {how}: {}", reason(&status));
                let tried = mem::take(&mut self.tried);
                Error::of_node(kind, self.about, message, address, tried, status)
            }
        }
    }
}

impl From<Ended> for Error {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Failed(error) => error,
            Ended::SessionUnknown => {
                let message = "a node spoke of a session that was not used";
                Self::new(ErrorKind::Internal, About::default(), message)
            }
        }
    }
}

/// What the node said, or what the connection died of.
pub(crate) fn reason(status: &Status) -> String {
    let mut text = match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    };
    // tonic says "transport error" and leaves the rest to the causes.
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    let hint = HINTS.iter().find(|(words, _)| text.contains(words));
    if let Some((_, hint)) = hint {
        text = format!("{hint} ({text})");
    }
    text
}

/// What people should know of some ways in which connections die. The words are of the
/// libraries below; where they change a hint is missing, and no more.
const HINTS: [(&str, &str); 7] = [
    ("frame with invalid size", "the node does not speak plain HTTP/2; it may want TLS"),
    ("InvalidContentType", "the node does not speak TLS"),
    ("CertificateRequired", "the node wants a certificate of the client"),
    ("UnknownIssuer", "the node's certificate was not signed by a CA that is trusted here"),
    ("UnknownCA", "this client's certificate was not signed by the CA of the node"),
    // The same for two CAs of one name.
    ("BadSignature", "the node's certificate was not signed by a CA that is trusted here"),
    ("DecryptError", "this client's certificate was not signed by the CA of the node"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn ends_with(repeat: Repeat, failures: [Status; 2]) -> Error {
        // Its time is over from the start.
        ends_within(Duration::ZERO, repeat, failures)
    }

    fn ends_within(time: Duration, repeat: Repeat, failures: [Status; 2]) -> Error {
        let mut attempts = Attempts::new("get", About::default(), repeat, time);
        for (address, status) in ["a:1", "b:1"].into_iter().zip(failures) {
            attempts.failed(&address.into(), Failure::of(status), false).unwrap();
        }
        attempts.out_of_time()
    }

    #[test]
    fn a_try_that_the_end_cut_off_does_not_hide_the_failure_before() {
        let (refused, late) = (Status::unavailable("refused"), Status::deadline_exceeded("late"));
        let error = ends_with(Repeat::Freely, [refused.clone(), late.clone()]);
        assert_eq!((error.kind(), error.node()), (ErrorKind::Unavailable, Some("a:1")));
        assert!(error.to_string().contains("refused"), "{error}");
        assert_eq!(error.tried().count(), 2);
        let error = ends_with(Repeat::Freely, [late.clone(), refused.clone()]);
        assert_eq!((error.kind(), error.node()), (ErrorKind::Unavailable, Some("b:1")));
        let error = ends_with(Repeat::Freely, [late.clone(), late.clone()]);
        assert_eq!(error.kind(), ErrorKind::Timeout { may_have_applied: false });
        // This one had all the time there was.
        let error = ends_with(Repeat::Patiently, [refused, late]);
        assert_eq!(error.kind(), ErrorKind::Timeout { may_have_applied: false });
    }

    #[test]
    fn what_a_living_node_says_is_not_hidden_by_a_dead_one() {
        let no_leader = Status::unavailable("no leader is known");
        let refused = || {
            let error = tonic::ConnectError("connection refused".into());
            Status::from_error(Box::new(error))
        };
        let late = Status::deadline_exceeded("late");
        let hour = Duration::from_secs(3600);
        for silence in [refused(), late.clone()] {
            for failures in [[no_leader.clone(), silence.clone()], [silence, no_leader.clone()]] {
                let error = ends_within(hour, Repeat::Freely, failures);
                assert!(error.to_string().contains("no leader is known"), "{error}");
                assert_eq!(error.kind(), ErrorKind::Unavailable);
                assert_eq!(error.tried().count(), 2);
            }
        }
        let error = ends_within(hour, Repeat::Freely, [late, refused()]);
        assert_eq!(error.node(), Some("b:1"), "of two silent ones the last");

        // It may have died since.
        let mut attempts = Attempts::new("get", About::default(), Repeat::Freely, hour);
        for status in [no_leader, refused()] {
            attempts.failed(&"a:1".into(), Failure::of(status), false).unwrap();
        }
        assert!(attempts.out_of_time().to_string().contains("connection refused"));
    }
}
