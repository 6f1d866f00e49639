//! The record of how lsm-core compares: the same workloads on this engine and on others, as JSON,
//! and the table and pictures of `docs/benchmarks.md` from it.
//!
//! Each scene of each round runs in a process of its own, and the engines take turns within it, so
//! that whatever else the machine does meets all of them.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the real clock and files")]

mod engines;
mod machine;
mod measure;
mod pictures;
mod record;
mod report;
mod scene;
mod summary;
mod table;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(about = "Measures lsm-core beside other engines")]
enum Command {
    /// Measure, and write the results as JSON
    Measure(measure::Args),
    /// Put the table and the pictures of results into the documentation
    Report(report::Args),
    /// One scene on one engine, in this process: a line of JSON a row
    #[command(hide = true)]
    Scene(scene::Args),
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Measure(args) => measure::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Scene(args) => scene::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
