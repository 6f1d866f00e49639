//! What operators ask of a running cluster, and a way to try it by hand.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lsm_client::{Client, ClientOptions, Member, Role, Scan, Status, Tls};

use crate::config::{Time, read_pem};

/// Longest wait for a hash of everything that is stored, unless told otherwise.
const HASH_TIME: Duration = Duration::from_secs(600);

/// Where to find the cluster.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct To {
    /// One node or several, with commas between; the others are learned from it
    #[arg(
        long,
        env = "LSM_TO",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:4001"
    )]
    to: Vec<String>,
    /// How long to wait for an answer [default: 10s; 600s for hash-check]
    #[arg(long, value_name = "TIME")]
    timeout: Option<Time>,
    /// A PEM file with the CA of the nodes' certificates: connects with TLS
    #[arg(long, env = "LSM_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// A PEM file with a certificate to show, if the nodes want one
    #[arg(long, env = "LSM_TLS_CERT", value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// A PEM file with the key of that certificate
    #[arg(long, env = "LSM_TLS_KEY", value_name = "FILE", requires_all = ["tls_ca", "tls_cert"])]
    tls_key: Option<PathBuf>,
}

impl To {
    /// # Errors
    ///
    /// Which file cannot be used, and why.
    fn tls(&self) -> Result<Option<Tls>, String> {
        let Some(ca) = &self.tls_ca else { return Ok(None) };
        let read = |name: &str, path: &PathBuf| {
            read_pem(path).map_err(|reason| format!("--{name}: {}: {reason}", path.display()))
        };
        let named = |error: lsm_client::Error| error.to_string();
        let tls = Tls::new(read("tls-ca", ca)?)
            .map_err(|error| format!("--tls-ca: {}: {error}", ca.display()))?;
        match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => {
                let (cert, key) = (read("tls-cert", cert)?, read("tls-key", key)?);
                tls.identity(cert, key).map(Some).map_err(named)
            }
            _ => Ok(Some(tls)),
        }
    }
}

/// A command to a running cluster.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum AdminCommand {
    /// What each of the nodes knows of the group and of its log
    Status {
        #[command(flatten)]
        to: To,
    },
    /// Lists the members
    Members {
        #[command(flatten)]
        to: To,
    },
    /// Adds a node that receives the log and does not count; start it with --join
    AddLearner {
        /// Its number, never used before
        id: u64,
        /// Where nodes reach it
        #[arg(value_name = "PEER-ADDRESS")]
        peer_address: String,
        /// Where clients reach it
        #[arg(value_name = "CLIENT-ADDRESS")]
        client_address: String,
        #[command(flatten)]
        to: To,
    },
    /// Makes a learner that has caught up a voter
    Promote {
        /// The learner
        id: u64,
        /// Even if it is far behind; the group may stand still until it has caught up
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        to: To,
    },
    /// Removes a node for ever; its number cannot come back
    Remove {
        /// The node
        id: u64,
        /// Even if too few of the voters that remain answer; the group may stand still until
        /// they do
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        to: To,
    },
    /// Hands the leadership over
    Transfer {
        /// To this node [default: whoever is furthest]
        node: Option<u64>,
        #[command(flatten)]
        to: To,
    },
    /// Lets all nodes hash what they store, and compares
    HashCheck {
        #[command(flatten)]
        to: To,
    },
    /// Prints the value of a key; fails if there is none
    Get {
        /// The key
        key: String,
        #[command(flatten)]
        to: To,
    },
    /// Sets the value of a key
    Put {
        /// The key
        key: String,
        /// The value
        value: String,
        #[command(flatten)]
        to: To,
    },
    /// Removes a key
    Delete {
        /// The key
        key: String,
        #[command(flatten)]
        to: To,
    },
    /// Prints keys and values, with a tab between
    Scan {
        /// Only keys that begin so
        #[arg(default_value = "")]
        prefix: String,
        /// Most entries that are printed
        #[arg(long, default_value_t = 100)]
        limit: u64,
        /// From the last key to the first
        #[arg(long)]
        reverse: bool,
        #[command(flatten)]
        to: To,
    },
}

/// Why a command gave nothing.
enum Failure {
    /// The answer is no.
    No(&'static str),
    /// The answer has a gap.
    Unknown(&'static str),
    Files(String),
    Client(lsm_client::Error),
    Output(std::io::Error),
}

impl From<lsm_client::Error> for Failure {
    fn from(error: lsm_client::Error) -> Self {
        Self::Client(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}

/// Runs one command: exits with 0 if it was done, with 1 if the answer is no (there is no such
/// key, the hashes differ), with 2 if there is no answer, or not from all that were asked.
pub(crate) fn run(command: &AdminCommand) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(command.run()),
        Err(error) => Err(Failure::Output(error)),
    };
    let (message, code) = match ended {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::No(message)) => (message.to_owned(), 1),
        Err(Failure::Unknown(message)) => (message.to_owned(), 2),
        Err(Failure::Files(message)) => (message, 2),
        Err(Failure::Client(error)) => (error.to_string(), 2),
        Err(Failure::Output(error)) => (error.to_string(), 2),
    };
    let _ = writeln!(std::io::stderr(), "lsm-server: {message}");
    ExitCode::from(code)
}

impl AdminCommand {
    async fn run(&self) -> Result<(), Failure> {
        let mut out = std::io::stdout();
        let client = self.connect().await?;
        match self {
            Self::Status { .. } => print_status(&mut out, &client).await?,
            Self::Members { .. } => print_members(&mut out, &client.members().await?)?,
            Self::AddLearner { id, peer_address, client_address, .. } => {
                let members = client.add_learner(*id, peer_address, client_address).await?;
                print_members(&mut out, &members)?;
            }
            Self::Promote { id, force, .. } => {
                print_members(&mut out, &client.promote(*id, *force).await?)?;
            }
            Self::Remove { id, force, .. } => {
                print_members(&mut out, &client.remove(*id, *force).await?)?;
            }
            Self::Transfer { node, .. } => {
                let leader = client.transfer_leadership(*node).await?;
                writeln!(out, "node {leader} leads")?;
            }
            Self::HashCheck { .. } => print_hashes(&mut out, &client).await?,
            Self::Get { key, .. } => match client.get(key.as_str()).await? {
                Some(value) => {
                    out.write_all(&value)?;
                    out.write_all(b"\n")?;
                }
                None => return Err(Failure::No("there is no such key")),
            },
            Self::Put { key, value, .. } => {
                client.put(key.as_str(), value.as_str()).await?;
            }
            Self::Delete { key, .. } => {
                client.delete(key.as_str()).await?;
            }
            Self::Scan { prefix, limit, reverse, .. } => {
                let scan = Scan::prefix(prefix.as_str()).limit(*limit);
                let mut scan = client.scan(if *reverse { scan.reverse() } else { scan });
                while let Some(entry) = scan.next().await? {
                    out.write_all(&[&entry.key[..], b"\t", &entry.value[..], b"\n"].concat())?;
                }
            }
        }
        Ok(out.flush()?)
    }

    async fn connect(&self) -> Result<Client, Failure> {
        let to = self.to();
        let time = match (to.timeout, self) {
            (Some(time), _) => time.0,
            (None, Self::HashCheck { .. }) => HASH_TIME,
            (None, _) => Duration::from_secs(10),
        };
        let mut options = ClientOptions::default().timeout(time);
        if let Some(tls) = to.tls().map_err(Failure::Files)? {
            options = options.tls(tls);
        }
        Ok(options.open(&to.to).await?)
    }

    fn to(&self) -> &To {
        match self {
            Self::Status { to }
            | Self::Members { to }
            | Self::AddLearner { to, .. }
            | Self::Promote { to, .. }
            | Self::Remove { to, .. }
            | Self::Transfer { to, .. }
            | Self::HashCheck { to }
            | Self::Get { to, .. }
            | Self::Put { to, .. }
            | Self::Delete { to, .. }
            | Self::Scan { to, .. } => to,
        }
    }
}

/// Asks every node that is known; one that does not answer is part of the answer.
async fn print_status(out: &mut impl Write, client: &Client) -> Result<(), Failure> {
    let client = client.with_timeout(Duration::from_secs(2))?;
    writeln!(out, "node  role      term   first      last       applied    flushed    address")?;
    let mut lines = Vec::new();
    let mut progress = None;
    for address in client.addresses() {
        match client.node(&address)?.status().await {
            Ok(status) => {
                lines.push((status.node, status_line(&status, &address)));
                if status.node == status.leader {
                    progress = Some(status);
                }
            }
            Err(error) => lines.push((u64::MAX, format!("?     {address}: {error}"))),
        }
    }
    lines.sort();
    for (_, line) in lines {
        writeln!(out, "{line}")?;
    }
    let Some(leader) = progress else { return Err(Failure::No("no node leads")) };
    for follower in &leader.followers {
        let lag = leader.last_index.saturating_sub(follower.matched);
        let state = match (follower.active, follower.snapshot) {
            (false, _) => "silent",
            (true, true) => "is sent a snapshot",
            (true, false) => "follows",
        };
        writeln!(out, "node {} {state}, {lag} entries behind", follower.id)?;
    }
    Ok(())
}

fn status_line(status: &Status, address: &str) -> String {
    let role = if status.node == status.leader { "leader" } else { "follower" };
    format!(
        "{:<4}  {role:<8}  {:<5}  {:<9}  {:<9}  {:<9}  {:<9}  {address}",
        status.node,
        status.term,
        status.first_index,
        status.last_index,
        status.applied,
        status.flushed,
    )
}

fn print_members(out: &mut impl Write, members: &[Member]) -> Result<(), Failure> {
    writeln!(out, "node  role     nodes                  clients")?;
    for member in members {
        let role = if member.role() == Role::Voter { "voter" } else { "learner" };
        let (peer, client) = (&member.peer_address, &member.client_address);
        writeln!(out, "{:<4}  {role:<7}  {peer:<21}  {client}", member.id)?;
    }
    Ok(())
}

async fn print_hashes(out: &mut impl Write, client: &Client) -> Result<(), Failure> {
    let check = client.hash_check().await?;
    writeln!(out, "at index {}", check.index)?;
    for hash in &check.hashes {
        let hex: String = hash.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = if hash.error.is_empty() { &hex } else { &hash.error };
        writeln!(out, "node {:<4}  {text}", hash.node)?;
    }
    let compared = check.hashes.iter().filter(|hash| !hash.hash.is_empty()).count();
    writeln!(out, "{compared} of {} compared", check.hashes.len())?;
    match check.equal {
        false => Err(Failure::No("the nodes differ")),
        true if compared < check.hashes.len() => Err(Failure::Unknown("not all were compared")),
        true => Ok(()),
    }
}
