//! The open database behind all handles: the engine, and the threads that work for it.
//!
//! Closed by whoever asks first; at the latest when the last handle is dropped.

use std::sync::Arc;

use super::state::Engine;
use super::threads::Threads;
use crate::error::Result;
use crate::sync::Mutex;

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
        // Nobody is left to tell; who wants to know calls `close`.
        let _ = self.close();
    }
}
