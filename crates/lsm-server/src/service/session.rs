//! SessionService: what makes retries safe.

use lsm_proto::v1::session_service_server::SessionService;
use lsm_proto::v1::{OpenSessionRequest, OpenSessionResponse};
use lsm_raft::Outcome;
use lsm_raft::command::Command;
use tonic::{Request, Response, Status};

use super::context::Context;
use super::deadline::RequestDeadline;
use super::leader::{ForwardError, LeaderCall};
use crate::status;

pub(super) struct Sessions(pub(super) Context);

#[tonic::async_trait]
impl SessionService for Sessions {
    async fn open_session(
        &self,
        request: Request<OpenSessionRequest>,
    ) -> Result<Response<OpenSessionResponse>, Status> {
        self.0.lead(request).await
    }
}

impl LeaderCall for OpenSessionRequest {
    async fn serve(
        &self,
        context: &Context,
        _asked: &RequestDeadline,
    ) -> Result<OpenSessionResponse, ForwardError> {
        match context.propose(&Command::OpenSession).await? {
            Outcome::SessionOpened { id } => {
                Ok(OpenSessionResponse { header: Some(context.leader_header()), id })
            }
            other => Err(status::unexpected(&other).into()),
        }
    }
}
