//! Requests that only the leader serves: here if this node leads, passed on otherwise, tried
//! again as long as it is certain that nothing was applied.

use std::time::Duration;

use lsm_proto::rpc::{self, Rpc};
use lsm_raft::command::{Command, Op, Session};
use lsm_raft::{Outcome, Refusal, Room};
use tokio::time::{sleep, timeout_at};
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::context::Context;
use super::deadline::{Backoff, RequestDeadline};
use crate::limits::{Limits, MAINTENANCE_TIME_MAX};
use crate::status;

/// Between two looks at whether another node leads than the one that a request was passed to.
/// A deposed leader that is well has answered before the second look that finds it so.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// Why one try did not serve.
#[derive(Debug)]
pub(super) enum ForwardError {
    /// The asked node does not lead, or cannot be reached: certainly nothing was done.
    NotLeader,
    /// The asked node may have served it, and does not say; why.
    Lost(String),
    /// There is no use, or no safety, in trying again.
    Final(Status),
}

/// What became of the tries of one request so far; also known to who gives up on it.
#[derive(Debug, Default)]
struct Tries {
    is_under_way: bool,
    /// Why one of them may have been served.
    lost: Option<String>,
}

impl From<Status> for ForwardError {
    fn from(status: Status) -> Self {
        Self::Final(status)
    }
}

impl From<Refusal> for ForwardError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotLeader { .. } => Self::NotLeader,
            refusal => Self::Final(status::refused(&refusal)),
        }
    }
}

/// A request that only the leader serves.
pub(super) trait LeaderCall: Rpc {
    /// Whether it is an operator's, and takes as long as it takes.
    const IS_MAINTENANCE: bool = false;

    /// Judges what can be judged anywhere.
    fn check(&self, _limits: &Limits) -> Result<(), Status> {
        Ok(())
    }

    /// Serves it on this node, which believes to lead.
    fn serve(
        &self,
        context: &Context,
        asked: &RequestDeadline,
    ) -> impl Future<Output = Result<Self::Response, ForwardError>> + Send;
}

impl Context {
    /// Gets a request served by the leader.
    pub(super) async fn lead<C: LeaderCall>(
        &self,
        request: Request<C>,
    ) -> Result<Response<C::Response>, Status> {
        request.get_ref().check(&self.limits)?;
        let time_max =
            if C::IS_MAINTENANCE { MAINTENANCE_TIME_MAX } else { self.limits.request_time_max };
        let asked = RequestDeadline::new(request.metadata(), time_max);
        let mut tries = Tries::default();
        let found = self.find_leader(request.get_ref(), &asked, &mut tries);
        match timeout_at(asked.until, found).await {
            Ok(answer) => answer.map(Response::new),
            Err(_) if tries.is_under_way => Err(status::too_late(C::CHANGES)),
            Err(_) => Err(self.missed::<C>(tries.lost)),
        }
    }

    async fn find_leader<C: LeaderCall>(
        &self,
        call: &C,
        asked: &RequestDeadline,
        tries: &mut Tries,
    ) -> Result<C::Response, Status> {
        let mut patience = Backoff::new(self.limits.leader_wait_max);
        loop {
            let leader = self.leader();
            tries.is_under_way = true;
            let served = match leader {
                Some(leader) if leader == self.node => call.serve(self, asked).await,
                // Two nodes that take each other for the leader would pass it to and fro.
                _ if asked.forwarded => Err(ForwardError::NotLeader),
                Some(leader) => Box::pin(self.pass_on(leader, call, asked)).await,
                None => Err(ForwardError::NotLeader),
            };
            tries.is_under_way = false;
            match served {
                Ok(answer) => return Ok(answer),
                Err(ForwardError::Final(status)) => return Err(status),
                Err(ForwardError::Lost(why)) => {
                    tries.lost = Some(why);
                    if C::CHANGES && call.session().is_none() {
                        break;
                    }
                }
                Err(ForwardError::NotLeader) => {}
            }
            if asked.forwarded || !patience.wait(&self.status, leader).await {
                break;
            }
        }
        Err(self.missed::<C>(tries.lost.take()))
    }

    /// No node served it; `lost` is why that is not certain.
    fn missed<C: LeaderCall>(&self, lost: Option<String>) -> Status {
        match lost {
            Some(why) if C::CHANGES => {
                let message = format!("{why}; the request may or may not have taken effect");
                status::unknown_outcome(message)
            }
            _ => self.not_leader(),
        }
    }

    async fn pass_on<C: LeaderCall>(
        &self,
        leader: u64,
        call: &C,
        asked: &RequestDeadline,
    ) -> Result<C::Response, ForwardError> {
        let members = self.replica.members();
        // A leader that this node has not heard of: it is behind, and will.
        let Some(channel) = self.forward.channel(&members, leader)? else {
            return Err(ForwardError::NotLeader);
        };
        let mut request = Request::new(call.clone());
        request.metadata_mut().insert(status::FORWARDED_KEY, 1.into());
        request.set_timeout(asked.time_left());
        let answer = tokio::select! {
            answer = channel.call(|channel| call_of::<C>(self, channel, request)) => {
                answer.ok_or("leads; the connection to it carried nothing any more")
            }
            () = self.deposed(leader) => {
                Err("led, and has not answered; another node leads now")
            }
        };
        let answer = answer.map_err(|why| ForwardError::Lost(format!("node {leader} {why}")))?;
        match answer {
            Ok(mut answer) => {
                // Of this node, which was asked.
                C::set_header(&mut answer, self.header());
                Ok(answer)
            }
            Err(status) if status::says(&status, status::NOT_LEADER) => {
                Err(ForwardError::NotLeader)
            }
            Err(status) if status::never_sent(&status) => Err(ForwardError::NotLeader),
            Err(status) if std::error::Error::source(&status).is_none() => {
                Err(ForwardError::Final(status::passed_on(&status)))
            }
            Err(status) => {
                let why = status.message();
                Err(ForwardError::Lost(format!(
                    "the connection to node {leader}, which leads, broke ({why})"
                )))
            }
        }
    }

    /// Returns once another node leads, and `leader` has had time to say so.
    async fn deposed(&self, leader: u64) {
        let mut seen = false;
        loop {
            sleep(LOOK_PAUSE).await;
            let another_leads = self.leader().is_some_and(|other| other != leader);
            if seen && another_leads {
                return;
            }
            seen = another_leads;
        }
    }

    /// Writes, on the node that leads: where in the log that stands.
    pub(super) async fn write(
        &self,
        session: Option<Session>,
        ops: Vec<Op<'_>>,
    ) -> Result<u64, ForwardError> {
        // What takes room away; a delete gives some back.
        if ops.iter().any(|op| matches!(op, Op::Put { .. })) {
            self.replica.check_room(Room::Enough)?;
        }
        let command = Command::Write { session, ops }.to_bytes();
        Ok(status::written(self.replica.propose(command).await?)?)
    }

    /// Proposes a command without operands, on the node that leads.
    pub(super) async fn propose(&self, command: &Command<'_>) -> Result<Outcome, ForwardError> {
        Ok(self.replica.propose(command.to_bytes()).await?)
    }
}

async fn call_of<C: LeaderCall>(
    context: &Context,
    channel: Channel,
    request: Request<C>,
) -> Result<C::Response, Status> {
    let bytes_max = context.limits.message_bytes_max();
    let connection = Grpc::new(channel)
        .max_decoding_message_size(bytes_max)
        .max_encoding_message_size(bytes_max);
    rpc::call(connection, request).await
}
