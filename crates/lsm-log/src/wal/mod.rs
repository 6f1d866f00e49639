//! The write-ahead log: bytes in, durable in order, the same bytes back after a crash.
//!
//! A log is a chain of segment files. It moves bytes, never keys or batches: what a record means,
//! which segments make up the log and when one is garbage is its owner's to know. Layouts and the
//! recovery rules are in `docs/format.md`.
//!
//! An owner opens a log with [`rewrite_and_sync`] and [`replay`] over the segments that it knows of,
//! or finds by [`segment_number`] and [`SegmentState::read`]. It goes on where the records end, in a
//! new segment: [`Log::start`]. [`Syncer::sync_through`] makes what was appended durable, for all who
//! wait at once (group commit).
//!
//! Invariants:
//! * Every byte of the log has one position ([`Lsn`]) over the log's whole life; a segment's
//!   header says where it begins.
//! * A record says up to where the log was durable when it was written. Damage below a
//!   position that was durable is an error; damage above is a torn tail, and ends the log.
//! * A segment is synced only after, or together with, all segments before it.
//! * No bytes that are written as a part of a payload can read as a record: see [`Nonce`].
//! * After a failed write or sync nothing is written or acknowledged again.
//!
//! Threads: one writer, under the caller's lock; any number of threads wait for durability
//! in [`Syncer`]. No lock is held over I/O.

#[cfg(test)]
mod damage_test;
mod log;
mod nonce;
mod reader;
mod record;
mod record_reader;
mod rewrite;
mod scan;
mod segment;
mod segment_state;
mod syncer;
#[cfg(test)]
mod test_log;
mod writer;

pub use log::{FullSegment, Log, LogConfig, SegmentJob, SegmentPromise};
pub use nonce::{FoundNonce, Nonce, Nonces};
pub use reader::{
    Damage, LogRecord, Replayed, SegmentInfo, StartedSegment, read_whole, replay, replay_to_damage,
};
pub use record::{
    ALIGN, CHECKSUM_AT, Format, Frame, HEADER_LEN, Header, LOG, Lsn, NONCE_AT, PAYLOAD_LEN_MAX,
    RECORD_HEADER_LEN, RecordPlace, encode, find_nonce, record_len,
};
pub use record_reader::RecordReader;
pub use rewrite::rewrite_and_sync;
pub use scan::{FileBase, Records, find_witness};
pub use segment::{SEGMENT_BYTES_MAX, Segment, clear_header, prepare};
pub use segment_state::{SegmentState, is_started, segment_number, segment_path};
pub use syncer::Syncer;
pub use writer::WriteMode;
