//! Lets the state machine follow the log, and answers those who wait for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use raft::StorageError;
use raft::eraftpb::ConfState;

use super::beside::Begun;
use super::jobs::JobReceiver;
use super::queues::{ApplyJob, Event, Waiter};
use super::shared::{PanicGuard, RuntimeShared};
use crate::error::{Error, Result};
use crate::node::Input;
use crate::outcome::{Outcome, Refusal};
use crate::snapshot::Outgoing;
use crate::state_machine::StateMachine;

/// Bytes of log that are applied at once.
const APPLY_BYTES_MAX: u64 = 4 << 20;
/// How often the raft thread is told what is in tables.
const REPORT_TIME: Duration = Duration::from_millis(500);

pub(super) struct ApplyThread {
    pub(super) machine: StateMachine,
    jobs: JobReceiver<ApplyJob>,
    /// Taken and not yet done.
    taken: VecDeque<ApplyJob>,
    /// After an error nothing is applied any more.
    failed: bool,
    shared: Arc<RuntimeShared>,
    through: u64,
    conf: Vec<(u64, ConfState)>,
    waiters: VecDeque<(u64, Vec<Waiter>)>,
    reads: Vec<(u64, Vec<Waiter>)>,
    flushed: u64,
    /// That are being made.
    snapshots: Vec<Begun>,
    hashing: Option<Begun>,
}

/// Says how making a snapshot ended, also if that panics: otherwise no other would be made.
struct Making {
    shared: Arc<RuntimeShared>,
    made: Option<Arc<Outgoing>>,
}

impl Drop for Making {
    fn drop(&mut self) {
        self.shared.slot.made(self.made.take());
    }
}

impl ApplyThread {
    pub(super) fn new(
        machine: StateMachine,
        jobs: JobReceiver<ApplyJob>,
        shared: Arc<RuntimeShared>,
    ) -> Self {
        Self {
            through: machine.applied().0,
            machine,
            jobs,
            taken: VecDeque::new(),
            failed: false,
            shared,
            conf: Vec::new(),
            waiters: VecDeque::new(),
            reads: Vec::new(),
            // What was in tables at the start is yet to be told.
            flushed: 0,
            snapshots: Vec::new(),
            hashing: None,
        }
    }

    /// Ends when the raft thread has gone.
    pub(super) fn run(mut self) {
        let _guard = PanicGuard(Arc::clone(&self.shared), "apply");
        while self.turn(REPORT_TIME) {}
        self.end();
    }

    /// Does what waits, or what comes within this time. False once there will be no more.
    pub(super) fn turn(&mut self, wait: Duration) -> bool {
        let more = self.jobs.take(wait, &mut self.taken);
        if !self.failed
            && let Err(error) = self.follow()
        {
            self.shared.fail(&error);
            self.failed = true;
            // Whoever waits hears that the node stops. What was asked for cannot be done.
            self.waiters.clear();
            self.reads.clear();
        }
        self.taken.clear();
        more
    }

    /// Makes the state durable and closes it.
    pub(super) fn end(self) {
        if self.failed {
            return;
        }
        if let Err(error) = self.machine.close() {
            tracing::warn!(%error, "the state could not be closed cleanly; the log has it");
        }
        // The folder may be somebody else's soon; a closed state ends them.
        self.snapshots.into_iter().for_each(Begun::give_up);
    }

    fn follow(&mut self) -> Result<()> {
        while let Some(job) = self.taken.pop_front() {
            self.take(job)?;
        }
        self.apply()?;
        self.report_flushed();
        Ok(())
    }

    fn take(&mut self, job: ApplyJob) -> Result<()> {
        match job {
            ApplyJob::Apply(apply) => {
                self.through = apply.through;
                self.conf.extend(apply.conf);
                self.waiters.extend(apply.waiters);
            }
            ApplyJob::Read { index, waiters } => {
                self.reads.push((index, waiters));
                self.answer_reads();
            }
            ApplyJob::MakeSnapshot => self.make_snapshot(),
            ApplyJob::Restore { checked, done } => {
                let restored = self.machine.restore(*checked);
                self.through = self.machine.applied().0;
                self.shared.hashes.lock().passed(self.through);
                // The snapshot passed over what was to be applied: what became of it is not
                // known here.
                let passed = self.waiters.drain(..).flat_map(|(_, waiters)| waiters);
                passed.for_each(|waiter| waiter.refuse(Refusal::Unknown));
                self.conf.clear();
                self.answer_reads();
                let members = restored.map(|()| (*self.machine.members()).clone());
                let _ = done.send(members.clone());
                members?;
            }
        }
        Ok(())
    }

    fn apply(&mut self) -> Result<()> {
        while self.machine.applied().0 < self.through {
            let next = self.machine.applied().0 + 1;
            let entries =
                match self.shared.log.entries(next, self.through + 1, Some(APPLY_BYTES_MAX)) {
                    Ok(entries) => entries,
                    // The log begins anew behind a snapshot, which is the next job.
                    Err(raft::Error::Store(StorageError::Compacted)) => return Ok(()),
                    Err(error) => {
                        let what = "entries cannot be read to be applied";
                        return Err(Error::Raft(format!("{what}, from {next} on: {error}")));
                    }
                };
            let outcomes = self.machine.apply(&entries, &self.conf)?;
            let applied = self.machine.applied().0;
            let changes = self.conf.len();
            self.conf.retain(|(index, _)| *index > applied);
            self.hash_if_asked(applied);
            let news = Event::Input(Input::Applied { index: applied });
            // Only the next change of the members waits for this one.
            if self.conf.len() < changes {
                self.shared.inbox.tell(news);
            } else {
                self.shared.inbox.leave(news);
            }
            self.answer(outcomes);
            self.answer_reads();
        }
        Ok(())
    }

    fn answer(&mut self, outcomes: Vec<(u64, Vec<Outcome>)>) {
        for (index, outcomes) in outcomes {
            if self.waiters.front().is_none_or(|(waiting, _)| *waiting != index) {
                continue;
            }
            let (_, waiters) = self.waiters.pop_front().expect("it is the front");
            debug_assert_eq!(waiters.len(), outcomes.len(), "each command has its outcome");
            for (waiter, outcome) in waiters.into_iter().zip(outcomes) {
                waiter.answer(Ok(outcome));
            }
        }
    }

    fn answer_reads(&mut self) {
        let applied = self.machine.applied().0;
        let ready = self.reads.extract_if(.., |(index, _)| *index <= applied);
        for waiter in ready.flat_map(|(_, waiters)| waiters) {
            waiter.answer(Ok(Outcome::Readable { index: applied }));
        }
    }

    /// Beside applying: the checkpoint says itself which index it is of.
    fn make_snapshot(&mut self) {
        let making = Making { shared: Arc::clone(&self.shared), made: None };
        let reader = self.machine.reader();
        let work = move || {
            let mut making = making;
            match reader.checkpoint() {
                Ok(snapshot) => {
                    let index = snapshot.header().index;
                    tracing::info!(index, "made a snapshot for a follower");
                    making.made = Some(Arc::new(snapshot));
                }
                Err(error) => {
                    tracing::warn!(%error, "no snapshot could be made; it will be tried again");
                }
            }
        };
        // A thread that does not start drops its work, too.
        self.snapshots.retain(|snapshot| !snapshot.is_finished());
        self.snapshots.extend(self.shared.beside.begin("snapshot", work));
    }

    /// Begins what the entries through `applied` ask for, if nothing else is being hashed.
    fn hash_if_asked(&mut self, applied: u64) {
        for job in self.machine.take_hash_jobs() {
            let index = job.index();
            if !self.shared.hashes.lock().begin(index) {
                continue;
            }
            let shared = Arc::clone(&self.shared);
            let work = move || {
                let hash = job.run();
                if let Err(Error::Storage { cause, .. }) = &hash {
                    shared.reader.note_error(cause);
                }
                let hash = hash.map(u128::to_be_bytes).map_err(|error| error.to_string());
                shared.hashes.lock().end(index, hash);
            };
            match self.shared.beside.begin("state-hash", work) {
                Ok(begun) => self.hashing = Some(begun),
                Err(error) => {
                    let reason = format!("no thread could be started: {error}");
                    self.shared.hashes.lock().end(index, Err(reason));
                }
            }
        }
        self.shared.hashes.lock().passed(applied);
    }

    fn report_flushed(&mut self) {
        let flushed = self.machine.flushed_index();
        if flushed > self.flushed {
            self.flushed = flushed;
            self.shared.inbox.leave(Event::Input(Input::Flushed { index: flushed }));
        }
    }
}
