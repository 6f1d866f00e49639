//! Settings, checked once when a database or keyspace is opened.

use std::sync::Arc;

use lsm_log::error::{Error, Result};
use lsm_log::fs::{Fs, OsFs};

use crate::clock::{Clock, SystemClock};
use crate::event::{Event, Listener};

/// The longest key, in bytes.
pub const KEY_LEN_MAX: usize = (64 << 10) - 1;
/// The longest value, in bytes.
pub const VALUE_LEN_MAX: usize = 256 << 20;
/// The largest batch in its encoded form, in bytes.
pub const BATCH_BYTES_MAX: usize = 512 << 20;
/// The longest name of a keyspace, in bytes.
pub const KEYSPACE_NAME_LEN_MAX: usize = 255;
/// How many keyspaces a database may have.
pub const KEYSPACES_MAX: usize = 4096;

/// What a write has survived when its call returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Nothing yet: the write is lost if the process dies before the next flush. For callers
    /// that keep a log of their own. The first logged write after unlogged ones waits for a
    /// flush, because the log may not have holes.
    None,
    /// The death of the process, but not of the machine.
    #[default]
    Buffered,
    /// Power loss.
    Sync,
}

/// How the blocks of a table are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// As they are: reads are slices of the mapped file.
    None,
    /// LZ4 in the lower levels, where most data lies; none where tables live briefly. A block
    /// that does not shrink by an eighth is kept as it is.
    #[default]
    Lz4,
}

/// How table files are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TableAccess {
    /// Through a mapping: no copy and no system call for what the page cache holds.
    #[default]
    Mapped,
    /// With `pread` into the block cache: for data far beyond memory, or where a failing disk
    /// must be an error and not a signal.
    Pread,
}

/// How often a block's checksum is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Verification {
    /// When a block is first touched after its table was opened, and whenever it is read from
    /// a file.
    #[default]
    FirstTouch,
    /// At every access, also to mapped blocks.
    Always,
}

/// Settings of a database; start from the default.
///
/// ```
/// # fn main() -> lsm_core::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use lsm_core::Options;
///
/// let db = Options::default().write_buffer_bytes(16 << 20).open(dir.path())?;
/// db.put("planet", "earth")?;
/// # db.close()
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// Of the default keyspace; those stored if `None`.
    pub(crate) keyspace: Option<KeyspaceOptions>,
    pub(crate) durability: Durability,
    pub(crate) create_if_missing: bool,
    pub(crate) table_access: TableAccess,
    pub(crate) verification: Verification,
    pub(crate) block_cache_bytes: usize,
    pub(crate) tables_open_max: usize,
    pub(crate) log_segment_bytes: u64,
    pub(crate) log_bytes_max: u64,
    pub(crate) write_buffers_bytes_max: usize,
    pub(crate) compaction_threads: usize,
    pub(crate) compaction_rate_max: Option<u64>,
    pub(crate) background: Background,
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) seed: Option<u64>,
    pub(crate) listener: Listener,
}

/// Who runs flushes and compactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Background {
    /// Threads that the database starts when it is opened and joins when it is closed.
    Threads,
    /// The caller, by `Db::step`: one thread, one order, one run a seed.
    Stepped,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keyspace: None,
            durability: Durability::default(),
            create_if_missing: true,
            table_access: TableAccess::default(),
            verification: Verification::default(),
            block_cache_bytes: 128 << 20,
            tables_open_max: 4096,
            log_segment_bytes: 32 << 20,
            log_bytes_max: 512 << 20,
            write_buffers_bytes_max: 1 << 30,
            compaction_threads: 1,
            compaction_rate_max: None,
            background: Background::Threads,
            fs: Arc::new(OsFs),
            clock: Arc::new(SystemClock::new()),
            seed: None,
            listener: Listener::default(),
        }
    }
}

impl Options {
    /// Settings of the default keyspace, the one that `Db` itself reads and writes: stored, and in
    /// force until others are given. Default: those stored; in a new database
    /// [`KeyspaceOptions::default`].
    #[must_use]
    pub fn default_keyspace(mut self, options: KeyspaceOptions) -> Self {
        self.keyspace = Some(options);
        self
    }

    /// Shorthand for [`KeyspaceOptions::write_buffer_bytes`] of the default keyspace. What is not
    /// given of [its settings](Self::default_keyspace) beside it has its default, whatever is
    /// stored.
    #[must_use]
    pub fn write_buffer_bytes(self, bytes: usize) -> Self {
        let options = self.keyspace.clone().unwrap_or_default();
        self.default_keyspace(options.write_buffer_bytes(bytes))
    }

    /// Shorthand for [`KeyspaceOptions::compression`] of the default keyspace, like
    /// [`write_buffer_bytes`](Self::write_buffer_bytes).
    #[must_use]
    pub fn compression(self, compression: Compression) -> Self {
        let options = self.keyspace.clone().unwrap_or_default();
        self.default_keyspace(options.compression(compression))
    }

    /// The durability of writes that do not name one. Default: [`Durability::Buffered`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Whether to make a new database where there is none. Default: yes.
    #[must_use]
    pub fn create_if_missing(mut self, yes: bool) -> Self {
        self.create_if_missing = yes;
        self
    }

    /// How table files are read. Default: [`TableAccess::Mapped`].
    #[must_use]
    pub fn table_access(mut self, access: TableAccess) -> Self {
        self.table_access = access;
        self
    }

    /// How often checksums are compared. Default: [`Verification::FirstTouch`].
    #[must_use]
    pub fn verification(mut self, verification: Verification) -> Self {
        self.verification = verification;
        self
    }

    /// Memory for blocks that were decompressed or read with `pread`, in bytes, over all
    /// keyspaces. Default: 128 MiB; 0 turns the cache off; at most 1 TiB.
    #[must_use]
    pub fn block_cache_bytes(mut self, bytes: usize) -> Self {
        self.block_cache_bytes = bytes;
        self
    }

    /// How many tables may be open (mapped, or as file handles) at once. Default: 4096; from 16
    /// to 60,000, since Linux gives a process 65,530 mappings. With [`TableAccess::Pread`] each is
    /// a file handle, of which a process often gets 1024 (`ulimit -n`): raise that, or lower this to
    /// leave about a hundred for logs and jobs. One too many fails the read, or the database's
    /// background work.
    #[must_use]
    pub fn tables_open_max(mut self, count: usize) -> Self {
        self.tables_open_max = count;
        self
    }

    /// The size of one log segment, in bytes; a larger batch gets a segment of its own size, and
    /// the first after an open, or while nobody writes, has 1 MiB at most. Up to four segments
    /// that are not needed are kept to be used again as long as somebody writes. Default: 32 MiB;
    /// from 64 KiB to 1 GiB.
    #[must_use]
    pub fn log_segment_bytes(mut self, bytes: u64) -> Self {
        self.log_segment_bytes = bytes;
        self
    }

    /// How much log may be waiting to become tables, in bytes. Beyond it the keyspace that
    /// holds the oldest log is flushed. Bounds replay at open. Default: 512 MiB; at least
    /// two segments.
    #[must_use]
    pub fn log_bytes_max(mut self, bytes: u64) -> Self {
        self.log_bytes_max = bytes;
        self
    }

    /// Memory that the memtables of all keyspaces may take together, in bytes. When more than half
    /// of it is filled, the keyspaces that hold most are flushed, full or not; when flushes do not
    /// keep up, writers are slowed down from three quarters on, and wait at the whole of it.
    /// Default: 1 GiB; from 64 KiB to 1 TiB.
    ///
    /// A limit for when writes begin: batches that are on their way come on top, and up to an
    /// eighth, at most 64 KiB, of each memtable, as memory is counted in steps. Readers may hold
    /// what is flushed for longer.
    #[must_use]
    pub fn write_buffers_bytes_max(mut self, bytes: usize) -> Self {
        self.write_buffers_bytes_max = bytes;
        self
    }

    /// Threads for compaction, beside the one for flushes. Default: 1; from 1 to 64.
    #[must_use]
    pub fn compaction_threads(mut self, count: usize) -> Self {
        self.compaction_threads = count;
        self
    }

    /// Bytes a second that all compactions together write, at most, so that a disk has time for
    /// others; on average, as about a mebibyte is written at once. Flushes are not held back. Default:
    /// none; from 1 MiB/s to 1 TiB/s.
    ///
    /// A limit that is lower than what the writes bring about (see
    /// [`Stats::write_amplification`](crate::Stats::write_amplification)) makes them wait in the end.
    #[must_use]
    pub fn compaction_rate_max(mut self, bytes_per_second: impl Into<Option<u64>>) -> Self {
        self.compaction_rate_max = bytes_per_second.into();
        self
    }

    /// The file system to live in. Default: [`OsFs`].
    #[must_use]
    pub fn fs(mut self, fs: Arc<dyn Fs>) -> Self {
        self.fs = fs;
        self
    }

    /// The clock to measure and wait by. Default: [`SystemClock`].
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Calls `listen` when something happens that an operator should know: see [`Event`]. It is
    /// called from background and callers' threads, and holds up their work until it returns: it
    /// must not call the database.
    #[must_use]
    pub fn on_event(mut self, listen: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.listener = Listener::new(listen);
        self
    }

    /// Runs no background threads: the caller runs one piece of work at a time with
    /// `Db::step`, and every random choice comes from `seed`, so that one seed replays one
    /// run. For simulations: a write that has to wait for background work does that work.
    #[must_use]
    pub fn stepped(mut self, seed: u64) -> Self {
        self.background = Background::Stepped;
        self.seed = Some(seed);
        self
    }

    /// The seed of a [stepped](Self::stepped) database: for what is kept beside it and must replay
    /// with it.
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    pub(crate) fn validate(&self) -> Result<()> {
        self.keyspace.as_ref().map_or(Ok(()), KeyspaceOptions::validate)?;
        within("block_cache_bytes", self.block_cache_bytes as u64, 0, 1 << 40)?;
        within("tables_open_max", self.tables_open_max as u64, 16, 60_000)?;
        within("log_segment_bytes", self.log_segment_bytes, 64 << 10, 1 << 30)?;
        within("log_bytes_max", self.log_bytes_max, 2 * self.log_segment_bytes, 1 << 40)?;
        let memory = self.write_buffers_bytes_max as u64;
        within("write_buffers_bytes_max", memory, 64 << 10, 1 << 40)?;
        if let Some(rate) = self.compaction_rate_max {
            within("compaction_rate_max", rate, 1 << 20, 1 << 40)?;
        }
        within("compaction_threads", self.compaction_threads as u64, 1, 64)
    }
}

/// Settings of one keyspace; start from the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceOptions {
    pub(crate) write_buffer_bytes: usize,
    pub(crate) write_buffers_max: usize,
    pub(crate) block_bytes: usize,
    pub(crate) table_bytes: u64,
    pub(crate) filter_bits_per_key: u32,
    pub(crate) compression: Compression,
    pub(crate) l0_tables_compact: usize,
    pub(crate) level_bytes_base: u64,
    pub(crate) idle_amplification_max: u32,
}

impl Default for KeyspaceOptions {
    fn default() -> Self {
        Self {
            write_buffer_bytes: 64 << 20,
            write_buffers_max: 4,
            block_bytes: 4 << 10,
            table_bytes: 64 << 20,
            filter_bits_per_key: 10,
            compression: Compression::default(),
            l0_tables_compact: 4,
            level_bytes_base: 256 << 20,
            idle_amplification_max: 8,
        }
    }
}

impl KeyspaceOptions {
    /// Size of a write buffer, which is flushed to one table, in bytes of memory. It is filled as
    /// four memtables, each of which is sealed at a quarter of this size. Default: 64 MiB; from
    /// 64 KiB to 4 GiB.
    #[must_use]
    pub fn write_buffer_bytes(mut self, bytes: usize) -> Self {
        self.write_buffer_bytes = bytes;
        self
    }

    /// How many write buffers may exist, the one that is being filled among them, before writes
    /// wait for a flush. Default: 4; from 2 to 64.
    #[must_use]
    pub fn write_buffers_max(mut self, count: usize) -> Self {
        self.write_buffers_max = count;
        self
    }

    /// Size of a data block before compression, in bytes; an entry is never split. Default:
    /// 4 KiB; from 256 bytes to 1 MiB. Smaller suits point reads, larger scans.
    #[must_use]
    pub fn block_bytes(mut self, bytes: usize) -> Self {
        self.block_bytes = bytes;
        self
    }

    /// Size of a table, in bytes. Default: 64 MiB; from 64 KiB to 1 GiB.
    #[must_use]
    pub fn table_bytes(mut self, bytes: u64) -> Self {
        self.table_bytes = bytes;
        self
    }

    /// Filter bits a key: 10 lets one missing key in a hundred through. Default: 10; 0 turns
    /// filters off; at most 32.
    #[must_use]
    pub fn filter_bits_per_key(mut self, bits: u32) -> Self {
        self.filter_bits_per_key = bits;
        self
    }

    /// How blocks are packed. Default: [`Compression::Lz4`].
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// How many tables in level 0 start a compaction. Default: 4; from 1 to 64. More makes
    /// writes cheaper and reads dearer.
    #[must_use]
    pub fn l0_tables_compact(mut self, count: usize) -> Self {
        self.l0_tables_compact = count;
        self
    }

    /// The least size that a level below level 0 grows to before it is split off into
    /// the next, in bytes. Default: 256 MiB; from 64 KiB to 1 TiB.
    #[must_use]
    pub fn level_bytes_base(mut self, bytes: u64) -> Self {
        self.level_bytes_base = bytes;
        self
    }

    /// How many bytes may be written anew, for each that was written since, as soon as nobody has
    /// written for a quarter of a second: what was written is then merged with what it lies over,
    /// so that reads find one table where they found several. Default: 8; at most 1000; 0 waits, as
    /// is done beyond this, for longer the less space the merge gives back (docs/decisions/0017).
    #[must_use]
    pub fn idle_amplification_max(mut self, times: u32) -> Self {
        self.idle_amplification_max = times;
        self
    }

    pub(crate) fn validate(&self) -> Result<()> {
        within("write_buffer_bytes", self.write_buffer_bytes as u64, 64 << 10, 4 << 30)?;
        within("write_buffers_max", self.write_buffers_max as u64, 2, 64)?;
        within("block_bytes", self.block_bytes as u64, 256, 1 << 20)?;
        within("table_bytes", self.table_bytes, 64 << 10, 1 << 30)?;
        within("filter_bits_per_key", u64::from(self.filter_bits_per_key), 0, 32)?;
        within("l0_tables_compact", self.l0_tables_compact as u64, 1, 64)?;
        within("level_bytes_base", self.level_bytes_base, 64 << 10, 1 << 40)?;
        within("idle_amplification_max", self.idle_amplification_max.into(), 0, 1000)?;
        if self.table_bytes < self.block_bytes as u64 {
            return Err(Error::invalid(format!(
                "table_bytes ({}) is below block_bytes ({}): a table holds at least one block",
                self.table_bytes, self.block_bytes
            )));
        }
        Ok(())
    }
}

fn within(name: &str, value: u64, least: u64, most: u64) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!("option {name} is {value}, but must be from {least} to {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lsm_log::error::ErrorKind;

    #[test]
    fn defaults_are_valid() {
        Options::default().validate().unwrap();
    }

    #[test]
    fn each_limit_is_named() {
        let bad = [
            ("write_buffer_bytes", Options::default().write_buffer_bytes(1)),
            ("tables_open_max", Options::default().tables_open_max(0)),
            ("log_segment_bytes", Options::default().log_segment_bytes(2 << 30)),
            ("log_bytes_max", Options::default().log_bytes_max(1)),
            ("write_buffers_bytes_max", Options::default().write_buffers_bytes_max(1 << 10)),
            ("compaction_threads", Options::default().compaction_threads(0)),
            ("compaction_rate_max", Options::default().compaction_rate_max(1000)),
        ];
        for (name, options) in bad {
            let error = options.validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let options = KeyspaceOptions::default().block_bytes(1 << 20).table_bytes(64 << 10);
        assert_eq!(options.validate().unwrap_err().kind(), ErrorKind::Invalid);
    }
}
