//! The commands, and what each of them calls.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use lsm_client::Scan;

use super::failure::Failure;
use super::keys::{self, Value, bytes};
use super::storage::StorageCommand;
use super::to::To;
use super::{group, status};

/// Longest wait for an answer, unless told otherwise.
const TIME: Duration = Duration::from_secs(10);
/// The same for what a single node says of itself: others are to be seen, too.
const STATUS_TIME: Duration = Duration::from_secs(2);
/// And for a hash of everything that is stored.
const HASH_TIME: Duration = Duration::from_secs(600);

/// A command to a running cluster.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum AdminCommand {
    /// What each of the nodes knows of the group and of its log
    Status {
        #[command(flatten)]
        to: To,
    },
    /// Lists the members; those that a node knows of if no leader can say
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
    /// Lets all nodes hash what they store, and compares; fails unless all have a hash
    HashCheck {
        #[command(flatten)]
        to: To,
    },
    /// The engines of single nodes
    #[command(subcommand)]
    Storage(StorageCommand),
    /// Prints the value of a key; fails if there is none
    Get {
        /// The key
        key: OsString,
        /// The value alone, without a line's end behind it
        #[arg(long)]
        raw: bool,
        /// As the first node of --to has it: possibly old, but without a leader, too
        #[arg(long)]
        stale: bool,
        #[command(flatten)]
        to: To,
    },
    /// Sets the value of a key
    Put {
        /// The key
        key: OsString,
        #[command(flatten)]
        value: Value,
        #[command(flatten)]
        to: To,
    },
    /// Removes a key
    Delete {
        /// The key
        key: OsString,
        #[command(flatten)]
        to: To,
    },
    /// Prints keys and values, with a tab between
    Scan {
        /// Only keys that begin so
        #[arg(default_value = "")]
        prefix: OsString,
        /// Most entries that are printed
        #[arg(long, default_value_t = 100)]
        limit: u64,
        /// From the last key to the first
        #[arg(long)]
        reverse: bool,
        /// As the first node of --to has them: possibly old, but without a leader, too
        #[arg(long)]
        stale: bool,
        #[command(flatten)]
        to: To,
    },
}

/// Runs one command: exits with 0 if it was done, with 1 if the answer is no (there is no such
/// key, the hashes differ), with 2 if there is no answer, or not from all that were asked.
pub(crate) fn run(command: &AdminCommand) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(command.run()),
        Err(error) => Err(Failure::Output(error)),
    };
    let Err(failure) = ended else { return ExitCode::SUCCESS };
    let (message, code) = failure.told();
    // Not a panic, as eprintln! would: there may be nobody who reads it.
    let _ = writeln!(std::io::stderr(), "lsm-server: {message}");
    ExitCode::from(code)
}

impl AdminCommand {
    async fn run(&self) -> Result<(), Failure> {
        let mut out = std::io::stdout();
        let out = &mut out;
        match self {
            Self::Status { to } => {
                let client = to.connect(TIME).await?;
                status::print_status(out, &client, to.time_or(STATUS_TIME)).await?;
            }
            Self::Members { to } => {
                group::print_known_members(out, &to.connect(TIME).await?, to.time_or(TIME)).await?;
            }
            Self::AddLearner { id, peer_address, client_address, to } => {
                let client = to.connect(TIME).await?;
                let members = client.add_learner(*id, peer_address, client_address).await?;
                group::print_members(out, &members)?;
            }
            Self::Promote { id, force, to } => {
                let members = to.connect(TIME).await?.promote(*id, *force).await?;
                group::print_members(out, &members)?;
            }
            Self::Remove { id, force, to } => {
                let members = to.connect(TIME).await?.remove(*id, *force).await?;
                group::print_members(out, &members)?;
            }
            Self::Transfer { node, to } => {
                let leader = to.connect(TIME).await?.transfer_leadership(*node).await?;
                writeln!(out, "node {leader} leads")?;
            }
            Self::HashCheck { to } => {
                group::print_hashes(out, &to.connect(HASH_TIME).await?).await?;
            }
            Self::Storage(command) => command.run(out).await?,
            Self::Get { key, raw, stale, to } => {
                let client = to.connect(TIME).await?;
                let value = match stale {
                    false => client.get(bytes(key)).await?,
                    true => to.first(&client)?.get_stale(bytes(key)).await?,
                };
                keys::print_value(out, value, *raw)?;
            }
            Self::Put { key, value, to } => {
                let value = value.read()?;
                to.connect(TIME).await?.put(bytes(key), value).await?;
            }
            Self::Delete { key, to } => {
                to.connect(TIME).await?.delete(bytes(key)).await?;
            }
            Self::Scan { prefix, limit, reverse, stale, to } => {
                let client = to.connect(TIME).await?;
                let scan = Scan::prefix(bytes(prefix)).limit(*limit);
                let scan = if *reverse { scan.reverse() } else { scan };
                let entries = match stale {
                    false => client.scan(scan),
                    true => to.first(&client)?.scan_stale(scan),
                };
                keys::print_entries(out, entries).await?;
            }
        }
        Ok(out.flush()?)
    }
}
