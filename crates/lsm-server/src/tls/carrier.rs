//! A connection that came in, encrypted or not.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Longest wait for the other side to close a connection, too, and most reads of what it sends
/// until then.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(1);
const CLOSE_READS_MAX: usize = 64;

/// A connection that came in.
#[derive(Debug)]
pub(crate) enum Carrier {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

impl Carrier {
    /// Waits for the other side's part of the handshake, for ever if need be.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with it, such as a certificate that another CA signed; with the
    /// connection, to be [closed](close).
    pub(crate) async fn secure(
        stream: TcpStream,
        server: Arc<ServerConfig>,
    ) -> Result<Self, (io::Error, TcpStream)> {
        let stream = TlsAcceptor::from(server).accept(stream).into_fallible().await?;
        Ok(Self::Secure(Box::new(stream)))
    }
}

/// Closes a connection such that the other side can read what it was told last, which is why
/// it is closed: while bytes of its own are unread here, the system would reset it instead.
pub(crate) async fn close(mut stream: TcpStream) {
    let rest = async {
        let mut bytes = [0; 1024];
        stream.shutdown().await?;
        for _ in 0..CLOSE_READS_MAX {
            if stream.read(&mut bytes).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    // It is over anyway.
    let _ = timeout(CLOSE_TIME_MAX, rest).await;
}

/// Calls the same function of whichever stream it is.
macro_rules! either {
    ($stream:expr, $method:ident($($argument:expr),*)) => {
        match &mut *$stream {
            Carrier::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Carrier::Secure(stream) => Pin::new(&mut **stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Carrier {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, poll_read(context, buffer))
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Secure(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_shutdown(context))
    }
}
