//! What an open database tells its application about itself, as it happens.
//!
//! For logs and alarms: nothing depends on who listens. Listeners are called from background
//! and callers' threads, some of which hold locks: they must not call the database, and should
//! return soon.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lsm_log::error::Error;

/// Work that a database does on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackgroundJob {
    /// Making a segment for the log to go on in.
    LogSegment,
    /// Turning memtables into tables.
    Flush,
    /// Merging tables.
    Compaction,
}

impl fmt::Display for BackgroundJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LogSegment => "making a log segment",
            Self::Flush => "a flush",
            Self::Compaction => "a compaction",
        })
    }
}

/// Something that happened to an open database: see [`Options::on_event`](crate::Options::on_event).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A job failed in a way that loses nothing: a full disk, too many open files, a table that
    /// cannot be read. It is tried again. Writers that would have to wait for it are told the
    /// error instead.
    JobFailed {
        /// What failed.
        job: BackgroundJob,
        /// Why.
        error: Error,
        /// When it is tried again, at the earliest.
        retry_in: Duration,
    },
    /// A job that had failed was done.
    JobRecovered {
        /// What works again.
        job: BackgroundJob,
    },
    /// Writing became unsafe: the database refuses writes until it is opened again.
    Failed {
        /// The first cause.
        error: Error,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JobFailed { job, error, retry_in } => {
                write!(f, "{job} failed and is tried again in {retry_in:?}: {error}")
            }
            Self::JobRecovered { job } => write!(f, "{job} works again"),
            Self::Failed { error } => write!(f, "writes are refused until reopen: {error}"),
        }
    }
}

type Listen = dyn Fn(&Event) + Send + Sync;

/// Whom to tell.
#[derive(Clone, Default)]
pub(crate) struct Listener(Option<Arc<Listen>>);

impl Listener {
    pub(crate) fn new(listen: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listen)))
    }

    pub(crate) fn tell(&self, event: &Event) {
        if let Some(listen) = &self.0 {
            listen(event);
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "listens" } else { "none" })
    }
}
