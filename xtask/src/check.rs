//! The one read-only command: all that must hold before a change is merged.
//!
//! Stops at the first failure and names the command that repeats it. Steps whose tool is not
//! installed are named in the last lines; none is passed over in silence.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::command::{Result, Step, has_cxx};
use crate::{mutants, tidy};

const FUZZ_MANIFEST: &str = "fuzz/Cargo.toml";
const PEERS_MANIFEST: &str = "benches/peers/Cargo.toml";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave out the tests, where they have just run
    #[arg(long)]
    no_tests: bool,
    /// Fail where something could not run, as before a release
    #[arg(long, conflicts_with = "no_tests")]
    strict: bool,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut report = Report::default();
    let cargo = |line: &str| Step::new(&format!("cargo {line}"));
    report.step("format", &cargo("fmt --all --check"))?;
    // All targets: this compiles tests, benches and examples too.
    let clippy = "clippy --workspace --all-targets --all-features --locked -- -D warnings";
    report.step("clippy", &cargo(clippy))?;
    report.timed("tidy", "cargo xtask tidy", tidy::run)?;
    report.timed("mutants fit", "cargo xtask mutants --list", mutants::check)?;
    let docs = cargo("doc --workspace --no-deps --all-features --locked");
    report.step("docs", &docs.env("RUSTDOCFLAGS", "-D warnings"))?;
    if args.no_tests {
        report.skip("tests", "--no-tests");
    } else {
        report.step("tests", &cargo("test --workspace --locked"))?;
    }
    peers_crate(&mut report)?;
    fuzz_crate(&mut report)?;
    deny(&mut report)?;
    report.print();
    report.verdict(args.strict)
}

/// The other engines stand outside the workspace, and so does what measures them.
fn peers_crate(report: &mut Report) -> Result {
    let manifest = ["--manifest-path", PEERS_MANIFEST];
    report.step("peers format", &Step::new("cargo fmt").args(&manifest).arg("--check"))?;
    let clippy = Step::new("cargo clippy").args(&manifest);
    report.step("peers clippy", &clippy.args(&["--locked", "--", "-D", "warnings"]))
}

/// The fuzz targets stand outside the workspace, so nothing above has seen them.
fn fuzz_crate(report: &mut Report) -> Result {
    if !Path::new(FUZZ_MANIFEST).exists() {
        return Ok(());
    }
    let manifest = ["--manifest-path", FUZZ_MANIFEST];
    let format = Step::new("cargo fmt").args(&manifest).arg("--check");
    report.step("fuzz format", &format)?;
    if !has_cxx() {
        report.skip("fuzz compiles", "the fuzzer's runtime needs a C++ compiler");
        return Ok(());
    }
    let mut compile = Step::new("cargo check").args(&manifest);
    if Path::new("fuzz/Cargo.lock").exists() {
        compile = compile.arg("--locked");
    }
    report.step("fuzz compiles", &compile)
}

fn deny(report: &mut Report) -> Result {
    if !Step::new("cargo deny --version").succeeds() {
        report.skip("deny", "cargo install --locked cargo-deny");
        return Ok(());
    }
    let deny = Step::new("cargo deny --locked check bans licenses sources");
    report.step("deny", &deny)?;
    if Step::new("cargo deny fetch db").succeeds() {
        let advisories = Step::new("cargo deny --locked check advisories");
        return report.step("advisories", &advisories);
    }
    report.skip("advisories", "the advisory database is out of reach");
    Ok(())
}

/// What ran, for how long, and what did not.
#[derive(Default)]
struct Report {
    ran: Vec<(&'static str, Duration)>,
    skipped: Vec<(&'static str, &'static str)>,
}

impl Report {
    fn step(&mut self, name: &'static str, step: &Step) -> Result {
        println!("== {name}");
        let time = step.run().map_err(|e| format!("{name}: {e}"))?;
        self.passed(name, time);
        Ok(())
    }

    fn timed(&mut self, name: &'static str, repeat: &str, run: fn() -> Result) -> Result {
        println!("== {name}");
        let start = Instant::now();
        run().map_err(|e| format!("{name}: {e}; to repeat: {repeat}"))?;
        self.passed(name, start.elapsed());
        Ok(())
    }

    fn passed(&mut self, name: &'static str, time: Duration) {
        println!("== {name}: {:.1} s", time.as_secs_f64());
        self.ran.push((name, time));
    }

    fn skip(&mut self, name: &'static str, reason: &'static str) {
        self.skipped.push((name, reason));
    }

    /// With `strict` a step that did not run is a failure.
    fn verdict(&self, strict: bool) -> Result {
        if !strict || self.skipped.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = self.skipped.iter().map(|(name, _)| *name).collect();
        Err(format!("not run: {} (--strict)", names.join(", ")).into())
    }

    fn print(&self) {
        println!();
        for (name, time) in &self.ran {
            println!("{name:14} ok {:8.1} s", time.as_secs_f64());
        }
        for (name, reason) in &self.skipped {
            println!("{name:14} NOT RUN: {reason}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn strict_takes_no_step_that_did_not_run() {
        let mut report = Report::default();
        assert!(report.verdict(true).is_ok());
        report.skip("deny", "not installed");
        report.skip("fuzz compiles", "no compiler");
        assert!(report.verdict(false).is_ok());
        let error = report.verdict(true).unwrap_err().to_string();
        assert!(error.contains("deny, fuzz compiles"), "{error}");
    }
}
