use std::fs;

use super::*;
use crate::tls::Authority;

/// The three files in a folder, and settings that name them.
struct Files {
    dir: tempfile::TempDir,
    given: Given,
}

#[expect(clippy::disallowed_methods, reason = "tests write the files that are read")]
impl Files {
    fn new() -> Self {
        let authority = Authority::new("ours");
        let signed = authority.node("localhost");
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            Some(path)
        };
        let given = Given {
            tls_cert: write("node.pem", &signed.cert),
            tls_key: write("node.key", &signed.key),
            tls_ca: write("ca.pem", &authority.pem),
            ..Given::default()
        };
        Self { dir, given }
    }

    fn with(self, name: &str, text: &str) -> Self {
        fs::write(self.dir.path().join(name), text).unwrap();
        self
    }

    fn error(&self) -> String {
        tls_of(&self.given).unwrap_err().to_string()
    }
}

/// Of a node on this host.
fn tls_of(given: &Given) -> Result<Option<Tls>, Error> {
    let [clients, peers] = ["localhost:4001", "localhost:5001"].map(|text| text.parse().unwrap());
    tls(given, [&clients, &peers])
}

#[track_caller]
fn assert_words(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

#[test]
fn all_three_files_make_tls_and_none_makes_none() {
    let mut files = Files::new();
    assert!(tls_of(&files.given).unwrap().is_some());
    files.given.tls_client_auth = Some(true);
    assert!(tls_of(&files.given).unwrap().is_some());
    assert!(tls_of(&Given::default()).unwrap().is_none());
    let empty = Given { tls_cert: Some("".into()), ..Given::default() };
    assert!(tls_of(&empty).unwrap().is_none());
}

#[test]
fn one_file_without_the_others_is_a_contradiction() {
    let all = Files::new().given;
    let without_ca = Given { tls_ca: None, ..all.clone() };
    let without_key = Given { tls_key: None, ..all.clone() };
    let only_ca = Given { tls_cert: None, tls_key: None, ..all };
    let only_auth = Given { tls_client_auth: Some(true), ..Given::default() };
    for (given, first, second) in [
        (without_ca, "--tls-cert and", "and --tls-ca contradict"),
        (without_key, "--tls-cert and", "and --tls-key contradict"),
        (only_ca, "--tls-ca and", "and --tls-cert contradict"),
        (only_auth, "--tls-client-auth and", "and --tls-cert contradict"),
    ] {
        let error = tls_of(&given).unwrap_err().to_string();
        assert_words(&error, &[first, second, "--tls-cert, --tls-key and --tls-ca"]);
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_setting() {
    let mut lost = Files::new();
    lost.given.tls_key = Some("/nowhere/node.key".into());
    assert_words(&lost.error(), &["tls-key: /nowhere/node.key: ", "LSM_TLS_KEY"]);
    for (file, setting) in [("node.pem", "tls-cert"), ("node.key", "tls-key"), ("ca.pem", "tls-ca")]
    {
        for text in ["", "hello", "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n"]
        {
            let error = Files::new().with(file, text).error();
            assert_words(&error, &[&format!("{setting}: "), file, "PEM"]);
        }
    }
    let no_x509 = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (file, setting) in [("node.pem", "tls-cert"), ("ca.pem", "tls-ca")] {
        let error = Files::new().with(file, no_x509).error();
        assert_words(&error, &[&format!("{setting}: "), file, "certificate"]);
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let error =
        Files::new().with("node.key", &Authority::new("another").node("localhost").key).error();
    assert_words(&error, &["tls-key: ", "node.key", "another certificate"]);
}

#[test]
fn a_file_without_end_is_not_read_to_its_end() {
    let long = "x".repeat((1 << 20) + 1);
    let error = Files::new().with("ca.pem", &long).error();
    assert_words(&error, &["tls-ca: ", "more than 1048576 bytes"]);
    let mut endless = Files::new();
    endless.given.tls_cert = Some("/dev/zero".into());
    assert_words(&endless.error(), &["tls-cert: /dev/zero", "more than"]);
}

#[test]
fn a_certificate_that_the_others_would_not_take_is_refused() {
    let another = Authority::new("another").node("localhost");
    let error = Files::new().with("node.pem", &another.cert).with("node.key", &another.key).error();
    assert_words(&error, &["tls-cert: ", "node.pem", "not signed by a CA of --tls-ca"]);
    let files = Files::new();
    let [here, there] = ["localhost:4001", "db2.example:5001"].map(|text| text.parse().unwrap());
    for advertised in [[&here, &there], [&there, &here]] {
        let error = tls(&files.given, advertised).unwrap_err().to_string();
        assert_words(&error, &["tls-cert: ", "node.pem", "\"db2.example\"", "advertise"]);
    }
}
