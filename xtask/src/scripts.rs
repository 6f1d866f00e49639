//! Tests that are text: input above the line, what it must give below.
//!
//! Such tests have `script` in their path, which is how they are found here.

use crate::command::{Result, Step};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write what the code gives now into the scripts: read the diff before you keep it
    #[arg(long)]
    rewrite: bool,
}

pub(crate) fn run(args: &Args) -> Result {
    let list = Step::new("cargo test --quiet --workspace script -- --list").output()?;
    if !list.lines().any(|line| line.ends_with(": test")) {
        return Err("no test has `script` in its path".into());
    }
    let step = Step::new("cargo test --workspace script");
    if args.rewrite {
        step.env("REWRITE_SCRIPTS", "1").run()?;
        Step::new("git --no-pager diff --stat").run()?;
    } else {
        step.run()?;
    }
    Ok(())
}
