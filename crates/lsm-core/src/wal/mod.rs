//! The write-ahead log: bytes in, durable in order, the same bytes back after a crash.
//!
//! A log is a chain of segment files. The wal moves bytes, never keys or batches: what a
//! record means, which segments make up the log and when one is garbage is the caller's.
//! Layouts and the recovery rules are in `docs/format.md`.
//!
//! Invariants:
//! * Every byte of the log has one position ([`Lsn`]) over the log's whole life; a segment's
//!   header says where it begins.
//! * A record says up to where the log was durable when it was written. Damage below a
//!   position that was durable is an error; damage above is a torn tail, and ends the log.
//! * A segment is synced only after, or together with, all segments before it.
//! * After a failed write or sync nothing is written or acknowledged again.
//!
//! Threads: one writer, under the caller's lock; any number of threads wait for durability
//! in [`Syncer`]. No lock is held over I/O.

#[cfg(test)]
mod damage_test;
#[cfg(test)]
pub(crate) mod document_test;
#[cfg(feature = "testkit")]
pub(crate) mod fuzzing;
mod reader;
mod record;
mod scan;
mod segment;
mod syncer;
#[cfg(test)]
pub(crate) mod test_fs;
#[cfg(test)]
mod test_log;
mod writer;

pub(crate) use reader::{LogRecord, Replayed, SegmentInfo, read_whole, replay, settle};
pub(crate) use record::{Format, Header, Lsn, PAYLOAD_LEN_MAX, encode};
pub(crate) use scan::{Base, Records, find_witness};
pub(crate) use segment::{Segment, is_started, prepare};
pub(crate) use syncer::Syncer;
pub(crate) use writer::{Via, Writer};
