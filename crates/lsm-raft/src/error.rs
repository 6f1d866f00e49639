//! Why a node of the group cannot go on.
//!
//! What a *request* may get is in [`Refusal`](crate::Refusal); an [`Error`] is about the node.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The result of work that a node's life depends on.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a node stopped, or could not start. The text holds all that is known: `source` of the trait
/// returns nothing that would be told twice.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine or the log failed. Nothing more is persisted or acknowledged by this process.
    #[error("{action}: {cause}")]
    Storage {
        /// What was being done.
        action: &'static str,
        /// The engine's error, with file and offset.
        cause: lsm_core::Error,
    },
    /// Bytes that this node wrote or received cannot be what they claim to be.
    #[error("{what} is damaged: {reason}")]
    Corrupt {
        /// The thing: an entry, a command, a snapshot piece.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder belongs to another node or cluster, or its parts do not fit together.
    #[error("{}: {reason}", dir.display())]
    Folder {
        /// The data folder.
        dir: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The disk does not answer. What was given to it may be there or not.
    #[error("the disk has not answered for {} seconds", time.as_secs())]
    Silent {
        /// For how long.
        time: Duration,
    },
    /// A setting that cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// The group does not let this node take part.
    #[error("{0}")]
    Refused(String),
    /// raft gave up; a bug, here or there.
    #[error("raft: {0}")]
    Raft(String),
}

impl Error {
    /// For `map_err`: the engine's error while `action` was being done.
    pub fn storage(action: &'static str) -> impl FnOnce(lsm_core::Error) -> Self {
        move |cause| Self::Storage { action, cause }
    }

    /// For `map_err` on calls of the file system; `action` completes the sentence "could not …".
    pub(crate) fn file<'a>(action: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |error| Self::Storage {
            action: "file system",
            cause: lsm_core::Error::io(action, path, error),
        }
    }

    /// Damage in `what`.
    pub fn corrupt(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into(), reason: reason.into() }
    }
}

impl From<raft::Error> for Error {
    fn from(error: raft::Error) -> Self {
        let raft::Error::Store(raft::StorageError::Other(cause)) = &error else {
            return Self::Raft(error.to_string());
        };
        match cause.downcast_ref::<lsm_core::Error>() {
            Some(source) => Self::storage("read the raft log")(source.clone()),
            None => Self::Raft(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_causes_says_nothing_twice() {
        let full = io::Error::other("no room left");
        let error = Error::file("write", Path::new("log"))(full);
        assert_eq!(error.to_string(), "file system: could not write [file log]: no room left");
        assert!(std::error::Error::source(&error).is_none());
    }
}
