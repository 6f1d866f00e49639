//! Encrypted connections: whom a client trusts, and what it shows.

use std::fmt;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::error::{Error, Result};

/// Encryption of all connections of a client: which nodes are trusted, and what this client
/// shows them.
///
/// A node is trusted if the CA signed its certificate and that names the host it was called
/// by. The addresses that nodes tell each other must therefore hold such names.
///
/// ```no_run
/// # async fn encrypted() -> Result<(), Box<dyn std::error::Error>> {
/// use lsm_client::{ClientOptions, Tls};
///
/// let tls = Tls::new(std::fs::read("ca.pem")?)?
///     .identity(std::fs::read("client.pem")?, std::fs::read("client.key")?)?;
/// let client = ClientOptions::default().tls(tls).open(["db1.example.net:4001"]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tls {
    ca: Certificate,
    identity: Option<Identity>,
}

impl Tls {
    /// Trusts nodes whose certificates were signed by a CA of these, in PEM.
    ///
    /// # Errors
    ///
    /// `Invalid` if there is no certificate, or one that cannot be read.
    pub fn new(ca_pem: impl Into<Vec<u8>>) -> Result<Self> {
        let pem = ca_pem.into();
        let mut roots = RootCertStore::empty();
        for certificate in certificates("the CA", &pem)? {
            let added = roots.add(certificate);
            added.map_err(|error| Error::invalid(format!("the CA: {error}")))?;
        }
        Ok(Self { ca: Certificate::from_pem(pem), identity: None })
    }

    /// Shows this certificate to nodes that want one: in PEM, with those between it and the CA
    /// behind it, and its key.
    ///
    /// # Errors
    ///
    /// `Invalid` if there is no certificate or no key, or the one does not belong to the other.
    pub fn identity(
        mut self,
        cert_pem: impl Into<Vec<u8>>,
        key_pem: impl Into<Vec<u8>>,
    ) -> Result<Self> {
        let (cert, key) = (cert_pem.into(), key_pem.into());
        let chain = certificates("the certificate", &cert)?;
        let of_key = |error: String| Error::invalid(format!("the key: {error}"));
        let read = PrivateKeyDer::from_pem_slice(&key);
        let read = read.map_err(|error| of_key(format!("it holds none in PEM: {error}")))?;
        CertifiedKey::from_der(chain, read, &ring::default_provider()).map_err(|error| {
            let is_other = matches!(error, rustls::Error::InconsistentKeys(_));
            of_key(if is_other {
                "it is that of another certificate".to_owned()
            } else {
                error.to_string()
            })
        })?;
        self.identity = Some(Identity::from_pem(cert, key));
        Ok(self)
    }

    pub(crate) fn config(&self) -> ClientTlsConfig {
        let config = ClientTlsConfig::new().ca_certificate(self.ca.clone());
        match &self.identity {
            Some(identity) => config.identity(identity.clone()),
            None => config,
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        write!(f, "Tls {{ identity: {} }}", self.identity.is_some())
    }
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let invalid = |reason: String| Error::invalid(format!("{what}: {reason}"));
    let read = read.map_err(|error| invalid(format!("it is not PEM: {error}")))?;
    if read.is_empty() {
        return Err(invalid("there is no certificate in PEM".to_owned()));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn what_is_no_certificate_is_refused() {
        for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = Tls::new(pem).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            assert!(error.to_string().contains("the CA"), "{error}");
        }
    }
}
