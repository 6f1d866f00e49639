//! The tests of the copy, of all crates that have mutants: built once, and run with one mutant or none until one fails.
//!
//! A test runs alone in its process's one thread, so that the last line tells which one it is.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::command::{Result, Step};

/// A test that takes so long hangs: far longer than any does on a busy machine.
const SILENCE_MAX: Duration = Duration::from_secs(150);
/// A mutant that allocates without end must not take the machine with it. In KiB.
const MEMORY_MAX: u32 = 12 << 20;

/// Crates whose tests run a crate in earnest, beside its own.
const TESTED_BESIDE: [(&str, &str); 5] = [
    ("lsm-log", "lsm-core"),
    ("lsm-proto", "lsm-client"),
    ("lsm-raft", "lsm-server"),
    ("lsm-client", "lsm-server"),
    ("lsm-admin", "lsm-server"),
];
/// Compiles the examples anew, and finds nothing by it.
const LEFT_OUT: &str = "examples";

/// The binaries with tests, the fastest of each crate first.
#[derive(Debug)]
pub(crate) struct Suite {
    binaries: Vec<Binary>,
    copy: PathBuf,
    scratch: PathBuf,
    /// How many runs were begun: each has a folder of its own for its files.
    runs: AtomicUsize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Binary {
    package: String,
    path: PathBuf,
}

/// Some tests of one binary.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which<'a> {
    All,
    /// Those whose path holds one of the words.
    Like(&'a [String]),
    /// Exactly this one.
    Only(&'a str),
}

/// The test that failed, and how.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) binary: usize,
    /// Empty if the process died between tests.
    pub(crate) test: String,
    pub(crate) how: &'static str,
}

/// Has the first build begin with what the workspace's own tests were built with, all but its own
/// crates: more than half of the work.
fn take_dependencies(home: &Path, copy: &Path) -> Result {
    let (built, build) = (home.with_file_name("debug"), home.join("build"));
    if build.exists() || !built.exists() {
        return Ok(());
    }
    fs::create_dir_all(build.join("debug"))?;
    for folder in ["deps", "build", ".fingerprint"] {
        let (from, to) = (built.join(folder), build.join("debug"));
        // With their times, by which cargo tells what is fresh.
        Step::new("cp -a --reflink=auto").arg(&from.display()).arg(&to.display()).run()?;
    }
    let mut clean = Step::new("cargo clean --quiet");
    for package in own_packages(copy)? {
        clean = clean.arg("-p").arg(&package);
    }
    let manifest = copy.join("Cargo.toml");
    let clean = clean.arg("--manifest-path").arg(&manifest.display());
    clean.env("CARGO_TARGET_DIR", &build.display()).run().map(drop)
}

/// The names of the workspace's crates.
fn own_packages(copy: &Path) -> Result<Vec<String>> {
    let manifest = copy.join("Cargo.toml");
    let told = Step::new("cargo metadata --no-deps --format-version 1 --manifest-path")
        .arg(&manifest.display())
        .output()?;
    // `"name":"x","version"` is said of packages alone: targets have a kind in front.
    let names = told.split("{\"name\":\"").skip(1).filter_map(|rest| {
        let (name, rest) = rest.split_once('"')?;
        rest.starts_with(",\"version\"").then(|| name.to_owned())
    });
    Ok(names.collect())
}

impl Suite {
    /// Builds what tests these crates in the workspace below `home`, beside which their scratch
    /// files go.
    pub(crate) fn build(home: &Path, packages: &BTreeSet<&str>) -> Result<Self> {
        let copy = home.join("src");
        let beside = TESTED_BESIDE.iter().filter(|(tested, _)| packages.contains(tested));
        let all: BTreeSet<_> = packages.iter().copied().chain(beside.map(|(_, by)| *by)).collect();
        take_dependencies(home, &copy)?;
        // Those of libraries and programs are among them, as far as a crate has them.
        let mut step = Step::new("cargo test --no-run --locked --tests");
        for package in &all {
            step = step.arg("-p").arg(package);
        }
        let step = step
            .arg("--message-format=json-render-diagnostics")
            .arg("--manifest-path")
            .arg(&copy.join("Cargo.toml").display())
            // Not with the workspace's own: cargo would take one for the other.
            .env("CARGO_TARGET_DIR", &home.join("build").display());
        println!("$ {step}");
        let messages = step.output()?;
        let is_test = |line: &&str| line.contains("\"reason\":\"compiler-artifact\"");
        let mut binaries: Vec<Binary> =
            messages.lines().filter(is_test).filter_map(executable).collect();
        if let Some(package) = all.iter().find(|&&p| binaries.iter().all(|b| b.package != p)) {
            return Err(format!("the build made no test binary of {package}").into());
        }
        // Whole systems and simulations take longer than the rest.
        let is_slow = |binary: &Binary| {
            ["/it-", "/sim-", "/disk-"]
                .iter()
                .any(|name| binary.path.to_string_lossy().contains(name))
        };
        binaries.sort_by_key(is_slow);
        Ok(Self { binaries, copy, scratch: home.join("scratch"), runs: AtomicUsize::new(0) })
    }

    /// How people call a binary: by its crate, and what it holds.
    pub(crate) fn name(&self, binary: usize) -> String {
        let Binary { package, path } = &self.binaries[binary];
        let file = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let target = file.rsplit_once('-').map_or(&*file, |(target, _)| target);
        let own = package.replace('-', "_");
        format!("{package} {}", if target == own { "unit tests" } else { target })
    }

    /// The first test that fails of these, taken in turn: of the crate's own, then of those that
    /// run it in earnest.
    pub(crate) fn first_failure(
        &self,
        package: &str,
        mutant: usize,
        tests: &[Which<'_>],
    ) -> Result<Option<Failure>> {
        let beside = TESTED_BESIDE.iter().filter(|(tested, _)| *tested == package);
        let packages: Vec<_> = std::iter::once(package).chain(beside.map(|(_, by)| *by)).collect();
        for which in tests {
            let of = |package| {
                let is_of = move |&i: &usize| self.binaries[i].package == package;
                (0..self.binaries.len()).filter(is_of)
            };
            for binary in packages.iter().flat_map(|package| of(*package)) {
                if let Some(failure) = self.run(binary, mutant, *which)? {
                    return Ok(Some(failure));
                }
            }
        }
        Ok(None)
    }

    /// The first of all tests that fails without a mutant. Each runs once, however many crates it
    /// tests.
    pub(crate) fn first_failure_without(&self) -> Result<Option<Failure>> {
        for binary in 0..self.binaries.len() {
            if let Some(failure) = self.run(binary, 0, Which::All)? {
                return Ok(Some(failure));
            }
        }
        Ok(None)
    }

    /// Runs tests of one binary with a mutant, or with none (0), until one fails.
    pub(crate) fn run(
        &self,
        binary: usize,
        mutant: usize,
        which: Which<'_>,
    ) -> Result<Option<Failure>> {
        // Killed tests leave their folders behind.
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let scratch = self.scratch.join(run.to_string());
        fs::create_dir_all(&scratch)?;
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -v {MEMORY_MAX}; exec \"$0\" \"$@\""));
        let Binary { package, path } = &self.binaries[binary];
        // What cargo starts tests in.
        let dir = self.copy.join("crates").join(package);
        command.arg(path).arg("--test-threads=1");
        match which {
            Which::All => {}
            Which::Like(words) => drop(command.args(words)),
            Which::Only(test) => drop(command.arg("--exact").arg(test)),
        }
        command.current_dir(&dir).env("XTASK_MUTANT", mutant.to_string());
        command.env("CARGO_MANIFEST_DIR", &dir).env("TMPDIR", &scratch);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let ended = watch(&mut child);
        if matches!(ended, Ended::Failed(..)) {
            // It may have ended on its own meanwhile.
            let _ = child.kill();
        }
        let status = child.wait()?;
        fs::remove_dir_all(&scratch)?;
        match ended {
            Ended::Failed(test, how) => Ok(Some(Failure { binary, test, how })),
            Ended::Silent(test) if test.is_empty() && status.success() => Ok(None),
            Ended::Silent(test) => Ok(Some(Failure { binary, test, how: "dies" })),
        }
    }
}

/// The executable of a message about what was built, if it is one of tests.
fn executable(message: &str) -> Option<Binary> {
    let field = |name: &str| {
        let (_, behind) = message.split_once(&format!("\"{name}\":\""))?;
        behind.split('"').next()
    };
    let (path, target, manifest) = (field("executable")?, field("name")?, field("manifest_path")?);
    let package = Path::new(manifest).parent()?.file_name()?.to_string_lossy().into_owned();
    // Of the profile: a target says the same if it has tests.
    let is_test = message.contains("\"test\":true},\"features\"") && target != LEFT_OUT;
    is_test.then(|| Binary { package, path: path.into() })
}

/// How the output of a run of tests ended.
enum Ended {
    /// With a failure; or with silence: then the test was not heard of again.
    Failed(String, &'static str),
    /// With its process, in the middle of this test if it has a name.
    Silent(String),
}

/// Follows the output up to the first failure.
fn watch(child: &mut Child) -> Ended {
    let chunks = follow(child);
    let mut line = Vec::new();
    loop {
        let chunk = match chunks.recv_timeout(SILENCE_MAX) {
            Ok(chunk) => chunk,
            Err(RecvTimeoutError::Timeout) => return Ended::Failed(test_of(&line), "hangs"),
            Err(RecvTimeoutError::Disconnected) => return Ended::Silent(test_of(&line)),
        };
        for byte in chunk {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            if line.starts_with(b"test ") && line.ends_with(b"... FAILED") {
                return Ended::Failed(test_of(&line), "fails");
            }
            line.clear();
        }
    }
}

/// The standard output of a child, as it comes.
fn follow(child: &mut Child) -> Receiver<Vec<u8>> {
    let (sender, chunks) = channel();
    if let Some(mut output) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer[..len].to_vec()).is_err() {
                    break;
                }
            }
        });
    }
    chunks
}

/// The path in `test a::b ... `, or nothing.
fn test_of(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let rest = line.strip_prefix("test ").unwrap_or_default();
    rest.split(" ... ").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binaries_are_found_in_cargos_messages() {
        let message = r#"{"reason":"compiler-artifact","manifest_path":"/w/crates/p/Cargo.toml","target":{"kind":["test"],"name":"it","test":true},"profile":{"opt_level":"1","test":true},"features":[],"executable":"/t/it-1"}"#;
        let it = Binary { package: "p".to_owned(), path: "/t/it-1".into() };
        assert_eq!(executable(message), Some(it));
        assert_eq!(executable(&message.replace("it\"", "examples\"")), None);
        let program = message.replace("\"test\":true},\"features", "\"test\":false},\"features");
        assert_eq!(executable(&program), None);
        assert_eq!(executable(r#"{"executable":null}"#), None);
    }

    #[test]
    fn the_test_is_named_while_it_runs_and_when_it_has_failed() {
        assert_eq!(test_of(b"test a::b ... "), "a::b");
        assert_eq!(test_of(b"test a::b ... FAILED"), "a::b");
        assert_eq!(test_of(b"running 3 tests"), "");
    }
}
