//! Makes the log durable: what has piled up is written together and synced once.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::queues::LogJob;
use super::shared::{PanicGuard, Shared};
use crate::error::Result;
use crate::log_store::LogWriter;
use crate::node::Persist;

/// Jobs that share one sync.
const GROUP_MAX: usize = 1 << 10;

pub(super) struct LogThread {
    pub(super) writer: LogWriter,
    pub(super) jobs: Receiver<LogJob>,
    pub(super) shared: Arc<Shared>,
}

impl LogThread {
    /// Ends when the raft thread has gone, or after the first error.
    pub(super) fn run(mut self) {
        let _guard = PanicGuard(Arc::clone(&self.shared), "log");
        while let Ok(job) = self.jobs.recv() {
            if let Err(error) = self.work(job) {
                self.shared.fail(&error);
                break;
            }
        }
        // After an error: lets the raft thread go on handing over, with nothing persisted.
        while let Ok(job) = self.jobs.recv() {
            if let LogJob::Reset { done, .. } = job {
                drop(done);
            }
        }
    }

    fn work(&mut self, first: LogJob) -> Result<()> {
        let mut group = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next.take() {
            match job {
                LogJob::Persist(persist) => {
                    group.push(persist);
                    if group.len() < GROUP_MAX {
                        next = self.jobs.try_recv().ok();
                    }
                }
                other => {
                    self.persist(&mut group)?;
                    self.other(other)?;
                    next = self.jobs.try_recv().ok();
                }
            }
        }
        self.persist(&mut group)
    }

    fn persist(&mut self, group: &mut Vec<Persist>) -> Result<()> {
        let Some(last) = group.last().map(|persist| persist.ready) else { return Ok(()) };
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
        let messages: Vec<_> = group.drain(..).flat_map(|persist| persist.messages).collect();
        if !messages.is_empty() {
            self.shared.transport.send(messages);
        }
        self.shared.inbox.persisted(last);
        Ok(())
    }

    fn other(&mut self, job: LogJob) -> Result<()> {
        match job {
            LogJob::Persist(_) => unreachable!("persists are grouped"),
            LogJob::Truncate { index } => self.writer.truncate(index),
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
