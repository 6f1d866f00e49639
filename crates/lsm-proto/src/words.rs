//! What the metadata of a status says to programs: why a request failed, and whom to ask instead.
//!
//! [`NOT_LEADER`], [`BUSY`], [`NO_ROOM`], [`SESSION_UNKNOWN`] and [`INVALID`] promise that nothing
//! was applied. A status code alone does not: it may stand for a lost answer.

/// Metadata key of the word that says why a request failed.
pub const ERROR_KEY: &str = "lsm-error";
/// Metadata key of the leader's address for clients.
pub const LEADER_KEY: &str = "lsm-leader-address";
/// Metadata key of a request that a node passed on: it is not passed on again.
pub const FORWARDED_KEY: &str = "lsm-forwarded";

/// Another node leads, or none.
pub const NOT_LEADER: &str = "not-leader";
/// Too much is waiting.
pub const BUSY: &str = "busy";
/// The disk is full, but for what is held back.
pub const NO_ROOM: &str = "no-room";
/// The session was never opened, or given up.
pub const SESSION_UNKNOWN: &str = "session-unknown";
/// The session has gone on to a later request.
pub const SESSION_PASSED: &str = "session-passed";
/// Whether the request takes effect is not known.
pub const UNKNOWN_OUTCOME: &str = "unknown-outcome";
/// The request can never work.
pub const INVALID: &str = "invalid";
/// The node is stopping.
pub const STOPPED: &str = "stopped";
