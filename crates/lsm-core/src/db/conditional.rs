//! Writes that depend on what is there: whole transactions that are run again on a conflict, and the
//! ones that everybody needs for a single key.

use std::time::Duration;

use lsm_log::error::{Error, ErrorKind, Result};
use xxhash_rust::xxh3::xxh3_64;

use super::engine::Engine;
use super::handle::Db;
use super::keyspace::Keyspace;
use super::transaction::Transaction;
use crate::key::SeqNo;
use crate::value::Value;

/// How often a transaction is run before its conflict is told.
const RUNS_MAX: u32 = 100;
/// From so many runs on a transaction is run in its turn, and others wait for that.
const RUNS_FREE: u32 = 4;
/// Longest wait for one's turn. It is given up then, and not taken from whoever has it: that one may
/// wait for this thread.
const TURN_TIME_MAX: Duration = Duration::from_millis(100);
/// The greatest pause before a transaction is run a second time; doubled each time.
const PAUSE_MIN: Duration = Duration::from_micros(10);

/// The value of a key was not the expected one; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key has another value than was expected")]
#[non_exhaustive]
pub struct CompareAndSwapError {
    /// What the key has instead.
    pub current: Option<Value>,
}

impl Db {
    /// Runs a [transaction](Transaction) and commits it, again while others are faster, up to a
    /// hundred times: after short pauses at first, then in turn with others that were not faster
    /// either. `run` must do nothing that cannot be done twice; what it returns counts only if the
    /// commit succeeds. If it returns an error nothing is changed.
    ///
    /// # Errors
    ///
    /// That of `run`; those of [`Transaction::commit`], `Conflict` after the last run.
    ///
    /// ```
    /// # fn main() -> lsm_core::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = lsm_core::Db::open(dir.path())?;
    /// use lsm_core::{Error, Transaction};
    ///
    /// fn balance(tx: &Transaction, name: &str) -> lsm_core::Result<i64> {
    ///     let stored = tx.get(name)?;
    ///     Ok(stored.map_or(0, |value| i64::from_le_bytes(value[..].try_into().unwrap())))
    /// }
    ///
    /// db.put("ann", 100_i64.to_le_bytes())?;
    /// let moved = db.transact(|tx| {
    ///     let (ann, bob) = (balance(tx, "ann")?, balance(tx, "bob")?);
    ///     let amount = ann.min(30);
    ///     tx.put("ann", (ann - amount).to_le_bytes())?;
    ///     tx.put("bob", (bob + amount).to_le_bytes())?;
    ///     Ok::<_, Error>(amount)
    /// })?;
    /// assert_eq!((moved, balance(&db.transaction(), "bob")?), (30, 30));
    /// # db.close()
    /// # }
    /// ```
    pub fn transact<T, E: From<Error>>(
        &self,
        run: impl FnMut(&Transaction) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        self.default_keyspace().transact(run)
    }

    /// Sets `key` if it has no value: see [`Keyspace::put_if_absent`].
    pub fn put_if_absent(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<Option<Value>> {
        self.default_keyspace().put_if_absent(key, value)
    }

    /// Changes `key` if it has the expected value: see [`Keyspace::compare_and_swap`].
    pub fn compare_and_swap(
        &self,
        key: impl AsRef<[u8]>,
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<std::result::Result<(), CompareAndSwapError>> {
        self.default_keyspace().compare_and_swap(key, expected, new)
    }

    /// Changes `key` by what it has: see [`Keyspace::fetch_update`].
    pub fn fetch_update<V: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        update: impl FnMut(Option<&[u8]>) -> Option<V>,
    ) -> Result<Option<Value>> {
        self.default_keyspace().fetch_update(key, update)
    }
}

impl Keyspace {
    /// As [`Db::transact`]; the transaction reads and writes this keyspace, where no other is named.
    pub fn transact<T, E: From<Error>>(
        &self,
        mut run: impl FnMut(&Transaction) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let engine = &self.shared().engine;
        let wait = || engine.contended.try_lock_for(TURN_TIME_MAX);
        // While one runs in its turn the others queue up from the start: whoever never loses would
        // come in between for ever.
        let mut turn = if engine.contended.is_locked() { wait() } else { None };
        for runs in 1.. {
            let transaction = Transaction::begin(self.shared().clone(), self.tree());
            let value = run(&transaction)?;
            match transaction.commit() {
                Ok(_) => return Ok(value),
                Err(error) if error.kind() == ErrorKind::Conflict && runs < RUNS_MAX => {}
                Err(error) => return Err(error.into()),
            }
            if turn.is_none() && runs >= RUNS_FREE {
                turn = wait();
            } else if turn.is_none() {
                pause(engine, runs, transaction.sequence());
            }
        }
        unreachable!("the last run returns")
    }

    /// Sets `key` to `value` if it has none. Returns the value that it has instead; none if it was
    /// set. Nobody else can write the key in between.
    ///
    /// # Errors
    ///
    /// As for [`put`](Self::put) and [`get`](Self::get); `Conflict` if others write the key all the
    /// time.
    pub fn put_if_absent(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<Option<Value>> {
        let (key, value) = (key.as_ref(), value.as_ref());
        self.transact(|tx| {
            let current = tx.get(key)?;
            if current.is_none() {
                tx.put(key, value)?;
            }
            Ok(current)
        })
    }

    /// If `key` has the `expected` value, gives it the `new` one; `None` stands for no value, on either
    /// side. Nobody else can write the key in between. Errors as for
    /// [`put_if_absent`](Self::put_if_absent).
    ///
    /// ```
    /// # fn main() -> lsm_core::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = lsm_core::Db::open(dir.path())?;
    /// assert!(db.compare_and_swap("lock", None, Some(b"ann"))?.is_ok());
    /// let taken = db.compare_and_swap("lock", None, Some(b"bob"))?.unwrap_err();
    /// assert_eq!(taken.current.as_deref(), Some(&b"ann"[..]));
    /// assert!(db.compare_and_swap("lock", Some(b"ann"), None)?.is_ok());
    /// # db.close()
    /// # }
    /// ```
    pub fn compare_and_swap(
        &self,
        key: impl AsRef<[u8]>,
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<std::result::Result<(), CompareAndSwapError>> {
        let key = key.as_ref();
        self.transact(|tx| {
            let current = tx.get(key)?;
            if current.as_deref() != expected {
                return Ok(Err(CompareAndSwapError { current }));
            }
            match new {
                Some(value) => tx.put(key, value)?,
                None if current.is_some() => tx.delete(key)?,
                None => {}
            }
            Ok(Ok(()))
        })
    }

    /// Gives `key` the value that `update` makes of the one it has; `None` stands for no value, on
    /// either side. Nobody else can write the key in between: `update` is called again if somebody
    /// did. Returns the value before. Errors as for [`put_if_absent`](Self::put_if_absent).
    ///
    /// ```
    /// # fn main() -> lsm_core::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = lsm_core::Db::open(dir.path())?;
    /// let count = |stored: Option<&[u8]>| stored.map_or(0, |bytes| bytes[0]);
    /// for _ in 0..3 {
    ///     db.fetch_update("visits", |stored| Some([count(stored) + 1]))?;
    /// }
    /// assert_eq!(db.get("visits")?.as_deref(), Some(&[3][..]));
    /// # db.close()
    /// # }
    /// ```
    pub fn fetch_update<V: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        mut update: impl FnMut(Option<&[u8]>) -> Option<V>,
    ) -> Result<Option<Value>> {
        let key = key.as_ref();
        self.transact(|tx| {
            let current = tx.get(key)?;
            match update(current.as_deref()) {
                Some(value) => tx.put(key, value)?,
                None if current.is_some() => tx.delete(key)?,
                None => {}
            }
            Ok(current)
        })
    }
}

/// Lets others go first after a conflict: for a time that differs between those who conflicted, and
/// is longer the more often it happens.
fn pause(engine: &Engine, runs: u32, begun: SeqNo) {
    let most = PAUSE_MIN * 2_u32.pow(runs);
    let thread = std::thread::current().id();
    let dice = xxh3_64(format!("{thread:?} {runs} {begun}").as_bytes());
    engine.options.clock.sleep(most.mul_f64(dice as f64 / u64::MAX as f64));
}
