//! The certificates of a node, and what they make: two servers, and calls to other nodes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Error, Identity};

use super::nodes_only::NodesOnly;
use super::own::Own;

/// What HTTP/2 is called in a handshake.
const HTTP2: &[u8] = b"h2";

/// The texts that certificates are read from.
#[derive(Clone)]
pub(crate) struct Pem {
    /// The node's own, and those between it and the CA.
    pub(crate) cert: Vec<u8>,
    /// The key of the first of these.
    pub(crate) key: Vec<u8>,
    /// Who signs those of nodes and clients.
    pub(crate) ca: Vec<u8>,
}

/// One of the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Cert,
    Key,
    Ca,
}

/// What a node needs to serve and to call with TLS.
pub(crate) struct Tls {
    /// For connections of clients.
    pub(crate) clients: Arc<ServerConfig>,
    /// For connections of nodes.
    pub(crate) nodes: Arc<ServerConfig>,
    caller: ClientTlsConfig,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the texts, for a node that others call by these hosts. With `client_auth` clients
    /// must show certificates, too.
    ///
    /// # Errors
    ///
    /// Which of the texts cannot be used, and why: also a certificate that the others would not
    /// take now.
    pub(crate) fn new(
        pem: &Pem,
        client_auth: bool,
        hosts: &[&str],
        now: UnixTime,
    ) -> Result<Self, (Part, String)> {
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(roots(&pem.ca).map_err(|reason| (Part::Ca, reason))?);
        let chain = certificates(&pem.cert).map_err(|reason| (Part::Cert, reason))?;
        let key = PrivateKeyDer::from_pem_slice(&pem.key);
        let key = key.map_err(|error| (Part::Key, format!("it holds no key in PEM: {error}")))?;
        let own =
            CertifiedKey::from_der(chain.clone(), key, &provider).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    (Part::Key, "it is the key of another certificate".to_owned())
                }
                rustls::Error::InvalidCertificate(_) => (Part::Cert, error.to_string()),
                other => (Part::Key, other.to_string()),
            })?;
        let checked = Own { chain: &chain, roots: &roots, provider: &provider };
        checked.check(hosts, now).map_err(|reason| (Part::Cert, reason))?;
        let own = Arc::new(SingleCertAndKey::from(own));
        let ca = |reason| (Part::Ca, reason);
        let nodes = Arc::new(NodesOnly::new(&roots, &provider).map_err(ca)?);
        let clients: Arc<dyn ClientCertVerifier> = if client_auth {
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .map_err(|error| ca(error.to_string()))?
        } else {
            Arc::new(NoClientAuth)
        };
        Ok(Self {
            clients: server(&provider, clients, &own),
            nodes: server(&provider, nodes, &own),
            caller: ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(&pem.ca))
                .identity(Identity::from_pem(&pem.cert, &pem.key)),
        })
    }
}

/// Where another node is called: `host:port`, with TLS if this one has certificates. Both the
/// connection and the handshake may take so long.
///
/// # Errors
///
/// If the address is none.
pub(crate) fn endpoint(
    address: &str,
    tls: Option<&Tls>,
    time_max: Duration,
) -> Result<Endpoint, Error> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?;
    let endpoint = endpoint.connect_timeout(time_max);
    match tls {
        Some(tls) => endpoint.tls_config(tls.caller.clone().timeout(time_max)),
        None => Ok(endpoint),
    }
}

fn server(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ClientCertVerifier>,
    own: &Arc<SingleCertAndKey>,
) -> Arc<ServerConfig> {
    let mut server = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .expect("the provider knows them")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(own) as _);
    server.alpn_protocols = vec![HTTP2.to_vec()];
    Arc::new(server)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err("it holds no certificate in PEM".to_owned())
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("it is not PEM: {error}")),
    }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(roots)
}
