//! The copy of the workspace that is built with all mutants in it.
//!
//! Only what differs is written, so that a second build compiles little.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::definition::{Mutant, parse};
use super::weave::weave;
use crate::command::{Result, Step};

/// Where the definitions are, in a folder for each crate.
const DEFINITIONS: &str = "xtask/mutants";
/// Tells which mutant is on. Read once: tests of one process share it. Its variable is none of the
/// program's settings, of which the processes that tests start get none but their own.
const SWITCH: &str = "//! Which mutant is on.

static ON: std::sync::LazyLock<usize> = std::sync::LazyLock::new(|| {
    std::env::var(\"XTASK_MUTANT\").map_or(0, |number| number.parse().expect(\"a number\"))
});

pub(crate) fn is(number: usize) -> bool {
    *ON == number
}
";

/// All mutants, in the order of their files and lines: the first is number 1.
pub(crate) fn definitions() -> Result<Vec<Mutant>> {
    let mut paths = Vec::new();
    for folder in fs::read_dir(DEFINITIONS)? {
        let folder = folder?;
        for entry in fs::read_dir(folder.path())? {
            paths.push((folder.file_name().to_string_lossy().into_owned(), entry?.path()));
        }
    }
    paths.sort();
    let mut mutants: Vec<Mutant> = Vec::new();
    for (package, path) in paths {
        let more = parse(&package, &fs::read_to_string(&path)?);
        let more = more.map_err(|error| format!("{}: {error}", path.display()))?;
        for mutant in more {
            if mutants.iter().any(|other| other.name == mutant.name) {
                return Err(format!("two mutants are called {}", mutant.name).into());
            }
            mutants.push(mutant);
        }
    }
    Ok(mutants)
}

/// What each file that has mutants looks like with them.
///
/// # Errors
///
/// All definitions that went stale.
pub(crate) fn woven(mutants: &[Mutant]) -> Result<Vec<(String, String)>> {
    let files: BTreeSet<&str> =
        mutants.iter().flat_map(|mutant| &mutant.places).map(|place| &*place.file).collect();
    let (mut woven, mut stale) = (Vec::new(), Vec::new());
    for file in files {
        let source = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        match weave(file, &source, mutants) {
            Ok(text) => woven.push((file.to_owned(), text)),
            Err(error) => stale.push(error),
        }
    }
    if stale.is_empty() { Ok(woven) } else { Err(stale.join("\n").into()) }
}

/// Brings the copy in folder `copy` up to date.
pub(crate) fn update(copy: &Path, woven: Vec<(String, String)>) -> Result {
    let list = Step::new("git ls-files --cached --others --exclude-standard").output()?;
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for name in list.lines() {
        // Removed, and not committed yet.
        if let Ok(bytes) = fs::read(name) {
            files.push((name.to_owned(), bytes));
        }
    }
    let mut crates = BTreeSet::new();
    for (path, text) in woven {
        let (krate, _) = path.split_once("src/").ok_or_else(|| format!("{path} is no source"))?;
        crates.insert(format!("{krate}src/"));
        let file = files.iter_mut().find(|(name, _)| *name == path);
        file.ok_or_else(|| format!("{path} is not known to git"))?.1 = text.into();
    }
    for sources in &crates {
        let is_root = |name: &str| {
            ["lib.rs", "main.rs"].iter().any(|root| name == format!("{sources}{root}"))
        };
        for (_, bytes) in files.iter_mut().filter(|(name, _)| is_root(name)) {
            let text = String::from_utf8(std::mem::take(bytes))?;
            *bytes = format!("#![allow(warnings)]\n{text}\nmod mutant;\n").into();
        }
        files.push((format!("{sources}mutant.rs"), SWITCH.into()));
    }
    for (name, bytes) in &files {
        let path = copy.join(name);
        if fs::read(&path).is_ok_and(|there| there == *bytes) {
            continue;
        }
        fs::create_dir_all(path.parent().unwrap_or(copy))?;
        fs::write(&path, bytes)?;
    }
    let names: BTreeSet<&str> = files.iter().map(|(name, _)| &**name).collect();
    remove_others(copy, copy, &names)
}

/// Removes what is no longer in the workspace. Recursion is bounded by the depth of folders.
fn remove_others(copy: &Path, folder: &Path, names: &BTreeSet<&str>) -> Result {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(copy, &path, names)?;
            continue;
        }
        let name = path.strip_prefix(copy)?.to_string_lossy().replace('\\', "/");
        if !names.contains(&*name) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
