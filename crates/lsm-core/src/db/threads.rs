//! The threads that do the background work while a database is open.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use lsm_log::error::{Error, Result};

use super::engine::Engine;
use crate::options::Background;

/// How often work is looked for that nobody announces: files that a reader has just let go of, jobs
/// that failed and may be tried again, keyspaces that nobody has written to for long enough.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The threads of one open database.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// One thread for the log, whose next segment must not wait for a flush, one for flushes, one
    /// for removing files, which nobody must wait for, the rest for compactions; none if the caller
    /// steps the work by hand or nothing can be written.
    pub(crate) fn start(&mut self, engine: &Arc<Engine>) -> Result<()> {
        if engine.lifecycle.read_only || engine.options.background == Background::Stepped {
            return Ok(());
        }
        self.spawn(engine, "lsm-log".to_owned(), Engine::make_segment)?;
        self.spawn(engine, "lsm-flush".to_owned(), Engine::flush_one)?;
        self.spawn(engine, "lsm-remove".to_owned(), |engine| Ok(engine.remove_gently()))?;
        for i in 0..engine.options.compaction_threads {
            self.spawn_looking(
                engine,
                format!("lsm-compact-{i}"),
                |engine| Ok(engine.compact_one()? || engine.rest_one()?),
                |engine| engine.rest_soon().unwrap_or(LOOK_EVERY),
            )?;
        }
        Ok(())
    }

    fn spawn(
        &mut self,
        engine: &Arc<Engine>,
        name: String,
        work: impl Fn(&Engine) -> Result<bool> + Send + 'static,
    ) -> Result<()> {
        self.spawn_looking(engine, name, work, |_| LOOK_EVERY)
    }

    /// A thread that looks for work when it is announced, and after each pause.
    fn spawn_looking(
        &mut self,
        engine: &Arc<Engine>,
        name: String,
        work: impl Fn(&Engine) -> Result<bool> + Send + 'static,
        pause: impl Fn(&Engine) -> Duration + Send + 'static,
    ) -> Result<()> {
        let shared = Arc::clone(engine);
        let spawned = Builder::new().name(name).spawn(move || run(&shared, work, pause));
        let action = "start a background thread for the database";
        self.handles.push(spawned.map_err(|source| Error::io(action, &engine.dir, source))?);
        Ok(())
    }

    /// Tells the threads to stop and waits for them. Unfinished jobs are given up: their
    /// output is removed at the next open.
    pub(crate) fn stop(&mut self, engine: &Engine) {
        engine.work.stop();
        for handle in self.handles.drain(..) {
            // A worker that panicked has printed why, and the database has failed.
            let _ = handle.join();
        }
    }
}

fn run(
    engine: &Engine,
    work: impl Fn(&Engine) -> Result<bool>,
    pause: impl Fn(&Engine) -> Duration,
) {
    let _guard = PanicGuard(engine);
    while !engine.work.is_stopping() {
        let announced = engine.work.announced();
        // An error is kept by the engine: by its health, which refuses writes from now on and
        // leaves nothing to do here but to wait for the close; or with the work to be tried again.
        if !engine.lifecycle.is_failed() && work(engine).unwrap_or(false) {
            continue;
        }
        engine.work.wait_for_work(announced, pause(engine));
    }
}

/// Notices a worker that panicked: whoever waits for its work would wait for ever.
struct PanicGuard<'a>(&'a Engine);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = std::thread::current().name().unwrap_or("background").to_owned();
            self.0.fail(Error::panicked(&name));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::db::open::open;
    use crate::options::Options;
    use lsm_log::error::ErrorKind;
    use lsm_log::fs::MemFs;

    #[test]
    fn a_panic_of_a_worker_fails_those_who_wait_for_it() {
        let options = Options::default().fs(Arc::new(MemFs::new()));
        let engine = open(options, Path::new("/db")).unwrap();
        let mut threads = Threads::default();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| engine.wait_until(|_| false));
            let bug = |_: &Engine| -> Result<bool> { panic!("on purpose") };
            threads.spawn(&engine, "lsm-test".to_owned(), bug).unwrap();
            let error = waits.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Failed);
            assert!(error.to_string().contains("thread lsm-test panicked"), "{error}");
        });
        threads.stop(&engine);
    }
}
