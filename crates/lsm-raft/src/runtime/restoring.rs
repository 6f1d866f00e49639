//! The switch to a snapshot, for which the raft thread waits for the two others.
//!
//! State first, log second: after a crash between the two the log is found to end before the
//! state, and is set to begin behind it.

use std::sync::mpsc::{self, Receiver, TryRecvError};

use super::jobs::JobSender;
use super::queues::{ApplyJob, LogJob};
use crate::error::{Error, Result};
use crate::members::Members;
use crate::node::Restore;
use crate::state_machine::Checked;

pub(super) struct Restoring {
    pub(super) restore: Restore,
    state: Receiver<Result<Members>>,
    /// Once the state is that of the snapshot: its members, and what becomes of the log.
    log: Option<(Members, Receiver<Result<()>>)>,
}

impl Restoring {
    pub(super) fn begin(
        restore: Restore,
        checked: Box<Checked>,
        apply_jobs: &JobSender<ApplyJob>,
    ) -> Self {
        tracing::info!(index = restore.index, "switching to a snapshot");
        let (done, state) = mpsc::channel();
        apply_jobs.give(ApplyJob::Restore { checked, done });
        Self { restore, state, log: None }
    }

    /// Goes on as far as the others have answered, or to the end if it may wait for them. The
    /// members of the snapshot once both are there.
    pub(super) fn go_on(
        &mut self,
        log_jobs: &JobSender<LogJob>,
        waits: bool,
    ) -> Result<Option<Members>> {
        if self.log.is_none() {
            let Some(members) = answer(&self.state, waits)? else { return Ok(None) };
            let (done, reset) = mpsc::channel();
            let Restore { index, term, .. } = self.restore;
            let hard_state = self.restore.hard_state.clone();
            log_jobs.give(LogJob::Reset { index, term, hard_state, done });
            self.log = Some((members, reset));
        }
        let Some((members, reset)) = &self.log else { return Ok(None) };
        Ok(answer(reset, waits)?.map(|()| members.clone()))
    }
}

fn answer<T>(from: &Receiver<Result<T>>, waits: bool) -> Result<Option<T>> {
    let told = if waits { from.recv().map_err(TryRecvError::from) } else { from.try_recv() };
    match told {
        Ok(told) => told.map(Some),
        Err(TryRecvError::Empty) => Ok(None),
        Err(TryRecvError::Disconnected) => {
            Err(Error::Raft("a thread of the node has failed".into()))
        }
    }
}
