//! Whether the others will take a node's certificate: what they check when they meet it, checked
//! by the node itself before it starts.
//!
//! Otherwise the node runs, and is as good as dead to everybody else.

use std::sync::Arc;

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, Error, RootCertStore};

/// What `check` checks: the certificate, those between it and the CA, and what is trusted.
pub(super) struct Own<'a> {
    pub(super) chain: &'a [CertificateDer<'static>],
    pub(super) roots: &'a Arc<RootCertStore>,
    pub(super) provider: &'a Arc<CryptoProvider>,
}

impl Own<'_> {
    /// Whether nodes and clients that trust the same CA take the certificate for that of a node
    /// that is called by these hosts.
    ///
    /// # Errors
    ///
    /// The first reason why not.
    pub(super) fn check(&self, hosts: &[&str], now: UnixTime) -> Result<(), String> {
        let Some((certificate, between)) = self.chain.split_first() else {
            return Err("it holds no certificate in PEM".to_owned());
        };
        let parsed = ParsedCertificate::try_from(certificate);
        let parsed = parsed.map_err(|error| error.to_string())?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, self.roots, between, now, algorithms)
            .map_err(|error| reason(&error, "serverAuth", "others call the node"))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::clone(self.roots),
            Arc::clone(self.provider),
        );
        let verifier = verifier.build().map_err(|error| error.to_string())?;
        verifier
            .verify_client_cert(certificate, between, now)
            .map_err(|error| reason(&error, "clientAuth", "the node calls others"))?;
        for host in hosts {
            let name = ServerName::try_from(*host);
            let name = name.map_err(|_| format!("no certificate can be for the host {host:?}"))?;
            verify_server_name(&parsed, &name).map_err(|error| {
                format!(
                    "it is not for {host:?}, where this node says that it is reached: put that \
                     into its subjectAltName, or advertise another host ({error})"
                )
            })?;
        }
        Ok(())
    }
}

/// In the words of those who make certificates.
fn reason(error: &Error, usage: &str, when: &str) -> String {
    use CertificateError as Bad;
    let Error::InvalidCertificate(bad) = error else { return error.to_string() };
    match bad {
        Bad::UnknownIssuer | Bad::BadSignature => {
            "it was not signed by a CA of --tls-ca, so no other node would trust it".to_owned()
        }
        Bad::Expired | Bad::ExpiredContext { .. } => format!("it has expired ({error})"),
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
            format!("it is not valid yet; is the clock right? ({error})")
        }
        Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. } => format!(
            "its extendedKeyUsage lacks {usage}, which is needed when {when}; a node's needs \
             serverAuth and clientAuth"
        ),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::crypto::ring;
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::tls::{Authority, Signed};

    /// Seconds of a day in 2024, when the certificates of this test are valid.
    const NOW: u64 = 1_720_000_000;
    const YEAR: u64 = 365 * 24 * 3600;

    fn check(ca: &Authority, signed: &Signed, hosts: &[&str], seconds: u64) -> Result<(), String> {
        let provider = Arc::new(ring::default_provider());
        let read = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(read(&ca.pem)).unwrap();
        let (roots, chain) = (Arc::new(roots), [read(&signed.cert)]);
        let own = Own { chain: &chain, roots: &roots, provider: &provider };
        own.check(hosts, UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }

    #[test]
    fn a_node_has_a_certificate_that_the_others_will_take() {
        let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
        let node = ours.node("db1.example");
        assert_eq!(check(&ours, &node, &["db1.example", "DB1.example"], NOW), Ok(()));
        let ip = ours.node("10.0.0.1");
        assert_eq!(check(&ours, &ip, &["10.0.0.1"], NOW), Ok(()));
        assert_eq!(check(&ours, &ours.node("::1"), &["::1"], NOW), Ok(()));

        let refused =
            |ca: &Authority, signed: &Signed, hosts: &[&str], seconds: u64, word: &str| {
                let error = check(ca, signed, hosts, seconds).unwrap_err();
                assert!(error.contains(word), "{word:?} is not in: {error}");
            };
        refused(&ours, &node, &["db1.example", "db2.example"], NOW, "\"db2.example\"");
        refused(&ours, &ip, &["10.0.0.2"], NOW, "\"10.0.0.2\"");
        refused(&foreign, &node, &["db1.example"], NOW, "not signed by a CA of --tls-ca");
        // Another CA of the same name.
        let double = Authority::new("ours");
        refused(&double, &node, &["db1.example"], NOW, "not signed by a CA of --tls-ca");
        refused(&ours, &ours.client(), &[], NOW, "lacks serverAuth");
        refused(&ours, &ours.server("db1.example"), &["db1.example"], NOW, "lacks clientAuth");
        let short = ours.node_until_2025("db1.example");
        assert_eq!(check(&ours, &short, &["db1.example"], NOW), Ok(()));
        refused(&ours, &short, &["db1.example"], NOW + YEAR, "it has expired");
        refused(&ours, &short, &["db1.example"], NOW - YEAR, "it is not valid yet");
    }
}
