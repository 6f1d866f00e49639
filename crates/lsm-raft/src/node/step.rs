//! The node itself: raft's `RawNode`, fed with judged inputs, its readies turned into outputs.

use std::time::Duration;

use raft::eraftpb::{Message, MessageType};
use raft::{RawNode, StateRole};

use super::catching_up::{CatchingUp, PeerProgress};
use super::changes::Changes;
use super::disk::Disk;
use super::elections;
use super::guard::{self, Verdict};
use super::io::{Input, NodeStatus, NodeStorage, Output, Wants};
use super::last_contact::LastContact;
use super::leases::Leases;
use super::losses::{self, Losses};
use super::proposals::Proposals;
use super::reads::Reads;
use super::{status, truncation};
use crate::config::{Config, Timing};
use crate::error::Result;
use crate::members::Members;
use crate::outcome::Refusal;

/// Ticks between two looks at whether the log can be cut.
const TRUNCATE_TICKS: u64 = 10;
/// Ticks between two looks at whether what was told of the node's state is still so. What changes
/// with each commit is told with it.
const STATUS_TICKS: u64 = 5;
/// One node of the group: steps on its inputs, and says what is to be done.
pub struct Node<S: NodeStorage, W> {
    pub(super) config: Config,
    pub(super) nonce: u64,
    pub(super) raw: RawNode<S>,
    /// As of the last entry handed out to be applied.
    pub(super) members: Members,
    pub(super) proposals: Proposals<W>,
    pub(super) changes: Changes<W>,
    pub(super) reads: Reads<W>,
    pub(super) leases: Leases,
    pub(super) outputs: Vec<Output<W>>,
    /// As last told.
    pub(super) status: NodeStatus,
    /// To be told even if nothing but the small things changed.
    pub(super) status_due: bool,
    pub(super) last_contact: LastContact,
    pub(super) catching_up: CatchingUp,
    /// The last term in which a hand-over was begun.
    pub(super) hand_over_term: u64,
    pub(super) ticks: u64,
    pub(super) flushed: u64,
    /// What was given out to be persisted and is not yet done.
    pub(super) disk: Disk,
    /// Term and vote as last given out to be persisted.
    pub(super) term_vote: (u64, u64),
    /// The ready that they stand in, until they are durable.
    pub(super) term_vote_ready: Option<u64>,
    /// A snapshot takes the place of state and log. What is decided behind it would be written to
    /// the log that goes, or speak of a term that is durable only with the switch: it waits.
    pub(super) is_restoring: bool,
    pub(super) failed: Option<String>,
    pub(super) losses: Losses,
}

impl<S: NodeStorage, W> std::fmt::Debug for Node<S, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("status", &self.status).finish_non_exhaustive()
    }
}

impl<S: NodeStorage, W> Node<S, W> {
    /// A node whose state machine has applied through `applied`, with the members of there.
    /// `nonce` is new in each process.
    ///
    /// # Errors
    ///
    /// `Invalid` for settings; `Raft` if what the storage holds does not fit together.
    pub fn new(
        config: Config,
        storage: S,
        applied: u64,
        members: Members,
        nonce: u64,
    ) -> Result<Self> {
        config.validate()?;
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let losses = Losses::new(storage.lost_through());
        let raw = RawNode::new(&config.to_raft(applied), storage, &logger)?;
        let mut node = Self {
            raw,
            members,
            proposals: Proposals::new(),
            changes: Changes::new(),
            reads: Reads::new(nonce),
            leases: Leases::new(config.timing()),
            outputs: Vec::new(),
            status: NodeStatus { node: config.node, ..NodeStatus::default() },
            status_due: false,
            last_contact: LastContact::default(),
            catching_up: CatchingUp::default(),
            hand_over_term: 0,
            ticks: 0,
            flushed: 0,
            disk: Disk::default(),
            term_vote: (0, 0),
            term_vote_ready: None,
            is_restoring: false,
            failed: None,
            losses,
            config,
            nonce,
        };
        elections::draw_timeout(&mut node.raw.raft, &node.config, nonce);
        let hard_state = node.raw.raft.hard_state();
        node.term_vote = (hard_state.term, hard_state.vote);
        node.status = node.status();
        Ok(node)
    }

    /// What the node knows of itself, as of now.
    pub fn status(&self) -> NodeStatus {
        status::read(&self.raw.raft, &self.last_contact, self.flushed)
    }

    /// Where its log lives.
    pub fn storage(&self) -> &S {
        self.raw.store()
    }

    /// Which inputs it would act on now.
    pub fn wants(&self) -> Wants {
        let log = &self.raw.raft.raft_log;
        Wants {
            proposal_bytes: if self.leads() { self.proposals.missing(&self.config) } else { 0 },
            reads: self.config.lease_reads || self.reads.may_begin(&self.config),
            persisted: self.leads()
                || log.committed > log.persisted
                || self.term_vote_ready.is_some(),
        }
    }

    /// Takes one input. `now` is the time of a monotonic clock.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the node finds that it lost what it had promised to keep, `Storage` if it does
    /// not lead and its log cannot be read, and `Raft` for what cannot happen. The node must not be
    /// used on.
    pub fn step(&mut self, input: Input<W>, now: Duration) -> Result<()> {
        let led = self.leads();
        self.handle(input, now)?;
        elections::draw_timeout(&mut self.raw.raft, &self.config, self.nonce);
        self.watch(led)
    }

    fn handle(&mut self, input: Input<W>, now: Duration) -> Result<()> {
        match input {
            Input::Tick => self.tick(now)?,
            Input::Message(message) => self.receive(message, now)?,
            Input::Propose { command, waiter } => {
                self.admit(self.leads(), waiter, |node, waiter| {
                    node.proposals.push(command, waiter, &node.config)
                });
            }
            Input::ChangeMembers { changes, waiter } => {
                self.admit(self.leads(), waiter, |node, waiter| node.changes.push(changes, waiter));
            }
            Input::Read { waiter } => {
                self.admit(self.leader().is_some(), waiter, |node, waiter| {
                    node.reads.push(waiter, &node.config)
                });
            }
            Input::Persisted { ready } => self.persisted(ready, now),
            // News from before a restore may come after it.
            Input::Applied { index } => {
                if index > self.raw.raft.raft_log.applied {
                    self.raw.advance_apply_to(index);
                }
            }
            Input::Flushed { index } => self.flushed = self.flushed.max(index),
            Input::Restored { ready, index, members } => {
                self.is_restoring = false;
                self.persisted(ready, now);
                self.raw.advance_apply_to(index);
                self.flushed = self.flushed.max(index);
                self.members = members;
            }
            // There may be no leader to ask, or a snapshot is on its way.
            Input::StateDamaged => {
                self.transfer(None);
                let _ = self.raw.request_snapshot();
            }
            Input::Spare { bytes } => self.catching_up.spare_bytes = bytes,
            Input::Timing { node, timing } => self.note_timing(node, timing),
            Input::Unreachable { node } => self.raw.report_unreachable(node),
            Input::SnapshotSent { node, whole } => {
                let status = if whole {
                    raft::SnapshotStatus::Finish
                } else {
                    raft::SnapshotStatus::Failure
                };
                self.raw.report_snapshot(node, status);
            }
            Input::Transfer { to } => self.transfer(to),
            Input::Campaign if self.lacks_entries() => {}
            Input::Campaign => self.raw.campaign()?,
            Input::Fail { reason } => self.fail(reason),
        }
        Ok(())
    }

    /// What is to be done after the inputs so far, in order.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub fn outputs(&mut self, now: Duration) -> Result<Vec<Output<W>>> {
        // What one ready leads to may be another: a lone voter commits what it persists.
        loop {
            self.send_proposals()?;
            self.send_changes()?;
            self.send_reads(now);
            if self.is_restoring || !self.raw.has_ready() {
                break;
            }
            let (led, before) = (self.leads(), self.outputs.len());
            self.handle_ready(now)?;
            self.watch(led)?;
            // Entries that cannot be read are ready for ever.
            if self.failed.is_some() && self.outputs.len() == before {
                break;
            }
        }
        let applied = self.raw.raft.raft_log.applied;
        if self.raw.mut_store().take_snapshot_wanted(applied) && self.failed.is_none() {
            self.outputs.push(Output::MakeSnapshot);
        }
        self.disk.committed(self.raw.raft.raft_log.committed, now);
        self.watch_leadership();
        Ok(std::mem::take(&mut self.outputs))
    }

    pub(super) fn leads(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// Who leads, as far as this node knows.
    pub(super) fn leader(&self) -> Option<u64> {
        status::leader(&self.raw.raft)
    }

    fn tick(&mut self, now: Duration) -> Result<()> {
        self.ticks += 1;
        self.status_due |= self.ticks.is_multiple_of(STATUS_TICKS);
        self.record_contacts();
        if self.lacks_entries() {
            // It must not campaign either.
            self.raw.raft.election_elapsed = 0;
        }
        self.raw.tick();
        if let Some(context) = self.reads.tick(now, &self.config) {
            self.raw.read_index(context);
        }
        for waiter in self.reads.take_expired(&self.config) {
            self.refuse_as_follower(waiter);
        }
        self.watch_disk()?;
        if self.ticks.is_multiple_of(TRUNCATE_TICKS) {
            self.truncate();
            self.leave_joint()?;
        }
        Ok(())
    }

    fn record_contacts(&mut self) {
        if !self.leads() {
            return self.last_contact.clear();
        }
        let active = self.raw.raft.prs().iter().filter(|(_, progress)| progress.recent_active);
        let ticks_max = self.config.election_ticks_min as u64;
        self.last_contact.record(self.ticks, ticks_max, active.map(|(&id, _)| id));
    }

    fn receive(&mut self, mut message: Message, now: Duration) -> Result<()> {
        let last = self.raw.raft.raft_log.last_index();
        let is_lost = self.losses.remain(last) && losses::clamp(&mut message, last);
        if self.failed.is_some() && message.get_msg_type() == MessageType::MsgSnapshot {
            return Ok(());
        }
        if self.must_not_vote_yet(&message) {
            return Ok(());
        }
        match guard::judge(&self.raw.raft, &message)? {
            Verdict::Drop(reason) => {
                tracing::debug!(from = message.from, kind = ?message.get_msg_type(), reason, "message dropped");
                return Ok(());
            }
            Verdict::Step => {}
        }
        if self.leads() && losses::is_report(&message) {
            losses::rewind_progress(&mut self.raw.raft, &message);
            return Ok(());
        }
        let is_snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
        self.raw.skip_bcast_commit(self.proposals.more_follow());
        match self.raw.step(message) {
            // A node that was removed, or has not heard of its sender yet.
            Ok(()) | Err(raft::Error::StepPeerNotFound | raft::Error::ProposalDropped) => {}
            Err(error) => return Err(error.into()),
        }
        // A snapshot stands alone in its ready: what follows it comes after the switch.
        if is_snapshot && self.raw.has_ready() {
            self.handle_ready(now)?;
        }
        // Its term is news that must be durable first; then another heartbeat comes.
        if is_lost && self.is_term_durable() {
            self.outputs
                .extend(losses::report(&self.raw.raft).map(|told| Output::Send(vec![told])));
        }
        Ok(())
    }

    /// A node that may have answered a lease before it was restarted has forgotten so: it lets
    /// that lease run out before it helps to elect another leader.
    fn must_not_vote_yet(&mut self, message: &Message) -> bool {
        let kind = message.get_msg_type();
        if self.lacks_entries() {
            return guard::is_election(kind) || kind == MessageType::MsgTimeoutNow;
        }
        let may_hold = self.ticks <= self.config.election_ticks_min as u64;
        self.config.lease_reads && may_hold && guard::is_election(kind)
    }

    fn lacks_entries(&mut self) -> bool {
        self.losses.remain(self.raw.raft.raft_log.last_index())
    }

    fn send_proposals(&mut self) -> Result<()> {
        if !self.leads() || self.raw.raft.lead_transferee.is_some() {
            return Ok(());
        }
        while let Some(group) = self.proposals.next(&self.config) {
            let bytes = group.data.len();
            match self.raw.propose(Vec::new(), group.data) {
                Ok(()) => {
                    let (index, term) = (self.raw.raft.raft_log.last_index(), self.raw.raft.term);
                    self.proposals.proposed(index, term, bytes, group.waiters);
                }
                Err(raft::Error::ProposalDropped) => {
                    let what = "too much of the log is not committed yet".to_owned();
                    for waiter in group.waiters {
                        let refusal = Refusal::Busy { what: what.clone() };
                        self.outputs.push(Output::Refuse { waiter, refusal });
                    }
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// A lease from before may have rested on other times.
    fn note_timing(&mut self, node: u64, timing: Timing) {
        let prs = self.raw.raft.prs();
        if self.leases.note(node, timing, |node| prs.get(node).is_some()) {
            self.reads.drop_lease();
        }
    }

    fn may_answer_alone(&self, now: Duration) -> bool {
        self.config.lease_reads
            && self.leads()
            && self.raw.raft.lead_transferee.is_none()
            && self.raw.raft.commit_to_current_term()
            // Whoever was told to take over may do so late, and ask for votes that no lease
            // holds back.
            && self.raw.raft.term != self.hand_over_term
            && self.reads.has_lease(now)
    }

    fn send_reads(&mut self, now: Duration) {
        // A new leader does not know yet what is committed: its first entry will tell.
        if self.leads() && !self.raw.raft.commit_to_current_term() {
            return;
        }
        if self.may_answer_alone(now) {
            let waiters = self.reads.take_waiting();
            if !waiters.is_empty() {
                let index = self.raw.raft.raft_log.committed;
                self.outputs.push(Output::Read { index, waiters });
            }
        }
        if let Some(context) = self.reads.begin(now, &self.config) {
            self.raw.read_index(context);
        }
    }

    fn truncate(&mut self) {
        if !self.leads() {
            self.catching_up.clear();
        }
        let (prs, contact) = (self.raw.raft.prs(), &self.last_contact);
        let (spare, catching_up) = (self.catching_up.spare_bytes, &mut self.catching_up);
        let needed = |near| {
            catching_up.look(near, |node| {
                let progress = prs.get(node)?;
                let active = contact.is_active(node, progress);
                Some(PeerProgress { matched: progress.matched, active })
            })
        };
        let cut = truncation::cut(&self.raw.raft, &self.config, self.flushed, spare, needed);
        if let (Some((index, term)), None) = (cut, &self.failed) {
            self.raw.mut_store().truncate(index);
            self.outputs.push(Output::Truncate { index, term });
        }
    }
}
