//! The database as its users hold it: each method a short delegation.

use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;

use lsm_log::error::Result;

use super::engine::Engine;
use super::keyspace::{Keyspace, Snapshot};
use super::levels::Level;
use super::open;
use super::open_db::OpenDb;
use super::read::ReadPoint;
use super::reads::readable;
use super::stats::Stats;
use super::transaction::Transaction;
use super::verify::Verified;
use crate::batch::WriteBatch;
use crate::key::SeqNo;
use crate::options::{Durability, KeyspaceOptions, Options};

/// An embedded, durable, ordered key-value store in a folder of its own.
///
/// Clones are handles of the same open database, for any number of threads. The database is
/// closed by [`close`](Self::close), or when the last handle, keyspace and snapshot is dropped.
///
/// ```
/// # fn main() -> lsm_core::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use lsm_core::Db;
///
/// let db = Db::open(dir.path())?;
/// db.put("apple", "red")?;
/// db.put("banana", "yellow")?;
/// assert_eq!(db.get("apple")?.as_deref(), Some(&b"red"[..]));
/// for entry in db.prefix("b") {
///     let (key, value) = entry?;
///     assert_eq!((&*key, &*value), (&b"banana"[..], &b"yellow"[..]));
/// }
/// db.delete("apple")?;
/// db.close()
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Db {
    shared: Arc<OpenDb>,
    default: Keyspace,
}

impl Options {
    /// Opens the database in folder `dir` with these settings, and makes it if there is none.
    ///
    /// Replays the log of the last run; how long that takes is bounded by
    /// [`log_bytes_max`](Self::log_bytes_max). A log that the write buffers cannot hold is read
    /// twice: everything is looked at before anything is changed.
    ///
    /// The folder that `dir` names now stays the database's, wherever the process changes its
    /// working directory to and whatever links on the way come to mean. While it is open it must
    /// not be renamed, moved or replaced: files would be looked for, and made, under its old
    /// name.
    ///
    /// The database belongs to the process that opened it. In one that is forked from that, and
    /// goes on without `exec`, every call that can fail is `Invalid`, for reading too, a close
    /// among them, and dropping a handle does nothing; it must not ask for statistics. Nor may it
    /// open other databases, unless all that were open before the fork were stepped by hand: what
    /// the threads of the others waited for is in its memory, and they are not there.
    ///
    /// # Errors
    ///
    /// `Invalid` for settings out of their range, for a `dir` that is empty, a file or the folder
    /// of a node of a cluster, and for a missing database that is not to be made; `Locked` while
    /// someone else has it open; `Corrupt`, with file and offset, if what must be there is
    /// missing or damaged; `Unsupported` if a newer program wrote it; `Io`. A folder that is
    /// refused for what is in it was not changed, but for the lock file.
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Db> {
        Db::start(open::open(self, dir.as_ref())?)
    }

    /// Opens an existing database to be read, beside any number of other readers but no writer.
    /// Writes nothing to the folder: works on media that cannot be written. What the log holds
    /// is kept in memory.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open). Every write to the handle is `Invalid`.
    pub fn open_read_only(self, dir: impl AsRef<Path>) -> Result<Db> {
        Db::start(open::open_read_only(self, dir.as_ref())?)
    }
}

impl Db {
    /// Opens the database in folder `dir` with default settings, and makes it if there is none:
    /// see [`Options::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Options::default().open(dir)
    }

    /// Opens an existing database to be read: see [`Options::open_read_only`].
    pub fn open_read_only(dir: impl AsRef<Path>) -> Result<Self> {
        Options::default().open_read_only(dir)
    }

    fn start(engine: Arc<Engine>) -> Result<Self> {
        let tree = engine.default_tree();
        let shared = Arc::new(OpenDb::start(engine)?);
        let default = Keyspace::new(Arc::clone(&shared), tree);
        Ok(Self { shared, default })
    }

    fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// Sets `key` to `value` in the default keyspace: see [`Keyspace::put`].
    #[inline]
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.default.put(key, value)
    }

    /// [`put`](Self::put) with a durability of its own.
    pub fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        durability: Durability,
    ) -> Result<()> {
        self.default.put_with(key, value, durability)
    }

    /// Removes `key` from the default keyspace: see [`Keyspace::delete`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.default.delete(key)
    }

    /// [`delete`](Self::delete) with a durability of its own.
    pub fn delete_with(&self, key: impl AsRef<[u8]>, durability: Durability) -> Result<()> {
        self.default.delete_with(key, durability)
    }

    /// Writes a batch with the default durability: all of it or nothing, across keyspaces and
    /// crashes. Returns the sequence number of its last operation.
    ///
    /// # Errors
    ///
    /// As for [`Keyspace::put`]; `Invalid` also if the batch names a keyspace that was dropped
    /// or is of another database, or exceeds [`BATCH_BYTES_MAX`](crate::BATCH_BYTES_MAX). The text
    /// says which of its writes is refused, counted from 0.
    pub fn write(&self, batch: &WriteBatch) -> Result<SeqNo> {
        self.write_with(batch, self.engine().options.durability)
    }

    /// [`write`](Self::write) with a durability of its own. An empty batch with
    /// [`Durability::Sync`] makes every write before it durable.
    pub fn write_with(&self, batch: &WriteBatch, durability: Durability) -> Result<SeqNo> {
        self.engine().write(batch, durability)
    }

    /// Pins the state of this moment, across all keyspaces.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(Arc::clone(&self.shared), Arc::clone(self.default.tree()))
    }

    /// Begins a transaction, across all keyspaces: see [`Transaction`]. Costs what a
    /// [`snapshot`](Self::snapshot) does.
    pub fn transaction(&self) -> Transaction {
        Transaction::begin(Arc::clone(&self.shared), self.default.tree())
    }

    /// The keyspace called `name`, made if there is none. Settings are stored, and in force until
    /// others are given; `None` leaves them as they are, and gives a new keyspace the
    /// [defaults](KeyspaceOptions::default). What is written already keeps its form until it is
    /// merged.
    ///
    /// # Errors
    ///
    /// `Invalid` for an empty name or one over
    /// [`KEYSPACE_NAME_LEN_MAX`](crate::KEYSPACE_NAME_LEN_MAX) bytes, for settings out of range,
    /// for more than [`KEYSPACES_MAX`](crate::KEYSPACES_MAX) keyspaces and, on a read-only
    /// database, for one that is not there; otherwise as for [`Keyspace::put`].
    pub fn keyspace(
        &self,
        name: &str,
        options: impl Into<Option<KeyspaceOptions>>,
    ) -> Result<Keyspace> {
        let tree = self.engine().keyspace(name, options)?;
        Ok(Keyspace::new(Arc::clone(&self.shared), tree))
    }

    /// The names of all keyspaces, the default one first.
    pub fn keyspaces(&self) -> Vec<String> {
        self.engine().live_trees().iter().map(|tree| tree.name.clone()).collect()
    }

    /// Drops a keyspace with all it holds. Makes every write so far durable first, so that no
    /// crash can take what was moved elsewhere and keep the drop. Handles of it refuse further
    /// calls; iterators that are open go on over what they see. Its space is given back as they
    /// are dropped.
    ///
    /// # Errors
    ///
    /// `Invalid` for the default keyspace and for one that is not there.
    pub fn drop_keyspace(&self, name: &str) -> Result<()> {
        self.engine().drop_keyspace(name)
    }

    /// Turns everything written so far into tables, and waits for it.
    pub fn flush(&self) -> Result<()> {
        self.engine().flush_all()
    }

    /// Makes every write so far survive power loss, whatever durability it was written with.
    pub fn sync(&self) -> Result<()> {
        self.engine().sync_all()
    }

    /// Compacts a range of the default keyspace: see [`Keyspace::compact_range`].
    pub fn compact_range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Result<()> {
        self.default.compact_range(range)
    }

    /// Makes a copy of the database, at one point in the write order and across all keyspaces,
    /// in folder `dir`, which must be empty or missing. Tables are hard links where `dir` is
    /// on the same file system (no space, no time), and copied elsewhere. Flushes first.
    ///
    /// A change of the working directory meanwhile does no harm, as for [`Options::open`].
    ///
    /// The copy opens like any database. One that a crash cut short does not open: it has no
    /// `CURRENT` file, which is written last.
    pub fn checkpoint(&self, dir: impl AsRef<Path>) -> Result<()> {
        self.engine().checkpoint(dir.as_ref())
    }

    /// Reads every table of every keyspace and checks every checksum, the order of the keys,
    /// the counts, the filters and the index.
    ///
    /// # Errors
    ///
    /// `Corrupt`, with file and offset, at the first damage.
    pub fn verify(&self) -> Result<Verified> {
        self.engine().verify()
    }

    /// The levels of the default keyspace: see [`Keyspace::levels`].
    pub fn levels(&self) -> Vec<Level> {
        self.default.levels()
    }

    /// What the database has done since it was opened.
    pub fn stats(&self) -> Stats {
        self.engine().stats()
    }

    /// The newest sequence number that reads see.
    pub fn last_sequence(&self) -> SeqNo {
        self.engine().published.get()
    }

    /// The sequence number through which everything is in tables: what is behind it is in the
    /// log, or, if it was written with [`Durability::None`], in memory only.
    pub fn flushed_sequence(&self) -> SeqNo {
        self.engine().flushed_seq()
    }

    /// Waits until everything through `sequence` is in tables. Starts no flush: that is up to
    /// the size of the memtables, or to [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// `Invalid` if nothing was written under that number yet, or if background work is stepped
    /// by hand and no flush is queued that gets there; `Io` while flushes fail and are tried again;
    /// `Failed` or `Closed` if the database fails or is closed meanwhile.
    pub fn wait_flushed(&self, sequence: SeqNo) -> Result<()> {
        self.engine().wait_flushed(sequence)
    }

    /// Does one piece of background work in a database opened with
    /// [`Options::stepped`](crate::Options::stepped); false if there is none to do: then every
    /// keyspace is at rest. A step that finds nothing due lets time pass, after
    /// which keyspaces that nobody wrote to are brought to rest. With background threads it helps
    /// them.
    pub fn step(&self) -> Result<bool> {
        self.engine().lifecycle.check_writable()?;
        self.engine().step()
    }

    /// Closes the database: stops background work, makes every write so far durable, those with
    /// [`Durability::None`] too, and lets others open the folder. A call that runs beside it is
    /// done before, or refused. From then on other handles refuse calls with `Closed`, and so does
    /// the next move of every iterator and cursor; values that were handed out stay. Closing
    /// twice is fine.
    ///
    /// # Errors
    ///
    /// `Io` if the last writes cannot be made durable, `Failed` if an earlier failure already
    /// made that unsafe. The database is closed all the same.
    pub fn close(self) -> Result<()> {
        self.shared.close()
    }

    pub(super) fn default_keyspace(&self) -> &Keyspace {
        &self.default
    }

    fn read_point(&self) -> ReadPoint<'_> {
        ReadPoint {
            engine: &self.shared.engine,
            tree: self.default.tree(),
            seq: None,
            transaction: None,
        }
    }
}

readable!(Db);
