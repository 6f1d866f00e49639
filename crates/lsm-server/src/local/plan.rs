//! Which node lives where, and the command that starts it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::{Args, Command, FromArgMatches};

use crate::config::{Settings, StartArgs};

/// Between the port of a node for clients and that for nodes.
pub(super) const PEER_PORT_OFFSET: u16 = 1000;
const CLUSTER: &str = "local";
/// Flags of `start` that are different for each node, or would make nodes nobody could look at.
const OWN_FLAGS: [&str; 14] = [
    "--node",
    "--data",
    "--cluster",
    "--listen",
    "--peer-listen",
    "--advertise",
    "--advertise-peer",
    "--members",
    "--join",
    "--check",
    "--tls-cert",
    "--tls-key",
    "--tls-ca",
    "--tls-client-auth",
];

/// One node of the cluster.
#[derive(Clone, Debug)]
pub(super) struct PlannedNode {
    pub(super) id: u64,
    pub(super) listen: SocketAddr,
    pub(super) peer_listen: SocketAddr,
    pub(super) data: PathBuf,
    /// Where its log lines go.
    pub(super) log: PathBuf,
}

/// The cluster.
#[derive(Clone, Debug)]
pub(super) struct LocalPlan {
    pub(super) nodes: Vec<PlannedNode>,
    /// Flags for every node.
    extra: Vec<String>,
}

impl LocalPlan {
    pub(super) fn new(count: u16, port: u16, dir: &Path, extra: &[String]) -> Self {
        let node = |n: u16| {
            let id = u64::from(n) + 1;
            let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            PlannedNode {
                id,
                listen: at(port + n),
                peer_listen: at(port + PEER_PORT_OFFSET + n),
                data: dir.join(format!("node-{id}")),
                log: dir.join(format!("node-{id}.log")),
            }
        };
        Self { nodes: (0..count).map(node).collect(), extra: extra.to_vec() }
    }

    /// Why the nodes cannot be started with their flags, if so: each would only say the same.
    pub(super) fn check_flags(&self) -> Result<(), String> {
        for flag in &self.extra {
            let name = flag.split('=').next().unwrap_or(flag);
            if OWN_FLAGS.contains(&name) {
                return Err(format!(
                    "{name} cannot be a flag for all nodes: `local` gives each of them its own, and \
                     has no TLS"
                ));
            }
        }
        for node in &self.nodes {
            // Without the variables that the nodes do not get either.
            let command = StartArgs::augment_args(Command::new("lsm-server start"))
                .disable_help_flag(true)
                .mut_args(|arg| arg.env(Resettable::Reset));
            let args = command
                .try_get_matches_from(self.arguments(node))
                .and_then(|matches| StartArgs::from_arg_matches(&matches))
                .map_err(|error| {
                    let text = error.to_string();
                    let why = text.split("\n\nUsage").next().unwrap_or(&text);
                    why.strip_prefix("error: ").unwrap_or(why).trim_end().to_owned()
                })?;
            let settings = Settings::new(args).map_err(|error| error.to_string())?;
            if settings.tls.is_some() {
                return Err("`local` has no TLS, but the file of settings asks for it".to_owned());
            }
        }
        Ok(())
    }

    /// Why a port cannot be had, if so.
    pub(super) fn check_ports(&self) -> Result<(), String> {
        for node in &self.nodes {
            for (address, what) in [(node.listen, "clients"), (node.peer_listen, "nodes")] {
                TcpListener::bind(address).map_err(|error| {
                    format!(
                        "{address}, where node {} would serve {what}, cannot be had: {error}; \
                         choose other ports with --port",
                        node.id
                    )
                })?;
            }
        }
        Ok(())
    }

    /// The arguments that start a node.
    pub(super) fn arguments(&self, node: &PlannedNode) -> Vec<String> {
        let member =
            |node: &PlannedNode| format!("{}={}/{}", node.id, node.peer_listen, node.listen);
        let members: Vec<_> = self.nodes.iter().map(member).collect();
        let flags = [
            ("--node", node.id.to_string()),
            ("--data", node.data.display().to_string()),
            ("--cluster", CLUSTER.to_owned()),
            ("--listen", node.listen.to_string()),
            ("--peer-listen", node.peer_listen.to_string()),
            ("--members", members.join(",")),
        ];
        let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
        std::iter::once("start".to_owned()).chain(flags).chain(self.extra.clone()).collect()
    }

    /// The command that starts a node, to be typed.
    pub(super) fn command(&self, program: &Path, node: &PlannedNode) -> String {
        let words = std::iter::once(program.display().to_string()).chain(self.arguments(node));
        words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" ")
    }
}

/// The word as a shell takes it for one.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_get_ports_of_their_own_and_know_each_other() {
        let plan =
            LocalPlan::new(3, 4001, Path::new("/tmp/x y"), &["--threads".into(), "1".into()]);
        let second = &plan.nodes[1];
        assert_eq!((second.id, second.listen.port(), second.peer_listen.port()), (2, 4002, 5002));
        let command = plan.command(Path::new("/bin/lsm-server"), second);
        for part in [
            "/bin/lsm-server start --node 2 --data '/tmp/x y/node-2' ",
            "--members 1=127.0.0.1:5001/127.0.0.1:4001,2=127.0.0.1:5002/127.0.0.1:4002,3=",
            " --threads 1",
        ] {
            assert!(command.contains(part), "{command}");
        }
    }

    #[test]
    fn flags_that_no_node_could_start_with_are_refused() {
        let check = |flags: &str| {
            let flags: Vec<_> = flags.split_whitespace().map(str::to_owned).collect();
            LocalPlan::new(3, 4001, Path::new("/tmp/x y"), &flags).check_flags()
        };
        assert_eq!(check(""), Ok(()));
        assert_eq!(check("--threads 1 --lease-reads --log-level debug"), Ok(()));
        for (flags, why) in [
            ("--node 3", "--node cannot be a flag for all"),
            ("--threads 1 --node=3", "--node cannot be a flag for all"),
            ("--join", "--join cannot be a flag for all"),
            ("--check", "--check cannot be a flag for all"),
            ("--tls-ca x", "has no TLS"),
            ("--heartbeat 200", "write 250ms, 10s or 2m"),
            ("--threads 1 --threads 2", "cannot be used multiple times"),
            ("--treads 1", "unexpected argument '--treads'"),
            ("--threads 1000", "1 to 256"),
            ("--config /nowhere/lsm.toml", "/nowhere/lsm.toml: "),
        ] {
            let error = check(flags).unwrap_err();
            assert!(error.contains(why), "{flags}: {error}");
        }
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = taken.local_addr().unwrap();
        let mut plan = LocalPlan::new(1, 4001, Path::new("x"), &[]);
        plan.nodes[0].listen = (Ipv4Addr::LOCALHOST, 0).into();
        plan.nodes[0].peer_listen = address;
        let error = plan.check_ports().unwrap_err();
        assert!(error.contains(&address.to_string()) && error.contains("--port"), "{error}");
        drop(taken);
        plan.check_ports().unwrap();
    }

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("a/b-c=1:2,3"), "a/b-c=1:2,3");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("$x"), "'$x'");
    }
}
