//! Runs every example as a user would, and looks at what it says.
//!
//! `cargo test` builds the examples before it runs this; after a change to one,
//! `cargo test --test examples` alone does not.

#![allow(clippy::disallowed_methods, reason = "runs programs on files of its own")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

#[test]
fn first() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let shown = run("first", &[path(dir.path())]);
        let planets = "planet/earth has one moon\nplanet/mars has two moons\n";
        assert!(shown.contains(planets), "{shown}");
        let range = "from mars on: planet/mars\nfrom mars on: star/sun\n";
        assert!(shown.contains(range), "{shown}");
        assert!(shown.contains("mars: None"), "{shown}");
    }
}

/// As under `| head`, but each time: the reader is gone before the first line.
#[test]
fn nobody_panics_when_the_reader_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["first", "counter", "bank", "queue", "timeseries", "backup"] {
        let mut command = Command::new(example(name));
        command
            .arg(dir.path().join(name))
            .stdin(Stdio::null())
            .stdout(gone())
            .stderr(Stdio::piped());
        let complaint = text(&command.output().unwrap().stderr);
        assert!(!complaint.contains("panicked"), "{command:?}: {complaint}");
        // Nor where both streams go there.
        let status = command.stderr(gone()).status().unwrap();
        assert_ne!(status.code(), Some(101), "{command:?}: {status}");
    }
}

/// The writing end of a pipe that nobody reads.
fn gone() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn the_readmes_show_the_first_example() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let example = fs::read_to_string(root.join("examples/first.rs")).unwrap();
    let code = &example[example.find("use ").unwrap()..];
    for name in ["README.md", "crates/lsm-core/README.md"] {
        let readme = fs::read_to_string(root.join(name)).unwrap();
        assert!(readme.contains(code), "{name} and examples/first.rs differ");
    }
}

#[test]
fn counter_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    for start in [0, 20_000] {
        let shown = run("counter", &[path(dir.path())]);
        let end = start + 20_000;
        assert!(shown.contains(&format!("at the start: {start} visits")), "{shown}");
        assert!(shown.contains(&format!("{end} in total, {end} over all pages")), "{shown}");
    }
}

#[test]
fn bank_loses_and_makes_no_money() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let shown = run("bank", &[path(dir.path())]);
        assert!(shown.contains("20000 transfers by 4 tellers"), "{shown}");
        assert!(shown.contains("100000 on all accounts, as before"), "{shown}");
    }
}

#[test]
fn queue_gives_each_job_to_one_worker() {
    let dir = tempfile::tempdir().unwrap();
    for all in [10_000, 20_000] {
        let shown = run("queue", &[path(dir.path())]);
        assert!(shown.contains(&format!("{all} jobs done in all, 0 left")), "{shown}");
    }
}

#[test]
fn timeseries() {
    let shown = run("timeseries", &[]);
    assert!(shown.contains("60 samples, at most 22.0"), "{shown}");
    assert!(shown.contains("deleted 228960 samples older than 7 days"), "{shown}");
    assert!(shown.contains("samples left: 30240\ndaily means kept: 180"), "{shown}");
    let sizes = shown.lines().find(|line| line.starts_with("raw samples on disk")).unwrap();
    let sizes: Vec<u64> = sizes.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(sizes[1] * 4 < sizes[0], "the space is given back: {sizes:?}");
}

#[test]
fn backup() {
    let dir = tempfile::tempdir().unwrap();
    for number in 1..=2 {
        let shown = run("backup", &[path(dir.path())]);
        assert!(shown.contains("restored: 50000 accounts with their balance"), "{shown}");
        assert!(shown.contains("of its own: 50000 accounts are broken"), "{shown}");
        assert!(dir.path().join(format!("backup-{number}")).is_dir());
    }
}

fn run(name: &str, args: &[&str]) -> String {
    succeed(&Command::new(example(name)).args(args).output().unwrap())
}

fn succeed(output: &Output) -> String {
    let (shown, complaint) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{shown}{complaint}", output.status);
    shown
}

/// Where cargo puts examples: beside the folder that this test lies in.
fn example(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    let example = folder.join("examples").join(format!("{name}{}", env::consts::EXE_SUFFIX));
    assert!(example.exists(), "{} is missing: run `cargo build --examples`", example.display());
    example
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
