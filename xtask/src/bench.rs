//! Measurements: `cargo bench`, and where its results lie.

use std::env;

use crate::command::{Result, Step};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The bench to run; without it each runs
    bench: Option<String>,
    /// Only the workloads whose name holds this
    #[arg(long, default_value = "")]
    filter: String,
    /// Fewer samples: for a first look, not for a claim
    #[arg(long)]
    quick: bool,
    /// Keep the results under this name
    #[arg(long, value_name = "NAME", conflicts_with = "compare")]
    save: Option<String>,
    /// Compare with the results kept under this name
    #[arg(long, value_name = "NAME")]
    compare: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut step = Step::new("cargo bench --workspace");
    if let Some(bench) = &args.bench {
        step = step.arg("--bench").arg(bench);
    }
    step = step.arg("--");
    if !args.filter.is_empty() {
        step = step.arg(&args.filter);
    }
    if args.quick {
        step = step.arg("--quick");
    }
    if let Some(name) = &args.save {
        step = step.arg("--save-baseline").arg(name);
    }
    if let Some(name) = &args.compare {
        step = step.arg("--baseline").arg(name);
    }
    step.run()?;
    let target = env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    println!("results: {target}/criterion");
    Ok(())
}
