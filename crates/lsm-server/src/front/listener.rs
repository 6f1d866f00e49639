//! Connections that come in: so many and no more, each with a limited time to say what it is,
//! each with answers that leave together, and closed if they are not taken.
//!
//! ```text
//! accepted, has a place -> handshake of TLS, if asked for -> served -> preface of HTTP/2
//! '---------------------------- all of this within one time ----------------------------'
//! ```
//!
//! TLS is below the gathering of answers: each write to it is a record of its own.
//!
//! That answers are not taken must be seen here. What serves a connection waits for room at the
//! client and does nothing else, and behind a window of a few bytes it has long finished.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout_at};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::either::Either;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use super::coalesce::CoalescingStream;
use super::slow_readers::SlowReaders;
use crate::limits::Limits;
use crate::tls::{self, MaybeTlsStream};

/// Connections that were accepted and are not served yet.
const ACCEPTED_MAX: usize = 64;
/// Time to send the bytes that every HTTP/2 connection begins with, after the handshake of TLS
/// if there is one: whoever ends that and says nothing more holds no place either.
const PREFACE_TIME_MAX: Duration = Duration::from_secs(10);
const PREFACE_LEN: usize = 24;
/// How long nothing is accepted after an error, which is mostly a lack of file handles.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Requests of one connection that their client has given up before this node has looked at
/// them, in connections' worths: what comes together while a node is stopped, swapped out or
/// otherwise held up, as clients ask again and again. With as few as the library allows, 20, the
/// node would cut the connection, and with it the calls that still wait. Each costs its headers.
const GIVEN_UP_MAX: u32 = 4;
/// Longest list of headers of a request, in bytes.
const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// A flood of connections is logged so often.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// An address that cannot be listened at; its text holds what the system said.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address} (--{setting}): {cause}{}", advice(cause))]
pub(crate) struct Error {
    address: SocketAddr,
    setting: &'static str,
    cause: io::Error,
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process has it: stop that one, or choose another port"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        io::ErrorKind::PermissionDenied => "; ports below 1024 are for root",
        _ => "",
    }
}

/// Binds the address of `setting`: from now on connections wait, until they are accepted.
///
/// # Errors
///
/// The operating system's, with the setting and what to do.
pub(crate) async fn bind(address: SocketAddr, setting: &'static str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|cause| Error { address, setting, cause })
}

/// Accepts connections until the stream is dropped. While there are as many as may be, further
/// ones are closed at once, so that a client need not wait to find out. With `tls` nothing
/// else is spoken.
pub(crate) fn incoming(
    listener: TcpListener,
    limits: &Limits,
    tls: Option<Arc<ServerConfig>>,
) -> impl Stream<Item = io::Result<Connection>> + use<> {
    incoming_within(listener, limits, tls, PREFACE_TIME_MAX)
}

fn incoming_within(
    listener: TcpListener,
    limits: &Limits,
    tls: Option<Arc<ServerConfig>>,
    preface_time: Duration,
) -> impl Stream<Item = io::Result<Connection>> + use<> {
    let (sender, receiver) = mpsc::channel(ACCEPTED_MAX);
    let Limits { connections_max, answer_time_max: answer_time, .. } = *limits;
    let log = Arc::default();
    let greeting = Greeting { tls, preface_time, answer_time, sender, log };
    tokio::spawn(async move {
        tokio::select! {
            () = accept(listener, connections_max, &greeting) => {}
            () = greeting.sender.closed() => {}
        }
    });
    ReceiverStream::new(receiver)
}

async fn accept(listener: TcpListener, connections_max: usize, greeting: &Greeting) {
    let permits = Arc::new(Semaphore::new(connections_max));
    let log = &greeting.log;
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if log.may() {
                    tracing::warn!(%error, "a connection could not be accepted");
                }
                sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            if log.may() {
                tracing::warn!(connections_max, %from, "too many connections; this one is closed");
            }
            continue;
        };
        // A connection that is broken already will say so when it is read.
        let _ = stream.set_nodelay(true);
        let end = Instant::now() + greeting.preface_time;
        match &greeting.tls {
            None => {
                let connection = greeting.connection(Either::Left(stream), from, end, permit);
                if greeting.sender.send(Ok(connection)).await.is_err() {
                    return;
                }
            }
            // Others must not wait for one that takes its time. The permits bound the tasks.
            Some(tls) => {
                let (tls, greeting) = (Arc::clone(tls), greeting.clone());
                tokio::spawn(greeting.secure(tls, stream, from, end, permit));
            }
        }
    }
}

/// What serves connections, within the bounds of both ports. Not the time of a request: each
/// service does that, since a compaction or a stream of messages has no common measure with a
/// lookup.
pub(crate) fn server(limits: &Limits) -> Server {
    Server::builder()
        .max_concurrent_streams(limits.streams_max)
        .http2_max_pending_accept_reset_streams(Some((GIVEN_UP_MAX * limits.streams_max) as usize))
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .http2_keepalive_interval(Some(limits.keepalive_interval))
        .http2_keepalive_timeout(Some(limits.keepalive_timeout))
}

/// What happens to connections between being accepted and being served.
#[derive(Clone)]
struct Greeting {
    tls: Option<Arc<ServerConfig>>,
    preface_time: Duration,
    answer_time: Duration,
    sender: mpsc::Sender<io::Result<Connection>>,
    log: Arc<Rarely>,
}

impl Greeting {
    /// A connection that is served from now on, and must have said what it is until `end`.
    fn connection(
        &self,
        stream: MaybeTlsStream,
        from: SocketAddr,
        end: Instant,
        permit: OwnedSemaphorePermit,
    ) -> Connection {
        Connection {
            stream: CoalescingStream::new(stream),
            preface_missing: PREFACE_LEN,
            end: Box::pin(sleep_until(end)),
            answer_time: self.answer_time,
            slow_readers: Arc::default(),
            from,
            log: Arc::clone(&self.log),
            _permit: permit,
        }
    }

    async fn secure(
        self,
        tls: Arc<ServerConfig>,
        stream: TcpStream,
        from: SocketAddr,
        end: Instant,
        permit: OwnedSemaphorePermit,
    ) {
        let secured = tokio::select! {
            secured = timeout_at(end, tls::accept(stream, tls)) => secured,
            () = self.sender.closed() => return,
        };
        let (reason, refused) = match secured {
            Ok(Ok(stream)) => {
                let connection = self.connection(stream, from, end, permit);
                let _ = self.sender.send(Ok(connection)).await;
                return;
            }
            Ok(Err((error, stream))) => (error.to_string(), Some(stream)),
            Err(_) => ("it took too long".to_owned(), None),
        };
        if self.log.may() {
            tracing::warn!(%from, reason, "no TLS with this connection; it is closed");
        }
        if let Some(stream) = refused {
            tls::close(stream).await;
        }
    }
}

/// Lets what happens often be logged now and then.
#[derive(Debug, Default)]
struct Rarely(Mutex<Option<Instant>>);

impl Rarely {
    fn may(&self) -> bool {
        let now = Instant::now();
        let mut logged = self.0.lock();
        let may = logged.is_none_or(|last| now - last >= LOG_INTERVAL);
        if may {
            *logged = Some(now);
        }
        may
    }
}

/// A connection, and its place among those that there may be.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: CoalescingStream<MaybeTlsStream>,
    /// Bytes of the preface that did not come yet.
    preface_missing: usize,
    /// Of the time for the preface; then of a turn of the answers.
    end: Pin<Box<Sleep>>,
    answer_time: Duration,
    slow_readers: Arc<SlowReaders>,
    from: SocketAddr,
    log: Arc<Rarely>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Whether the other side lets this one wait for longer than it may.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        while self.end.as_mut().poll(context).is_ready() {
            if self.preface_missing > 0 {
                return true;
            }
            if !self.slow_readers.turn() {
                if self.log.may() {
                    let from = self.from;
                    tracing::warn!(%from, "a client does not take its answers; it is disconnected");
                }
                return true;
            }
            self.end.as_mut().reset(Instant::now() + self.answer_time);
        }
        false
    }

    /// What waits to be written is not read beside, so the time is looked at here, too.
    fn unless_over<T>(
        &mut self,
        context: &mut Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if done.is_pending() && self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        done
    }
}

impl Connected for Connection {
    /// Requests bring it along to whoever makes the answers.
    type ConnectInfo = Arc<SlowReaders>;

    fn connect_info(&self) -> Arc<SlowReaders> {
        Arc::clone(&self.slow_readers)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if this.preface_missing > 0 {
            let came = buffer.filled().len() - before;
            this.preface_missing = this.preface_missing.saturating_sub(came);
            if this.preface_missing == 0 {
                this.end.as_mut().reset(Instant::now() + this.answer_time);
            }
        }
        if this.preface_missing > 0 && this.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        this.unless_over(context, read)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.unless_over(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.unless_over(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;
    use tokio_stream::StreamExt;

    use super::*;
    use crate::tls::{Authority, Pem, Signed, Tls};

    const LOCAL: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    fn connections(connections_max: usize) -> Limits {
        Limits { connections_max, ..Limits::default() }
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_its_flag() {
        let first = bind(LOCAL, "listen").await.unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(address, "peer-listen").await.unwrap_err().to_string();
        for word in [&address.to_string(), "--peer-listen", "choose another port"] {
            assert!(error.contains(word), "{error}");
        }
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed_until_another_ends() {
        let listener = bind(LOCAL, "listen").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = Box::pin(incoming(listener, &connections(1), None));
        let _client = TcpStream::connect(address).await.unwrap();
        let first = incoming.next().await.unwrap().unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        assert_eq!(second.read(&mut [0; 1]).await.unwrap_or(0), 0);
        drop(first);
        let _client = TcpStream::connect(address).await.unwrap();
        incoming.next().await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn nothing_is_accepted_after_the_stream_is_dropped() {
        let listener = bind(LOCAL, "listen").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(incoming(listener, &connections(1), None));
        while TcpStream::connect(address).await.is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn who_says_nothing_is_disconnected() {
        let listener = bind(LOCAL, "listen").await.unwrap();
        let address = listener.local_addr().unwrap();
        let time = Duration::from_secs(2);
        let mut incoming = Box::pin(incoming_within(listener, &connections(2), None, time));
        let mut slow = TcpStream::connect(address).await.unwrap();
        let mut served = incoming.next().await.unwrap().unwrap();
        slow.write_all(b"PRI * HTTP").await.unwrap();
        let mut bytes = [0; PREFACE_LEN];
        let error = served.read_exact(&mut bytes).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let mut good = TcpStream::connect(address).await.unwrap();
        let mut served = incoming.next().await.unwrap().unwrap();
        good.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        served.read_exact(&mut bytes).await.unwrap();
        sleep(2 * time).await;
        good.write_all(b"x").await.unwrap();
        served.read_exact(&mut bytes[..1]).await.unwrap();
    }

    #[tokio::test]
    async fn who_does_not_take_an_answer_is_disconnected() {
        let listener = bind(LOCAL, "listen").await.unwrap();
        let address = listener.local_addr().unwrap();
        let time = Duration::from_millis(500);
        let limits = Limits { answer_time_max: time, ..Limits::default() };
        let mut incoming = Box::pin(incoming(listener, &limits, None));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut served = incoming.next().await.unwrap().unwrap();
        served.read_exact(&mut [0; PREFACE_LEN]).await.unwrap();

        let answers = served.connect_info();
        let began = Instant::now();
        while began.elapsed() < 3 * time {
            let _taken = answers.add();
            // Nothing comes, and nothing is wrong with that.
            assert!(timeout(time / 10, served.read_u8()).await.is_err());
        }
        let began = Instant::now();
        let _waiting = answers.add();
        let error = timeout(20 * time, served.read_u8()).await.expect("it ends").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= time, "{:?}", began.elapsed());
    }

    /// Its window may be wide: then what it does not read waits in the system's buffers.
    #[tokio::test]
    async fn who_does_not_read_is_disconnected() {
        let listener = bind(LOCAL, "listen").await.unwrap();
        let address = listener.local_addr().unwrap();
        let time = Duration::from_millis(300);
        let limits = Limits { answer_time_max: time, ..Limits::default() };
        let mut incoming = Box::pin(incoming(listener, &limits, None));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut served = incoming.next().await.unwrap().unwrap();
        served.read_exact(&mut [0; PREFACE_LEN]).await.unwrap();
        let _waiting = served.connect_info().add();
        let written = async { while served.write_all(&[0; 1 << 20]).await.is_ok() {} };
        timeout(20 * time, written).await.expect("it ends");
    }

    fn tls() -> (Arc<ServerConfig>, tokio_rustls::TlsConnector) {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, UnixTime};

        let authority = Authority::new("ours");
        let Signed { cert, key } = authority.node("localhost");
        let pem = Pem { cert: cert.into(), key: key.into(), ca: authority.pem.clone().into() };
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ));
        let client = client.with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(roots).with_no_client_auth();
        let tls = Tls::new(&pem, false, &["localhost"], UnixTime::now()).unwrap();
        (Arc::clone(&tls.clients), Arc::new(client).into())
    }

    #[tokio::test]
    async fn who_does_not_end_the_handshake_holds_its_place_for_a_while_only() {
        let listener = bind(LOCAL, "listen").await.unwrap();
        let address = listener.local_addr().unwrap();
        let time = Duration::from_secs(3);
        let (server, connector) = tls();
        let mut incoming = Box::pin(incoming_within(listener, &connections(1), Some(server), time));
        let began = Instant::now();
        let mut slow = TcpStream::connect(address).await.unwrap();
        // The head of a record whose rest never comes.
        slow.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        let read = timeout(time, second.read(&mut [0; 1])).await.expect("the only place is taken");
        assert_eq!(read.unwrap_or(0), 0);
        assert!(began.elapsed() < time);
        let mut byte = [0; 1];
        let read = timeout(20 * time, slow.read(&mut byte)).await.expect("it is disconnected");
        assert_eq!(read.unwrap_or(0), 0);
        assert!(began.elapsed() >= time);

        let good = TcpStream::connect(address).await.unwrap();
        let mut good = connector.connect("localhost".try_into().unwrap(), good).await.unwrap();
        let mut served = incoming.next().await.unwrap().unwrap();
        good.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut bytes = [0; PREFACE_LEN];
        served.read_exact(&mut bytes).await.unwrap();
        assert!(bytes.starts_with(b"PRI"));
        served.write_all(b"answer").await.unwrap();
        served.flush().await.unwrap();
        good.read_exact(&mut bytes[..6]).await.unwrap();
        assert!(bytes.starts_with(b"answer"));
    }

    #[tokio::test]
    async fn who_says_nothing_after_the_handshake_is_disconnected() {
        let listener = bind(LOCAL, "listen").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (server, connector) = tls();
        let time = Duration::from_secs(3);
        let mut incoming = Box::pin(incoming_within(listener, &connections(1), Some(server), time));
        let silent = TcpStream::connect(address).await.unwrap();
        let _silent = connector.connect("localhost".try_into().unwrap(), silent).await.unwrap();
        let mut served = incoming.next().await.unwrap().unwrap();
        let read = timeout(20 * time, served.read_u8()).await.expect("it is disconnected");
        let error = read.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
