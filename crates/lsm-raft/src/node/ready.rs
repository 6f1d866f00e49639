//! What raft has decided since it was last asked, turned into outputs in the order that they must be
//! carried out in.

use std::time::Duration;

use raft::eraftpb::{Entry, HardState, Message, MessageType, Snapshot};

use super::guard;
use super::io::{Apply, NodeStorage, Output, Persist, Restore};
use super::step::Node;
use crate::error::Result;
use crate::outcome::Refusal;

impl<S: NodeStorage, W> Node<S, W> {
    pub(super) fn persisted(&mut self, ready: u64, now: Duration) {
        self.disk.done(ready, now);
        self.term_vote_ready.take_if(|of| *of <= ready);
        self.raw.on_persist_ready(ready);
    }

    pub(super) fn handle_ready(&mut self, now: Duration) -> Result<()> {
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
        if !self.is_term_durable() {
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
            self.refuse(waiter, Refusal::Unknown);
        }
        let hard_state = self.raw.raft.hard_state();
        self.note_term_vote(ready, &hard_state);
        self.disk.begin(ready, None, now);
        let conf_state = metadata.get_conf_state().clone();
        let restore = Restore { ready, index, term, conf_state, hard_state, messages };
        self.outputs.push(Output::Restore(restore));
        self.is_restoring = true;
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
        let is_new_vote = self.is_new_vote(&hard_state);
        if !entries.is_empty() {
            self.raw.mut_store().append(&entries);
        }
        if is_new_vote {
            self.note_term_vote(ready, &hard_state);
        }
        if self.is_term_durable() {
            let early: Vec<_> =
                messages.extract_if(.., |message| guard::is_early(message)).collect();
            if !early.is_empty() {
                self.outputs.push(Output::Send(early));
            }
        }
        let writes = is_new_vote || !entries.is_empty();
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

    /// Whether term and vote are durable as they are now.
    pub(super) fn is_term_durable(&self) -> bool {
        self.term_vote_ready.is_none() && !self.is_new_vote(&self.raw.raft.hard_state())
    }

    fn is_new_vote(&self, hard_state: &HardState) -> bool {
        (hard_state.term, hard_state.vote) != self.term_vote
    }

    fn note_term_vote(&mut self, ready: u64, hard_state: &HardState) {
        self.term_vote = (hard_state.term, hard_state.vote);
        self.term_vote_ready = Some(ready);
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
}
