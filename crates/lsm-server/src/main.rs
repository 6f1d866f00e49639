//! One binary: a node of the cluster, or five of them on one machine.

mod admin;
mod config;
mod convert;
mod fields;
mod framing;
mod gather;
mod handles;
mod intake;
mod limits;
mod listener;
mod local;
mod logging;
mod node;
mod peer;
mod service;
mod signals;
mod tls;
mod untaken;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::admin::AdminCommand;
use crate::config::{Settings, StartArgs};
use crate::local::LocalArgs;

/// A request is many small allocations, made on one thread and freed on another. Without huge
/// pages (its feature `no_thp`): most of one would be cleared for nothing, again and again;
/// that took 6 % of the processor time of a cluster under load, and a third of its memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A replicated key-value store on a log-structured merge tree.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Runs one node of a cluster
    Start(Box<StartArgs>),
    /// Runs a whole cluster on this machine, for trying it out
    Local(LocalArgs),
    #[command(flatten)]
    Admin(AdminCommand),
}

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Start(args) => start(*args),
        Command::Local(args) => local::run(&args),
        Command::Admin(command) => return admin::run(&command),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Not a panic, as eprintln! would: there may be nobody who reads it.
            let _ = writeln!(std::io::stderr(), "lsm-server: {message}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: StartArgs) -> Result<(), String> {
    let (check, stop_with_stdin) = (args.check, args.stop_with_stdin);
    let settings = Settings::new(args).map_err(|error| error.to_string())?;
    if check {
        let written = std::io::stdout().write_all(settings.to_toml().as_bytes());
        return written.map_err(|error| error.to_string());
    }
    logging::start(&settings.log);
    logging::abort_on_panic();
    node::run(&settings, stop_with_stdin).map_err(|error| error.to_string())
}
