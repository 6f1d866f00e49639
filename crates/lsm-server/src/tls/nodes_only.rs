//! Who may call the port of the nodes: nobody but nodes.
//!
//! One CA may sign for nodes and for clients. What tells them apart is what a certificate may
//! be used for: a client's need not be good for a server, a node's must be. Without this check
//! each client could pose as a node, and nodes obey each other.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

/// Demands a certificate that the CA signed, for a client and for a server.
#[derive(Debug)]
pub(super) struct NodesOnly {
    /// Checks all but the use as a server.
    signed: Arc<dyn ClientCertVerifier>,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl NodesOnly {
    /// # Errors
    ///
    /// If there is no root.
    pub(super) fn new(
        roots: &Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let (roots, provider) = (Arc::clone(roots), Arc::clone(provider));
        let signed =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let signed = signed.build().map_err(|error| error.to_string())?;
        Ok(Self { signed, roots, provider })
    }
}

impl ClientCertVerifier for NodesOnly {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.signed.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.signed.verify_client_cert(certificate, intermediates, now)?;
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(certificate)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::ring;
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::tls::{Authority, Signed};

    #[test]
    fn a_certificate_of_a_client_is_none_of_a_node() {
        let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
        let read = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(read(&ours.pem)).unwrap();
        let provider = Arc::new(ring::default_provider());
        let nodes = NodesOnly::new(&Arc::new(roots), &provider).unwrap();
        let check = |signed: &Signed| {
            nodes.verify_client_cert(&read(&signed.cert), &[], UnixTime::now()).map(|_| ())
        };
        assert_eq!(check(&ours.node("localhost")), Ok(()));
        let error = check(&ours.client()).unwrap_err().to_string();
        assert!(error.contains("server"), "{error}");
        let error = check(&foreign.node("localhost")).unwrap_err().to_string();
        assert!(error.contains("UnknownIssuer"), "{error}");
    }
}
