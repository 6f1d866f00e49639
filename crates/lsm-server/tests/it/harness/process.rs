//! One process, and what can be done to it.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Lines of a log that are printed when a test fails.
const LOG_LINES_SHOWN: usize = 60;

/// The program under test, without the settings of whoever runs the tests.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lsm-server"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("LSM_")) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn run<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Output {
    program().args(arguments).output().unwrap()
}

/// A process whose standard error goes to a file. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a node; what it says is added to `log`. It ends when this process does.
    pub(crate) fn start(arguments: &[String], log: &Path) -> Self {
        Self::start_within(None, arguments, log)
    }

    /// As [`start`](Self::start); it may have so many open files and no more.
    pub(crate) fn start_within(
        open_files_max: Option<u32>,
        arguments: &[String],
        log: &Path,
    ) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut command = program();
        if let Some(count) = open_files_max {
            // The shell becomes the program.
            let limited = format!("ulimit -n {count} && exec \"$0\" \"$@\"");
            let program = std::mem::replace(&mut command, Command::new("sh"));
            command.args(["-c", &limited]).arg(program.get_program());
            for (name, _) in program.get_envs() {
                command.env_remove(name);
            }
        }
        command.args(arguments).arg("--stop-with-stdin").stdin(Stdio::piped());
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: command.spawn().unwrap(), log: log.to_owned() }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
        assert!(sent.success(), "kill -{name} {pid}: {sent}");
    }

    /// Memory that is its own, in bytes: what files it maps does not count.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Waits until it has ended.
    pub(crate) async fn wait(&mut self, time_max: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(start.elapsed() < time_max, "it did not end within {time_max:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The end of what it said.
    pub(crate) fn log_end(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.ended();
        self.kill();
        if std::thread::panicking() {
            let state = ended.map_or("was running".to_owned(), |status| status.to_string());
            eprintln!("---- {} ({state})\n{}", self.log.display(), self.log_end());
        }
    }
}
