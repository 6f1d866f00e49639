//! The random model and crash tests, longer than `cargo test` runs them.
//!
//! The tests read how much to do from the environment: `LSM_TEST_SEEDS` (how many seeds),
//! `LSM_TEST_STEPS` (how many operations a seed) and `LSM_TEST_SEED` (replay exactly one).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::command::{Result, Step};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the tests whose name holds this
    filter: Option<String>,
    /// How many seeds each random test runs
    #[arg(long, default_value_t = 200)]
    seeds: u32,
    /// How many operations a seed makes; without it the tests' own number
    #[arg(long)]
    steps: Option<u64>,
    /// After those, fresh seeds one by one for this long
    #[arg(long, default_value_t = 0)]
    minutes: u64,
    /// Replay exactly this seed instead
    #[arg(long, conflicts_with_all = ["seeds", "minutes"])]
    seed: Option<u64>,
}

pub(crate) fn run(args: &Args) -> Result {
    if let Some(seed) = args.seed {
        tests(args).env("LSM_TEST_SEED", &seed).run()?;
        return Ok(());
    }
    let start = Instant::now();
    let time_max = Duration::from_secs(args.minutes * 60);
    tests(args).env("LSM_TEST_SEEDS", &args.seeds).run()?;
    let mut fresh = 0_u64;
    while start.elapsed() < time_max {
        tests(args).env("LSM_TEST_SEED", &fresh_seed()?).run()?;
        fresh += 1;
    }
    println!("stress: {} seeds and {fresh} fresh ones passed", args.seeds);
    Ok(())
}

/// The run that all seeds share: optimised, with the costly assertions.
fn tests(args: &Args) -> Step {
    let line = "cargo test --release -p lsm-core --features paranoid --test it --";
    let mut step = Step::new(line);
    if let Some(filter) = &args.filter {
        step = step.arg(filter);
    }
    match args.steps {
        Some(steps) => step.env("LSM_TEST_STEPS", &steps),
        None => step,
    }
}

/// A seed that no earlier run had: the time, which the printed command keeps.
fn fresh_seed() -> Result<u64> {
    let time = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(u64::try_from(time.as_micros())?)
}
