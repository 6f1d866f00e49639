//! A connection that came in, encrypted or not.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

/// Longest wait for the other side to close a connection, too, and most reads of what it sends
/// until then.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(1);
const CLOSE_READS_MAX: usize = 64;

/// A connection that came in.
pub(crate) type MaybeTlsStream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Waits for the other side's part of the handshake, for ever if need be.
///
/// # Errors
///
/// Whatever is wrong with it, such as a certificate that another CA signed; with the
/// connection, to be [closed](close).
pub(crate) async fn accept(
    stream: TcpStream,
    server: Arc<ServerConfig>,
) -> Result<MaybeTlsStream, (io::Error, TcpStream)> {
    let stream = TlsAcceptor::from(server).accept(stream).into_fallible().await?;
    Ok(Either::Right(Box::new(stream)))
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
