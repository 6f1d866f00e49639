//! One binary: a node of the cluster, five of them on one machine, and the commands for operators.

mod config;
mod dialer;
mod exit;
mod front;
mod limits;
mod local;
mod logging;
mod node;
mod peer;
mod probe;
mod service;
mod signals;
#[cfg(test)]
mod sim;
mod status;
mod tls;
mod validate;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;

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
    #[command(
        after_help = "Exits with 0 when it was asked to stop, with 1 if it cannot start or go \
        on, with 2 if its settings are wrong, with 3 if the cluster refuses it for ever."
    )]
    Start(Box<StartArgs>),
    /// Runs a whole cluster on this machine, for trying it out
    Local(LocalArgs),
    #[command(flatten)]
    Admin(lsm_admin::Command),
}

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Start(args) => start(*args),
        Command::Local(args) => local::run(&args).map_err(|message| (message, exit::FAILED)),
        Command::Admin(command) => {
            lsm_admin::run(&command).map_err(|failure| (failure.to_string(), failure.exit_code()))
        }
    };
    let Err((message, code)) = ended else { return ExitCode::SUCCESS };
    // Not a panic, as eprintln! would: there may be nobody who reads it.
    let _ = writeln!(std::io::stderr(), "lsm-server: {message}");
    ExitCode::from(code)
}

/// Why it ended, and what to exit with.
fn start(args: StartArgs) -> Result<(), (String, u8)> {
    let (check, stop_with_stdin) = (args.check, args.stop_with_stdin);
    let settings = Settings::new(args).map_err(|error| {
        // Those can be right at the next start, without anybody who changes the settings.
        let code = if error.is_of_certificates() { exit::FAILED } else { exit::SETTINGS };
        (error.to_string(), code)
    })?;
    if check {
        return match std::io::stdout().write_all(settings.to_toml().as_bytes()) {
            // Whoever read it has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| (format!("standard output: {error}"), exit::FAILED)),
        };
    }
    logging::start(&settings.log);
    logging::abort_on_panic();
    node::run(&settings, stop_with_stdin).map_err(|error| (error.to_string(), error.exit_code()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;

    /// The variables of a command and of those below it.
    fn variables(command: &clap::Command) -> BTreeSet<String> {
        let own = command.get_arguments().filter_map(|argument| argument.get_env());
        let own = own.map(|name| name.to_str().unwrap().to_owned());
        own.chain(command.get_subcommands().flat_map(variables)).collect()
    }

    #[test]
    fn no_variable_is_for_a_node_and_for_commands() {
        let program = Cli::command();
        let (nodes, others): (Vec<_>, Vec<_>) =
            program.get_subcommands().partition(|command| command.get_name() == "start");
        let of_nodes: BTreeSet<_> = nodes.into_iter().flat_map(variables).collect();
        let of_others: BTreeSet<_> = others.into_iter().flat_map(variables).collect();
        assert!(of_nodes.contains("LSM_TLS_CA") && of_others.contains("LSM_CLIENT_TLS_CA"));
        assert!(of_others.iter().all(|name| name.starts_with("LSM_CLIENT_")), "{of_others:?}");
        assert!(!of_nodes.iter().any(|name| name.starts_with("LSM_CLIENT_")), "{of_nodes:?}");
    }

    #[test]
    fn usages_name_arguments_in_their_order() {
        let mut program = Cli::command();
        program.build();
        let mut usage =
            |name: &str| program.find_subcommand_mut(name).unwrap().render_usage().to_string();
        assert!(
            usage("put").ends_with("put [OPTIONS] <KEY> <VALUE|--file <FILE>>"),
            "{}",
            usage("put")
        );
        for (name, end) in [
            ("get", "<KEY>"),
            ("add-learner", "<ID> <PEER-ADDRESS> <CLIENT-ADDRESS>"),
            ("load", "[FILE]"),
        ] {
            assert!(usage(name).ends_with(end), "{}", usage(name));
        }
    }

    #[test]
    fn every_command_can_be_parsed() {
        Cli::command().debug_assert();
    }
}
