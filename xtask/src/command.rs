//! Programs as steps: printed before they run, in the form in which a shell takes them.

use std::error::Error;
use std::fmt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// One run of a program, from the root of the repository.
#[derive(Clone)]
pub(crate) struct Step {
    env: Vec<(&'static str, String)>,
    words: Vec<String>,
}

impl Step {
    /// A step from its command line, whose words hold no blanks.
    pub(crate) fn new(line: &str) -> Self {
        Self { env: Vec::new(), words: line.split_whitespace().map(str::to_owned).collect() }
    }

    pub(crate) fn arg(mut self, word: &(impl ToString + ?Sized)) -> Self {
        self.words.push(word.to_string());
        self
    }

    pub(crate) fn args<T: ToString>(mut self, words: &[T]) -> Self {
        self.words.extend(words.iter().map(ToString::to_string));
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: &(impl ToString + ?Sized)) -> Self {
        self.env.push((name, value.to_string()));
        self
    }

    /// Runs the step with the caller's output, and tells how long it took.
    pub(crate) fn run(&self) -> Result<Duration> {
        println!("$ {self}");
        let start = Instant::now();
        let status = self.command().status().map_err(|e| format!("`{self}`: {e}"))?;
        if !status.success() {
            return Err(format!("{status}; to repeat: {self}").into());
        }
        Ok(start.elapsed())
    }

    /// The standard output of the step, which must succeed.
    pub(crate) fn output(&self) -> Result<String> {
        let output = self.command().stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err(format!("{}; to repeat: {self}", output.status).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Whether the step can be started and succeeds; shows nothing.
    pub(crate) fn succeeds(&self) -> bool {
        let quiet = self.command().stdout(Stdio::null()).stderr(Stdio::null()).status();
        quiet.is_ok_and(|status| status.success())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).envs(self.env.iter().map(|(k, v)| (k, v)));
        command
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            write!(f, "{name}={} ", quoted(value))?;
        }
        let words: Vec<_> = self.words.iter().map(|word| quoted(word)).collect();
        f.write_str(&words.join(" "))
    }
}

/// Whether a C++ compiler is at hand, which the fuzzer's runtime is built with.
pub(crate) fn has_cxx() -> bool {
    let named = std::env::var("CXX").ok();
    let names = named.as_deref().map_or(vec!["c++", "g++", "clang++"], |name| vec![name]);
    names.iter().any(|name| Step::new(name).arg("--version").succeeds())
}

fn quoted(word: &str) -> String {
    if word.is_empty() || word.contains([' ', '\'', '"', '$', '*', '&', '|', ';', '<', '>']) {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else {
        word.to_owned()
    }
}
