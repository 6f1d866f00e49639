//! The files with the certificates of a node.

use std::path::Path;

use lsm_args::read_pem;
use rustls::pki_types::UnixTime;

use super::error::Error;
use super::given::Given;
use super::nodes::Address;
use crate::tls::{Part, Pem, Tls};

/// The certificates that were given, if any were, for a node that others reach at these
/// addresses.
///
/// # Errors
///
/// If some are given and others not, or a file cannot be used; with the setting and the file.
pub(super) fn tls(given: &Given, advertised: [&Address; 2]) -> Result<Option<Tls>, Error> {
    let client_auth = given.tls_client_auth == Some(true);
    let Some([cert, key, ca]) = paths(given, client_auth)? else { return Ok(None) };
    let of = |part| match part {
        Part::Cert => ("tls-cert", cert),
        Part::Key => ("tls-key", key),
        Part::Ca => ("tls-ca", ca),
    };
    let wrong = |part, reason: String| {
        let (setting, path) = of(part);
        Error::setting(setting, format!("{}: {reason}", path.display()))
    };
    let read = |part| read_pem(of(part).1).map_err(|reason| wrong(part, reason));
    let pem = Pem { cert: read(Part::Cert)?, key: read(Part::Key)?, ca: read(Part::Ca)? };
    let hosts = advertised.map(Address::host);
    let tls = Tls::new(&pem, client_auth, &hosts, UnixTime::now());
    tls.map(Some).map_err(|(part, reason)| wrong(part, reason))
}

/// The files of the certificate, the key and the CA: all or none.
fn paths(given: &Given, client_auth: bool) -> Result<Option<[&Path; 3]>, Error> {
    let settings =
        [("tls-cert", &given.tls_cert), ("tls-key", &given.tls_key), ("tls-ca", &given.tls_ca)];
    // One that is empty is none: an environment can hardly leave a variable out.
    let given = settings.map(|(setting, file)| {
        let file: Option<&Path> = file.as_deref();
        (setting, file.filter(|file| !file.as_os_str().is_empty()))
    });
    if let [(_, Some(cert)), (_, Some(key)), (_, Some(ca))] = given {
        return Ok(Some([cert, key, ca]));
    }
    let missing = given.iter().find(|(_, path)| path.is_none()).map_or("tls-ca", |given| given.0);
    let present = given.iter().find(|(_, path)| path.is_some()).map(|given| given.0);
    let reason = "TLS needs all of --tls-cert, --tls-key and --tls-ca";
    match present {
        Some(present) => Err(Error::contradiction(
            present,
            missing,
            format!("the one is given and the other is not; {reason}"),
        )),
        None if client_auth => Err(Error::contradiction(
            "tls-client-auth",
            missing,
            format!("there is no CA that clients' certificates could be checked against; {reason}"),
        )),
        None => Ok(None),
    }
}

#[cfg(test)]
#[path = "tls_test.rs"]
mod tests;
