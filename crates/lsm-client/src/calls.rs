//! Requests: what to ask, of whom, and again until there is an answer or the time is over.
//!
//! A read is tried until its time is over. A write with a session too, since the cluster
//! applies each number of a session once; see [`Shared::write`]. All other changes are tried
//! only as long as it is certain that none of the tries took effect.
//!
//! Threads: any number share one [`Shared`]; what belongs to one request is in its [`Attempts`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lsm_proto::rpc::{Rpc, Write};
use lsm_proto::v1::{
    Header, MembersRequest, OpenSessionRequest, OpenSessionResponse, ScanRequest, ScanResponse,
};
use tokio::time::{Instant, sleep};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Status, Streaming};

use crate::address_book::AddressBook;
use crate::attempts::{Attempts, Ended, Repeat};
use crate::error::{About, Error, ErrorKind, Result};
use crate::failure::{Failure, NextTry};
use crate::node::{self, Node, TryTime};
use crate::options::ClientOptions;
use crate::route::{Route, To};
use crate::sessions::{Lease, Permit, SESSIONS_MAX, Sessions};

/// The members are asked for again after so long, since all of them may be replaced in time.
const MEMBERS_AGE_MAX: Duration = Duration::from_secs(60);
/// If a node failed they are asked for sooner, but not sooner than this.
const MEMBERS_AGE_MIN: Duration = Duration::from_secs(1);

/// What the handles of a client share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: ClientOptions,
    pub(crate) directory: AddressBook,
    sessions: Sessions,
    /// The time of one try, as gRPC writes it.
    told: MetadataValue<Ascii>,
    born: Instant,
    /// When the members were asked for last, in milliseconds after `born`.
    members_asked_millis: AtomicU64,
    asking_members: AtomicBool,
}

/// One thing that can be asked of a node.
pub(crate) trait Ask: Sync {
    type Response: Send;
    /// Whether it would have an effect.
    const CHANGES: bool;

    fn ask(
        &self,
        node: &Node,
        time: TryTime,
    ) -> impl Future<Output = Result<Self::Response, Status>> + Send;

    fn header(answer: &Self::Response) -> Option<&Header>;
}

impl<R: Rpc> Ask for R {
    type Response = R::Response;
    const CHANGES: bool = R::CHANGES;

    fn ask(
        &self,
        node: &Node,
        time: TryTime,
    ) -> impl Future<Output = Result<R::Response, Status>> + Send {
        node.call(self.clone(), time)
    }

    fn header(answer: &R::Response) -> Option<&Header> {
        R::header(answer)
    }
}

/// The beginning of a streamed scan, through its first page.
#[derive(Debug)]
pub(crate) struct BeginScan<'a>(pub(crate) &'a ScanRequest);

impl Ask for BeginScan<'_> {
    type Response = (Option<ScanResponse>, Streaming<ScanResponse>);
    const CHANGES: bool = false;

    fn ask(
        &self,
        node: &Node,
        time: TryTime,
    ) -> impl Future<Output = Result<Self::Response, Status>> + Send {
        node.scan(self.0.clone(), time.until)
    }

    fn header((page, _): &Self::Response) -> Option<&Header> {
        page.as_ref()?.header.as_ref()
    }
}

/// A new session. One that nobody comes to use does no harm: the cluster forgets it.
struct OpenSession;

impl Ask for OpenSession {
    type Response = OpenSessionResponse;
    const CHANGES: bool = false;

    fn ask(
        &self,
        node: &Node,
        time: TryTime,
    ) -> impl Future<Output = Result<OpenSessionResponse, Status>> + Send {
        node.call(OpenSessionRequest {}, time)
    }

    fn header(answer: &OpenSessionResponse) -> Option<&Header> {
        answer.header.as_ref()
    }
}

impl Shared {
    pub(crate) fn new(options: ClientOptions, directory: AddressBook) -> Self {
        Self {
            told: node::told(options.try_timeout),
            options,
            directory,
            sessions: Sessions::new(SESSIONS_MAX),
            born: Instant::now(),
            members_asked_millis: AtomicU64::new(0),
            asking_members: AtomicBool::new(false),
        }
    }

    /// Asks for anything but a write of keys.
    pub(crate) async fn ask<R: Rpc>(
        self: &Arc<Self>,
        request: &R,
        to: &To,
        repeat: Repeat,
        time: Duration,
    ) -> Result<R::Response> {
        self.ask_as(R::NAME, request, to, repeat, time).await
    }

    /// The same, under another name in errors: of what the caller is after.
    pub(crate) async fn ask_as<R: Rpc>(
        self: &Arc<Self>,
        name: &'static str,
        request: &R,
        to: &To,
        repeat: Repeat,
        time: Duration,
    ) -> Result<R::Response> {
        let about = About { whom: to.whom(), changes: R::CHANGES };
        let mut attempts = Attempts::new(name, about, repeat, time);
        Ok(self.run(request, to, &mut attempts).await?)
    }

    /// Begins a streamed scan.
    pub(crate) async fn begin_scan(
        self: &Arc<Self>,
        request: &ScanRequest,
        to: &To,
        time: Duration,
    ) -> Result<(Option<ScanResponse>, Streaming<ScanResponse>)> {
        let about = About { whom: to.whom(), changes: false };
        let mut attempts = Attempts::new("scan", about, Repeat::Freely, time);
        Ok(self.run(&BeginScan(request), to, &mut attempts).await?)
    }

    /// Asks for a write, exactly once if the options say so.
    ///
    /// All tries carry the same number of the same session, so at most one takes effect. That
    /// the cluster does not know the session proves that nothing was applied only as long as no
    /// try was lost: the session may have been forgotten after one.
    pub(crate) async fn write<W: Write>(
        self: &Arc<Self>,
        mut write: W,
        time: Duration,
    ) -> Result<W::Response> {
        if !self.options.exactly_once {
            return self.ask(&write, &To::Leader, Repeat::IfNotApplied, time).await;
        }
        let about = About { whom: To::Leader.whom(), changes: true };
        let mut attempts = Attempts::new(W::NAME, about, Repeat::Freely, time);
        let mut lease = self.lease(&attempts).await?;
        loop {
            write.set_session(lease.session());
            match self.run(&write, &To::Leader, &mut attempts).await {
                Ok(answer) => {
                    lease.answered();
                    return Ok(answer);
                }
                // The free ones may be as old as this one was: take a new one.
                Err(Ended::SessionUnknown) => {
                    self.pause(&mut attempts).await?;
                    lease = self.open_session(lease.forgotten(), &attempts).await?;
                }
                Err(Ended::Failed(error)) => {
                    if error.kind() == ErrorKind::Invalid {
                        lease.answered();
                    }
                    return Err(error);
                }
            }
        }
    }

    /// A session for one request; opens one if none is free.
    async fn lease(self: &Arc<Self>, attempts: &Attempts) -> Result<Lease<'_>> {
        match self.sessions.permit(attempts.deadline).await {
            None => {
                let name = attempts.name;
                let message = format!("{name} waited in vain for one of {SESSIONS_MAX} sessions");
                Err(Error::new(ErrorKind::Busy, attempts.about, message))
            }
            Some(permit) => match permit.reuse() {
                Ok(lease) => Ok(lease),
                Err(permit) => self.open_session(permit, attempts).await,
            },
        }
    }

    async fn open_session<'a>(
        self: &Arc<Self>,
        permit: Permit<'a>,
        attempts: &Attempts,
    ) -> Result<Lease<'a>> {
        let mut opening = attempts.inner();
        let answer = self.run(&OpenSession, &To::Leader, &mut opening).await?;
        Ok(permit.begin(answer.id))
    }

    /// Tries until there is an answer, nothing helps, or the time is over.
    async fn run<A: Ask>(
        self: &Arc<Self>,
        ask: &A,
        to: &To,
        attempts: &mut Attempts,
    ) -> Result<A::Response, Ended> {
        loop {
            let node = attempts.route.next(to, &self.directory);
            let now = Instant::now();
            let until = attempts.until(now, self.options.try_timeout);
            let told = (until == now + self.options.try_timeout).then(|| self.told.clone());
            match ask.ask(&node, TryTime { until, told }).await {
                Ok(answer) => {
                    let header = A::header(&answer);
                    let new = header.is_some_and(|h| self.directory.answered(&node, h));
                    self.renew_members(now, new || attempts.has_failed());
                    return Ok(answer);
                }
                Err(status) => {
                    let mut failure = Failure::of(status);
                    if failure.next == NextTry::OtherCopy
                        && (A::CHANGES || !attempts.route.is_unable(&node, to, &self.directory))
                    {
                        failure.next = NextTry::Stop(ErrorKind::Internal);
                    }
                    let at_once = self.reroute(&node, &failure, attempts);
                    attempts.failed(node.address(), failure, A::CHANGES)?;
                    if !at_once || Instant::now() >= attempts.deadline {
                        self.pause(attempts).await.map_err(Ended::Failed)?;
                    }
                }
            }
        }
    }

    /// Where to go after a failure; whether to go there at once.
    #[cold]
    fn reroute(&self, node: &Arc<Node>, failure: &Failure, attempts: &mut Attempts) -> bool {
        match failure.next {
            NextTry::Elsewhere => {}
            // The node is the first to be asked for all else as it was.
            NextTry::OtherCopy => return true,
            NextTry::Later | NextTry::SessionUnknown | NextTry::Stop(_) => return false,
        }
        self.directory.failed(node, failure.is_silence);
        let leader = failure.leader.as_deref().and_then(|leader| self.directory.meet(leader));
        attempts.route.failed(node, leader.map(|(leader, _)| leader))
    }

    /// Waits a little before the next try.
    ///
    /// # Errors
    ///
    /// The request's, if there is no time left for one: a try gets at least as long as the wait
    /// before it, or it could only end as one that took too long, whatever the node would say.
    #[cold]
    async fn pause(&self, attempts: &mut Attempts) -> Result<()> {
        let wait = attempts.backoff.next(fastrand::f64());
        if Instant::now() + 2 * wait >= attempts.deadline {
            return Err(attempts.out_of_time());
        }
        sleep(wait).await;
        Ok(())
    }

    /// Asks who the members are, beside the request, if that is due.
    fn renew_members(self: &Arc<Self>, now: Instant, doubtful: bool) {
        let age_max = if doubtful { MEMBERS_AGE_MIN } else { MEMBERS_AGE_MAX };
        let now_millis = now.saturating_duration_since(self.born).as_millis() as u64;
        let asked_millis = self.members_asked_millis.load(Ordering::Relaxed);
        if now_millis.saturating_sub(asked_millis) < age_max.as_millis() as u64
            || self.asking_members.swap(true, Ordering::AcqRel)
        {
            return;
        }
        self.members_asked_millis.store(now_millis, Ordering::Relaxed);
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            shared.ask_members().await;
            shared.asking_members.store(false, Ordering::Release);
        });
    }

    /// Asks who the members are. If that cannot be said now, they stay who they were.
    pub(crate) async fn ask_members(&self) {
        let time = TryTime { until: Instant::now() + self.options.try_timeout, told: None };
        let node = Route::default().next(&To::Leader, &self.directory);
        if let Ok(answer) = node.call(MembersRequest {}, time).await {
            self.directory.set_members(&answer.members);
        }
    }
}
