//! Background work that failed without harm and is tried again: when, and what those who wait
//! for it are told. Pure: failures and times in, pauses out.
//!
//! Making a file is such work. Until an edit names it nothing depends on it, so a full disk, too
//! many open files or an input that cannot be read cost the attempt and nothing else. A sync that
//! failed is not tried again on the same file: the next attempt writes a new one. What may have
//! changed the state of the disk (the log's end, the manifest, the names in the folder) is not
//! for here: see `lifecycle`.
//!
//! Pauses double from one failure to the next, up to a limit, until the work is done once.

use std::time::Duration;

use lsm_log::error::{Error, ErrorKind};

use crate::event::BackgroundJob;

/// The pause after the first failure.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause before writers' own needs are tried again: room on a full disk is noticed
/// within it.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// The longest pause of a compaction: each attempt may read many tables up to the one that is
/// damaged.
const COMPACTION_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Why a job ended before it was done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What the disk holds is unknown, or a promise is at stake: no more writes.
    Fatal(Error),
    /// Nothing was lost: it may be tried again.
    Harmless(Error),
}

/// How a job ended.
pub(crate) type Ended = Result<(), Failure>;

/// The failures of each kind of work.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    segment: Failures,
    flush: Failures,
    compaction: Failures,
}

#[derive(Debug, Default)]
struct Failures {
    /// All since the open.
    count: u64,
    /// The last one, until the work is done.
    last: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    error: Error,
    pause: Duration,
    retry_at: Duration,
}

impl Retries {
    /// Takes in a failure at time `now`; returns how long to pause.
    pub(crate) fn failed(&mut self, job: BackgroundJob, error: Error, now: Duration) -> Duration {
        let max = match job {
            BackgroundJob::Compaction => COMPACTION_PAUSE_MAX,
            BackgroundJob::LogSegment | BackgroundJob::Flush => PAUSE_MAX,
        };
        let failures = self.of_mut(job);
        let pause = failures.last.as_ref().map_or(PAUSE_MIN, |last| (2 * last.pause).min(max));
        failures.count += 1;
        failures.last = Some(Failed { error, pause, retry_at: now + pause });
        pause
    }

    /// The work was done; tells whether it had failed before.
    pub(crate) fn done(&mut self, job: BackgroundJob) -> bool {
        self.of_mut(job).last.take().is_some()
    }

    /// Whether the work may be begun at time `now`.
    pub(crate) fn may_start(&self, job: BackgroundJob, now: Duration) -> bool {
        self.of(job).last.as_ref().is_none_or(|last| last.retry_at <= now)
    }

    /// When the work may be tried again.
    pub(crate) fn retry_at(&self, job: BackgroundJob) -> Duration {
        self.of(job).last.as_ref().map_or(Duration::ZERO, |last| last.retry_at)
    }

    /// Ends the pause of a job that somebody asks for.
    pub(crate) fn hurry(&mut self, job: BackgroundJob) {
        if let Some(last) = &mut self.of_mut(job).last {
            last.retry_at = Duration::ZERO;
        }
    }

    /// How often the work has failed.
    pub(crate) fn count(&self, job: BackgroundJob) -> u64 {
        self.of(job).count
    }

    /// How often any work has failed.
    pub(crate) fn failures(&self) -> u64 {
        self.segment.count + self.flush.count + self.compaction.count
    }

    /// Why some work is being put off, if any is: that first which holds writers up most.
    pub(crate) fn error(&self) -> Option<&Error> {
        let all = [&self.flush, &self.segment, &self.compaction];
        all.into_iter().find_map(|failures| failures.last.as_ref()).map(|last| &last.error)
    }

    /// Why the work does not get done, if it failed after its first `seen` failures.
    pub(crate) fn error_after(&self, job: BackgroundJob, seen: u64) -> Option<&Error> {
        let failures = self.of(job);
        failures.last.as_ref().filter(|_| failures.count > seen).map(|last| &last.error)
    }

    fn of(&self, job: BackgroundJob) -> &Failures {
        match job {
            BackgroundJob::LogSegment => &self.segment,
            BackgroundJob::Flush => &self.flush,
            BackgroundJob::Compaction => &self.compaction,
        }
    }

    fn of_mut(&mut self, job: BackgroundJob) -> &mut Failures {
        match job {
            BackgroundJob::LogSegment => &mut self.segment,
            BackgroundJob::Flush => &mut self.flush,
            BackgroundJob::Compaction => &mut self.compaction,
        }
    }
}

/// Whether a job ended because the database is being closed, which is no failure: what it
/// was to make into tables is in the log still, and its inputs are in force.
pub(super) fn is_given_up(error: &Error) -> bool {
    error.kind() == ErrorKind::Closed
}

#[cfg(test)]
mod tests {
    use super::BackgroundJob::{Compaction, Flush};
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_end_with_success() {
        let mut retries = Retries::default();
        let mut now = Duration::ZERO;
        let fail = |retries: &mut Retries, job, now| {
            let pause = retries.failed(job, Error::corrupt("bad"), now);
            assert!(!retries.may_start(job, now) && retries.may_start(job, now + pause));
            pause.as_millis()
        };
        assert!(retries.may_start(Flush, now) && !retries.done(Flush));
        let pauses: Vec<u128> = (0..9).map(|_| fail(&mut retries, Flush, now)).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        let pauses: Vec<u128> = (0..11).map(|_| fail(&mut retries, Compaction, now)).collect();
        assert_eq!(pauses[10], 60_000);
        now += Duration::from_secs(1);
        retries.hurry(Flush);
        assert!(retries.may_start(Flush, now) && !retries.may_start(Compaction, now));
        assert!(retries.done(Flush) && !retries.done(Flush));
        assert_eq!(fail(&mut retries, Flush, now), 100);
    }

    #[test]
    fn who_asks_again_is_told_of_later_failures_only() {
        let mut retries = Retries::default();
        assert!(retries.error_after(Flush, 0).is_none());
        retries.failed(Flush, Error::corrupt("first"), Duration::ZERO);
        let seen = retries.count(Flush);
        assert!(retries.error_after(Flush, 0).is_some());
        assert!(retries.error_after(Flush, seen).is_none());
        retries.failed(Flush, Error::corrupt("second"), Duration::ZERO);
        assert!(retries.error_after(Flush, seen).unwrap().to_string().contains("second"));
        retries.done(Flush);
        assert!(retries.error_after(Flush, 0).is_none());
    }
}
