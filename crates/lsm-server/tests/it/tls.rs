//! Clusters that speak TLS, and who is let in.

use std::sync::Arc;
use std::time::Duration;

use lsm_client::{Client, ClientOptions, Error, ErrorKind, Tls};
use lsm_proto::peer::StateHashRequest;
use lsm_proto::peer::peer_service_client::PeerServiceClient;
use tonic::Status;
use tonic::transport::{ClientTlsConfig, Endpoint};

use crate::harness::{Certificates, Cluster, PATIENCE, Process, run, wait_for};

/// Tries to connect a client that cannot succeed.
async fn refused(cluster: &Cluster, node: u64, tls: Option<Tls>) -> Error {
    connect(cluster, node, tls, Duration::from_secs(3)).await.unwrap_err()
}

async fn connect(
    cluster: &Cluster,
    node: u64,
    tls: Option<Tls>,
    time: Duration,
) -> Result<Client, Error> {
    let mut options = ClientOptions::default().timeout(time);
    if let Some(tls) = tls {
        options = options.tls(tls);
    }
    options.open([cluster.address(node).to_string()]).await
}

#[tokio::test]
async fn three_nodes_with_certificates_serve_as_without() {
    let certificates = Arc::new(Certificates::new("ours"));
    let mut cluster = Cluster::builder(3).tls(&certificates).start().await;
    let leader = cluster.leader().await;
    let other = leader % 3 + 1;
    let client = cluster.client().await;
    client.put("k1", "v1").await.unwrap();

    // A node that does not lead passes it on, over TLS too.
    let address = cluster.address(other).to_string();
    let ask = |words: &[&str]| {
        let flags = certificates.flags("client");
        let words = words.iter().copied().chain(flags.split(' ')).chain(["--to", &address]);
        let ended = run(words);
        (ended.status.code(), String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap())
    };
    let mut kv = cluster.kv(other);
    let put = lsm_proto::v1::PutRequest { key: "k2".into(), value: "v2".into(), session: None };
    kv.put(put).await.unwrap();
    assert_eq!(ask(&["put", "k3", "v3"]), (Some(0), String::new()));
    assert_eq!(ask(&["scan"]), (Some(0), "k1\tv1\nk2\tv2\nk3\tv3\n".to_owned()));
    let (code, text) = ask(&["hash-check"]);
    assert_eq!((code, text.matches("node ").count()), (Some(0), 3), "{text}");

    // The death of the leader is survived, and its return.
    cluster.kill(leader);
    cluster.leader().await;
    client.put("k4", "v4").await.unwrap();
    cluster.run_node(leader);
    cluster.assert_equal_states().await;
}

#[tokio::test]
async fn clients_that_cannot_trust_or_be_trusted_are_told_why() {
    let (certificates, foreign) =
        (Arc::new(Certificates::new("ours")), Certificates::new("foreign"));
    let cluster = Cluster::builder(1).tls(&certificates).flags("--tls-client-auth").start().await;
    for (tls, words) in [
        (None, "it may want TLS"),
        (Some(foreign.client()), "not signed by a CA that is trusted here"),
        (Some(certificates.trust()), "wants a certificate"),
    ] {
        let error = refused(&cluster, 1, tls.clone()).await;
        assert!(error.to_string().contains(words), "{tls:?}: {error}");
    }
    // One that trusts this CA, with a certificate of another.
    let (cert, key) = (foreign.path("client.pem"), foreign.path("client.key"));
    let stranger = certificates.trust();
    let stranger =
        stranger.identity(std::fs::read(cert).unwrap(), std::fs::read(key).unwrap()).unwrap();
    let error = refused(&cluster, 1, Some(stranger)).await.to_string();
    assert!(error.contains("not signed by the CA of the node"), "{error}");
    let client = connect(&cluster, 1, Some(certificates.client()), Duration::from_secs(10));
    client.await.unwrap().put("k", "v").await.unwrap();

    let address = cluster.address(1).to_string();
    let ended = run(["get", "k", "--to", &address, "--timeout", "3s"]);
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(2) && said.contains("TLS"), "{said}");
}

#[tokio::test]
async fn clients_need_no_certificate_unless_asked_for() {
    let certificates = Arc::new(Certificates::new("ours"));
    let cluster = Cluster::builder(1).tls(&certificates).start().await;
    let client = connect(&cluster, 1, Some(certificates.trust()), Duration::from_secs(10)).await;
    client.unwrap().put("k", "v").await.unwrap();
}

#[tokio::test]
async fn a_client_with_tls_is_told_that_a_node_has_none() {
    let cluster = Cluster::start(1).await;
    let error = refused(&cluster, 1, Some(Certificates::new("ours").trust())).await.to_string();
    assert!(error.contains("the node does not speak TLS"), "{error}");
}

#[tokio::test]
async fn the_port_of_nodes_is_for_nodes_only() {
    let (certificates, foreign) =
        (Arc::new(Certificates::new("ours")), Certificates::new("foreign"));
    let cluster = Cluster::builder(1).tls(&certificates).start().await;
    let address = cluster.peer_address(1);
    let call = async |config: Option<ClientTlsConfig>| -> Status {
        let scheme = if config.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}")).unwrap();
        let endpoint = match config {
            Some(config) => endpoint.tls_config(config).unwrap(),
            None => endpoint,
        };
        let mut client = PeerServiceClient::new(endpoint.connect_lazy());
        client.state_hash(StateHashRequest { index: 1, wait_millis: 0 }).await.unwrap_err()
    };
    let was_let_in = |status: &Status| std::error::Error::source(status).is_none();
    for (who, shown) in [
        ("a client with no certificate", None),
        ("a client with a certificate", Some((&*certificates, "client"))),
        ("a node of another CA", Some((&foreign, "node"))),
    ] {
        let status = call(Some(certificates.config(shown))).await;
        assert!(!was_let_in(&status), "{who}: {status:?}");
    }
    assert!(!was_let_in(&call(None).await));
    // It says nothing of who it is, which the service notices; but so far it came.
    let status = call(Some(certificates.config(Some((&certificates, "node"))))).await;
    assert!(was_let_in(&status), "{status:?}");
}

#[tokio::test]
async fn a_node_of_another_ca_hears_nothing_until_it_is_one_of_ours() {
    let (certificates, foreign) =
        (Arc::new(Certificates::new("ours")), Arc::new(Certificates::new("foreign")));
    let mut cluster = Cluster::builder(3).tls(&certificates).start().await;
    let leader = cluster.leader().await;
    let node = leader % 3 + 1;
    cluster.terminate(node).await;
    let client = cluster.client().await;
    client.put("k", "v").await.unwrap();

    // It trusts the others; they must not trust it.
    let both = [&certificates, &foreign].map(|ca| std::fs::read(ca.path("ca.pem")).unwrap());
    std::fs::write(foreign.path("both.pem"), both.concat()).unwrap();
    let flags = foreign.flags_trusting("node", &foreign.path("both.pem"));
    let mut arguments = cluster.arguments(node);
    arguments.truncate(arguments.iter().position(|word| word == "--tls-cert").unwrap());
    arguments.extend(flags.split(' ').map(str::to_owned));
    let process = Process::start(&arguments, &cluster.log(node));
    let stranger = connect(&cluster, node, Some(foreign.trust()), Duration::from_secs(10));
    let stranger = stranger.await.unwrap();
    let says = async |node: u64, words: &[&str]| {
        wait_for(&format!("{words:?} in the log of node {node}"), PATIENCE, async || {
            let log = std::fs::read_to_string(cluster.log(node)).unwrap();
            let found = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
            found.then_some(())
        })
        .await;
    };
    // As one that is called, as one that calls, and what it hears itself.
    says(leader, &["no TLS with this connection"]).await;
    says(leader, &["no messages", "UnknownIssuer"]).await;
    says(node, &["UnknownCA"]).await;
    let status = stranger.node(&cluster.address(node).to_string()).unwrap();
    assert_eq!(status.status().await.unwrap().leader, 0);
    drop(process);

    cluster.run_node(node);
    wait_for("what it missed", PATIENCE, async || {
        let value = cluster.node(node).await.get_stale("k").await.ok()?;
        value.is_some().then_some(())
    })
    .await;
}

#[test]
fn a_command_names_the_file_that_it_cannot_use() {
    let ended = run(["get", "k", "--tls-ca", "/nowhere/ca.pem"]);
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert!(said.contains("--tls-ca: /nowhere/ca.pem: "), "{said}");
    let ended = run(["get", "k", "--tls-cert", "/nowhere/client.pem"]);
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("--tls-ca") && said.contains("--tls-key"), "{said}");
}

/// `--check` finds what would otherwise be found by the other nodes, one handshake at a time.
#[test]
fn a_node_does_not_start_with_a_certificate_that_others_refuse() {
    let (ours, foreign) = (Certificates::new("ours"), Certificates::new("foreign"));
    let check = |flags: &str, host: &str| {
        let members = format!("1={host}:5001/{host}:4001");
        let least = ["start", "--check", "--node", "1", "--data", "unused", "--members", &members];
        let ended = run(least.into_iter().chain(flags.split(' ')));
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };
    assert_eq!(check(&ours.flags("node"), "127.0.0.1"), (Some(0), String::new()));
    for (flags, host, why) in [
        (ours.flags("client"), "127.0.0.1", "lacks serverAuth"),
        (ours.flags("node"), "db1.example", "it is not for \"db1.example\""),
        (foreign.flags_trusting("node", &ours.path("ca.pem")), "127.0.0.1", "not signed by a CA"),
    ] {
        let (code, said) = check(&flags, host);
        assert!(code == Some(1) && said.contains("tls-cert: ") && said.contains(why), "{said}");
    }
}

#[test]
fn a_client_cannot_show_what_is_not_its_own() {
    let certificates = Certificates::new("ours");
    let read = |file: &str| std::fs::read(certificates.path(file)).unwrap();
    let show = |cert: &str, key: &str| {
        let error = certificates.trust().identity(read(cert), read(key)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.to_string()
    };
    assert!(show("client.pem", "node.key").contains("another certificate"));
    assert!(show("client.pem", "client.pem").contains("the key: it holds none"));
    assert!(show("client.key", "client.key").contains("the certificate: there is no"));
}
