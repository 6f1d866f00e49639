//! The house rules that no other tool knows: layers of imports, shape of files.
//!
//! Works on syntax, not on types: it sees what stands in the files, in every configuration,
//! and needs nothing to compile. Macros of other crates that write paths are out of its sight.

mod code_map;
mod file;
mod imports;
mod layers;
mod paths;
mod rules;
mod run;

#[cfg(test)]
mod imports_test;
#[cfg(test)]
mod rules_test;

pub(crate) use run::run;
