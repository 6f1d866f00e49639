//! ClusterService: who is in the group, who leads, and how to change that.

use std::time::Duration;

use lsm_proto::v1::cluster_service_server::ClusterService;
use lsm_proto::v1::{
    self, AddLearnerRequest, ChangeResponse, HashCheckRequest, HashCheckResponse, MembersRequest,
    MembersResponse, Progress, PromoteRequest, RemoveRequest, StatusRequest, StatusResponse,
    TransferLeadershipRequest, TransferLeadershipResponse,
};
use lsm_raft::command::Command;
use lsm_raft::{Change, Members, NodeStatus, Outcome, Role};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Request, Response, Status};

use super::context::Context;
use super::deadline::RequestDeadline;
use super::leader::{ForwardError, LeaderCall};
use crate::config::Address;
use crate::limits::Limits;
use crate::status;

/// How long another node may take to take the leadership over. raft gives up after an election
/// timeout, which one slow sync may take: it is asked again.
const TRANSFER_TIME_MAX: Duration = Duration::from_secs(5);
const TRANSFER_PAUSE: Duration = Duration::from_millis(250);
/// A learner that lacks no more entries than this counts as caught up.
const LAG_MAX: u64 = 10_000;
/// Between two looks at what the leader knows of the others.
const LOOK_PAUSE: Duration = Duration::from_millis(150);

pub(super) struct Cluster(pub(super) Context);

#[tonic::async_trait]
impl ClusterService for Cluster {
    async fn status(
        &self,
        _request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        Ok(Response::new(self.0.node_status()))
    }

    async fn members(
        &self,
        request: Request<MembersRequest>,
    ) -> Result<Response<MembersResponse>, Status> {
        self.0.lead(request).await
    }

    async fn add_learner(
        &self,
        request: Request<AddLearnerRequest>,
    ) -> Result<Response<ChangeResponse>, Status> {
        self.0.lead(request).await
    }

    async fn promote(
        &self,
        request: Request<PromoteRequest>,
    ) -> Result<Response<ChangeResponse>, Status> {
        self.0.lead(request).await
    }

    async fn remove(
        &self,
        request: Request<RemoveRequest>,
    ) -> Result<Response<ChangeResponse>, Status> {
        self.0.lead(request).await
    }

    async fn transfer_leadership(
        &self,
        request: Request<TransferLeadershipRequest>,
    ) -> Result<Response<TransferLeadershipResponse>, Status> {
        self.0.lead(request).await
    }

    async fn hash_check(
        &self,
        request: Request<HashCheckRequest>,
    ) -> Result<Response<HashCheckResponse>, Status> {
        self.0.lead(request).await
    }
}

impl Context {
    fn node_status(&self) -> StatusResponse {
        let status = self.replica.status();
        StatusResponse {
            cluster: self.replica.identity().cluster.clone(),
            node: status.node,
            leader: status.leader.unwrap_or(0),
            term: status.term,
            first_index: status.first,
            last_index: status.last,
            committed: status.committed,
            applied: status.applied,
            flushed: status.flushed,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            followers: status.peers.iter().map(progress).collect(),
            members: members(&self.replica.members()),
        }
    }

    async fn change(&self, change: Change) -> Result<ChangeResponse, ForwardError> {
        match self.replica.change_members(vec![change]).await? {
            Outcome::Changed(Ok(_)) => {
                Ok(ChangeResponse { members: members(&self.replica.members()) })
            }
            Outcome::Changed(Err(reason)) => Err(status::invalid(reason).into()),
            other => Err(status::unexpected(&other).into()),
        }
    }

    /// Refuses a change that would harm the group. What the leader knows of the others may be from
    /// before one of them died: so it writes an empty entry first, and counts on those who take
    /// that. `harm` gets its index.
    async fn check_others(
        &self,
        harm: impl Fn(&NodeStatus, u64) -> Result<(), String>,
    ) -> Result<(), ForwardError> {
        let end = Instant::now() + self.replica.election_time();
        let first = self.write_nothing().await?;
        loop {
            match harm(&self.replica.status(), first) {
                Ok(()) => return Ok(()),
                Err(reason) if Instant::now() >= end => {
                    let code = Code::FailedPrecondition;
                    return Err(status::with_word(code, status::INVALID, reason).into());
                }
                Err(_) => sleep(LOOK_PAUSE).await,
            }
            // A commit makes the leader look at its followers.
            self.write_nothing().await?;
        }
    }

    /// The index of an entry that changes nothing, once it is applied.
    async fn write_nothing(&self) -> Result<u64, ForwardError> {
        match self.propose(&Command::Write { session: None, ops: Vec::new() }).await? {
            Outcome::Written { index } => Ok(index),
            other => Err(status::unexpected(&other).into()),
        }
    }

    /// Hands the leadership over; returns who leads then.
    async fn hand_over(&self, to: Option<u64>) -> Result<u64, ForwardError> {
        let mut status = self.status.clone();
        let own = self.node;
        let end = Instant::now() + TRANSFER_TIME_MAX;
        while Instant::now() < end {
            self.replica.transfer(to);
            let another = status.wait_for(|status| {
                status.leader.is_some_and(|leader| to.map_or(leader != own, |to| leader == to))
            });
            match timeout(TRANSFER_PAUSE, another).await {
                Ok(Ok(status)) => return Ok(status.leader.unwrap_or(own)),
                Ok(Err(_)) => return Err(status::stopped("the node has stopped").into()),
                Err(_) => {}
            }
        }
        let whom = to.map_or_else(|| "another node".to_owned(), |to| format!("node {to}"));
        let message = format!("the leadership could not be handed to {whom} in time");
        Err(Status::unavailable(message).into())
    }
}

fn progress(peer: &lsm_raft::PeerStatus) -> Progress {
    Progress { id: peer.node, matched: peer.matched, active: peer.active, snapshot: peer.snapshot }
}

/// Whether a node is known to hold this entry of the log.
fn holds(status: &NodeStatus, node: u64, index: u64) -> bool {
    let peer = status.peers.iter().find(|peer| peer.node == node);
    node == status.node || peer.is_some_and(|peer| peer.matched >= index)
}

/// Fine if most of the voters among `members` hold the entry `index`, who could not decide
/// anything otherwise; why not, if not.
fn check_quorum(status: &NodeStatus, members: &Members, index: u64) -> Result<(), String> {
    let voters = members.nodes.iter().filter(|(_, member)| member.role == Role::Voter);
    let (answer, silent): (Vec<u64>, Vec<u64>) =
        voters.map(|(&node, _)| node).partition(|&node| holds(status, node, index));
    let (count, needed) = (answer.len() + silent.len(), (answer.len() + silent.len()) / 2 + 1);
    if answer.len() >= needed {
        return Ok(());
    }
    Err(format!(
        "of the {count} voters that there would be {needed} must run, but {silent:?} do not answer: \
         the group would stand still. Remove those first, or start them; or use force"
    ))
}

/// Fine if a learner can become a voter, so that `members` are those that there will be.
fn check_promotion(
    status: &NodeStatus,
    node: u64,
    members: &Members,
    index: u64,
) -> Result<(), String> {
    check_caught_up(status, node)?;
    check_quorum(status, members, index)
}

/// Fine if the node is active and lacks little, so that it would not hold commits up; why not,
/// otherwise.
fn check_caught_up(status: &NodeStatus, node: u64) -> Result<(), String> {
    lag_of(status, node)
        .map_err(|reason| format!("{reason}; wait until it has caught up, or use force"))
}

fn lag_of(status: &NodeStatus, node: u64) -> Result<(), String> {
    let Some(peer) = status.peers.iter().find(|peer| peer.node == node) else {
        return Err(format!("the leader has not heard of node {node}"));
    };
    if peer.snapshot {
        return Err(format!("node {node} is being sent a snapshot"));
    }
    // A node that was just added counts as active until two election timeouts have passed.
    if !peer.active || peer.matched == 0 {
        return Err(format!("node {node} has not answered, or not lately"));
    }
    let lag = status.last.saturating_sub(peer.matched);
    if lag > LAG_MAX {
        return Err(format!("node {node} lacks {lag} entries, and may lack {LAG_MAX}"));
    }
    Ok(())
}

/// Whether these addresses are nobody's yet. Not part of what all nodes decide alike: addresses
/// also change when a node that moved says so, and a change in the log must not fail by that.
fn check_new(members: &Members, addresses: [&String; 2]) -> Result<(), Status> {
    for (node, member) in &members.nodes {
        let own = [&member.peer_address, &member.client_address];
        if let Some(address) = addresses.iter().find(|address| own.contains(address)) {
            return Err(status::invalid(format!("{address} is an address of node {node}")));
        }
    }
    Ok(())
}

/// Whether leadership may go to `node`.
fn check_heir(members: &Members, node: u64) -> Result<(), Status> {
    match members.nodes.get(&node).map(|member| member.role) {
        Some(Role::Voter) => Ok(()),
        Some(Role::Learner) => {
            Err(status::invalid(format!("node {node} is a learner; only voters lead")))
        }
        None => Err(status::invalid(format!("node {node} is no member"))),
    }
}

impl LeaderCall for MembersRequest {
    async fn serve(
        &self,
        context: &Context,
        asked: &RequestDeadline,
    ) -> Result<MembersResponse, ForwardError> {
        context.catch_up(asked).await?;
        Ok(MembersResponse { members: members(&context.replica.members()) })
    }
}

impl LeaderCall for AddLearnerRequest {
    /// A node cannot be added twice under one number: a typing error would cost it.
    fn check(&self, _limits: &Limits) -> Result<(), Status> {
        self.peer_address.parse::<Address>().map_err(status::invalid)?;
        self.client_address.parse::<Address>().map_err(status::invalid)?;
        if self.peer_address == self.client_address {
            let address = &self.peer_address;
            return Err(status::invalid(format!(
                "{address} is given twice; clients and nodes need ports of their own"
            )));
        }
        Ok(())
    }

    async fn serve(
        &self,
        context: &Context,
        _asked: &RequestDeadline,
    ) -> Result<ChangeResponse, ForwardError> {
        let AddLearnerRequest { id, peer_address, client_address } = self.clone();
        let change = Change::AddLearner { node: id, peer_address, client_address };
        let members = context.replica.members();
        members.after(std::slice::from_ref(&change)).map_err(status::invalid)?;
        check_new(&members, [&self.peer_address, &self.client_address])?;
        context.change(change).await
    }
}

impl LeaderCall for PromoteRequest {
    async fn serve(
        &self,
        context: &Context,
        _asked: &RequestDeadline,
    ) -> Result<ChangeResponse, ForwardError> {
        let change = Change::Promote { node: self.id };
        let members = context.replica.members();
        let members = members.after(std::slice::from_ref(&change)).map_err(status::invalid)?;
        if !self.force {
            let harm =
                |status: &NodeStatus, index| check_promotion(status, self.id, &members, index);
            context.check_others(harm).await?;
        }
        context.change(change).await
    }
}

impl LeaderCall for RemoveRequest {
    async fn serve(
        &self,
        context: &Context,
        _asked: &RequestDeadline,
    ) -> Result<ChangeResponse, ForwardError> {
        let change = Change::Remove { node: self.id };
        let members = context.replica.members();
        let members = members.after(std::slice::from_ref(&change)).map_err(status::invalid)?;
        if !self.force {
            let harm = |status: &NodeStatus, index| check_quorum(status, &members, index);
            context.check_others(harm).await?;
        }
        if self.id == context.node {
            // A node that removes itself could not tell when that is done.
            context.hand_over(None).await?;
            return Err(ForwardError::NotLeader);
        }
        context.change(change).await
    }
}

impl LeaderCall for TransferLeadershipRequest {
    async fn serve(
        &self,
        context: &Context,
        _asked: &RequestDeadline,
    ) -> Result<TransferLeadershipResponse, ForwardError> {
        let to = (self.to != 0).then_some(self.to);
        if let Some(to) = to {
            check_heir(&context.replica.members(), to)?;
            // Nothing is decided while the leadership is on its way to a node that is dead.
            let harm = |status: &NodeStatus, index| match holds(status, to, index) {
                true => Ok(()),
                false => Err(format!("node {to} does not answer: it cannot lead")),
            };
            context.check_others(harm).await?;
        }
        let leader =
            if to == Some(context.node) { context.node } else { context.hand_over(to).await? };
        Ok(TransferLeadershipResponse { leader })
    }
}

/// The members as clients are told of them.
fn members(members: &Members) -> Vec<v1::Member> {
    let nodes = members.nodes.iter().map(|(&id, member)| v1::Member {
        id,
        role: match member.role {
            Role::Voter => v1::Role::Voter.into(),
            Role::Learner => v1::Role::Learner.into(),
        },
        peer_address: member.peer_address.clone(),
        client_address: member.client_address.clone(),
    });
    nodes.collect()
}

#[cfg(test)]
mod tests {
    use lsm_raft::{Member, PeerStatus};

    use super::*;

    fn members(voters: &[u64], learners: &[u64]) -> Members {
        let all = voters.iter().map(|&node| (node, Role::Voter));
        let all = all.chain(learners.iter().map(|&node| (node, Role::Learner)));
        let nodes = all.map(|(node, role)| {
            let (peer_address, client_address) = (String::new(), String::new());
            (node, Member { role, peer_address, client_address, incarnation: None })
        });
        Members { nodes: nodes.collect(), ..Members::default() }
    }

    /// The entry that is asked for.
    const INDEX: u64 = 7;

    /// Of node 1, which leads, when these others hold the entry. The rest answered a moment ago.
    fn status(answer: &[u64]) -> NodeStatus {
        let peers = (2..10).map(|node| PeerStatus {
            node,
            matched: if answer.contains(&node) { INDEX } else { INDEX - 1 },
            active: true,
            snapshot: false,
        });
        NodeStatus { node: 1, peers: peers.collect(), ..NodeStatus::default() }
    }

    #[test]
    fn most_voters_that_remain_must_answer() {
        let check = |answer: &[u64], voters: &[u64], learners: &[u64]| {
            check_quorum(&status(answer), &members(voters, learners), INDEX)
        };
        let stands_still = check(&[2, 4], &[1, 2, 3, 5], &[]).unwrap_err();
        assert!(stands_still.contains("[3, 5] do not answer"), "{stands_still}");
        assert!(check(&[2, 4], &[2, 3, 4, 5], &[]).is_err(), "the leader goes");
        assert!(check(&[2, 4], &[1, 2, 4, 5], &[]).is_ok());
        assert!(check(&[2, 4], &[1, 2, 4], &[]).is_ok());
        assert!(check(&[], &[1], &[]).is_ok());
        assert!(check(&[], &[1, 2], &[]).is_err());
        assert!(check(&[3, 4], &[1, 2], &[3, 4]).is_err(), "learners");
    }

    /// One more voter may be one too many, however well that one is.
    #[test]
    fn a_learner_that_is_well_is_promoted_if_most_voters_then_answer() {
        let check = |answer: &[u64]| {
            check_promotion(&status(answer), 4, &members(&[1, 2, 3, 4], &[]), INDEX)
        };
        assert!(check(&[4]).unwrap_err().contains("[2, 3] do not answer"));
        assert!(check(&[3, 4]).is_ok());
        assert!(check(&[2, 3]).is_ok(), "it lacks an entry, and no more");
        let unheard = NodeStatus { peers: Vec::new(), ..status(&[]) };
        let error = check_promotion(&unheard, 4, &members(&[1, 4], &[]), INDEX).unwrap_err();
        assert!(error.contains("has not heard of node 4"), "{error}");
    }
}
