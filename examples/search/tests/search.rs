//! Runs the program as a user would, and looks at what it says.

#![allow(clippy::disallowed_methods, reason = "runs programs on files of its own")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const SEARCH: &str = env!("CARGO_BIN_EXE_search");

/// As under `| head`, but each time: the reader is gone before the first line.
#[test]
fn nobody_panics_when_the_reader_has_gone() {
    let corpus = Corpus::new();
    corpus.write("a.txt", "alpha");
    let mut command = corpus.command(&["alpha", "--stats", "--verify"]);
    let complaint = text(&command.stdout(gone()).output().unwrap().stderr);
    assert!(!complaint.contains("panicked"), "{complaint}");
    // Nor where both streams go there.
    let status = command.stdout(gone()).stderr(gone()).status().unwrap();
    assert_ne!(status.code(), Some(101), "{status}");
}

/// The writing end of a pipe that nobody reads.
fn gone() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn finds_words_and_beginnings() {
    let corpus = Corpus::new();
    corpus.write("a.txt", "Alpha beta, WORLD_wide\nÉlan 42");
    corpus.write("b/b.html", "<p class='alpha'>be<wbr>ta &lt;b&gt; &#71;amma<br>delta</p>");
    corpus.write("b/c.rs", "fn betamax() {}");
    corpus.write("b.txt", "gamma");
    corpus.write(".hidden/d.txt", "alpha");
    corpus.write("picture", [0x89, b'P', 0, 0xff]);
    let shown = corpus.search(&["alpha"]);
    assert!(shown.contains("indexed 4 files") && shown.contains("1 not text"), "{shown}");
    assert!(shown.ends_with("      1  a.txt:1\n"), "{shown}");
    assert!(corpus.search(&["--help"]).contains("`_` too"), "words are explained");
    let cases: [(&[&str], &[&str]); 11] = [
        (&["alpha"], &["a.txt"]),
        (&["BETA"], &["a.txt", "b/b.html"]),
        (&["beta*"], &["a.txt", "b/b.html", "b/c.rs"]),
        (&["gamma"], &["b.txt", "b/b.html"]),
        (&["beta", "gamma"], &["b/b.html"]),
        (&["world_wide"], &["a.txt"]),
        (&["World-Wi*"], &["a.txt"]),
        (&["fn::*"], &["b/c.rs"]),
        (&["élan", "4*"], &["a.txt"]),
        (&["class"], &[]),
        (&["bet"], &[]),
    ];
    for (words, want) in cases {
        assert_eq!(corpus.list(words), BTreeSet::from_iter(want.iter().map(ToString::to_string)));
    }
}

#[test]
fn shows_progress_without_a_terminal() {
    let corpus = Corpus::new();
    corpus.write("a.txt", "alpha");
    let output = corpus.command(&["alpha"]).output().unwrap();
    let progress = text(&output.stderr);
    assert!(progress.starts_with("indexing: 5 B of 5 B\n"), "{progress}");
    let unchanged = corpus.command(&["alpha"]).output().unwrap();
    assert_eq!(text(&unchanged.stderr), "", "nothing to index");
}

#[test]
fn reads_only_what_changed() {
    let corpus = Corpus::new();
    for i in 0..20 {
        corpus.write(&format!("{i}.txt"), format!("common word{i}"));
    }
    corpus.write("a-b.txt", "common");
    corpus.write("a/b.txt", "common");
    assert!(corpus.search(&["common"]).contains("common: 22 files"));
    assert!(corpus.search(&["common"]).contains("indexed 0 files"));

    corpus.write("3.txt", "something new altogether");
    corpus.write("4.txt", [0, 1, 2]);
    corpus.write("new.txt", "common");
    fs::remove_file(corpus.files().join("5.txt")).unwrap();
    fs::remove_dir_all(corpus.files().join("a")).unwrap();
    let shown = corpus.search(&["common"]);
    assert!(shown.contains("indexed 2 files"), "{shown}");
    assert!(shown.contains("18 unchanged, 2 gone, 1 not text"), "{shown}");
    assert!(shown.contains("common: 19 files"), "{shown}");
    for gone in ["word3", "word4", "word5"] {
        assert!(corpus.list(&[gone]).is_empty());
    }
    assert_eq!(corpus.list(&["altogether"]).len(), 1);
    assert!(corpus.search(&["--verify"]).contains("20 files, 39 postings"));
}

/// Kills the indexing by force again and again, later each time, until one run gets through.
#[test]
#[cfg(unix)]
fn survives_being_killed() {
    let corpus = Corpus::new();
    for i in 0..600 {
        let words: Vec<_> = (0..300).map(|word| format!("w{}", word * (i % 7 + 1))).collect();
        corpus.write(&format!("{}/{i}.txt", i % 10), words.join(" "));
    }
    let mut kills = 0;
    loop {
        let wait = Duration::from_millis(10 + 15 * kills);
        let mut child = Killed(corpus.command(&["--list", "w0"]).spawn().unwrap());
        let start = Instant::now();
        while start.elapsed() < wait && child.0.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        if let Some(status) = child.0.try_wait().unwrap() {
            let complaint = std::io::read_to_string(child.0.stderr.take().unwrap()).unwrap();
            assert!(status.success(), "{status}: {complaint}");
            break;
        }
        drop(child);
        kills += 1;
        if corpus.index().join("CURRENT").exists() {
            check_half_done(&corpus);
        }
    }
    assert!(kills > 0, "the first wait is too short to finish in");
    let shown = corpus.search(&["--verify"]);
    assert!(shown.contains("indexed 0 files") && shown.contains("600 unchanged"), "{shown}");
    assert!(shown.contains("600 files, 180,000 postings"), "{shown}");
    assert_eq!(corpus.list(&["w0"]).len(), 600);
    // 298 is 298 * 1 and 149 * 2: the files whose words are multiples of 1 or of 2.
    assert_eq!(corpus.list(&["w298"]).len(), 172);
}

/// Whatever is in the index after a kill is whole. Before the keyspaces are made there is none.
#[cfg(unix)]
fn check_half_done(corpus: &Corpus) {
    let output = corpus.command(&["--as-is", "--verify"]).output().unwrap();
    let (shown, complaint) = (text(&output.stdout), text(&output.stderr));
    let none_yet = complaint.contains("there is no keyspace");
    assert!(shown.contains("undamaged and complete") || none_yet, "{shown}{complaint}");
}

#[test]
fn says_what_to_do_about_mistakes() {
    let corpus = Corpus::new();
    corpus.write("a.txt", "alpha");
    let complaint = |args: &[&str]| {
        let output = corpus.command(args).output().unwrap();
        assert!(!output.status.success(), "{args:?}");
        text(&output.stderr)
    };
    assert!(complaint(&["--as-is", "alpha"]).contains("run once without it first"));
    assert!(complaint(&["*"]).contains("no letter or digit"));
    assert!(complaint(&["alpha", "::"]).contains("no letter or digit"));
    assert!(complaint(&[&"x".repeat(129)]).contains("over 128 bytes"));
    corpus.search(&["alpha"]);

    let held = lsm_core::Db::open(corpus.index()).unwrap();
    assert!(complaint(&["alpha"]).contains("another search uses the index"));
    held.flush().unwrap();
    held.close().unwrap();

    let mut tables = fs::read_dir(corpus.index()).unwrap().map(|entry| entry.unwrap().path());
    let table = tables.find(|path| path.extension().is_some_and(|end| end == "table"));
    let table = table.expect("a flush makes a table");
    let mut bytes = fs::read(&table).unwrap();
    bytes[10] ^= 1;
    fs::write(&table, bytes).unwrap();
    let shown = complaint(&["--as-is", "--verify"]);
    assert!(shown.contains(table.file_name().unwrap().to_str().unwrap()), "{shown}");
    assert!(shown.contains("delete that folder and run again"), "{shown}");

    let wrong = Command::new(SEARCH).arg("/no/such/folder").output().unwrap();
    assert!(text(&wrong.stderr).contains("cannot search /no/such/folder"));
}

/// Files to search, and a place for their index.
struct Corpus(tempfile::TempDir);

impl Corpus {
    fn new() -> Self {
        let corpus = Self(tempfile::tempdir().unwrap());
        fs::create_dir(corpus.files()).unwrap();
        corpus
    }

    fn files(&self) -> PathBuf {
        self.0.path().join("files")
    }

    fn index(&self) -> PathBuf {
        self.0.path().join("index")
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.files().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(SEARCH);
        command.arg("--index").arg(self.index()).arg(self.files()).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn search(&self, args: &[&str]) -> String {
        succeed(&self.command(args).output().unwrap())
    }

    /// The files that hold all words, as paths from the corpus on.
    fn list(&self, words: &[&str]) -> BTreeSet<String> {
        let shown = self.search(&[&["--list"], words].concat());
        let root = fs::canonicalize(self.files()).unwrap();
        let strip = |line: &str| path(Path::new(line).strip_prefix(&root).unwrap()).to_owned();
        shown.lines().map(strip).collect()
    }
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // SIGKILL on Unix; it may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn succeed(output: &Output) -> String {
    let (shown, complaint) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{shown}{complaint}", output.status);
    shown
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
