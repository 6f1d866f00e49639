//! The project's own tools: `cargo xtask --help` lists them.
//!
//! Each command is a file that prints what it runs, so that a step can be repeated by hand.
//! Nothing here is part of the engine; it reads files and starts programs directly.

#![allow(clippy::disallowed_methods, reason = "the bans keep files and time out of the engine")]

mod bench;
mod check;
mod command;
mod fuzz;
mod mutants;
mod scripts;
mod stress;
mod tidy;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own tools")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run all that must hold before a change is merged; changes no source file
    Check(check::Args),
    /// Hold the table of layers and the house rules that no other tool knows
    Tidy,
    /// Fuzz one target, or each for a while
    Fuzz(fuzz::Args),
    /// Run the random model and crash tests for longer than `cargo test` does
    Stress(stress::Args),
    /// Break the engine on purpose, one promise at a time, and see whether a test notices
    Mutants(mutants::Args),
    /// Measure our workloads
    Bench(bench::Args),
    /// Run the tests that are text scripts, or rewrite what they expect
    Scripts(scripts::Args),
}

fn main() -> ExitCode {
    let task = Args::parse().task;
    match run(&task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> command::Result {
    // As cargo tells it at run time: clones may share a folder of build results.
    let own = env::var_os("CARGO_MANIFEST_DIR").ok_or("start this as `cargo xtask`")?;
    env::set_current_dir(Path::new(&own).join(".."))?;
    match task {
        Task::Check(args) => check::run(args),
        Task::Tidy => tidy::run(),
        Task::Fuzz(args) => fuzz::run(args),
        Task::Stress(args) => stress::run(args),
        Task::Mutants(args) => mutants::run(args),
        Task::Bench(args) => bench::run(args),
        Task::Scripts(args) => scripts::run(args),
    }
}
