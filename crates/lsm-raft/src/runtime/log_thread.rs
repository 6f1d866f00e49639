//! Makes the log durable: what has piled up is written together and synced once.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use super::jobs::Worker;
use super::queues::LogJob;
use super::shared::{PanicGuard, Shared};
use crate::error::Result;
use crate::log_store::{LogWriter, SegmentJob, SegmentPromise};
use crate::node::Persist;

/// Between two looks at an empty queue; its end wakes the thread before.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(super) struct LogThread {
    pub(super) writer: LogWriter,
    pub(super) jobs: Worker<LogJob>,
    pub(super) shared: Arc<Shared>,
}

impl LogThread {
    /// Ends when the raft thread has gone, or after the first error.
    pub(super) fn run(mut self) {
        let _guard = PanicGuard(Arc::clone(&self.shared), "log");
        let mut jobs = VecDeque::new();
        while self.jobs.take(WAIT_MAX, &mut jobs) {
            if let Err(error) = self.work(&mut jobs) {
                self.shared.fail(&error);
                break;
            }
        }
        // After an error: lets the raft thread go on handing over, with nothing persisted. Whoever
        // waits for a job that is dropped hears so.
        jobs.clear();
        while self.jobs.take(WAIT_MAX, &mut jobs) {
            jobs.clear();
        }
    }

    fn work(&mut self, jobs: &mut VecDeque<LogJob>) -> Result<()> {
        let mut group = Vec::new();
        for job in jobs.drain(..) {
            match job {
                LogJob::Persist(persist) => group.push(persist),
                other => {
                    self.persist(&mut group)?;
                    self.other(other)?;
                }
            }
        }
        self.persist(&mut group)?;
        self.writer.make_ahead(make_beside);
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

/// Makes a segment beside the work, in a thread for it.
fn make_beside(job: SegmentJob) -> SegmentPromise {
    let (path, segment) = (job.path(), Arc::new(Mutex::new(None)));
    let maker = thread::Builder::new().name("raft-segment".into()).spawn({
        let segment = Arc::clone(&segment);
        move || *segment.lock() = Some(job.run())
    });
    let maker = Maker(maker.ok());
    Box::new(move || {
        drop(maker);
        let made = segment.lock().take();
        made.unwrap_or_else(|| {
            let failed = io::Error::other("the thread for it did not start, or panicked");
            Err(lsm_core::Error::io("make the log segment", &path, failed))
        })
    })
}

/// A thread that is waited for: it must not write to a folder that is somebody else's by then.
struct Maker(Option<JoinHandle<()>>);

impl Drop for Maker {
    fn drop(&mut self) {
        // A panic leaves no segment, which is noticed.
        let _ = self.0.take().map(JoinHandle::join);
    }
}
