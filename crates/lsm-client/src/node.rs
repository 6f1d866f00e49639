//! One node: its address, the connection to it, and one try of a request.
//!
//! The connection is made when it is first needed, and again after it broke. It belongs to the
//! tokio runtime that it was made in.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lsm_proto::rpc::{self, Rpc};
use lsm_proto::v1::{ScanRequest, ScanResponse};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};
use tonic::client::Grpc;
use tonic::codegen::http::uri::Authority;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::error::{Error, Result};
use crate::options::ClientOptions;

/// A connection on which nothing came for so long is asked whether it lives.
const PING_AFTER: Duration = Duration::from_secs(10);
/// And is given up if it does not say so.
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// Requests that wait for the connection to take them; more wait before that.
const WAITING_MAX: usize = 4096;

/// Bytes of one answer that are on their way or wait to be looked at. A scan whose reader is
/// slow holds so much.
const STREAM_WINDOW: u32 = 1 << 20;
/// The same for all answers together: so much that scans with slow readers never keep another
/// answer from coming in, which the reader of such a scan may be waiting for.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// A node that did not answer is not asked first for so long.
const SILENT_FOR: Duration = Duration::from_secs(1);

/// A node that may be asked.
pub(crate) struct Node {
    address: Arc<str>,
    endpoint: Endpoint,
    answer_bytes_max: usize,
    connection: OnceLock<Grpc<Channel>>,
    silent_at: Mutex<Option<Instant>>,
}

/// How long one try may take.
#[derive(Clone, Debug)]
pub(crate) struct TryTime {
    pub(crate) until: Instant,
    /// The same for the node, as gRPC writes it; computed from `until` if there is none.
    pub(crate) told: Option<MetadataValue<Ascii>>,
}

impl Node {
    /// # Errors
    ///
    /// `Invalid` if the address is not of the form `host:port` or `http://host:port`.
    pub(crate) fn new(address: &str, options: &ClientOptions) -> Result<Self> {
        let address = normal_address(address)?;
        let invalid = |error| Error::invalid(format!("address {address:?}: {error}"));
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let mut endpoint =
            Endpoint::from_shared(format!("{scheme}://{address}")).map_err(invalid)?;
        if let Some(tls) = &options.tls {
            let tls = tls.config().timeout(options.connect_timeout);
            endpoint = endpoint.tls_config(tls).map_err(invalid)?;
        }
        let endpoint = endpoint
            .connect_timeout(options.connect_timeout)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .buffer_size(WAITING_MAX);
        Ok(Self {
            address: address.into(),
            endpoint,
            answer_bytes_max: options.answer_bytes_max,
            connection: OnceLock::new(),
            silent_at: Mutex::new(None),
        })
    }

    pub(crate) fn address(&self) -> &Arc<str> {
        &self.address
    }

    /// It could not be reached, or did not answer.
    pub(crate) fn was_silent(&self) {
        *self.silent_at.lock() = Some(Instant::now());
    }

    /// Whether that was lately.
    pub(crate) fn is_silent(&self) -> bool {
        let at = *self.silent_at.lock();
        at.is_some_and(|at| at.elapsed() < SILENT_FOR)
    }

    /// Asks once.
    pub(crate) async fn call<R: Rpc>(
        &self,
        request: R,
        time: TryTime,
    ) -> Result<R::Response, Status> {
        let mut request = Request::new(request);
        match time.told {
            Some(told) => drop(request.metadata_mut().insert("grpc-timeout", told)),
            None => request.set_timeout(time.until.saturating_duration_since(Instant::now())),
        }
        in_time(time.until, rpc::call(self.grpc(), request)).await
    }

    /// Begins a scan, and waits for its first page; none if there is none at all. The node is
    /// not told the time: it would end the stream with it.
    pub(crate) async fn scan(
        &self,
        request: ScanRequest,
        until: Instant,
    ) -> Result<(Option<ScanResponse>, Streaming<ScanResponse>), Status> {
        let begin = async {
            let mut stream = rpc::scan_stream(self.grpc(), Request::new(request)).await?;
            Ok((stream.message().await?, stream))
        };
        in_time(until, begin).await
    }

    /// A handle of the connection; made lazily, because that needs a runtime.
    fn grpc(&self) -> Grpc<Channel> {
        let connect = || {
            let channel = self.endpoint.connect_lazy();
            Grpc::new(channel).max_decoding_message_size(self.answer_bytes_max)
        };
        self.connection.get_or_init(connect).clone()
    }
}

/// Two are the same if they have one address.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.address)
    }
}

/// Waits for an answer until then.
pub(crate) async fn in_time<T>(
    until: Instant,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match timeout_at(until, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}

/// The time as gRPC writes it.
pub(crate) fn told(time: Duration) -> MetadataValue<Ascii> {
    let mut request = Request::new(());
    request.set_timeout(time);
    request.metadata().get("grpc-timeout").expect("it was set").clone()
}

/// `host:port`.
fn normal_address(address: &str) -> Result<String> {
    let invalid = |why: &str| {
        let message = format!("address {address:?}: {why}; write it as host:port");
        Err(Error::invalid(message))
    };
    let bare = address.trim();
    if bare.starts_with("https://") {
        return invalid("encryption is asked for by the option `tls`");
    }
    let bare = bare.strip_prefix("http://").unwrap_or(bare);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    match bare.parse::<Authority>() {
        Err(error) => invalid(&error.to_string()),
        Ok(authority) if authority.host().is_empty() => invalid("there is no host"),
        Ok(authority) => match authority.port_u16() {
            Some(1..) => Ok(authority.as_str().to_owned()),
            _ => invalid("there is no port"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_form() {
        let ok = |address: &str| normal_address(address).unwrap();
        assert_eq!(ok("127.0.0.1:4001"), "127.0.0.1:4001");
        assert_eq!(ok(" http://node-1.example:80/ "), "node-1.example:80");
        assert_eq!(ok("[::1]:4001"), "[::1]:4001");
        for bad in
            ["", "host", "host:", ":1", "host:0", "host:99999", "https://h:1", "a b:1", "h:1/x"]
        {
            let error = normal_address(bad).unwrap_err();
            assert!(error.to_string().contains("host:port"), "{bad}: {error}");
        }
    }
}
