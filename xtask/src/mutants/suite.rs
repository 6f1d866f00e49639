//! The tests of the copy: built once, and run with one mutant or none until one fails.
//!
//! A test runs alone in its process's one thread, so that the last line tells which one it is.

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

/// The binaries with tests, the fastest first.
#[derive(Debug)]
pub(crate) struct Suite {
    binaries: Vec<PathBuf>,
    /// What cargo starts tests in.
    dir: PathBuf,
    scratch: PathBuf,
    /// How many runs were begun: each has a folder of its own for its files.
    runs: AtomicUsize,
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
    pub(crate) test: String,
    pub(crate) how: &'static str,
}

impl Suite {
    /// Builds the tests of the engine in the workspace below `home`, beside which their scratch
    /// files go.
    pub(crate) fn build(home: &Path) -> Result<Self> {
        let copy = home.join("src");
        let line = "cargo test --no-run --locked -p lsm-core --lib --test it";
        let step = Step::new(line)
            .arg("--message-format=json-render-diagnostics")
            .arg("--manifest-path")
            .arg(&copy.join("Cargo.toml").display())
            // Not with the workspace's own: cargo would take one for the other.
            .env("CARGO_TARGET_DIR", &home.join("build").display());
        println!("$ {step}");
        let messages = step.output()?;
        let is_test = |line: &&str| line.contains("\"reason\":\"compiler-artifact\"");
        let binaries: Vec<PathBuf> =
            messages.lines().filter(is_test).filter_map(executable).collect();
        if binaries.len() != 2 {
            return Err(format!("the build made {} test binaries, not 2", binaries.len()).into());
        }
        let (dir, scratch) = (copy.join("crates/lsm-core"), home.join("scratch"));
        let mut suite = Self { binaries, dir, scratch, runs: AtomicUsize::new(0) };
        // Integration tests take longer than those of the library.
        let is_it = |path: &PathBuf| path.to_string_lossy().contains("/it-");
        suite.binaries.sort_by_key(is_it);
        Ok(suite)
    }

    /// The first test that fails of these, taken in turn.
    pub(crate) fn first_failure(
        &self,
        mutant: usize,
        tests: &[Which<'_>],
    ) -> Result<Option<Failure>> {
        for which in tests {
            for binary in 0..self.binaries.len() {
                if let Some(failure) = self.run(binary, mutant, *which)? {
                    return Ok(Some(failure));
                }
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
        command.arg(&self.binaries[binary]).arg("--test-threads=1");
        match which {
            Which::All => {}
            Which::Like(words) => drop(command.args(words)),
            Which::Only(test) => drop(command.arg("--exact").arg(test)),
        }
        command.current_dir(&self.dir).env("LSM_MUTANT", mutant.to_string());
        command.env("CARGO_MANIFEST_DIR", &self.dir).env("TMPDIR", &scratch);
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
            Ended::Silent(test) if test.is_empty() => Err(format!("the tests: {status}").into()),
            Ended::Silent(test) => Ok(Some(Failure { binary, test, how: "dies" })),
        }
    }
}

/// The executable of a message about what was built, if it is one of tests.
fn executable(message: &str) -> Option<PathBuf> {
    let (_, behind) = message.split_once("\"executable\":\"")?;
    let path = behind.split('"').next()?;
    message.contains("\"test\":true},").then(|| PathBuf::from(path))
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
        let message = r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"it","test":true},"profile":{"opt_level":"1","test":true},"features":[],"executable":"/t/it-1"}"#;
        assert_eq!(executable(message), Some(PathBuf::from("/t/it-1")));
        assert_eq!(executable(&message.replace("\"test\":true},", "\"test\":false},")), None);
        assert_eq!(executable(r#"{"executable":null}"#), None);
    }

    #[test]
    fn the_test_is_named_while_it_runs_and_when_it_has_failed() {
        assert_eq!(test_of(b"test a::b ... "), "a::b");
        assert_eq!(test_of(b"test a::b ... FAILED"), "a::b");
        assert_eq!(test_of(b"running 3 tests"), "");
    }
}
