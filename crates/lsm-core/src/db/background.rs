//! The background work, a piece at a time: see `log`, `flush` and `compact` for what
//! the pieces are.
//!
//! Each function does one piece and tells whether there was one. Threads call them in a loop,
//! a simulation calls them by hand: the order is then the caller's, and one seed replays one
//! run. Jobs read versions and write new files without a lock; their edits are installed by
//! the version set, in the order of the manifest.
//!
//! A job that fails before its edit is written has changed nothing: it is put off and tried
//! again (see `retry`), and so has one whose edit found no room. Any other failure of the edit, of
//! the log or of the folder's names fails the database.

use lsm_log::error::{Error, Result};

use super::engine::Engine;
use super::retry::{Failure, is_given_up};
use crate::event::{BackgroundJob, Event};
use crate::options::Background;

impl Engine {
    /// Does one piece of background work; false if there is none left, and none will be before
    /// something else happens.
    pub(crate) fn step(&self) -> Result<bool> {
        let _job = self.begin_job()?;
        Ok(self.step_due()? || self.rest_one()?)
    }

    /// Does one piece of work that is due, and removes a file; false if there was neither. The
    /// most urgent work first: writers wait for the log and for memtables, readers for compaction.
    /// Nobody waits for space, but it has to come back beside the other work, too.
    fn step_due(&self) -> Result<bool> {
        let _job = self.begin_job()?;
        let removed = self.remove_one();
        let worked = self.make_segment()? || self.flush_one()? || self.compact_one()?;
        Ok(worked || removed)
    }

    /// Waits until `done`, doing the work itself if no threads do. Fails when the database
    /// does, and when it is closed. Whatever makes `done` true is [announced](Self::announce)
    /// afterwards. `done` runs under no lock.
    pub(crate) fn wait_until(&self, done: impl Fn(&Self) -> bool) -> Result<()> {
        self.wait_while_no_error(|_| None, done)
    }

    /// As [`wait_until`](Self::wait_until), for something that `job` brings about: fails as well
    /// once that has failed more than `seen` times and is being put off.
    pub(crate) fn wait_for(
        &self,
        job: BackgroundJob,
        seen: u64,
        done: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        let error = |engine: &Self| {
            let retries = engine.retries.lock();
            retries.error_after(job, seen).map(|error| Error::put_off(job, error))
        };
        self.wait_while_no_error(error, done)
    }

    fn wait_while_no_error(
        &self,
        error: impl Fn(&Self) -> Option<Error>,
        done: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        loop {
            // Before looking: what happens after it is not missed.
            let announced = self.work.announced();
            if done(self) {
                return Ok(());
            }
            self.lifecycle.check_healthy()?;
            self.lifecycle.check_open()?;
            if self.options.background == Background::Stepped {
                let worked = self.step_due()?;
                assert!(worked || done(self), "waiting for work that nobody has queued");
                continue;
            }
            if let Some(error) = error(self) {
                return Err(error);
            }
            self.work.wait_for_progress(announced);
        }
    }

    /// Puts a job off that failed without harm, and tells all who wait for it.
    pub(crate) fn put_off(&self, job: BackgroundJob, error: Error) -> Error {
        let now = self.options.clock.now();
        let retry_in = self.retries.lock().failed(job, error.clone(), now);
        self.options.listener.tell(&Event::JobFailed { job, error: error.clone(), retry_in });
        self.work.announce();
        error
    }

    /// Has a job tried again at once that was put off: somebody asks for it. Returns how often it
    /// has failed so far.
    pub(crate) fn hurry(&self, job: BackgroundJob) -> u64 {
        let mut retries = self.retries.lock();
        retries.hurry(job);
        retries.count(job)
    }

    /// Notes that a job was done.
    pub(crate) fn job_done(&self, job: BackgroundJob) {
        if self.retries.lock().done(job) {
            self.options.listener.tell(&Event::JobRecovered { job });
        }
    }

    /// Whether a job need not be put off any longer. Who steps by hand decides that.
    pub(crate) fn may_start(&self, job: BackgroundJob) -> bool {
        self.options.background == Background::Stepped
            || self.retries.lock().may_start(job, self.options.clock.now())
    }

    /// What a failed job means: nothing, if it was told to stop; else it is put off, or the
    /// database fails.
    pub(crate) fn ended(&self, job: BackgroundJob, failure: Failure) -> Result<bool> {
        match failure {
            Failure::Harmless(error) if is_given_up(&error) => Ok(false),
            Failure::Harmless(error) => Err(self.put_off(job, error)),
            Failure::Fatal(error) => Err(self.fail(error)),
        }
    }
}
