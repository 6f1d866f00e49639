//! The open database behind all handles: the engine, and the threads that work for it.
//!
//! Closed by whoever asks first; at the latest when the last handle is dropped.
//!
//! In a process that was forked from the one that opened the database, nothing is closed: its
//! threads are not there, its locks may be held for ever by them, and what it would write or
//! unlock is the other process's.

use std::sync::Arc;

use super::state::Engine;
use super::threads::Threads;
use lsm_log::error::Result;
use parking_lot::Mutex;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    /// Held until the database is closed: who closes it too is told when it is.
    threads: Mutex<Threads>,
}

impl Shared {
    /// Starts the background work.
    pub(super) fn start(engine: Arc<Engine>) -> Result<Self> {
        let shared = Self { engine, threads: Mutex::default() };
        // If the system has no thread for us, those that run already stop as `shared` is dropped.
        shared.threads.lock().start(&shared.engine)?;
        Ok(shared)
    }

    pub(super) fn close(&self) -> Result<()> {
        let engine = &self.engine;
        engine.process.check()?;
        let mut threads = self.threads.lock();
        if !engine.begin_close() {
            return Ok(());
        }
        let flushed = engine.flush_unlogged();
        threads.stop(engine);
        flushed.and(engine.finish_close())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.engine.process.check().is_err() {
            // Leaked, so that nothing of it is dropped: no thread is joined, no file closed.
            std::mem::forget(Arc::clone(&self.engine));
            std::mem::forget(std::mem::take(self.threads.get_mut()));
            return;
        }
        // Nobody is left to tell; who wants to know calls `close`.
        let _ = self.close();
    }
}
