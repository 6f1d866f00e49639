//! Where to find the cluster, and how long to wait for it.

use std::path::PathBuf;
use std::time::Duration;

use lsm_client::{Client, ClientOptions, NodeClient, Tls};

use super::failure::Failure;
use crate::config::{Time, read_pem};

/// Where to find the cluster.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct To {
    /// One node or several, with commas between; the others are learned from it
    #[arg(
        long,
        env = "LSM_TO",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:4001"
    )]
    to: Vec<String>,
    /// How long to wait for an answer [default: 10s; 2s for each node of status; 600s for
    /// hash-check and compact]
    #[arg(long, value_name = "TIME")]
    timeout: Option<Time>,
    /// A PEM file with the CA of the nodes' certificates: connects with TLS
    #[arg(long, env = "LSM_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// A PEM file with a certificate to show, if the nodes want one
    #[arg(long, env = "LSM_TLS_CERT", value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// A PEM file with the key of that certificate
    #[arg(long, env = "LSM_TLS_KEY", value_name = "FILE", requires_all = ["tls_ca", "tls_cert"])]
    tls_key: Option<PathBuf>,
}

impl To {
    /// The nodes that were named.
    pub(super) fn nodes(&self) -> &[String] {
        &self.to
    }

    /// The node that was named first.
    pub(super) fn first(&self, client: &Client) -> Result<NodeClient, Failure> {
        Ok(client.node(&self.to[0])?)
    }

    /// How long to wait if nothing else was said.
    pub(super) fn time_or(&self, time: Duration) -> Duration {
        self.timeout.map_or(time, |given| given.0)
    }

    /// A client whose calls take no longer than `time`, if nothing else was said.
    pub(super) async fn connect(&self, time: Duration) -> Result<Client, Failure> {
        let mut options = ClientOptions::default().timeout(self.time_or(time));
        if let Some(tls) = self.tls().map_err(Failure::File)? {
            options = options.tls(tls);
        }
        Ok(options.open(&self.to).await?)
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
