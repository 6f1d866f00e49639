//! What a database may still do: it was closed, it has failed, it is only read, or it is another
//! process's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lsm_log::error::{Error, Result};
use lsm_log::fs::ProcessMark;
use parking_lot::Mutex;

/// Of one open database.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    pub(crate) read_only: bool,
    /// Of the process that opened the database: a forked one has copies of its memory and its open
    /// files, but none of its threads.
    process: Arc<ProcessMark>,
    closed: AtomicBool,
    failed: AtomicBool,
    /// The first failure that made the disk's state unknown: never healthy again, as only
    /// reopening finds out what the disk holds.
    failure: Mutex<Option<Error>>,
}

impl Lifecycle {
    pub(crate) fn new(read_only: bool, process: Arc<ProcessMark>) -> Self {
        let (closed, failed, failure) = Default::default();
        Self { read_only, process, closed, failed, failure }
    }

    /// Refuses what is asked in another process than that which opened the database.
    #[inline]
    pub(crate) fn check_process(&self) -> Result<()> {
        self.process.check()
    }

    /// Refuses the call if the database was closed.
    #[inline]
    pub(crate) fn check_open(&self) -> Result<()> {
        self.process.check()?;
        match self.closed.load(Ordering::Acquire) {
            false => Ok(()),
            true => Err(Error::closed()),
        }
    }

    /// Refuses the call if nothing may be written.
    #[inline]
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if self.read_only {
            return Err(Error::invalid("the database was opened to be read only"));
        }
        self.check_healthy()
    }

    /// Fails with `Failed`, naming the first cause, once anything failed.
    #[inline]
    pub(crate) fn check_healthy(&self) -> Result<()> {
        match self.is_failed() {
            false => Ok(()),
            true => Err(self.refusal()),
        }
    }

    #[inline]
    pub(crate) fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    #[cold]
    fn refusal(&self) -> Error {
        let failure = self.failure.lock();
        Error::failed(failure.as_ref().expect("the cause is stored before the flag is set"))
    }

    /// Remembers `error` if it is the first, and tells whether it is.
    pub(crate) fn fail(&self, error: &Error) -> bool {
        let mut failure = self.failure.lock();
        let is_first = failure.is_none();
        failure.get_or_insert_with(|| error.clone());
        self.failed.store(true, Ordering::Release);
        is_first
    }

    /// Refuses every call from here on. False if that was so before.
    pub(crate) fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lsm_log::error::ErrorKind;

    #[test]
    fn the_first_cause_is_the_one_told() {
        let lifecycle = Lifecycle::new(false, Arc::new(ProcessMark::here()));
        lifecycle.check_writable().unwrap();
        assert!(lifecycle.fail(&Error::corrupt("first")));
        assert!(!lifecycle.fail(&Error::corrupt("second")));
        let refusal = lifecycle.check_writable().unwrap_err();
        assert_eq!(refusal.kind(), ErrorKind::Failed);
        assert!(refusal.to_string().contains("first"), "{refusal}");
        lifecycle.check_open().unwrap();
    }

    #[test]
    fn what_is_closed_or_only_read_is_not_written_to() {
        let process = Arc::new(ProcessMark::here());
        let reader = Lifecycle::new(true, Arc::clone(&process));
        reader.check_open().unwrap();
        assert_eq!(reader.check_writable().unwrap_err().kind(), ErrorKind::Invalid);
        let writer = Lifecycle::new(false, process);
        assert!(writer.close());
        assert!(!writer.close());
        for refused in [writer.check_open(), writer.check_writable()] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Closed);
        }
    }
}
