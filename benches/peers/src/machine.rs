//! What was measured, and on what: read from the system, from git and from the lock file.

use std::fs;
use std::process::Command;
use std::thread;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) memory_gib: u64,
    pub(crate) system: String,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let release = release.split('-').next().unwrap_or_default().trim();
        let memory_kib = value("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse();
        Self {
            processor: value("/proc/cpuinfo", "model name"),
            processors: thread::available_parallelism().map_or(0, usize::from),
            memory_gib: memory_kib.unwrap_or(0_u64).div_ceil(1 << 20),
            system: format!("Linux {release}"),
        }
    }
}

/// What stands behind a name and a colon in a file of the system.
fn value(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix(':'));
    line.unwrap_or("unknown").trim().to_owned()
}

/// The commit of the sources, if git tells.
pub(crate) fn commit() -> Option<String> {
    let folder = env!("CARGO_MANIFEST_DIR");
    let git = Command::new("git").args(["-C", folder, "rev-parse", "--short", "HEAD"]).output();
    let output = git.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// The version of a package that this program was built with.
pub(crate) fn version(package: &str) -> String {
    let lock = include_str!("../Cargo.lock");
    let begin = format!("name = \"{package}\"\nversion = \"");
    let version = lock.split_once(&begin).and_then(|(_, rest)| rest.split_once('"'));
    version.map_or("unknown", |(version, _)| version).to_owned()
}
