//! The open database behind all handles: the engine, and the threads that work for it.
//!
//! Closed by whoever asks first; at the latest when the last handle is dropped.
//!
//! In a process that was forked from the one that opened the database, nothing is closed: its
//! threads are not there, its locks may be held for ever by them, and what it would write or
//! unlock is the other process's.

use std::sync::Arc;

use lsm_log::error::Result;
use lsm_log::wal::Log;
use parking_lot::Mutex;

use super::engine::Engine;
use super::threads::Threads;
use crate::version::Edit;

#[derive(Debug)]
pub(super) struct OpenDb {
    pub(super) engine: Arc<Engine>,
    /// Held until the database is closed: who closes it too is told when it is.
    threads: Mutex<Threads>,
}

impl OpenDb {
    /// Starts the background work.
    pub(super) fn start(engine: Arc<Engine>) -> Result<Self> {
        let shared = Self { engine, threads: Mutex::default() };
        // If the system has no thread for us, those that run already stop as `shared` is dropped.
        shared.threads.lock().start(&shared.engine)?;
        Ok(shared)
    }

    pub(super) fn close(&self) -> Result<()> {
        let engine = &self.engine;
        engine.lifecycle.check_process()?;
        let mut threads = self.threads.lock();
        if !engine.begin_close() {
            return Ok(());
        }
        let flushed = engine.flush_unlogged();
        threads.stop(engine);
        flushed.and(engine.finish_close())
    }
}

impl Engine {
    /// From here on every call is refused. False if that was so before.
    pub(super) fn begin_close(&self) -> bool {
        // Under the lock: a write has either its number or is refused.
        let _commit = self.commit.lock();
        let is_first = self.lifecycle.close();
        self.work.announce();
        is_first
    }

    /// Waits for jobs in callers' threads, makes the log durable, notes how far that is, and
    /// unlocks the folder.
    pub(super) fn finish_close(&self) -> Result<()> {
        let _lock = self.folder_lock.lock().take();
        drop(self.caller_jobs.write());
        self.tables.close();
        if self.lifecycle.read_only {
            return Ok(());
        }
        self.lifecycle.check_healthy()?;
        let end = {
            let commit = self.commit.lock();
            self.published.wait_for(commit.last_seq);
            commit.log.as_ref().map(Log::end)
        };
        let end = end.expect("a writable database has a log");
        self.syncer().sync_through(end)?;
        let edit = Edit { log_closed: Some(end), ..Edit::default() };
        self.set.apply(edit, |_| {})?;
        self.remove_before_close();
        Ok(())
    }
}

impl Drop for OpenDb {
    fn drop(&mut self) {
        if self.engine.lifecycle.check_process().is_err() {
            // Leaked, so that nothing of it is dropped: no thread is joined, no file closed.
            std::mem::forget(Arc::clone(&self.engine));
            std::mem::forget(std::mem::take(self.threads.get_mut()));
            return;
        }
        // Nobody is left to tell; who wants to know calls `close`.
        let _ = self.close();
    }
}
