//! Reads the repository and applies every rule.

use std::fs;
use std::path::Path;

use super::file::{File, Finding};
use super::imports;
use super::layers::CRATES;
use super::rules;
use crate::command::Result;

/// Folders at the root with Rust files of ours.
const ROOTS: [&str; 5] = ["benches", "crates", "examples", "fuzz", "xtask"];
/// Folders below them that hold none of ours.
const SKIPPED: [&str; 5] = ["artifacts", "corpus", "coverage", "seeds", "target"];

pub(crate) fn run() -> Result {
    let mut texts = Vec::new();
    for root in ROOTS.iter().filter(|root| Path::new(root).exists()) {
        collect(Path::new(root), &mut texts)?;
    }
    texts.sort();
    let files: Vec<_> = texts.iter().map(|(path, text)| File::new(path, text)).collect();
    let mut findings: Vec<Finding> = files.iter().flat_map(rules::check).collect();
    findings.extend(unlisted_crates(&files));
    for spec in &CRATES {
        let below = format!("crates/{}/src/", spec.name);
        let own: Vec<_> = files.iter().filter(|file| file.path.starts_with(&below)).collect();
        if own.is_empty() {
            continue;
        }
        let checked = imports::check(spec, &own);
        findings.extend(checked.findings);
        for name in checked.without_file {
            println!("note: {below}{name} is in the table of layers only");
        }
    }
    findings.sort();
    findings.dedup();
    for finding in &findings {
        println!("{finding}");
    }
    summary(&files);
    match findings.len() {
        0 => Ok(()),
        count => Err(format!("tidy has {count} findings").into()),
    }
}

fn summary(files: &[File<'_>]) {
    let code: usize = files.iter().map(File::code_lines).sum();
    let tests: usize = files.iter().map(|file| file.test_lines).sum();
    let siblings = files.iter().filter(|file| file.path.ends_with("_test.rs")).count();
    println!(
        "tidy: {} files, {code} lines of code, {tests} of tests, {siblings} sibling tests",
        files.len()
    );
}

fn unlisted_crates(files: &[File<'_>]) -> Vec<Finding> {
    let is_root = |file: &&File<'_>| {
        file.path.ends_with("/src/lib.rs") || file.path.ends_with("/src/main.rs")
    };
    let unlisted = |file: &&File<'_>| {
        let name = file.path.strip_prefix("crates/").and_then(|path| path.split('/').next());
        name.is_some_and(|name| CRATES.iter().all(|spec| spec.name != name))
    };
    let roots = files.iter().filter(is_root).filter(unlisted);
    roots.map(|file| file.finding(1, "this crate has no table of layers")).collect()
}

/// Recursion is bounded by the depth of folders.
fn collect(folder: &Path, texts: &mut Vec<(String, String)>) -> Result {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                collect(&path, texts)?;
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path)?;
            texts.push((path.to_string_lossy().replace('\\', "/"), text));
        }
    }
    Ok(())
}
