//! Reads the repository and applies every rule.

use std::fs;
use std::path::Path;

use super::file::File;
use super::layers::{TABLE, parse};
use super::{code_map, imports, rules};
use crate::command::Result;

/// Folders at the root with Rust files of ours.
const ROOTS: [&str; 5] = ["benches", "crates", "examples", "fuzz", "xtask"];
/// Folders below them that hold none of ours.
const SKIPPED: [&str; 5] = ["artifacts", "corpus", "coverage", "seeds", "target"];

pub(crate) fn run() -> Result {
    let mut files = Vec::new();
    for root in ROOTS {
        collect(Path::new(root), &mut files)?;
    }
    let mut findings: Vec<_> = files.iter().flat_map(rules::check).collect();
    findings.extend(imports::check(&parse(TABLE), &files));
    findings.extend(code_map::check(&parse(TABLE), &fs::read_to_string(code_map::PATH)?));
    findings.sort();
    findings.dedup();
    for finding in &findings {
        println!("{finding}");
    }
    let code: usize = files.iter().map(File::code_lines).sum();
    let tests: usize = files.iter().map(File::test_lines).sum();
    println!("tidy: {} files, {code} lines of code, {tests} of tests", files.len());
    match findings.len() {
        0 => Ok(()),
        count => Err(format!("tidy has {count} findings").into()),
    }
}

/// Recursion is bounded by the depth of folders.
fn collect(folder: &Path, files: &mut Vec<File>) -> Result {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !SKIPPED.contains(&&*name) {
                collect(&path, files)?;
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path)?;
            let path = path.to_string_lossy().replace('\\', "/");
            files.push(File::parse(&path, &text).map_err(|error| format!("{path}: {error}"))?);
        }
    }
    Ok(())
}
