//! Makes the log durable: what has piled up is written together and synced once.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use lsm_log::wal::{SegmentJob, SegmentPromise};
use parking_lot::Mutex;

use super::beside::{Begun, Beside};
use super::jobs::JobReceiver;
use super::queues::LogJob;
use super::shared::{PanicGuard, RuntimeShared};
use crate::error::Result;
use crate::log_store::LogWriter;
use crate::node::Persist;

/// Between two looks at an empty queue; its end wakes the thread before.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(super) struct LogThread {
    writer: LogWriter,
    jobs: JobReceiver<LogJob>,
    /// Taken and not yet done.
    taken: VecDeque<LogJob>,
    /// After an error nothing is written any more.
    failed: bool,
    shared: Arc<RuntimeShared>,
}

impl LogThread {
    pub(super) fn new(
        writer: LogWriter,
        jobs: JobReceiver<LogJob>,
        shared: Arc<RuntimeShared>,
    ) -> Self {
        Self { writer, jobs, taken: VecDeque::new(), failed: false, shared }
    }

    /// Ends when the raft thread has gone.
    pub(super) fn run(mut self) {
        let _guard = PanicGuard(Arc::clone(&self.shared), "log");
        while self.turn(WAIT_MAX) {}
    }

    /// Does what waits, or what comes within this time. False once there will be no more.
    pub(super) fn turn(&mut self, wait: Duration) -> bool {
        let more = self.jobs.take(wait, &mut self.taken);
        if !self.failed
            && let Err(error) = self.work()
        {
            self.shared.fail(&error);
            self.failed = true;
        }
        // After an error: lets the raft thread go on handing over, with nothing persisted. Whoever
        // waits for a job that is dropped hears so.
        self.taken.clear();
        more
    }

    fn work(&mut self) -> Result<()> {
        let mut group = Vec::new();
        while let Some(job) = self.taken.pop_front() {
            match job {
                LogJob::Persist(persist) => group.push(persist),
                other => {
                    self.persist(&mut group)?;
                    self.other(other)?;
                }
            }
        }
        self.persist(&mut group)?;
        self.writer.make_ahead(|job| make_beside(job, &self.shared.beside));
        Ok(())
    }

    fn persist(&mut self, group: &mut Vec<Persist>) -> Result<()> {
        let Some(last) = group.last().map(|persist| persist.ready) else { return Ok(()) };
        let working = self.shared.log_busy.begin();
        let mut written = false;
        for persist in group.iter() {
            if persist.hard_state.is_some() || !persist.entries.is_empty() {
                self.writer.write(persist.hard_state.as_ref(), &persist.entries)?;
                written = true;
            }
        }
        if written {
            self.writer.sync()?;
        }
        drop(working);
        let messages: Vec<_> = group.drain(..).flat_map(|persist| persist.messages).collect();
        if !messages.is_empty() {
            self.shared.transport.send(messages);
        }
        self.shared.inbox.persisted(last);
        Ok(())
    }

    fn other(&mut self, job: LogJob) -> Result<()> {
        let _working = self.shared.log_busy.begin();
        match job {
            LogJob::Persist(_) => unreachable!("persists are grouped"),
            LogJob::Truncate { index, term } => self.writer.truncate(index, term),
            LogJob::Reset { index, term, hard_state, done } => {
                let reset = self.writer.reset(index, term).and_then(|()| {
                    self.writer.write(Some(&hard_state), &[])?;
                    self.writer.sync()
                });
                let _ = done.send(reset.clone());
                reset
            }
        }
    }
}

/// Makes a segment beside the work.
fn make_beside(job: SegmentJob, beside: &Beside) -> SegmentPromise {
    let (path, segment) = (job.path(), Arc::new(Mutex::new(None)));
    let begun = beside.begin("raft-segment", {
        let segment = Arc::clone(&segment);
        move || *segment.lock() = Some(job.run())
    });
    let mut maker = Maker(begun.ok());
    Box::new(move || {
        if let Some(begun) = maker.0.take() {
            begun.finish();
        }
        let made = segment.lock().take();
        made.unwrap_or_else(|| {
            let failed = io::Error::other("the thread for it did not start, or panicked");
            Err(lsm_core::Error::io("make the log segment", &path, failed))
        })
    })
}

/// Work that is waited for: it must not write to a folder that is somebody else's by then.
struct Maker(Option<Begun>);

impl Drop for Maker {
    fn drop(&mut self) {
        if let Some(begun) = self.0.take() {
            begun.give_up();
        }
    }
}
