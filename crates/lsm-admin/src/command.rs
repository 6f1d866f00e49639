//! The commands, and what each of them calls.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lsm_client::Scan;

use crate::failure::Failure;
use crate::keys::{self, Escapes, Form, Value};
use crate::load::load;
use crate::storage::StorageCommand;
use crate::to::To;
use crate::{group, status};

/// Longest wait for an answer, unless told otherwise.
const TIME: Duration = Duration::from_secs(10);
/// The same for what a single node says of itself: others are to be seen, too.
const STATUS_TIME: Duration = Duration::from_secs(2);
/// And for a hash of everything that is stored.
const HASH_TIME: Duration = Duration::from_secs(600);

/// A command to a running cluster.
#[derive(Clone, Debug, clap::Subcommand)]
#[expect(missing_docs, reason = "what is flattened is described by its type")]
pub enum Command {
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
        /// Even if it is far behind or never answered, or too few of all voters would answer: then
        /// nothing is decided until most of them do
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
        #[command(flatten)]
        escapes: Escapes,
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
    // By itself it would name the value first: a choice comes before what must be there.
    #[command(override_usage = "lsm-server put [OPTIONS] <KEY> <VALUE|--file <FILE>>")]
    Put {
        /// The key
        key: OsString,
        #[command(flatten)]
        value: Value,
        #[command(flatten)]
        escapes: Escapes,
        #[command(flatten)]
        to: To,
    },
    /// Removes a key
    Delete {
        /// The key
        key: OsString,
        #[command(flatten)]
        escapes: Escapes,
        #[command(flatten)]
        to: To,
    },
    /// Prints all keys and values, a line each with a tab between
    ///
    /// What a terminal would not show as it is is printed as \n, \r, \t, \\ for a backslash, or
    /// \xHH. The other commands read that with --escaped, and `load` reads whole lines.
    Scan {
        /// Only keys that begin so
        #[arg(default_value = "")]
        prefix: OsString,
        #[command(flatten)]
        escapes: Escapes,
        /// Most entries that are printed; standard error says if there are more [default: all]
        #[arg(long, value_name = "N", value_parser = parse_limit)]
        limit: Option<u64>,
        /// From the last key to the first
        #[arg(long)]
        reverse: bool,
        /// As the first node of --to has them: possibly old, but without a leader, too
        #[arg(long)]
        stale: bool,
        #[command(flatten)]
        to: To,
    },
    /// Puts the entries that `scan` printed, many at a time, and says how many
    Load {
        /// Where they are [default: standard input]
        file: Option<PathBuf>,
        #[command(flatten)]
        to: To,
    },
}

fn parse_limit(text: &str) -> Result<u64, String> {
    let limit = text.parse().ok().filter(|limit| *limit > 0);
    limit.ok_or_else(|| "write a number from 1 up; without --limit all are printed".to_owned())
}

/// Runs one command, and prints what it says.
///
/// # Errors
///
/// Why it did not do what it should. That whoever read the output has seen enough is none.
pub fn run(command: &Command) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Failure::System)?.block_on(command.run(&mut io::stdout())) {
        Err(failure) if failure.is_unheard() => Ok(()),
        ended => ended,
    }
}

impl Command {
    async fn run(&self, out: &mut impl Write) -> Result<(), Failure> {
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
            Self::Get { key, escapes, raw, stale, to } => {
                let key = escapes.bytes(key)?;
                let value = match stale {
                    false => to.connect(TIME).await?.get(key).await?,
                    true => to.first(TIME).await?.get_stale(key).await?,
                };
                let form = match (raw, escapes.escaped) {
                    (true, _) => Form::Raw,
                    (false, true) => Form::Escaped,
                    (false, false) => Form::Plain,
                };
                keys::print_value(out, value, form)?;
            }
            Self::Put { key, value, escapes, to } => {
                let (key, value) = (escapes.bytes(key)?, value.read(*escapes)?);
                to.connect(TIME).await?.put(key, value).await?;
            }
            Self::Delete { key, escapes, to } => {
                let key = escapes.bytes(key)?;
                to.connect(TIME).await?.delete(key).await?;
            }
            Self::Scan { prefix, escapes, limit, reverse, stale, to } => {
                let scan = Scan::prefix(escapes.bytes(prefix)?);
                let scan = if *reverse { scan.reverse() } else { scan };
                print_scan(out, scan, *limit, *stale, to).await?;
            }
            Self::Load { file, to } => {
                let from = open(file.as_deref())?;
                let count = load(from, &to.connect(TIME).await?).await?;
                writeln!(out, "{count} entries were put")?;
            }
        }
        Ok(out.flush()?)
    }
}

/// Prints so many entries, or all, and says if there are more: whoever takes what was printed
/// for everything would lose the rest.
async fn print_scan(
    out: &mut impl Write,
    scan: Scan,
    limit: Option<u64>,
    stale: bool,
    to: &To,
) -> Result<(), Failure> {
    // One more, to know.
    let scan = match limit {
        Some(limit) => scan.limit(limit.saturating_add(1)),
        None => scan,
    };
    let entries = match stale {
        false => to.connect(TIME).await?.scan(scan),
        true => to.first(TIME).await?.scan_stale(scan),
    };
    if keys::print_entries(out, entries, limit).await? {
        let limit = limit.unwrap_or(0);
        let note = format!("--limit {limit} is reached, and there are more entries");
        // Not a panic, as eprintln! would: there may be nobody who reads it.
        let _ = writeln!(io::stderr(), "lsm-server: {note}");
    }
    Ok(())
}

/// The file, or standard input.
#[expect(clippy::disallowed_methods, reason = "a command has no engine")]
fn open(file: Option<&Path>) -> Result<Box<dyn io::BufRead>, Failure> {
    let Some(path) = file.filter(|path| path.as_os_str() != "-") else {
        return Ok(Box::new(io::stdin().lock()));
    };
    match std::fs::File::open(path) {
        Ok(file) => Ok(Box::new(io::BufReader::new(file))),
        Err(error) => Err(Failure::Input(format!("{}: {error}", path.display()))),
    }
}
