//! The one error type of the crate.
//!
//! Few kinds, each naming the caller's next move. What happened, at which node, which nodes
//! were tried and the gRPC status that caused it travel along.

use std::fmt;
use std::sync::Arc;

use tonic::{Code, Status};

/// The result of every fallible call of the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request can never work, and did nothing: change the call.
    Invalid,
    /// No node could serve the request, and none applied it: see that a majority of the nodes
    /// runs and can be reached, then try again.
    Unavailable,
    /// Too much is waiting already; the request did nothing: send less, or try again later.
    Busy,
    /// The disk of the leader is full, and the request did nothing: make room, or delete. Reads and
    /// deletes go on.
    NoRoom,
    /// The answer did not come in time.
    Timeout {
        /// Whether a write may have taken effect, or may yet. Always `false` for reads.
        may_have_applied: bool,
    },
    /// Whether the write took effect cannot be known: read before writing again.
    Unknown,
    /// A node, or this client, broke a promise: see the node's log.
    Internal,
}

/// What a request was about, as far as its error's advice depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) whom: Whom,
    /// Whether it would have changed something.
    pub(crate) changes: bool,
}

/// Who could have answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The leader, who asks a majority.
    #[default]
    Cluster,
    /// Every node.
    AnyNode,
    /// One node and no other.
    OneNode,
}

impl ErrorKind {
    /// What to do, as the end of a sentence.
    fn advice(self, about: About) -> String {
        let (nothing, what) = match self {
            Self::Invalid => ("", "change the call"),
            Self::Unavailable => (
                "nothing was applied: ",
                match about.whom {
                    Whom::Cluster => "try again once a majority of the nodes can be reached",
                    Whom::AnyNode => "see that one of the nodes runs and can be reached",
                    Whom::OneNode => "see that this node runs and can be reached, or ask another",
                },
            ),
            Self::Busy => ("nothing was applied: ", "try again later, or send less at a time"),
            Self::NoRoom => ("nothing was applied: ", "give the nodes more disk, or delete"),
            Self::Timeout { may_have_applied: true } => {
                ("", "it may have been applied, or may yet: read before writing again")
            }
            Self::Timeout { may_have_applied: false } => {
                ("nothing was applied: ", "try again, or allow more time")
            }
            Self::Unknown => ("", "it may have been applied: read before writing again"),
            Self::Internal => ("", "see the log of the node"),
        };
        // Of a read that goes without saying.
        format!("{}{what}", if about.changes { nothing } else { "" })
    }
}

/// An error of the client: a [kind](ErrorKind) for programs, a message for people.
///
/// Cloning is cheap.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

struct Inner {
    kind: ErrorKind,
    about: About,
    message: String,
    node: Option<Arc<str>>,
    tried: Vec<Arc<str>>,
    status: Option<Status>,
}

impl Error {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Whether the same call may be made again without any effect happening twice.
    ///
    /// Reads may always be repeated; this is about all that changes something.
    pub fn is_safe_to_retry(&self) -> bool {
        match self.inner.kind {
            ErrorKind::Unavailable | ErrorKind::Busy | ErrorKind::NoRoom => true,
            ErrorKind::Timeout { may_have_applied } => !may_have_applied,
            ErrorKind::Invalid | ErrorKind::Unknown | ErrorKind::Internal => false,
        }
    }

    /// Address of the node whose answer, or silence, ended the call; none if no node was asked.
    pub fn node(&self) -> Option<&str> {
        self.inner.node.as_deref()
    }

    /// Addresses of the nodes that were tried in vain, each once, in the order of their first
    /// failure.
    pub fn tried(&self) -> impl Iterator<Item = &str> {
        self.inner.tried.iter().map(|address| &**address)
    }

    /// The gRPC code of the last answer, if there was one; transport errors have codes too.
    pub fn code(&self) -> Option<Code> {
        self.inner.status.as_ref().map(Status::code)
    }

    pub(crate) fn new(kind: ErrorKind, about: About, message: impl Into<String>) -> Self {
        let (message, tried) = (message.into(), Vec::new());
        Self { inner: Arc::new(Inner { kind, about, message, node: None, tried, status: None }) }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, About::default(), message)
    }

    /// An error that the answer of `node` ended in.
    pub(crate) fn of_node(
        kind: ErrorKind,
        about: About,
        message: String,
        node: Arc<str>,
        tried: Vec<Arc<str>>,
        status: Status,
    ) -> Self {
        let (node, status) = (Some(node), Some(status));
        Self { inner: Arc::new(Inner { kind, about, message, node, tried, status }) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, about, message, node, tried, .. } = &*self.inner;
        f.write_str(message)?;
        if let Some(node) = node {
            write!(f, ", at {node}")?;
        }
        if tried.len() > 1 {
            write!(f, " (tried {})", tried.join(", "))?;
        }
        write!(f, "; {}", kind.advice(*about))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.inner.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.status.as_ref().map(|status| status as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUT: About = About { whom: Whom::Cluster, changes: true };

    #[test]
    fn it_says_what_where_and_what_to_do() {
        let error = Error::of_node(
            ErrorKind::Unavailable,
            PUT,
            "put failed: no leader is known".to_owned(),
            "b:1".into(),
            vec!["a:1".into(), "b:1".into()],
            Status::unavailable("no leader is known"),
        );
        assert_eq!(
            error.to_string(),
            "put failed: no leader is known, at b:1 (tried a:1, b:1); nothing was applied: try \
             again once a majority of the nodes can be reached"
        );
        assert_eq!(error.node(), Some("b:1"));
        assert_eq!(error.tried().collect::<Vec<_>>(), ["a:1", "b:1"]);
        assert_eq!(error.code(), Some(Code::Unavailable));
    }

    #[test]
    fn of_what_was_applied_only_errors_of_changes_speak() {
        for kind in [
            ErrorKind::Unavailable,
            ErrorKind::Busy,
            ErrorKind::NoRoom,
            ErrorKind::Timeout { may_have_applied: false },
        ] {
            let told = |changes| {
                Error::new(kind, About { changes, ..PUT }, "x").to_string().contains("applied")
            };
            assert_eq!((told(true), told(false)), (true, false), "{kind:?}");
        }
    }

    #[test]
    fn a_majority_is_asked_for_only_where_it_is_needed() {
        for (whom, asked_for) in [
            (Whom::Cluster, "a majority of the nodes"),
            (Whom::AnyNode, "one of the nodes runs"),
            (Whom::OneNode, "this node runs"),
        ] {
            let about = About { whom, changes: false };
            let error = Error::new(ErrorKind::Unavailable, about, "x").to_string();
            assert!(error.contains(asked_for), "{error}");
        }
    }

    #[test]
    fn only_what_did_nothing_is_safe_to_retry() {
        let safe = |kind| Error::new(kind, PUT, "x").is_safe_to_retry();
        assert!(safe(ErrorKind::Unavailable) && safe(ErrorKind::Busy));
        assert!(safe(ErrorKind::Timeout { may_have_applied: false }));
        assert!(!safe(ErrorKind::Timeout { may_have_applied: true }));
        assert!(!safe(ErrorKind::Unknown) && !safe(ErrorKind::Internal));
        assert!(!safe(ErrorKind::Invalid));
    }
}
