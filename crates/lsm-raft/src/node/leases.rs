//! How long a leader may trust that no other leads. Pure.
//!
//! A node that answered a leader helps no other one to lead for an election timeout: its own,
//! not the leader's. A lease rests on a quorum of any voters, so it lasts no longer than the
//! least of them; and there is none while the times of a voter are not known, or a voter takes
//! no part: such a one may vote at once after a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use raft::eraftpb::ConfState;

use crate::config::Timing;

/// Part of the time for which a quorum holds still that is trusted: clocks of other nodes may run
/// faster by the rest.
const LEASE_PERCENT: u32 = 80;

/// The times of the nodes, as far as they told them.
#[derive(Debug)]
pub(super) struct Leases {
    own: Timing,
    others: BTreeMap<u64, Timing>,
}

impl Leases {
    pub(super) fn new(own: Timing) -> Self {
        Self { own, others: BTreeMap::new() }
    }

    /// A node told its times; those of nodes that are no members are not kept. True if that is
    /// news.
    pub(super) fn note(
        &mut self,
        node: u64,
        timing: Timing,
        is_member: impl Fn(u64) -> bool,
    ) -> bool {
        let before = self.others.insert(node, timing);
        self.others.retain(|&node, _| is_member(node));
        before != Some(timing)
    }

    /// For how long after the begin of a round that a quorum of `voters` answered no other node
    /// will lead, if that can be said.
    pub(super) fn time(&self, own: u64, voters: &ConfState) -> Option<Duration> {
        let others = voters.voters.iter().chain(&voters.voters_outgoing).filter(|&&id| id != own);
        let all = others.map(|id| self.others.get(id)).chain([Some(&self.own)]);
        let holds = all.map(|timing| timing.filter(|timing| timing.leases).map(Timing::hold));
        let least = holds.collect::<Option<Vec<_>>>()?.into_iter().min()?;
        Some(least * LEASE_PERCENT / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(election_millis: u64) -> Timing {
        Timing {
            tick: Duration::from_millis(100),
            heartbeat: Duration::from_millis(200),
            election: Duration::from_millis(election_millis),
            leases: true,
        }
    }

    fn millis(leases: &Leases, voters: &[u64]) -> Option<u128> {
        let voters = ConfState::from((voters.to_vec(), vec![9]));
        leases.time(1, &voters).map(|time| time.as_millis())
    }

    fn known(own: u64, others: &[(u64, u64)]) -> Leases {
        let mut leases = Leases::new(timing(own));
        for &(node, election) in others {
            leases.note(node, timing(election), |_| true);
        }
        leases
    }

    #[test]
    fn a_lease_lasts_no_longer_than_the_shortest_election_timeout_of_a_voter() {
        assert_eq!(millis(&known(10_000, &[(2, 1000), (3, 2000)]), &[1, 2, 3]), Some(720));
        assert_eq!(millis(&known(1000, &[(2, 10_000), (3, 2000)]), &[1, 2, 3]), Some(720));
        // Learners do not vote.
        assert_eq!(millis(&known(2000, &[(2, 2000), (9, 1000)]), &[1, 2]), Some(1520));
        assert_eq!(millis(&known(1000, &[]), &[1]), Some(720));
        // While members change both groups of voters count.
        let mut joint = ConfState::from((vec![1, 2], vec![]));
        joint.voters_outgoing = vec![1, 3];
        let time = known(2000, &[(2, 2000), (3, 1000)]).time(1, &joint);
        assert_eq!(time, Some(Duration::from_millis(720)));
    }

    #[test]
    fn there_is_none_while_the_times_of_a_voter_are_not_known() {
        assert_eq!(millis(&known(1000, &[(2, 1000)]), &[1, 2, 3]), None);
        let mut leases = known(1000, &[(2, 1000), (3, 1000)]);
        leases.note(2, timing(1000), |node| node != 3);
        assert_eq!(millis(&leases, &[1, 2, 3]), None, "it was removed, and came back");
    }

    #[test]
    fn there_is_none_while_a_voter_takes_no_part() {
        let mut leases = known(1000, &[(2, 1000)]);
        leases.note(3, Timing { leases: false, ..timing(1000) }, |_| true);
        assert_eq!(millis(&leases, &[1, 2, 3]), None);
        leases.note(3, timing(1000), |_| true);
        assert_eq!(millis(&leases, &[1, 2, 3]), Some(720));
    }
}
