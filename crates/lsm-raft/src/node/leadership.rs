//! Leading, handing over, and what comes of those who wait when another one leads.

use raft::Progress;

use super::disk::DiskHealth;
use super::io::{NodeStorage, Output};
use super::step::Node;
use crate::error::{Error, Result};
use crate::outcome::Refusal;

impl<S: NodeStorage, W> Node<S, W> {
    pub(super) fn watch_disk(&mut self) -> Result<()> {
        let health = self.disk.tick(&self.config);
        let silent = self.config.tick * self.disk.silent_ticks() as u32;
        match health {
            DiskHealth::Fine => {}
            DiskHealth::Slow if self.leads() => {
                tracing::warn!("the disk is much slower than those of others; handing over");
                self.transfer(None);
            }
            DiskHealth::Silent if self.leads() => {
                if self.raw.raft.lead_transferee.is_none() {
                    tracing::warn!(?silent, "the disk does not answer; handing over");
                }
                self.transfer(None);
            }
            DiskHealth::Slow | DiskHealth::Silent => {}
            DiskHealth::Dead => return Err(Error::Silent { time: silent }),
        }
        Ok(())
    }

    pub(super) fn transfer(&mut self, to: Option<u64>) {
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
                (self.last_contact.is_active(id, progress), progress.matched, id)
            };
            others.max_by_key(|&(&id, progress)| rank(id, progress)).map(|(&id, _)| id)
        };
        if let Some(to) = to.or_else(best).filter(|&to| to != own) {
            self.hand_over_term = self.raw.raft.term;
            self.raw.transfer_leader(to);
        }
    }

    pub(super) fn fail(&mut self, reason: String) {
        if self.failed.is_some() {
            return;
        }
        for waiter in self.proposals.take_queued().chain(self.changes.take_waiting()) {
            let refusal = Refusal::Stopped(reason.clone());
            self.outputs.push(Output::Refuse { waiter, refusal });
        }
        self.give_up_in_flight();
        for waiter in self.reads.take_all() {
            let refusal = Refusal::Stopped(reason.clone());
            self.outputs.push(Output::Refuse { waiter, refusal });
        }
        self.failed = Some(reason);
        self.transfer(None);
    }

    /// To be called after raft did something; `led` is whether the node led before.
    pub(super) fn watch(&mut self, led: bool) -> Result<()> {
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
            self.refuse(waiter, Refusal::Unknown);
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

    pub(super) fn watch_leadership(&mut self) {
        let status = self.status();
        let led = self.status.leads();
        if led && !status.leads() {
            let queued = self.proposals.take_queued().chain(self.changes.take_waiting());
            for waiter in queued.collect::<Vec<_>>() {
                self.refuse_as_follower(waiter);
            }
            // What the others decide is not applied here before the disk answers.
            if self.disk.silent_ticks() >= self.config.election_ticks_min {
                self.give_up_in_flight();
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

    /// Lets a request in by `enqueue`, or refuses it: the node has failed, nobody leads who could
    /// serve it, or too many wait.
    pub(super) fn admit(
        &mut self,
        is_led: bool,
        waiter: W,
        enqueue: impl FnOnce(&mut Self, W) -> std::result::Result<(), (W, Refusal)>,
    ) {
        let admitted = match &self.failed {
            Some(reason) => Err((waiter, Refusal::Stopped(reason.clone()))),
            None if is_led => enqueue(self, waiter),
            None => Err((waiter, Refusal::NotLeader { leader: self.leader() })),
        };
        if let Err((waiter, refusal)) = admitted {
            self.refuse(waiter, refusal);
        }
    }

    pub(super) fn refuse_as_follower(&mut self, waiter: W) {
        self.refuse(waiter, Refusal::NotLeader { leader: self.leader() });
    }

    /// What becomes of them is for others to decide.
    fn give_up_in_flight(&mut self) {
        let undecided = self.proposals.take_in_flight().chain(self.changes.take_proposed());
        let refuse = |waiter| Output::Refuse { waiter, refusal: Refusal::Unknown };
        self.outputs.extend(undecided.map(refuse));
    }

    pub(super) fn refuse(&mut self, waiter: W, refusal: Refusal) {
        self.outputs.push(Output::Refuse { waiter, refusal });
    }
}
