//! The log of the database: its end, the segments ahead and those given up.
//!
//! A segment is written to only once the manifest names it, and is given up only when every
//! operation in it is in tables.

use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};

use lsm_log::error::{Error, Result};
use lsm_log::file_name::{FileName, FileNumber};
use lsm_log::wal::{Log, Lsn, Nonce, Segment, SegmentJob, Syncer, WriteMode, record_len};

use super::engine::Engine;
use super::retry::Failure;
use super::tree::Tree;
use super::write_queue::Commit;
use crate::batch::WriteBatch;
use crate::event::BackgroundJob::LogSegment;
use crate::key::SeqNo;
use crate::version::Edit;

/// Whether room was made in the log.
type Made = std::result::Result<(), Failure>;

impl Engine {
    pub(crate) fn syncer(&self) -> &Syncer {
        self.log.get().expect("a writable database has a log")
    }

    pub(crate) fn sync_log(&self, position: Lsn) -> Result<()> {
        self.syncer().sync_through(position).map_err(|error| self.fail(error))
    }

    pub(super) fn append(
        &self,
        commit: &mut Commit,
        batch: &WriteBatch,
        first: SeqNo,
        mode: WriteMode,
    ) -> Result<Lsn> {
        self.make_log_room(commit, batch.bytes()).map_err(|failure| match failure {
            // The log is as it was: the next write asks again, and meanwhile the thread tries.
            Failure::Harmless(error) => {
                self.work.lock().segment_wanted = true;
                self.put_off(LogSegment, error)
            }
            Failure::Fatal(error) => self.fail(error),
        })?;
        let log = commit.log.as_mut().expect("a writable database has a log");
        let last = first.0 + batch.len() as u64 - 1;
        let fill = |out: &mut Vec<u8>| batch.encode(first, out);
        let appended = log.append_with(first.0, last, mode, batch.bytes(), fill);
        let end = appended.map_err(|error| self.fail(error))?;
        if log.wants_segment() {
            self.work.lock().segment_wanted = true;
            self.work.announce();
        }
        Ok(end)
    }

    /// Makes room for a batch at the end of the log: goes on in the segment made ahead, or in a new
    /// one that is long enough.
    pub(super) fn make_log_room(&self, commit: &mut Commit, batch_bytes: usize) -> Made {
        let log = commit.log.as_mut().expect("a writable database has a log");
        if log.has_room(batch_bytes) {
            return Ok(());
        }
        while !log.has_room(batch_bytes) {
            if self.enter_ahead(log)? {
                continue;
            }
            let (number, nonce) = self.set.new_framed_file();
            let job = log.job(number, nonce, record_len(batch_bytes), false);
            let next = self.new_segment(job)?;
            log.enter(next).map_err(Failure::Fatal)?;
        }
        self.bound_logs(commit);
        Ok(())
    }

    /// Seals the memtables that keep the oldest log alive once there is too much of it.
    fn bound_logs(&self, commit: &Commit) {
        let full = || commit.log.iter().flat_map(Log::full);
        let total: u64 = full().map(|segment| segment.bytes).sum();
        let Some(oldest) = full().next() else { return };
        if total + self.options.log_segment_bytes <= self.options.log_bytes_max {
            return;
        }
        self.published.wait_for(commit.last_seq);
        let pins = |tree: &Arc<Tree>| {
            let first =
                tree.super_version().filling().filter_map(|memtable| memtable.first_seq()).min();
            first.is_some_and(|first| first.0 <= oldest.last)
        };
        let pinning: Vec<_> = self.live_trees().into_iter().filter(pins).collect();
        if !pinning.is_empty() {
            self.seal_now(commit, &pinning);
        }
    }

    /// Makes the segment that the log will go on in.
    pub(crate) fn make_segment(&self) -> Result<bool> {
        let may_start = self.may_start(LogSegment);
        if !may_start || !mem::take(&mut self.work.lock().segment_wanted) {
            return Ok(false);
        }
        // Zeros make later syncs four times as cheap, but whoever never syncs need not wait for
        // them.
        let zero = self.syncer().syncs() > 0;
        let promised = {
            let mut commit = self.commit.lock();
            let Some(log) = commit.log.as_mut().filter(|log| !log.has_ahead()) else {
                return Ok(false);
            };
            self.promise_segment(log, |log, number, nonce| log.job(number, nonce, 0, zero))
        };
        let made = self.keep_promise(promised);
        if made.is_err() {
            self.work.lock().segment_wanted = true;
        }
        made.map(|()| true).or_else(|failure| self.ended(LogSegment, failure))
    }

    /// Has the log wait for a segment that is yet to be made.
    fn promise_segment(
        &self,
        log: &mut Log,
        job: impl FnOnce(&mut Log, FileNumber, Nonce) -> SegmentJob,
    ) -> (SegmentJob, SyncSender<Result<Segment>>) {
        let (number, nonce) = self.set.new_framed_file();
        // There is room for one: who makes it waits for nobody.
        let (sender, receiver) = mpsc::sync_channel(1);
        let panicked = |_| Err(Error::panicked("that made a log segment"));
        log.put_ahead(number, Box::new(move || receiver.recv().unwrap_or_else(panicked)));
        (job(log, number, nonce), sender)
    }

    /// Makes the segment that the log waits for.
    fn keep_promise(&self, (job, sender): (SegmentJob, SyncSender<Result<Segment>>)) -> Made {
        let number = job.number;
        let (told, made) = match self.new_segment(job) {
            Ok(segment) => (Ok(segment), Ok(())),
            Err(failure) => {
                let (Failure::Harmless(error) | Failure::Fatal(error)) = &failure;
                (Err(error.clone()), Err(failure))
            }
        };
        // Before the lock, which whoever waits for it holds. The receiver may be gone only with the
        // log.
        let _ = sender.send(told);
        if made.is_err()
            && let Some(log) = &mut self.commit.lock().log
        {
            log.cancel_ahead(number);
        }
        made
    }

    /// Gives back the files of a log in which nothing is needed any more: it goes on in a segment
    /// as short as the first after an open. Whoever writes much again has the next one made as
    /// always. False if there is nothing to give back, or not now.
    pub(super) fn shrink_log(&self) -> Result<bool> {
        // A flush gives logs up, too.
        let Some(_flushing) = self.flushing.try_lock() else { return Ok(false) };
        let flushed = self.flushed_seq();
        let promised = {
            let mut commit = self.commit.lock();
            let is_needed = commit.last_seq > flushed;
            let Some(log) = &mut commit.log else { return Ok(false) };
            if is_needed || !log.holds_more_than_it_needs() || !self.may_start(LogSegment) {
                return Ok(false);
            }
            if let Err(failure) = self.enter_ahead(log) {
                return self.ended(LogSegment, failure);
            }
            self.promise_segment(log, |log, number, nonce| log.short_job(number, nonce))
        };
        if let Err(failure) = self.keep_promise(promised) {
            return self.ended(LogSegment, failure);
        }
        if let Some(log) = &mut self.commit.lock().log
            && let Err(failure) = self.enter_ahead(log)
        {
            return self.ended(LogSegment, failure);
        }
        let (drop_logs, log_start) = self.useless_logs(flushed);
        let edit = Edit { drop_logs: drop_logs.clone(), log_start, ..Edit::default() };
        if let Err(error) = self.set.apply(edit, |_| {}) {
            return self.ended(LogSegment, self.edit_refused(error, &[]));
        }
        self.give_up_logs(&drop_logs);
        let spares = self.commit.lock().log.as_mut().map(Log::take_spares).unwrap_or_default();
        spares.into_iter().for_each(|number| self.set.obsolete_files().push(FileName::Log(number)));
        self.work.announce();
        Ok(true)
    }

    /// Makes a segment and has the manifest name it: only then may it be written to.
    pub(crate) fn new_segment(&self, job: SegmentJob) -> std::result::Result<Segment, Failure> {
        self.syncer().sync_if_many().map_err(Failure::Fatal)?;
        let (number, recycled) = (job.number, job.recycled);
        let segment = job.run().map_err(|error| {
            // Under whichever name it was left, if at all.
            for left in recycled.into_iter().chain([number]) {
                self.set.obsolete_files().push(FileName::Log(left));
            }
            self.segment_failure(error)
        })?;
        let edit = Edit { add_logs: vec![(number, segment.bytes)], ..Edit::default() };
        self.set.apply(edit, |_| {}).map_err(|error| {
            let failure = self.edit_refused(error, &[]);
            if let Failure::Harmless(_) = &failure {
                self.set.obsolete_files().push(FileName::Log(number));
            }
            failure
        })?;
        self.job_done(LogSegment);
        Ok(segment)
    }

    /// Goes on in the segment made ahead; false if there is none.
    fn enter_ahead(&self, log: &mut Log) -> std::result::Result<bool, Failure> {
        match log.take_ahead() {
            None => Ok(false),
            Some(Ok(segment)) => log.enter(segment).map(|()| true).map_err(Failure::Fatal),
            // Why it was not made is told already; but what is final is so here, too: nobody who
            // comes later hears of it.
            Some(Err(error)) => match self.segment_failure(error) {
                Failure::Harmless(_) => Ok(false),
                failure @ Failure::Fatal(_) => Err(failure),
            },
        }
    }

    /// What it means that a segment could not be made.
    fn segment_failure(&self, error: Error) -> Failure {
        match error.file() == Some(&self.dir) {
            // Other names in the folder may depend on that sync.
            true => Failure::Fatal(error),
            false => Failure::Harmless(error),
        }
    }

    /// Full logs that hold nothing but flushed operations, and where the log begins without
    /// them.
    pub(super) fn useless_logs(&self, flushed: SeqNo) -> (Vec<FileNumber>, Option<Lsn>) {
        let commit = self.commit.lock();
        let Some(log) = &commit.log else { return (Vec::new(), None) };
        let useless = log.full().take_while(|segment| segment.last <= flushed.0);
        let useless: Vec<FileNumber> = useless.map(|segment| segment.number).collect();
        let next = log.full().nth(useless.len()).map_or(log.base(), |segment| segment.base);
        (useless, Some(next))
    }

    /// Keeps logs that the manifest no longer names to be used again, or has them removed.
    pub(super) fn give_up_logs(&self, numbers: &[FileNumber]) {
        let Some(last) = numbers.last() else { return };
        let mut commit = self.commit.lock();
        let Some(log) = &mut commit.log else { return };
        for segment in log.give_up_below(FileNumber(last.0 + 1)) {
            match log.needs_spare(segment.bytes) {
                true => log.keep_spare(segment.number),
                false => self.set.obsolete_files().push(FileName::Log(segment.number)),
            }
        }
    }
}
