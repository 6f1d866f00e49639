//! The entries of a scan, as they come.
//!
//! One page is in memory at a time, and the connection's window of what comes behind it. Up to
//! the first page the scan is tried again as any read is. If it breaks after that, it ends in
//! an error, unless the scan says that it may go on with what is there by then.

use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::vec;

use lsm_proto::v1::{Entry, ScanResponse};
use tokio::time::Instant;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use crate::attempts::reason;
use crate::calls::Shared;
use crate::error::{About, Error, ErrorKind, Result};
use crate::failure::{Failure, NextTry};
use crate::node;
use crate::route::To;
use crate::scan::Scan;

/// The entries of a [`Scan`], in its order; made by [`Client::scan`](crate::Client::scan).
///
/// It is also a [`Stream`](tokio_stream::Stream). Nothing is asked for before the first entry
/// is; dropping it ends the scan at the node. After an error or the last entry it stays at its
/// end.
pub struct ScanStream {
    page: vec::IntoIter<Entry>,
    state: State,
}

enum State {
    Idle(Box<Pages>),
    Fetching(Pin<Box<dyn Future<Output = Fetched> + Send>>),
    Ended,
}

/// A page, and where the next comes from.
type Fetched = (Box<Pages>, Result<Option<Vec<Entry>>>);

impl ScanStream {
    pub(crate) fn new(shared: Arc<Shared>, scan: Scan, to: To, time: Duration) -> Self {
        let pages = Pages { shared, scan, to, time, stream: None, count: 0 };
        Self { page: Vec::new().into_iter(), state: State::Idle(Box::new(pages)) }
    }

    /// The next entry; none after the last. It may be cancelled and called again: no entry is
    /// lost.
    ///
    /// # Errors
    ///
    /// As of a read until the first entry came. After that `Unavailable` or `Timeout` if the
    /// scan broke, with the number of entries that came before.
    pub async fn next(&mut self) -> Result<Option<Entry>> {
        poll_fn(|cx| self.poll_entry(cx)).await.transpose()
    }

    fn poll_entry(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Entry>>> {
        loop {
            if let Some(entry) = self.page.next() {
                return Poll::Ready(Some(Ok(entry)));
            }
            match mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Idle(mut pages) => {
                    self.state = State::Fetching(Box::pin(async move {
                        let page = pages.next().await;
                        (pages, page)
                    }));
                }
                State::Fetching(mut fetching) => {
                    let Poll::Ready((pages, page)) = fetching.as_mut().poll(cx) else {
                        self.state = State::Fetching(fetching);
                        return Poll::Pending;
                    };
                    match page {
                        Err(error) => return Poll::Ready(Some(Err(error))),
                        Ok(None) => return Poll::Ready(None),
                        Ok(Some(entries)) => {
                            self.page = entries.into_iter();
                            self.state = State::Idle(pages);
                        }
                    }
                }
            }
        }
    }
}

impl Stream for ScanStream {
    type Item = Result<Entry>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Entry>>> {
        Poll::Ready(ready!(self.poll_entry(cx)))
    }
}

impl fmt::Debug for ScanStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScanStream({} entries ready)", self.page.len())
    }
}

/// Where the pages come from.
struct Pages {
    shared: Arc<Shared>,
    /// What is still to come.
    scan: Scan,
    to: To,
    time: Duration,
    stream: Option<Streaming<ScanResponse>>,
    /// Entries that came.
    count: u64,
}

impl Pages {
    /// The entries of the next page; none after the last.
    async fn next(&mut self) -> Result<Option<Vec<Entry>>> {
        loop {
            let page = match self.stream.take() {
                Some(mut stream) => {
                    match node::in_time(Instant::now() + self.time, stream.message()).await {
                        Ok(page) => {
                            self.stream = Some(stream);
                            page
                        }
                        Err(status) => {
                            self.broke(status)?;
                            continue;
                        }
                    }
                }
                None => match self.scan.request() {
                    None => return Ok(None),
                    Some(request) => {
                        let begun = self.shared.begin_scan(&request, &self.to, self.time).await?;
                        self.stream = Some(begun.1);
                        begun.0
                    }
                },
            };
            let Some(page) = page else {
                return Ok(None);
            };
            self.scan.advance(&page.entries);
            self.count += page.entries.len() as u64;
            if page.more && !self.scan.is_at_limit() {
                return Err(self.error(ErrorKind::Internal, "was ended too early by the node"));
            }
            if !page.entries.is_empty() {
                return Ok(Some(page.entries));
            }
        }
    }

    /// # Errors
    ///
    /// The scan's, unless it may go on.
    fn broke(&self, status: Status) -> Result<()> {
        let failure = Failure::of(status);
        let kind = match failure.next {
            NextTry::Stop(kind) => kind,
            NextTry::OtherCopy => ErrorKind::Internal,
            NextTry::Later => ErrorKind::Busy,
            _ if failure.is_timeout() => ErrorKind::Timeout { may_have_applied: false },
            _ => ErrorKind::Unavailable,
        };
        if self.scan.resumes() && !matches!(failure.next, NextTry::Stop(_)) {
            return Ok(());
        }
        Err(self.error(kind, &format!("broke: {}", reason(&failure.status))))
    }

    fn error(&self, kind: ErrorKind, how: &str) -> Error {
        let about = About { whom: self.to.whom(), changes: false };
        Error::new(kind, about, format!("scan {how}, after {} entries", self.count))
    }
}
