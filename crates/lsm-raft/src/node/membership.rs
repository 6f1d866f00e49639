//! Changes of the members: proposed one after the other, applied at the entry that they stand in.

use raft::eraftpb::{ConfChangeV2, ConfState, Entry};

use super::io::{NodeStorage, Output};
use super::step::Node;
use crate::error::Result;
use crate::members::{decode_changes, encode_changes, to_raft};
use crate::outcome::Refusal;

impl<S: NodeStorage, W> Node<S, W> {
    pub(super) fn send_changes(&mut self) -> Result<()> {
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
    pub(super) fn leave_joint(&mut self) -> Result<()> {
        let busy = !self.leads() || self.raw.raft.has_pending_conf() || self.failed.is_some();
        if busy || !self.is_joint() {
            return Ok(());
        }
        match self.raw.propose_conf_change(Vec::new(), ConfChangeV2::default()) {
            Ok(()) | Err(raft::Error::ProposalDropped) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The configuration after a committed change; none if it turned out impossible. The same
    /// on all nodes: it depends on what was committed before, and nothing else.
    pub(super) fn apply_change(&mut self, entry: &Entry) -> Result<Option<ConfState>> {
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
}
