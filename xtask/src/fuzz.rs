//! Fuzzing: seeds written by the project's own encoders, then one target or each in turn.

use std::path::Path;

use crate::command::{Result, Step, has_cxx};

/// The program in the fuzz crate that is no target: it writes the seeds.
const SEEDS: &str = "seeds";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The target; without it each runs
    target: Option<String>,
    /// How long a target runs
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn run(args: &Args) -> Result {
    require_tools()?;
    let targets = targets()?;
    let chosen = match &args.target {
        None => targets,
        Some(target) if targets.contains(target) => vec![target.clone()],
        Some(target) => {
            return Err(format!("no target {target}; there are: {}", targets.join(", ")).into());
        }
    };
    let seeds = Step::new("cargo run --quiet --manifest-path fuzz/Cargo.toml --bin");
    seeds.arg(SEEDS).run()?;
    for target in chosen {
        let fuzz = Step::new("cargo +nightly fuzz run").arg(&target).arg("--");
        fuzz.arg(&format!("-max_total_time={}", args.seconds)).run()?;
    }
    Ok(())
}

fn require_tools() -> Result {
    if !Path::new("fuzz/Cargo.toml").exists() {
        return Err("there is no fuzz/Cargo.toml".into());
    }
    if !Step::new("cargo +nightly --version").succeeds() {
        return Err("the nightly compiler is missing: rustup toolchain install nightly".into());
    }
    if !Step::new("cargo fuzz --version").succeeds() {
        return Err("cargo-fuzz is missing: cargo install --locked cargo-fuzz".into());
    }
    if !has_cxx() {
        return Err("the fuzzer's runtime needs a C++ compiler: install one or set CXX".into());
    }
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let list = Step::new("cargo +nightly fuzz list").output()?;
    Ok(list.lines().filter(|name| *name != SEEDS).map(str::to_owned).collect())
}
