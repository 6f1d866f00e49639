//! Mutants of the crates: small breaks, each of one promise, and whether a test notices.
//!
//! The sources stay clean. Mutants are defined in `xtask/mutants`; a copy of the workspace
//! below `target/mutants` holds all of them at once, each behind a switch, so that one build
//! serves every run. Whoever breaks something that no definition breaks adds one.

mod definition;
mod mirror;
mod run;
mod suite;
mod weave;

#[cfg(test)]
mod weave_test;

pub(crate) use run::{Args, check, run};
