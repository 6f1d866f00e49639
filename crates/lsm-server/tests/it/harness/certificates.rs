//! A CA and its files, for clusters that speak TLS.

use std::path::{Path, PathBuf};

use lsm_client::Tls;
use tempfile::TempDir;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

#[path = "../../../src/tls/test_authority.rs"]
mod test_authority;

use test_authority::{Authority, Signed};

/// A CA in a folder of its own. Everything is on 127.0.0.1.
pub(crate) struct Certificates {
    authority: Authority,
    dir: TempDir,
}

impl Certificates {
    /// A new CA, and a certificate for all nodes.
    pub(crate) fn new(ca: &str) -> Self {
        let (authority, dir) = (Authority::new(ca), tempfile::tempdir().unwrap());
        std::fs::write(dir.path().join("ca.pem"), &authority.pem).unwrap();
        let files = Self { authority, dir };
        files.write("node", &files.authority.node("127.0.0.1"));
        files.write("client", &files.authority.client());
        files
    }

    fn write(&self, name: &str, signed: &Signed) {
        std::fs::write(self.path(&format!("{name}.pem")), &signed.cert).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), &signed.key).unwrap();
    }

    fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.path(file)).unwrap()
    }

    /// `ca.pem`, `node.pem`, `node.key`, `client.pem` or `client.key`.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// The flags of a node with the certificate of nodes, or of a command with that of clients.
    pub(crate) fn flags(&self, name: &str) -> String {
        self.flags_trusting(name, &self.path("ca.pem"))
    }

    /// The same, with a CA that may be another.
    pub(crate) fn flags_trusting(&self, name: &str, ca: &Path) -> String {
        let (cert, key) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        let (cert, key, ca) = (cert.display(), key.display(), ca.display());
        format!("--tls-cert {cert} --tls-key {key} --tls-ca {ca}")
    }

    /// What a client of ours needs that shows nothing.
    pub(crate) fn trust(&self) -> Tls {
        Tls::new(self.read("ca.pem")).unwrap()
    }

    /// What a client of ours needs that shows its certificate.
    pub(crate) fn client(&self) -> Tls {
        self.trust().identity(self.read("client.pem"), self.read("client.key")).unwrap()
    }

    /// What any client needs that trusts this CA, and shows a certificate of `signed_by`.
    pub(crate) fn config(&self, shown: Option<(&Self, &str)>) -> ClientTlsConfig {
        let ca = Certificate::from_pem(self.read("ca.pem"));
        let config = ClientTlsConfig::new().ca_certificate(ca);
        match shown {
            None => config,
            Some((signed_by, name)) => {
                let cert = signed_by.read(&format!("{name}.pem"));
                config.identity(Identity::from_pem(cert, signed_by.read(&format!("{name}.key"))))
            }
        }
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Certificates").field(&self.dir).finish()
    }
}
