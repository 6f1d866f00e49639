//! KVService: keys and values.

use bytes::Bytes;
use lsm_core::Value;
use lsm_proto::v1::kv_service_server::KvService;
use lsm_proto::v1::{
    BatchWriteRequest, BatchWriteResponse, DeleteRequest, DeleteResponse, GetRequest, GetResponse,
    PutRequest, PutResponse, ScanRequest, ScanResponse,
};
use lsm_raft::command::Op;
use tonic::{Request, Response, Status};

use super::context::Context;
use super::deadline::RequestDeadline;
use super::leader::{ForwardError, LeaderCall};
use super::scan::Pages;
use crate::limits::Limits;
use crate::status;
use crate::validate;

pub(super) struct Kv(pub(super) Context);

#[tonic::async_trait]
impl KvService for Kv {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let context = &self.0;
        let GetRequest { key, consistency } = request.get_ref();
        validate::check_key(key, &context.limits)?;
        validate::check_consistency(*consistency)?;
        if !validate::is_stale(*consistency) {
            let asked = RequestDeadline::new(request.metadata(), context.limits.request_time_max);
            context.catch_up(&asked).await?;
        }
        let value = context.look_up(key).await?;
        Ok(Response::new(GetResponse {
            header: Some(context.header()),
            found: value.is_some(),
            value: value.unwrap_or_default(),
        }))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.0.lead(request).await
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        self.0.lead(request).await
    }

    async fn scan(&self, request: Request<ScanRequest>) -> Result<Response<ScanResponse>, Status> {
        Ok(Response::new(self.0.scan_page(request).await?))
    }

    type ScanStreamStream = Pages;

    async fn scan_stream(&self, request: Request<ScanRequest>) -> Result<Response<Pages>, Status> {
        Ok(Response::new(self.0.scan_stream(request).await?))
    }

    async fn batch_write(
        &self,
        request: Request<BatchWriteRequest>,
    ) -> Result<Response<BatchWriteResponse>, Status> {
        self.0.lead(request).await
    }
}

impl Context {
    async fn look_up(&self, key: &Bytes) -> Result<Option<Bytes>, Status> {
        let (reader, lookups) = (self.replica.reader(), &self.lookups);
        let value = if lookups.are_away() {
            let (reader, key) = (reader.clone(), key.clone());
            // Copied there, too: the rest of a long value may be on the disk.
            let copy = |value: Value| Bytes::copy_from_slice(&value);
            lookups.elsewhere(move || reader.get(&key).map(|value| value.map(copy))).await?
        } else {
            lookups.here(|| reader.get(key)).map(|value| value.map(Value::into_bytes))
        };
        value.map_err(|error| status::failed(&error))
    }
}

impl LeaderCall for PutRequest {
    fn check(&self, limits: &Limits) -> Result<(), Status> {
        validate::session(self.session.as_ref())?;
        validate::check_put(&self.key, &self.value, limits)
    }

    async fn serve(
        &self,
        context: &Context,
        _asked: &RequestDeadline,
    ) -> Result<PutResponse, ForwardError> {
        let ops = vec![Op::Put { key: &self.key, value: &self.value }];
        let index = context.write(validate::session(self.session.as_ref())?, ops).await?;
        Ok(PutResponse { header: Some(context.leader_header()), index })
    }
}

impl LeaderCall for DeleteRequest {
    fn check(&self, limits: &Limits) -> Result<(), Status> {
        validate::session(self.session.as_ref())?;
        validate::check_key(&self.key, limits)
    }

    async fn serve(
        &self,
        context: &Context,
        _asked: &RequestDeadline,
    ) -> Result<DeleteResponse, ForwardError> {
        let ops = vec![Op::Delete { key: &self.key }];
        let index = context.write(validate::session(self.session.as_ref())?, ops).await?;
        Ok(DeleteResponse { header: Some(context.leader_header()), index })
    }
}

impl LeaderCall for BatchWriteRequest {
    fn check(&self, limits: &Limits) -> Result<(), Status> {
        validate::session(self.session.as_ref())?;
        validate::check_batch(&self.writes, limits)
    }

    async fn serve(
        &self,
        context: &Context,
        _asked: &RequestDeadline,
    ) -> Result<BatchWriteResponse, ForwardError> {
        let ops = validate::ops(&self.writes);
        let index = context.write(validate::session(self.session.as_ref())?, ops).await?;
        Ok(BatchWriteResponse { header: Some(context.leader_header()), index })
    }
}
