//! What the nodes of the fake cluster answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use lsm_proto::v1::cluster_service_server::ClusterService;
use lsm_proto::v1::kv_service_server::KvService;
use lsm_proto::v1::session_service_server::SessionService;
use lsm_proto::v1::storage_service_server::StorageService;
use lsm_proto::v1::*;
use parking_lot::Mutex;
use tokio::time::sleep;
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};

use crate::fake::{Asked, Change, Fault, World, said};

#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) node: usize,
}

type Served<T> = Result<Response<T>, Status>;

impl Service {
    /// Writes the request down; what goes wrong with it.
    fn asked<T>(
        &self,
        method: &'static str,
        request: &Request<T>,
        session: Option<Session>,
    ) -> Option<Fault> {
        let timeout = request.metadata().get("grpc-timeout");
        let timeout = timeout.map(|timeout| timeout.to_str().unwrap().to_owned());
        let mut world = self.world.lock();
        world.asked.push(Asked { method, node: self.node, session, timeout });
        world.fault(method)
    }

    /// Whether the node may do what is the leader's.
    fn lead(&self) -> Result<(), Status> {
        let world = self.world.lock();
        match world.leader {
            Some(leader) if leader == self.node || world.forwards => Ok(()),
            Some(leader) => Err(not_leader(&world.addresses[leader].to_string())),
            None => Err(said(Code::Unavailable, "not-leader")),
        }
    }

    /// Carries out a fault that keeps the request from being served.
    async fn suffer(&self, fault: Option<Fault>) -> Result<Option<Fault>, Status> {
        match fault {
            Some(Fault::Fail(code)) => Err(Status::new(code, "injected")),
            Some(Fault::Refuse(code, word)) => Err(said(code, word)),
            Some(Fault::Hint(leader)) => Err(not_leader(&leader)),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Slow(time)) => {
                sleep(time).await;
                Ok(None)
            }
            Some(Fault::ForgetSessions) => {
                self.world.lock().forget_sessions();
                Ok(None)
            }
            other => Ok(other),
        }
    }

    async fn serve<T>(&self, method: &'static str, request: &Request<T>) -> Result<(), Status> {
        let fault = self.asked(method, request, None);
        let fault = self.suffer(fault).await?;
        self.lead()?;
        match fault {
            Some(Fault::LoseAnswer) => Err(Status::unavailable("the answer is lost")),
            _ => Ok(()),
        }
    }

    async fn write<T>(
        &self,
        method: &'static str,
        request: &Request<T>,
        session: Option<Session>,
        changes: Vec<Change>,
    ) -> Result<(Header, u64), Status> {
        let mut fault = self.asked(method, request, session);
        if let Some(dice) = &mut self.world.lock().dice {
            fault = fault.or_else(|| crate::random::fault(dice));
        }
        let fault = self.suffer(fault).await?;
        self.lead()?;
        if let Some(Fault::Late(time)) = fault {
            let world = Arc::clone(&self.world);
            tokio::spawn(async move {
                sleep(time).await;
                drop(world.lock().apply(session.as_ref(), &changes));
            });
            return std::future::pending().await;
        }
        let index = self.world.lock().apply(session.as_ref(), &changes)?;
        match fault {
            Some(Fault::HangAfter) => std::future::pending().await,
            Some(Fault::LoseAnswer) => Err(Status::unavailable("the answer is lost")),
            Some(Fault::LoseAnswerAndSessions) => {
                self.world.lock().forget_sessions();
                Err(Status::unavailable("the answer is lost"))
            }
            _ => Ok((self.world.lock().header(self.node), index)),
        }
    }

    fn members(&self) -> Vec<Member> {
        let world = self.world.lock();
        let member = |&node: &usize| Member {
            id: node as u64 + 1,
            client_address: world.addresses[node].to_string(),
            ..Member::default()
        };
        world.members.iter().map(member).collect()
    }

    /// The entries of a scan in its order.
    fn entries(&self, request: &ScanRequest) -> Vec<Entry> {
        let world = self.world.lock();
        let wanted = |key: &Bytes| {
            *key >= request.start
                && (request.end.is_empty() || *key < request.end)
                && key.starts_with(&request.prefix)
        };
        let all = world.data.iter().filter(|(key, _)| wanted(key));
        let mut entries: Vec<_> = all
            .map(|(key, value)| Entry {
                key: key.clone(),
                value: if request.keys_only { Bytes::new() } else { value.clone() },
            })
            .collect();
        if request.reverse {
            entries.reverse();
        }
        entries
    }

    /// The pages of a scan.
    fn pages(&self, request: &ScanRequest) -> Vec<ScanResponse> {
        let all = self.entries(request);
        let limit = if request.limit == 0 { usize::MAX } else { request.limit as usize };
        let entries = &all[..all.len().min(limit)];
        let world = self.world.lock();
        let header = Some(world.header(self.node));
        let page = |entries: &[Entry]| ScanResponse {
            header: header.clone(),
            entries: entries.to_vec(),
            ..ScanResponse::default()
        };
        let mut pages: Vec<_> = entries.chunks(world.scan.page_entries).map(page).collect();
        if let (Some(last), true) = (pages.last_mut(), entries.len() < all.len()) {
            last.more = true;
        }
        pages
    }
}

fn not_leader(leader: &str) -> Status {
    let mut status = said(Code::Unavailable, "not-leader");
    status.metadata_mut().insert("lsm-leader-address", leader.parse().unwrap());
    status
}

#[tonic::async_trait]
impl KvService for Service {
    async fn get(&self, request: Request<GetRequest>) -> Served<GetResponse> {
        let stale = request.get_ref().consistency() == Consistency::Stale;
        let fault = self.asked(if stale { "get stale" } else { "get" }, &request, None);
        self.suffer(fault).await?;
        if !stale {
            self.lead()?;
        }
        let world = self.world.lock();
        let value = world.data.get(&request.get_ref().key).cloned();
        Ok(Response::new(GetResponse {
            header: Some(world.header(self.node)),
            found: value.is_some(),
            value: value.unwrap_or_default(),
        }))
    }

    async fn put(&self, request: Request<PutRequest>) -> Served<PutResponse> {
        let PutRequest { key, value, session } = request.get_ref().clone();
        if key.is_empty() {
            self.asked("put", &request, session);
            return Err(Status::invalid_argument("the key is empty"));
        }
        let (header, index) =
            self.write("put", &request, session, vec![(key, Some(value))]).await?;
        Ok(Response::new(PutResponse { header: Some(header), index }))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Served<DeleteResponse> {
        let DeleteRequest { key, session } = request.get_ref().clone();
        let (header, index) = self.write("delete", &request, session, vec![(key, None)]).await?;
        Ok(Response::new(DeleteResponse { header: Some(header), index }))
    }

    async fn batch_write(&self, request: Request<BatchWriteRequest>) -> Served<BatchWriteResponse> {
        let BatchWriteRequest { writes, session } = request.get_ref().clone();
        let change = |write: Write| match write.op.unwrap() {
            write::Op::Put(put) => (put.key, Some(put.value)),
            write::Op::Delete(delete) => (delete.key, None),
        };
        let changes = writes.into_iter().map(change).collect();
        let (header, index) = self.write("batch", &request, session, changes).await?;
        Ok(Response::new(BatchWriteResponse { header: Some(header), index }))
    }

    async fn scan(&self, request: Request<ScanRequest>) -> Served<ScanResponse> {
        self.serve("scan", &request).await?;
        let all = self.entries(request.get_ref());
        let mut page = self.pages(request.get_ref()).into_iter().next().unwrap_or_default();
        let reverse = request.get_ref().reverse;
        if let Some(next) = all.get(page.entries.len()) {
            page.more = true;
            page.resume = match reverse {
                true => page.entries.last().unwrap().key.clone(),
                false => next.key.clone(),
            };
        }
        Ok(Response::new(page))
    }

    type ScanStreamStream = Pages;

    async fn scan_stream(&self, request: Request<ScanRequest>) -> Served<Pages> {
        self.serve("scan stream", &request).await?;
        self.world.lock().scan.streams += 1;
        let pages = self.pages(request.get_ref());
        Ok(Response::new(Pages { world: Arc::clone(&self.world), pages, given: 0 }))
    }
}

/// A scan that is under way.
pub(crate) struct Pages {
    world: Arc<Mutex<World>>,
    pages: Vec<ScanResponse>,
    given: usize,
}

impl Stream for Pages {
    type Item = Result<ScanResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut world = self.world.lock();
        if let Some((_, code)) = world.scan.break_after.take_if(|(pages, _)| *pages == self.given) {
            return Poll::Ready(Some(Err(Status::new(code, "injected"))));
        }
        if world.scan.hang_after == Some(self.given) {
            return Poll::Pending;
        }
        let stop_after = world.scan.stop_after;
        world.scan.pages_made += 1;
        drop(world);
        if stop_after == Some(self.given) {
            return Poll::Ready(None);
        }
        let mut page = self.pages.get(self.given).cloned();
        self.given += 1;
        if let (Some(page), true) = (&mut page, stop_after == Some(self.given)) {
            page.more = true;
        }
        Poll::Ready(page.map(Ok))
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.world.lock().scan.streams -= 1;
    }
}

#[tonic::async_trait]
impl SessionService for Service {
    async fn open_session(
        &self,
        request: Request<OpenSessionRequest>,
    ) -> Served<OpenSessionResponse> {
        self.serve("open", &request).await?;
        let mut world = self.world.lock();
        let id = world.open_session();
        Ok(Response::new(OpenSessionResponse { header: Some(world.header(self.node)), id }))
    }
}

#[tonic::async_trait]
impl ClusterService for Service {
    async fn status(&self, request: Request<StatusRequest>) -> Served<StatusResponse> {
        let fault = self.asked("status", &request, None);
        self.suffer(fault).await?;
        let header = self.world.lock().header(self.node);
        let Header { node, leader, .. } = header;
        let members = self.members();
        Ok(Response::new(StatusResponse { node, leader, members, ..StatusResponse::default() }))
    }

    async fn members(&self, request: Request<MembersRequest>) -> Served<MembersResponse> {
        self.serve("members", &request).await?;
        Ok(Response::new(MembersResponse { members: self.members() }))
    }

    async fn add_learner(&self, request: Request<AddLearnerRequest>) -> Served<ChangeResponse> {
        self.serve("add", &request).await?;
        let node = request.get_ref().id as usize - 1;
        self.world.lock().members.push(node);
        Ok(Response::new(ChangeResponse { members: self.members() }))
    }

    async fn promote(&self, request: Request<PromoteRequest>) -> Served<ChangeResponse> {
        self.serve("promote", &request).await?;
        Ok(Response::new(ChangeResponse { members: self.members() }))
    }

    async fn remove(&self, request: Request<RemoveRequest>) -> Served<ChangeResponse> {
        self.serve("remove", &request).await?;
        let node = request.get_ref().id as usize - 1;
        self.world.lock().members.retain(|member| *member != node);
        Ok(Response::new(ChangeResponse { members: self.members() }))
    }

    async fn transfer_leadership(
        &self,
        request: Request<TransferLeadershipRequest>,
    ) -> Served<TransferLeadershipResponse> {
        self.serve("transfer", &request).await?;
        let leader = request.get_ref().to.max(1);
        self.world.lock().leader = Some(leader as usize - 1);
        Ok(Response::new(TransferLeadershipResponse { leader }))
    }

    async fn hash_check(&self, request: Request<HashCheckRequest>) -> Served<HashCheckResponse> {
        self.serve("hash", &request).await?;
        let answer = HashCheckResponse { index: 7, equal: true, hashes: Vec::new() };
        Ok(Response::new(answer))
    }
}

#[tonic::async_trait]
impl StorageService for Service {
    async fn flush_mem_table(
        &self,
        request: Request<FlushMemTableRequest>,
    ) -> Served<FlushMemTableResponse> {
        let fault = self.asked("flush", &request, None);
        self.suffer(fault).await?;
        Ok(Response::new(FlushMemTableResponse {}))
    }

    async fn trigger_compaction(
        &self,
        request: Request<TriggerCompactionRequest>,
    ) -> Served<TriggerCompactionResponse> {
        let fault = self.asked("compact", &request, None);
        self.suffer(fault).await?;
        let TriggerCompactionRequest { start, end } = request.into_inner();
        self.world.lock().data.insert("compacted".into(), [start, end].concat().into());
        Ok(Response::new(TriggerCompactionResponse {}))
    }

    async fn get_levels(&self, request: Request<GetLevelsRequest>) -> Served<GetLevelsResponse> {
        self.asked("levels", &request, None);
        let levels = vec![Level { level: self.node as u32, ..Level::default() }];
        Ok(Response::new(GetLevelsResponse { levels }))
    }

    async fn get_storage_stats(
        &self,
        request: Request<GetStorageStatsRequest>,
    ) -> Served<GetStorageStatsResponse> {
        self.asked("stats", &request, None);
        let gets = self.node as u64;
        Ok(Response::new(GetStorageStatsResponse { gets, ..GetStorageStatsResponse::default() }))
    }
}
