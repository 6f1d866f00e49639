//! Feeds the node and carries out its outputs, in order.

use std::sync::Arc;
use std::time::Duration;

use lsm_core::Clock;
use lsm_log::fs::{Fs, Space};
use raft::eraftpb::{Message, MessageType};

use super::inbox::Turn;
use super::jobs::JobSender;
use super::queues::{ApplyJob, Event, LogJob, Waiter};
use super::restoring::Restoring;
use super::shared::{PanicGuard, RuntimeShared};
use crate::error::{Error, Result};
use crate::node::{Input, Node, Output};
use crate::outcome::Outcome;
use crate::room::Room;
use crate::state_machine::Checked;
use crate::storage::GroupStorage;

/// Ticks between two looks at whether the snapshot on offer is still needed.
const RETIRE_TICKS: u64 = 100;
/// Ticks between two looks at how much room there is on the disk.
const ROOM_TICKS: u64 = 2;

pub(super) struct RaftThread {
    pub(super) node: Node<GroupStorage, Waiter>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tick: Duration,
    pub(super) next_tick: Duration,
    pub(super) ticks: u64,
    /// How long a node that failed may take to hand over.
    pub(super) hand_over_time: Duration,
    pub(super) failed_at: Option<Duration>,
    pub(super) log: JobSender<LogJob>,
    pub(super) apply: JobSender<ApplyJob>,
    pub(super) shared: Arc<RuntimeShared>,
    pub(super) fs: Arc<dyn Fs>,
    pub(super) reserve_bytes: Option<u64>,
    /// The leadership was handed over since the disk became full.
    pub(super) handed_over: bool,
    /// Taken and not yet looked at.
    pub(super) turn: Turn,
    /// A snapshot that the node may switch to.
    pub(super) checked: Option<Box<Checked>>,
    /// Until that is done, everything else waits.
    pub(super) restoring: Option<Restoring>,
}

impl RaftThread {
    pub(super) fn run(mut self) {
        let _guard = PanicGuard(Arc::clone(&self.shared), "raft");
        let error = loop {
            match self.turn(true) {
                Ok(true) => {}
                Ok(false) => break None,
                Err(error) => break Some(error),
            }
        };
        self.end(error);
    }

    /// The other threads end with it.
    pub(super) fn end(self, error: Option<Error>) {
        let shared = Arc::clone(&self.shared);
        if let Some(error) = &error {
            tracing::error!(node = shared.identity.node, %error, "cannot go on; stopping");
        }
        drop(self);
        shared.inbox.close();
        shared.stopped(error);
    }

    /// Takes what has come and lets the node act on it. Waits until something has, or it is time
    /// for a tick, if it may wait. False if that was the end.
    pub(super) fn turn(&mut self, waits: bool) -> Result<bool> {
        if !self.go_on_restoring(waits)? {
            return Ok(true);
        }
        if self.turn.events.is_empty() {
            let until_tick = self.next_tick.saturating_sub(self.clock.now());
            let wait = if waits { until_tick } else { Duration::ZERO };
            self.shared.inbox.take(self.node.wants(), wait, &mut self.turn);
        }
        let now = self.clock.now();
        for request in self.turn.requests.drain(..) {
            self.node.step(request, now)?;
        }
        while let Some(event) = self.turn.events.pop_front() {
            if matches!(event, Event::Stop) {
                return Ok(false);
            }
            self.take(event, now)?;
            if self.restoring.is_some() {
                return Ok(true);
            }
        }
        if now >= self.next_tick {
            // One, however long it took: a node that was paused must not make up for it.
            self.next_tick = now + self.tick;
            self.tick(now)?;
        }
        self.decide(now)?;
        Ok(!self.has_handed_over(now))
    }

    /// Whether the node that drives this thread could act on something now.
    pub(super) fn is_due(&self) -> bool {
        self.restoring.is_none() && self.shared.inbox.matters(self.node.wants())
    }

    fn tick(&mut self, now: Duration) -> Result<()> {
        self.node.step(Input::Tick, now)?;
        self.ticks += 1;
        if self.ticks.is_multiple_of(RETIRE_TICKS) {
            self.shared.slot.retire();
        }
        if self.ticks.is_multiple_of(ROOM_TICKS) {
            self.look_for_room(now)?;
            if self.shared.reader.is_damaged() {
                self.node.step(Input::StateDamaged, now)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, event: Event, now: Duration) -> Result<()> {
        match event {
            Event::Input(input) => {
                if matches!(input, Input::Fail { .. }) {
                    self.failed_at = Some(now);
                }
                self.node.step(input, now)
            }
            Event::Messages(messages) => {
                let room = self.shared.room();
                messages
                    .into_iter()
                    .filter(|message| room < Room::None || is_light(message))
                    .try_for_each(|message| self.node.step(Input::Message(message), now))
            }
            Event::Snapshot(message, checked) => {
                self.checked = Some(checked);
                self.node.step(Input::Message(*message), now)?;
                // It is switched to at once, or never.
                self.decide(now)?;
                self.checked = None;
                Ok(())
            }
            Event::Stop => Ok(()),
        }
    }

    /// Carries out what the node decides after all that it was told.
    fn decide(&mut self, now: Duration) -> Result<()> {
        for output in self.node.outputs(now)? {
            match output {
                Output::Send(messages) => self.send(messages, now)?,
                Output::Persist(persist) => self.log.give(LogJob::Persist(persist)),
                Output::Apply(apply) => self.apply.give(ApplyJob::Apply(apply)),
                Output::Read { index, waiters } => self.answer_reads(index, waiters),
                Output::Refuse { waiter, refusal } => waiter.refuse(refusal),
                Output::Truncate { index, term } => self.log.give(LogJob::Truncate { index, term }),
                Output::MakeSnapshot => self.apply.give(ApplyJob::MakeSnapshot),
                Output::Restore(restore) => {
                    let Some(checked) = self.checked.take() else {
                        let index = restore.index;
                        return Err(Error::Raft(format!("no snapshot of {index} was received")));
                    };
                    let restoring = Restoring::begin(restore, checked, &self.apply);
                    self.restoring = Some(restoring);
                }
                Output::Status(status) => {
                    let old = self.shared.status.send_replace(status.clone());
                    if (old.leader, old.term) != (status.leader, status.term) {
                        tracing::info!(
                            node = status.node,
                            leader = status.leader,
                            term = status.term,
                            "leadership"
                        );
                    }
                }
                Output::Failed(error) => self.shared.fail(&error),
                Output::Removed => {
                    let node = self.shared.identity.node;
                    return Err(Error::Refused(format!(
                        "node {node} was removed from the cluster; its folder can be deleted"
                    )));
                }
            }
        }
        Ok(())
    }

    /// A leader without room lets another one try, once. A follower without any takes no more
    /// entries, and is sent them again: it stays a member, which a node that finds no room for its
    /// log does not.
    fn look_for_room(&mut self, now: Duration) -> Result<()> {
        // Where it cannot be told, a full disk shows itself.
        let endless = Space { total: u64::MAX, free: u64::MAX };
        let space = self.fs.space(&self.shared.dir).unwrap_or(endless);
        let before = self.shared.room();
        let room = before.judge(space, self.reserve_bytes);
        self.shared.set_room(room, space.free);
        // A part of what is free shrinks as the log grows: it takes a third of the disk at most.
        let spare = if room == Room::Enough && space != endless { space.free / 2 } else { 0 };
        self.node.step(Input::Spare { bytes: spare }, now)?;
        if room != before {
            let (node, free) = (self.shared.identity.node, space.free);
            match room {
                Room::Enough => tracing::info!(node, free, "there is room on the disk again"),
                Room::Little => tracing::warn!(
                    node,
                    free,
                    "little room on the disk: only reads and deletes are served"
                ),
                Room::None => tracing::error!(
                    node,
                    free,
                    "no room on the disk: only reads are served, and this node falls behind"
                ),
            }
        }
        if room == Room::Enough {
            self.handed_over = false;
        } else if self.node.status().leads() && !self.handed_over {
            self.handed_over = true;
            self.node.step(Input::Transfer { to: None }, now)?;
        }
        Ok(())
    }

    /// Most reads find applied what they must see, and need no other thread.
    fn answer_reads(&self, index: u64, waiters: Vec<Waiter>) {
        let applied = self.shared.reader.applied();
        if applied < index {
            return self.apply.give(ApplyJob::Read { index, waiters });
        }
        for waiter in waiters {
            waiter.answer(Ok(Outcome::Readable { index: applied }));
        }
    }

    fn send(&mut self, mut messages: Vec<Message>, now: Duration) -> Result<()> {
        let is_snapshot =
            |message: &mut Message| message.get_msg_type() == MessageType::MsgSnapshot;
        let snapshots: Vec<_> = messages.extract_if(.., is_snapshot).collect();
        for message in snapshots {
            match self.shared.slot.offered() {
                Some(snapshot)
                    if snapshot.header().index == message.get_snapshot().get_metadata().index =>
                {
                    self.shared.transport.send_snapshot(message, snapshot);
                }
                // It was replaced meanwhile; raft asks again.
                _ => self.node.step(Input::SnapshotSent { node: message.to, whole: false }, now)?,
            }
        }
        if !messages.is_empty() {
            self.shared.transport.send(messages);
        }
        Ok(())
    }

    /// False if the other threads have yet to do their part.
    fn go_on_restoring(&mut self, waits: bool) -> Result<bool> {
        if let Some(restoring) = &mut self.restoring {
            let Some(members) = restoring.go_on(&self.log, waits)? else { return Ok(false) };
            let restore = self.restoring.take().expect("it was just there").restore;
            let now = self.clock.now();
            self.shared.transport.send(restore.messages);
            let (ready, index) = (restore.ready, restore.index);
            self.node.step(Input::Restored { ready, index, members }, now)?;
            self.decide(now)?;
        }
        Ok(true)
    }

    /// Whether a node that failed has nothing left to do.
    fn has_handed_over(&self, now: Duration) -> bool {
        self.failed_at
            .is_some_and(|at| !self.node.status().leads() || now > at + self.hand_over_time)
    }
}

/// Whether it brings nothing that takes room. The entry with which a leader begins is empty.
fn is_light(message: &Message) -> bool {
    message.entries.iter().all(|entry| entry.data.is_empty())
}
