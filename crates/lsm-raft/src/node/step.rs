//! The node itself: raft's `RawNode`, fed with judged inputs, its readies turned into outputs.

use std::time::Duration;

use raft::eraftpb::{ConfChangeV2, ConfState, Entry, HardState, Message, MessageType, Snapshot};
use raft::{Progress, RawNode, StateRole};

use super::catching_up::{CatchingUp, Seen};
use super::changes::Changes;
use super::disk::{self, Disk};
use super::elections;
use super::guard::{self, Verdict};
use super::heard::Heard;
use super::io::{Apply, Input, NodeStatus, NodeStorage, Output, Persist, Restore, Wants};
use super::leases::Leases;
use super::losses::{self, Losses};
use super::proposals::Proposals;
use super::reads::Reads;
use super::{status, truncation};
use crate::config::{Config, Timing};
use crate::error::{Error, Result};
use crate::members::{Change, Members, decode_changes, encode_changes, to_raft};
use crate::outcome::Refusal;

/// Ticks between two looks at whether the log can be cut.
const TRUNCATE_TICKS: u64 = 10;
/// Ticks between two looks at whether what was told of the node's state is still so. What changes
/// with each commit is told with it.
const STATUS_TICKS: u64 = 5;
/// One node of the group: steps on its inputs, and says what is to be done.
pub struct Node<S: NodeStorage, W> {
    config: Config,
    nonce: u64,
    raw: RawNode<S>,
    /// As of the last entry handed out to be applied.
    members: Members,
    proposals: Proposals<W>,
    changes: Changes<W>,
    reads: Reads<W>,
    leases: Leases,
    outputs: Vec<Output<W>>,
    /// As last told.
    status: NodeStatus,
    /// To be told even if nothing but the small things changed.
    status_due: bool,
    heard: Heard,
    catching_up: CatchingUp,
    /// The last term in which a hand-over was begun.
    hand_over_term: u64,
    ticks: u64,
    flushed: u64,
    /// What was given out to be persisted and is not yet done.
    disk: Disk,
    /// The last of those that changes the term or vote.
    promising: Option<u64>,
    /// Term and vote as last given out to be persisted.
    promised: (u64, u64),
    failed: Option<String>,
    losses: Losses,
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
            heard: Heard::default(),
            catching_up: CatchingUp::default(),
            hand_over_term: 0,
            ticks: 0,
            flushed: 0,
            disk: Disk::default(),
            promising: None,
            promised: (0, 0),
            failed: None,
            losses,
            config,
            nonce,
        };
        elections::draw_timeout(&mut node.raw.raft, &node.config, nonce);
        let hard_state = node.raw.raft.hard_state();
        node.promised = (hard_state.term, hard_state.vote);
        node.status = node.status();
        Ok(node)
    }

    /// What the node knows of itself, as of now.
    pub fn status(&self) -> NodeStatus {
        status::read(&self.raw.raft, &self.heard, self.flushed)
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
            persisted: self.leads() || log.committed > log.persisted || self.promising.is_some(),
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
        self.take(input, now)?;
        elections::draw_timeout(&mut self.raw.raft, &self.config, self.nonce);
        self.watch(led)
    }

    fn take(&mut self, input: Input<W>, now: Duration) -> Result<()> {
        match input {
            Input::Tick => self.tick(now)?,
            Input::Message(message) => self.receive(message, now)?,
            Input::Propose { command, waiter } => self.propose(command, waiter),
            Input::ChangeMembers { changes, waiter } => self.change(changes, waiter),
            Input::Read { waiter } => self.read(waiter, now),
            Input::Persisted { ready } => self.persisted(ready, now),
            // News from before a restore may come after it.
            Input::Applied { index } => {
                if index > self.raw.raft.raft_log.applied {
                    self.raw.advance_apply_to(index);
                }
            }
            Input::Flushed { index } => self.flushed = self.flushed.max(index),
            Input::Restored { ready, index, members } => {
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
            if !self.raw.has_ready() {
                break;
            }
            let (led, before) = (self.leads(), self.outputs.len());
            self.take_ready(now)?;
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

    fn leads(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    fn tick(&mut self, now: Duration) -> Result<()> {
        self.ticks += 1;
        self.status_due |= self.ticks.is_multiple_of(STATUS_TICKS);
        self.note_heard();
        if self.lacks_entries() {
            // It must not campaign either.
            self.raw.raft.election_elapsed = 0;
        }
        self.raw.tick();
        if let Some(context) = self.reads.tick(now, &self.config) {
            self.raw.read_index(context);
        }
        for waiter in self.reads.take_hopeless(&self.config) {
            self.refuse_as_follower(waiter);
        }
        self.watch_disk()?;
        if self.ticks.is_multiple_of(TRUNCATE_TICKS) {
            self.truncate();
            self.leave_joint()?;
        }
        Ok(())
    }

    fn watch_disk(&mut self) -> Result<()> {
        let verdict = self.disk.tick(&self.config);
        let silent = self.config.tick * self.disk.silent_ticks() as u32;
        match verdict {
            disk::Verdict::Fine => {}
            disk::Verdict::Slow if self.leads() => {
                tracing::warn!("the disk is much slower than those of others; handing over");
                self.transfer(None);
            }
            disk::Verdict::Silent if self.leads() => {
                if self.raw.raft.lead_transferee.is_none() {
                    tracing::warn!(?silent, "the disk does not answer; handing over");
                }
                self.transfer(None);
            }
            disk::Verdict::Slow | disk::Verdict::Silent => {}
            disk::Verdict::Dead => return Err(Error::Silent { time: silent }),
        }
        Ok(())
    }

    fn note_heard(&mut self) {
        if !self.leads() {
            return self.heard.clear();
        }
        let active = self.raw.raft.prs().iter().filter(|(_, progress)| progress.recent_active);
        let ticks_max = self.config.election_ticks_min as u64;
        self.heard.note(self.ticks, ticks_max, active.map(|(&id, _)| id));
    }

    fn receive(&mut self, mut message: Message, now: Duration) -> Result<()> {
        let last = self.raw.raft.raft_log.last_index();
        let is_lost = self.losses.remain(last) && losses::soften(&mut message, last);
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
        if self.leads() && losses::is_admission(&message) {
            losses::believe(&mut self.raw.raft, &message);
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
            self.take_ready(now)?;
        }
        // Its term is news that must be durable first; then another heartbeat comes.
        if is_lost && !self.is_promise(&self.raw.raft.hard_state()) && self.promising.is_none() {
            self.outputs
                .extend(losses::admission(&self.raw.raft).map(|told| Output::Send(vec![told])));
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

    fn propose(&mut self, command: Vec<u8>, waiter: W) {
        if let Some(reason) = &self.failed {
            let refusal = Refusal::Stopped(reason.clone());
            self.outputs.push(Output::Refuse { waiter, refusal });
        } else if !self.leads() {
            self.refuse_as_follower(waiter);
        } else if let Err((waiter, refusal)) = self.proposals.push(command, waiter, &self.config) {
            self.outputs.push(Output::Refuse { waiter, refusal });
        }
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

    fn change(&mut self, changes: Vec<Change>, waiter: W) {
        if let Some(reason) = &self.failed {
            let refusal = Refusal::Stopped(reason.clone());
            self.outputs.push(Output::Refuse { waiter, refusal });
        } else if !self.leads() {
            self.refuse_as_follower(waiter);
        } else if let Err((waiter, refusal)) = self.changes.push(changes, waiter) {
            self.outputs.push(Output::Refuse { waiter, refusal });
        }
    }

    fn send_changes(&mut self) -> Result<()> {
        while let Some(changes) = self.changes.next() {
            if !self.leads() || self.raw.raft.has_pending_conf() || self.is_joint() {
                return Ok(());
            }
            if let Err(reason) = self.members.after(changes) {
                let waiter = self.changes.void_next();
                let refusal = Refusal::Invalid(reason);
                self.outputs.extend(waiter.map(|waiter| Output::Refuse { waiter, refusal }));
                continue;
            }
            let mut context = Vec::new();
            encode_changes(changes, &mut context);
            match self.raw.propose_conf_change(context, to_raft(changes)) {
                Ok(()) => {
                    let (index, term) = (self.raw.raft.raft_log.last_index(), self.raw.raft.term);
                    self.changes.proposed(index, term);
                }
                // Too much of the log is not committed yet, or the leadership is handed over.
                Err(raft::Error::ProposalDropped) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// raft leaves a joint configuration when its leader applies it; one that became leader
    /// after that has to be told.
    fn leave_joint(&mut self) -> Result<()> {
        let busy = !self.leads() || self.raw.raft.has_pending_conf() || self.failed.is_some();
        if busy || !self.is_joint() {
            return Ok(());
        }
        match self.raw.propose_conf_change(Vec::new(), ConfChangeV2::default()) {
            Ok(()) | Err(raft::Error::ProposalDropped) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&mut self, waiter: W, now: Duration) {
        if let Some(reason) = &self.failed {
            let refusal = Refusal::Stopped(reason.clone());
            self.outputs.push(Output::Refuse { waiter, refusal });
        } else if self.raw.raft.leader_id == raft::INVALID_ID {
            self.refuse_as_follower(waiter);
        } else if self.may_answer_alone(now) {
            let index = self.raw.raft.raft_log.committed;
            self.outputs.push(Output::Read { index, waiters: vec![waiter] });
        } else if self.reads.len() >= self.config.pending_reads_max {
            let what = format!("{} reads are waiting", self.reads.len());
            self.outputs.push(Output::Refuse { waiter, refusal: Refusal::Busy { what } });
        } else {
            self.reads.push(waiter);
        }
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

    fn persisted(&mut self, ready: u64, now: Duration) {
        self.disk.done(ready, now);
        self.promising.take_if(|promise| *promise <= ready);
        self.raw.on_persist_ready(ready);
    }

    fn transfer(&mut self, to: Option<u64>) {
        // Whoever takes over is found already.
        let is_under_way = to.is_none() && self.raw.raft.lead_transferee.is_some();
        if !self.leads() || is_under_way {
            return;
        }
        let own = self.config.node;
        let best = || {
            let prs = self.raw.raft.prs();
            let voters = prs.iter().filter(|&(id, _)| prs.conf().voters().contains(*id));
            let others = voters.filter(|&(&id, _)| id != own);
            let rank = |id: u64, progress: &Progress| {
                (progress.recent_active || self.heard.has(id), progress.matched, id)
            };
            others.max_by_key(|&(&id, progress)| rank(id, progress)).map(|(&id, _)| id)
        };
        if let Some(to) = to.or_else(best).filter(|&to| to != own) {
            self.hand_over_term = self.raw.raft.term;
            self.raw.transfer_leader(to);
        }
    }

    fn fail(&mut self, reason: String) {
        if self.failed.is_some() {
            return;
        }
        for waiter in self.proposals.take_queued().chain(self.changes.take_waiting()) {
            let refusal = Refusal::Stopped(reason.clone());
            self.outputs.push(Output::Refuse { waiter, refusal });
        }
        let undecided = self.proposals.take_in_flight().chain(self.changes.take_proposed());
        for waiter in undecided {
            self.outputs.push(Output::Refuse { waiter, refusal: Refusal::Unknown });
        }
        for waiter in self.reads.take_all() {
            let refusal = Refusal::Stopped(reason.clone());
            self.outputs.push(Output::Refuse { waiter, refusal });
        }
        self.failed = Some(reason);
        self.transfer(None);
    }

    fn take_ready(&mut self, now: Duration) -> Result<()> {
        let mut ready = self.raw.ready();
        let number = ready.number();
        let mut messages = ready.take_messages();
        let mut late = ready.take_persisted_messages();
        // raft passes on a read of another node that came too late for a leader. A node speaks
        // for itself: that read is asked again by whoever began it.
        let own = self.config.node;
        messages.retain(|message| message.from == own);
        late.retain(|message| message.from == own);
        for message in &messages {
            if message.get_msg_type() == MessageType::MsgSnapshot {
                let index = message.get_snapshot().get_metadata().index;
                self.catching_up.sent(message.to, index);
            }
        }
        // A leader's messages need not wait for its own disk, but for its term: a lone voter leads
        // at once, and after a crash it might lead that term again, with other entries.
        // A snapshot is of what is committed, and so durable.
        if self.promising.is_some() || self.is_promise(&self.raw.raft.hard_state()) {
            let is_snapshot =
                |message: &Message| message.get_msg_type() == MessageType::MsgSnapshot;
            late.splice(0..0, messages.extract_if(.., |message| !is_snapshot(message)));
        }
        if !messages.is_empty() {
            self.outputs.push(Output::Send(messages));
        }
        let snapshot = ready.snapshot().clone();
        let entries = ready.take_entries();
        let committed = ready.take_committed_entries();
        let read_states = ready.take_read_states();
        let persisted = if snapshot.get_metadata().index > 0 {
            assert!(entries.is_empty(), "a snapshot stands alone in its ready");
            self.restore(number, &snapshot, late, now);
            false
        } else {
            self.persist(number, entries, late, now)
        };
        self.raw.advance_append_async(ready);
        if persisted {
            self.raw.on_persist_ready(number);
        }
        self.commit(&committed)?;
        let lease = self.leases.time(self.config.node, &self.raw.raft.prs().conf().to_conf_state());
        for state in read_states {
            if let Some(waiters) = self.reads.answered(&state.request_ctx, lease) {
                self.outputs.push(Output::Read { index: state.index, waiters });
            }
        }
        Ok(())
    }

    fn restore(&mut self, ready: u64, snapshot: &Snapshot, messages: Vec<Message>, now: Duration) {
        let metadata = snapshot.get_metadata();
        let (index, term) = (metadata.index, metadata.term);
        self.raw.mut_store().reset(index, term);
        for waiter in self.proposals.passed(index).into_iter().chain(self.changes.passed(index)) {
            self.outputs.push(Output::Refuse { waiter, refusal: Refusal::Unknown });
        }
        let hard_state = self.raw.raft.hard_state();
        self.note_promise(ready, &hard_state);
        self.disk.begin(ready, None, now);
        let conf_state = metadata.get_conf_state().clone();
        let restore = Restore { ready, index, term, conf_state, hard_state, messages };
        self.outputs.push(Output::Restore(restore));
    }

    /// True if there is nothing to wait for.
    fn persist(
        &mut self,
        ready: u64,
        entries: Vec<Entry>,
        mut messages: Vec<Message>,
        now: Duration,
    ) -> bool {
        let hard_state = self.raw.raft.hard_state();
        // A commit index alone is not worth a write: it is found again from what is applied,
        // or from the leader.
        let promises = self.is_promise(&hard_state);
        if !entries.is_empty() {
            self.raw.mut_store().append(&entries);
        }
        if promises {
            self.note_promise(ready, &hard_state);
        }
        if self.promising.is_none() {
            let early: Vec<_> =
                messages.extract_if(.., |message| guard::is_early(message)).collect();
            if !early.is_empty() {
                self.outputs.push(Output::Send(early));
            }
        }
        let writes = promises || !entries.is_empty();
        if !writes && self.disk.is_idle() {
            if !messages.is_empty() {
                self.outputs.push(Output::Send(messages));
            }
            return true;
        }
        // One with neither is covered by the next that has something.
        if !writes && messages.is_empty() {
            return false;
        }
        let last = entries.last().filter(|_| self.leads()).map(|entry| entry.index);
        self.disk.begin(ready, last, now);
        let hard_state = writes.then_some(hard_state);
        self.outputs.push(Output::Persist(Persist { ready, hard_state, entries, messages }));
        false
    }

    fn is_promise(&self, hard_state: &HardState) -> bool {
        (hard_state.term, hard_state.vote) != self.promised
    }

    fn note_promise(&mut self, ready: u64, hard_state: &HardState) {
        self.promised = (hard_state.term, hard_state.vote);
        self.promising = Some(ready);
    }

    fn commit(&mut self, entries: &[Entry]) -> Result<()> {
        let Some(through) = entries.last().map(|entry| entry.index) else { return Ok(()) };
        let (mut conf, mut waiters, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            let mut waiting = self.proposals.committed(entry.index, entry.term, &mut lost);
            let changer = self.changes.committed(entry.index, entry.term, &mut lost);
            if guard::is_change(entry) {
                let conf_state = self.apply_change(entry)?;
                conf.extend(conf_state.map(|conf_state| (entry.index, conf_state)));
                waiting.extend(changer);
            } else {
                lost.extend(changer);
            }
            if !waiting.is_empty() {
                waiters.push((entry.index, waiting));
            }
        }
        for waiter in lost {
            self.refuse_as_follower(waiter);
        }
        if self.failed.is_none() {
            self.outputs.push(Output::Apply(Apply { through, conf, waiters }));
        }
        Ok(())
    }

    /// The configuration after a committed change; none if it turned out impossible. The same
    /// on all nodes: it depends on what was committed before, and nothing else.
    fn apply_change(&mut self, entry: &Entry) -> Result<Option<ConfState>> {
        let changes = decode_changes(&entry.context)?;
        if !changes.is_empty() {
            match self.members.after(&changes) {
                Ok(members) => self.members = members,
                Err(reason) => {
                    tracing::warn!(index = entry.index, reason, "a membership change is void");
                    return Ok(None);
                }
            }
        }
        let was_member = self.is_member();
        let conf_state = match self.raw.apply_conf_change(&to_raft(&changes)) {
            Ok(conf_state) => conf_state,
            // Leaving a joint configuration twice.
            Err(error) if changes.is_empty() => {
                tracing::debug!(index = entry.index, %error, "nothing to leave");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        self.reads.drop_lease();
        if was_member && !self.is_member() {
            self.outputs.push(Output::Removed);
        }
        Ok(Some(conf_state))
    }

    fn is_joint(&self) -> bool {
        !self.raw.raft.prs().conf().to_conf_state().voters_outgoing.is_empty()
    }

    fn is_member(&self) -> bool {
        self.raw.raft.prs().get(self.config.node).is_some()
    }

    /// To be called after raft did something; `led` is whether the node led before.
    fn watch(&mut self, led: bool) -> Result<()> {
        if !led && self.leads() {
            self.forget_replaced();
        }
        self.watch_log(led)
    }

    /// What was proposed in an earlier leadership and is not in the log any more will not be
    /// committed by this one; a third leader may bring it back.
    fn forget_replaced(&mut self) {
        let log = &self.raw.raft.raft_log;
        let is_there = |index, term| log.term(index).is_ok_and(|found| found == term);
        let replaced = self.proposals.take_replaced(is_there);
        let replaced = replaced.into_iter().chain(self.changes.take_replaced(is_there));
        for waiter in replaced {
            self.outputs.push(Output::Refuse { waiter, refusal: Refusal::Unknown });
        }
    }

    /// Whether the log could be read. A leader that finds it could not hands over. Any other node
    /// ends at once: raft was given no entries where there are some, and what it decides without
    /// them, as to campaign before a membership change is applied, must not leave the node.
    fn watch_log(&mut self, led: bool) -> Result<()> {
        let Some(error) = self.raw.mut_store().take_read_error() else { return Ok(()) };
        if !led {
            return Err(error);
        }
        if self.failed.is_none() {
            self.fail(error.to_string());
            self.outputs.push(Output::Failed(error));
        }
        Ok(())
    }

    fn truncate(&mut self) {
        if !self.leads() {
            self.catching_up.clear();
        }
        let (prs, heard) = (self.raw.raft.prs(), &self.heard);
        let (spare, catching_up) = (self.catching_up.spare_bytes, &mut self.catching_up);
        let needed = |near| {
            catching_up.look(near, |node| {
                let progress = prs.get(node)?;
                let active = progress.recent_active || heard.has(node);
                Some(Seen { matched: progress.matched, active })
            })
        };
        let cut = truncation::cut(&self.raw.raft, &self.config, self.flushed, spare, needed);
        if let (Some((index, term)), None) = (cut, &self.failed) {
            self.raw.mut_store().truncate(index);
            self.outputs.push(Output::Truncate { index, term });
        }
    }

    fn watch_leadership(&mut self) {
        let status = self.status();
        let led = self.status.leads();
        if led && !status.leads() {
            let queued = self.proposals.take_queued().chain(self.changes.take_waiting());
            for waiter in queued.collect::<Vec<_>>() {
                self.refuse_as_follower(waiter);
            }
            // What the others decide is not applied here before the disk answers.
            if self.disk.silent_ticks() >= self.config.election_ticks_min {
                let undecided = self.proposals.take_in_flight().chain(self.changes.take_proposed());
                for waiter in undecided {
                    self.outputs.push(Output::Refuse { waiter, refusal: Refusal::Unknown });
                }
            }
            self.reads.drop_lease();
            self.disk.forget();
        }
        if status.leader != self.status.leader || status.term != self.status.term {
            for waiter in self.reads.take_all() {
                self.refuse_as_follower(waiter);
            }
        }
        let news = (status.leader, status.term, status.committed)
            != (self.status.leader, self.status.term, self.status.committed);
        let due = std::mem::take(&mut self.status_due);
        if news || (due && status != self.status) {
            self.status = status.clone();
            self.outputs.push(Output::Status(status));
        }
    }

    fn refuse_as_follower(&mut self, waiter: W) {
        let leader = Some(self.raw.raft.leader_id).filter(|&id| id != raft::INVALID_ID);
        let refusal = Refusal::NotLeader { leader };
        self.outputs.push(Output::Refuse { waiter, refusal });
    }
}
