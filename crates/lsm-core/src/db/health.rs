//! The first failure that makes the disk's state unknown; from then on writes are refused.

use std::sync::atomic::{AtomicBool, Ordering};

use lsm_log::error::{Error, Result};
use parking_lot::Mutex;

/// Healthy until told otherwise, then never again: only reopening finds out what the disk holds.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failed: AtomicBool,
    first: Mutex<Option<Error>>,
}

impl Health {
    /// Fails with `Failed`, naming the first cause, once anything failed.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
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
        let first = self.first.lock();
        Error::failed(first.as_ref().expect("the cause is stored before the flag is set"))
    }

    /// Remembers `error` if it is the first, and tells whether it is.
    pub(crate) fn fail(&self, error: &Error) -> bool {
        let mut first = self.first.lock();
        let is_first = first.is_none();
        first.get_or_insert_with(|| error.clone());
        self.failed.store(true, Ordering::Release);
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lsm_log::error::ErrorKind;

    #[test]
    fn the_first_cause_is_the_one_told() {
        let health = Health::default();
        health.check().unwrap();
        assert!(health.fail(&Error::corrupt("first")));
        assert!(!health.fail(&Error::corrupt("second")));
        let refusal = health.check().unwrap_err();
        assert_eq!(refusal.kind(), ErrorKind::Failed);
        assert!(refusal.to_string().contains("first"), "{refusal}");
    }
}
