//! What an operator does: changes of the members, by the calls that are there for that, each
//! repeated until it is so.

use lsm_proto::v1::cluster_service_client::ClusterServiceClient;
use lsm_proto::v1::{
    AddLearnerRequest, HashCheckRequest, Member, MembersRequest, PromoteRequest, RemoveRequest,
    Role,
};
use tonic::Status;
use tonic::transport::Channel;

use super::net::{Port, address};
use super::stub::{Failure, Stub, within};

/// The longest pause between two tries.
const PAUSE_MILLIS: u64 = 300;

/// One change.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Add(u64),
    Promote(u64),
    Remove(u64),
}

impl Step {
    fn is_done(self, members: &[Member]) -> bool {
        let found = |node| members.iter().find(|member| member.id == node);
        match self {
            Self::Add(node) => found(node).is_some(),
            Self::Promote(node) => found(node).is_some_and(|member| member.role() == Role::Voter),
            Self::Remove(node) => found(node).is_none(),
        }
    }
}

/// Takes one step after the other.
pub(super) async fn change(mut stub: Stub, steps: Vec<Step>) {
    for step in steps {
        loop {
            stub.pause(PAUSE_MILLIS).await;
            if members(&mut stub).await.is_ok_and(|members| step.is_done(&members)) {
                break;
            }
            // What it came to is seen at the next look.
            let _ = take(&mut stub, step).await;
        }
        match step {
            Step::Add(node) => {
                stub.net.report.learners.one_more();
                stub.net.publish(node, true);
            }
            Step::Promote(_) => stub.net.report.promotions.one_more(),
            Step::Remove(node) => {
                stub.net.report.removals.one_more();
                stub.net.publish(node, false);
            }
        }
    }
}

/// As the leader knows them.
async fn members(stub: &mut Stub) -> Result<Vec<Member>, Failure> {
    let (request, time) = stub.request(MembersRequest {});
    let answer = within(time, ClusterServiceClient::new(stub.any()).members(request)).await;
    answer.map(|answer| answer.members)
}

async fn take(stub: &mut Stub, step: Step) -> Result<(), Failure> {
    let ((request, time), mut cluster) = (stub.request(()), cluster(stub));
    within(time, async {
        match step {
            Step::Add(id) => {
                let (peer_address, client_address) =
                    (address(id, Port::Nodes), address(id, Port::Clients));
                let add = AddLearnerRequest { id, peer_address, client_address };
                cluster.add_learner(request.map(|()| add)).await
            }
            Step::Promote(id) => {
                cluster.promote(request.map(|()| PromoteRequest { id, force: false })).await
            }
            Step::Remove(id) => {
                cluster.remove(request.map(|()| RemoveRequest { id, force: false })).await
            }
        }
    })
    .await
    .map(drop)
}

fn cluster(stub: &mut Stub) -> ClusterServiceClient<Channel> {
    ClusterServiceClient::new(stub.any())
}

/// Has the nodes compare what they store: who answered, if all of these hold the same.
pub(super) async fn compare(stub: &mut Stub) -> Result<Vec<u64>, Status> {
    let answer = cluster(stub).hash_check(HashCheckRequest {}).await?.into_inner();
    assert!(answer.equal, "the nodes do not hold the same: {answer:?}");
    let hashes = answer.hashes.into_iter().filter(|hash| hash.error.is_empty());
    Ok(hashes.map(|hash| hash.node).collect())
}
