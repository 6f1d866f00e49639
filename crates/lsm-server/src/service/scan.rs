//! Scans over gRPC: one page, or all pages of one moment as a stream.
//!
//! The engine is read on threads for blocking work; a task hands the pages of a stream over, so
//! that nobody blocks while a client is slow. Two pages wait for it at most, one that is handed
//! over and one behind it; and before one is read it has room among those of all streams. A
//! client that takes none for as long as a request may last is given up.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use lsm_proto::v1::{Header, ScanRequest, ScanResponse};
use lsm_raft::StateReader;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_stream::Stream;
use tonic::{Request, Status};

use super::context::Context;
use super::deadline::{RequestDeadline, timeout_of};
use super::pager::{Page, Pager};
use super::range::PageSize;
use crate::status;
use crate::validate;

/// Pages of a stream that wait to be taken, beside the one that waits for that.
const PAGES_MAX: usize = 1;
/// How long a scan waits for others to end.
const TURN_TIME_MAX: Duration = Duration::from_millis(100);

impl Context {
    /// One page.
    pub(super) async fn scan_page(
        &self,
        request: Request<ScanRequest>,
    ) -> Result<ScanResponse, Status> {
        let (permit, asked) = self.begin_scan(&request).await?;
        let pager = self.pager(request.get_ref(), PageSize::of(&self.limits));
        let readers = self.readers();
        let read = readers.read(pager, permit, Pager::next_page);
        let read = timeout_at(asked.until, read).await;
        let (_, _, page) = read.map_err(|_| status::too_late(false))??;
        Ok(answer(page, self.header(), true))
    }

    /// All pages.
    pub(super) async fn scan_stream(&self, request: Request<ScanRequest>) -> Result<Pages, Status> {
        let (permit, _) = self.begin_scan(&request).await?;
        let end = timeout_of(request.metadata()).map(|time| Instant::now() + time);
        let (sender, pages) = mpsc::channel(PAGES_MAX);
        let ended = Arc::new(OnceLock::new());
        let feeder = Feeder {
            sender,
            end,
            page_time_max: self.limits.request_time_max,
            header: self.header(),
            room: Arc::clone(&self.pages),
            room_bytes: self.limits.pages_bytes_max(),
            readers: self.readers(),
        };
        let pager = self.pager(request.get_ref(), PageSize::of_stream(&self.limits));
        let outcome = Arc::clone(&ended);
        tokio::spawn(async move {
            let fed = feeder.feed(pager, permit).await;
            let _ = outcome.set(fed);
            // Only now: whoever sees the end of the pages looks for the outcome.
            drop(feeder);
        });
        Ok(Pages { pages, ended, failed: false })
    }

    /// Judges, takes its turn, and waits until the state is new enough.
    async fn begin_scan(
        &self,
        request: &Request<ScanRequest>,
    ) -> Result<(OwnedSemaphorePermit, RequestDeadline), Status> {
        validate::check_scan(request.get_ref(), &self.limits)?;
        let asked = RequestDeadline::new(request.metadata(), self.limits.request_time_max);
        let turn = Arc::clone(&self.scans).acquire_owned();
        let Ok(Ok(permit)) = timeout(TURN_TIME_MAX.min(asked.time_left()), turn).await else {
            let max = self.limits.scans_max;
            return Err(status::busy(format!("{max} scans are running; try again later")));
        };
        if !validate::is_stale(request.get_ref().consistency) {
            self.catch_up(&asked).await?;
        }
        Ok((permit, asked))
    }

    fn readers(&self) -> Readers {
        Readers { turns: Arc::clone(&self.readers), state: self.replica.reader().clone() }
    }

    fn pager(&self, request: &ScanRequest, size: PageSize) -> Pager {
        let snapshot = self.replica.reader().snapshot();
        Pager::new(&snapshot, request, size)
    }
}

/// Threads that may block, so many at a time, and the state that they read.
struct Readers {
    turns: Arc<Semaphore>,
    state: StateReader,
}

impl Readers {
    /// Reads when it is its turn. The permit goes along: reading goes on when whoever asked has
    /// gone.
    async fn read<T: Send + 'static>(
        &self,
        mut pager: Pager,
        permit: OwnedSemaphorePermit,
        work: fn(&mut Pager) -> lsm_core::Result<T>,
    ) -> Result<(Pager, OwnedSemaphorePermit, T), Status> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| Status::internal("nobody reads any more: this is a bug"))?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&mut pager);
            drop(turn);
            (pager, permit, done)
        });
        match done.await {
            Ok((pager, permit, Ok(done))) => Ok((pager, permit, done)),
            Ok((_, _, Err(error))) => {
                self.state.note_error(&error);
                Err(status::engine_failed(&error))
            }
            Err(error) => Err(Status::internal(format!("the scan broke off: {error}"))),
        }
    }
}

/// `resume` is only for the end: in the middle of a stream the next page follows on its own.
fn answer(page: Page, header: Header, is_last: bool) -> ScanResponse {
    let resume = page.resume.filter(|_| is_last);
    ScanResponse {
        header: Some(header),
        entries: page.entries,
        more: resume.is_some(),
        resume: resume.unwrap_or_default(),
    }
}

/// Reads pages and hands them over.
struct Feeder {
    sender: mpsc::Sender<Handed>,
    /// When the client loses patience.
    end: Option<Instant>,
    page_time_max: Duration,
    header: Header,
    /// One permit a KiB.
    room: Arc<Semaphore>,
    room_bytes: usize,
    readers: Readers,
}

/// A page, and its room.
type Handed = (ScanResponse, OwnedSemaphorePermit);

impl Feeder {
    async fn feed(&self, mut pager: Pager, mut permit: OwnedSemaphorePermit) -> Result<(), Status> {
        (pager, permit, ()) = self.readers.read(pager, permit, Pager::begin).await?;
        loop {
            let room = tokio::select! {
                room = self.make_room(pager.next_bytes_max()) => room?,
                // The client has gone.
                () = self.sender.closed() => return Ok(()),
            };
            let page;
            (pager, permit, page) = self.readers.read(pager, permit, Pager::next_page).await?;
            let is_last = !pager.goes_on();
            let sent = self.sender.send((answer(page, self.header.clone(), is_last), room));
            match timeout_at(self.page_end(), sent).await {
                Ok(Ok(())) if is_last => break,
                Ok(Ok(())) => {}
                // The client has gone.
                Ok(Err(_)) => return Ok(()),
                Err(_) => return Err(not_taken()),
            }
        }
        // The scan runs, and counts as one, until its pages are out of here.
        let taken = timeout(self.page_time_max, self.sender.reserve_many(PAGES_MAX)).await;
        taken.map(drop).map_err(|_| not_taken())
    }

    /// Waits until the pages of others have been taken.
    async fn make_room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Status> {
        // One that is longer than all of it has all of it.
        let wanted = (bytes.min(self.room_bytes) >> 10) as u32;
        match timeout_at(self.page_end(), Arc::clone(&self.room).acquire_many_owned(wanted)).await {
            Ok(Ok(room)) => Ok(room),
            _ => Err(status::busy("the pages of other scans take all the room there is")),
        }
    }

    /// When the wait for something about one page is over that begins now.
    fn page_end(&self) -> Instant {
        let page_end = Instant::now() + self.page_time_max;
        self.end.map_or(page_end, |end| end.min(page_end))
    }
}

fn not_taken() -> Status {
    Status::deadline_exceeded("the pages of the scan were not taken in time")
}

/// The pages of a stream, in order. Ends well only if the scan did: a stream that merely
/// stopped would look complete.
#[derive(Debug)]
pub(super) struct Pages {
    pages: mpsc::Receiver<Handed>,
    /// What became of the scan. Set before the sender is dropped, unless the task broke off.
    ended: Arc<OnceLock<Result<(), Status>>>,
    failed: bool,
}

impl Stream for Pages {
    type Item = Result<ScanResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let page = ready!(self.pages.poll_recv(task));
        if let Some((page, _room)) = page {
            return Poll::Ready(Some(Ok(page)));
        }
        let status = match self.ended.get() {
            Some(Ok(())) => return Poll::Ready(None),
            Some(Err(status)) => status.clone(),
            None => Status::internal("the scan broke off: this is a bug"),
        };
        self.failed = true;
        Poll::Ready(Some(Err(status)))
    }
}
