//! What comes of a request: an outcome of the state machine, or a refusal before it.

/// What applying a command gave; the same on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The write is in the state; or was already, if it is a retry.
    Written {
        /// Where in the log it stands.
        index: u64,
    },
    /// The command can never work: a key or value is too long, or its entry too large. Nothing
    /// was written, and the session, if there is one, has not moved on.
    Invalid(String),
    /// A session was opened.
    SessionOpened {
        /// Its id.
        id: u64,
    },
    /// There is no such session: it was never opened, or given up for younger ones. Nothing
    /// was written.
    SessionUnknown,
    /// The session has gone on to a later request. Nothing was written now.
    SessionPassed {
        /// Number of its last request.
        last: u64,
    },
    /// The node is who it says.
    Identified,
    /// The node is not who it says, or no member; the sentence is for its operator.
    Impostor(String),
    /// The group has this id: the one that was proposed, or an older one.
    Founded {
        /// See [`Origin`](crate::Origin).
        cluster_id: u128,
    },
    /// All nodes hash their state at this index.
    Hashing {
        /// The index.
        index: u64,
    },
    /// A linearizable read may go on: all that it must see is applied on this node.
    Readable {
        /// What is applied, at least.
        index: u64,
    },
    /// The members changed, or the change turned out to be impossible.
    Changed(Result<u64, String>),
}

/// Why a request did not enter the log, or may not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Another node leads, or none. Nothing was written.
    #[error("this node does not lead{}", match leader { Some(id) => format!("; node {id} does"), None => "; no leader is known".to_owned() })]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<u64>,
    },
    /// Too much is waiting already. Nothing was written.
    #[error("{what}; try again later")]
    Busy {
        /// Which limit was reached.
        what: String,
    },
    /// The disk of the node that was asked is full, but for what is held back. Nothing was written.
    #[error("the disk of this node is full: {0}")]
    NoRoom(&'static str),
    /// The request can never work. Nothing was written.
    #[error("{0}")]
    Invalid(String),
    /// The leader changed before the request was committed: it may or may not take effect.
    #[error(
        "the leader changed before the request was committed; it may or may not have taken effect"
    )]
    Unknown,
    /// The node has stopped, or is about to.
    #[error("the node is stopping: {0}")]
    Stopped(String),
}

/// What a waiter is told about a proposal.
pub type Reply = Result<Outcome, Refusal>;
