//! Where to find the cluster, and how long to wait for it.
//!
//! The variables begin with `LSM_CLIENT_`: on the host of a node its own settings are variables,
//! too, and what is set for the one must not reach the other.

use std::path::PathBuf;
use std::time::Duration;

use lsm_args::{Time, read_pem};
use lsm_client::{Client, ClientOptions, NodeClient, Tls};

use crate::failure::Failure;

/// How long a node is looked for that answers, unless told otherwise; and how long where nothing
/// listens.
const OPEN_TIME: Duration = Duration::from_secs(5);
const OPEN_TIME_FIRST: Duration = Duration::from_secs(1);

/// Where to find the cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct To {
    /// One node or several, with commas between; the others are learned from it
    #[arg(
        long,
        env = "LSM_CLIENT_TO",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:4001"
    )]
    to: Vec<String>,
    /// How long to wait for an answer [default: 10s; 2s for each node of status; 600s for
    /// hash-check and compact]
    #[arg(long, env = "LSM_CLIENT_TIMEOUT", value_name = "TIME")]
    timeout: Option<Time>,
    /// A PEM file with the CA of the nodes' certificates: connects with TLS
    #[arg(long, env = "LSM_CLIENT_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// A PEM file with a certificate to show, if the nodes want one
    #[arg(long, env = "LSM_CLIENT_TLS_CERT", value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// A PEM file with the key of that certificate
    #[arg(long, env = "LSM_CLIENT_TLS_KEY", value_name = "FILE", requires_all = ["tls_ca", "tls_cert"])]
    tls_key: Option<PathBuf>,
}

impl To {
    /// The nodes that were named.
    pub(crate) fn nodes(&self) -> &[String] {
        &self.to
    }

    /// How long to wait if nothing else was said.
    pub(crate) fn time_or(&self, time: Duration) -> Duration {
        self.timeout.map_or(time, |given| given.0)
    }

    /// A client whose calls take no longer than `time`, if nothing else was said.
    pub(crate) async fn connect(&self, time: Duration) -> Result<Client, Failure> {
        self.open(&self.to, time).await
    }

    /// The node that was named first, in the same way.
    pub(crate) async fn first(&self, time: Duration) -> Result<NodeClient, Failure> {
        self.node(&self.to[0], time).await
    }

    /// One node, in the same way.
    pub(crate) async fn node(&self, address: &str, time: Duration) -> Result<NodeClient, Failure> {
        let client = self.open(&[address.to_owned()], time).await?;
        Ok(client.node(address)?)
    }

    /// Returns when one of the nodes has answered. How long a call may take says nothing of how
    /// long to look for somebody who listens.
    async fn open(&self, addresses: &[String], time: Duration) -> Result<Client, Failure> {
        let mut options = ClientOptions::default();
        if let Some(tls) = self.tls().map_err(Failure::Input)? {
            options = options.tls(tls);
        }
        let open = async |time: Duration| options.clone().timeout(time).open(addresses).await;
        let opened = match self.timeout {
            Some(given) => open(given.0).await,
            None => match open(OPEN_TIME_FIRST).await {
                Err(error) if addresses.len() > 1 || !is_refused(&error) => open(OPEN_TIME).await,
                opened => opened,
            },
        };
        Ok(opened?.with_timeout(self.time_or(time))?)
    }

    /// # Errors
    ///
    /// Which file cannot be used, and why.
    fn tls(&self) -> Result<Option<Tls>, String> {
        let Some(ca) = &self.tls_ca else { return Ok(None) };
        let read = |name: &str, path: &PathBuf| {
            read_pem(path).map_err(|reason| format!("--{name}: {}: {reason}", path.display()))
        };
        let named = |error: lsm_client::Error| error.to_string();
        let tls = Tls::new(read("tls-ca", ca)?)
            .map_err(|error| format!("--tls-ca: {}: {error}", ca.display()))?;
        match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => {
                let (cert, key) = (read("tls-cert", cert)?, read("tls-key", key)?);
                tls.identity(cert, key).map(Some).map_err(named)
            }
            _ => Ok(Some(tls)),
        }
    }
}

/// Whether the host is there, and nothing listens.
fn is_refused(error: &lsm_client::Error) -> bool {
    let first = std::error::Error::source(error);
    let mut causes = std::iter::successors(first, |error| error.source());
    causes.any(|cause| {
        let cause = cause.downcast_ref::<std::io::Error>();
        cause.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    })
}
