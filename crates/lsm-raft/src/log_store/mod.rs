//! The raft log on disk and in memory.
//!
//! [`LogStore`] is the log as raft sees it: entries are there as soon as they are appended to it
//! in memory. [`LogWriter`] makes them durable later, in the same order. The framing is the
//! engine's (`lsm_log::wal`): torn tails, damage and group sync are its. Payloads, and how the
//! folder is recovered without a list of its segments, are in `docs/format.md`.
//!
//! ```text
//! truncated <= written <= last in memory
//! synced <= written
//! ```
//!
//! Invariants:
//! * Records are replayed in order, and a later one wins: a record that begins at index `i`
//!   takes the place of every entry from `i` on.
//! * A segment begins with a state record: hard state, where the log begins, and the oldest
//!   segment that is still needed. Older ones are removed or recycled only once that record is
//!   durable; so after a crash any of them may be there or not.
//! * After a failed write or sync nothing is written or acknowledged again.
//!
//! Threads: one owns the [`LogWriter`]; any number hold clones of the [`LogStore`]. One short
//! lock, never held over I/O.

#[cfg(test)]
mod crash_test;
#[cfg(test)]
mod document_test;
#[cfg(feature = "testkit")]
pub(crate) mod fuzzing;
#[cfg(test)]
mod hostile_test;
mod index;
mod live;
mod open;
mod record;
mod replay;
mod store;
#[cfg(test)]
mod test_log;
mod writer;

pub use open::LogOptions;
pub use store::LogStore;
pub use writer::LogWriter;
