//! Certificates for tests: a CA, and what it signs. Also a part of the tests of whole processes.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

const NODE_USES: [ExtendedKeyUsagePurpose; 2] =
    [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];

/// A CA that was made for one test.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, in PEM.
    pub(crate) pem: String,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    /// Two with one name would be told apart by their signatures only.
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// For a node of this host.
    pub(crate) fn node(&self, host: &str) -> Signed {
        self.sign(&[host], &NODE_USES)
    }

    /// For a client, which is no node.
    pub(crate) fn client(&self) -> Signed {
        self.sign(&[], &[ExtendedKeyUsagePurpose::ClientAuth])
    }

    /// For a server, which no node would be let in with.
    #[allow(dead_code, reason = "not all tests that this file is a part of need it")]
    pub(crate) fn server(&self, host: &str) -> Signed {
        self.sign(&[host], &[ExtendedKeyUsagePurpose::ServerAuth])
    }

    /// For a node, valid through the year 2024 only.
    #[allow(dead_code, reason = "not all tests that this file is a part of need it")]
    pub(crate) fn node_until_2025(&self, host: &str) -> Signed {
        let mut params = Self::params(&[host], &NODE_USES);
        params.not_before = date_time_ymd(2024, 1, 1);
        params.not_after = date_time_ymd(2024, 12, 31);
        self.sign_params(&params)
    }

    fn sign(&self, hosts: &[&str], uses: &[ExtendedKeyUsagePurpose]) -> Signed {
        self.sign_params(&Self::params(hosts, uses))
    }

    fn params(hosts: &[&str], uses: &[ExtendedKeyUsagePurpose]) -> CertificateParams {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.extended_key_usages = uses.to_vec();
        params
    }

    fn sign_params(&self, params: &CertificateParams) -> Signed {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Signed { cert, key: key.serialize_pem() }
    }
}
