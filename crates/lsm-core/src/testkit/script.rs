//! Tests as text: commands in, expected output out, and one switch that rewrites the file.
//!
//! A script is a file of blocks. The first line of a block is a command and its arguments,
//! then come lines of input, then `----`, then what the command must answer; an empty line
//! ends the block. Lines that start with `#` between blocks are comments.
//!
//! ```text
//! # Two tables that do not meet.
//! define table_bytes=10
//! L1 a#5-f#3
//! L2 c#2-d#1 g#2-k#1
//! ----
//! ok
//!
//! pick L1
//! ----
//! L1 a-f + L2 c-d -> L2
//! ```
//!
//! [`run`] feeds the blocks of one file, in order, to a closure and compares. With
//! `REWRITE_SCRIPTS=1` in the environment it writes the answers into the file instead: read
//! the difference before you commit it.

use std::fmt::Write as _;
use std::path::Path;

/// One block of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The first word of the first line.
    pub command: String,
    /// The other words of the first line.
    pub args: Vec<String>,
    /// The lines between the first and `----`.
    pub input: Vec<String>,
    /// The number of the first line in the file, from 1.
    pub line: usize,
    expected: Vec<String>,
    /// Comments and empty lines in front of the block, kept when the file is rewritten.
    before: Vec<String>,
}

impl Block {
    /// The value of argument `name=value`.
    pub fn arg(&self, name: &str) -> Option<&str> {
        let value = |arg: &'_ String| arg.split_once('=').is_some_and(|(key, _)| key == name);
        self.args.iter().find(|arg| value(arg)).and_then(|arg| Some(arg.split_once('=')?.1))
    }

    /// The value of argument `name=value` as a number.
    ///
    /// # Panics
    ///
    /// If the argument is there but is no number.
    pub fn number(&self, name: &str) -> Option<u64> {
        let parse = |text: &str| match text.parse() {
            Ok(number) => number,
            Err(_) => panic!("line {}: {name}={text} is not a number", self.line),
        };
        self.arg(name).map(parse)
    }
}

/// Runs the script at `path`: each block goes through `answer`, whose text is compared with
/// what the block expects. Trailing line ends do not count.
///
/// # Panics
///
/// If an answer differs, after all blocks have run; if the file cannot be read or is no
/// script; if an answer holds an empty line, which would end the block.
pub fn run(path: impl AsRef<Path>, mut answer: impl FnMut(&Block) -> String) {
    let path = path.as_ref();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => panic!("could not read {}: {error}", path.display()),
    };
    let (mut blocks, tail) = match parse(&text) {
        Ok(parsed) => parsed,
        Err((line, problem)) => panic!("{}:{line}: {problem}", path.display()),
    };
    let mut report = String::new();
    for block in &mut blocks {
        let place = format!("{}:{}: {}", path.display(), block.line, block.command);
        let found: Vec<String> = answer(block).trim_end().lines().map(str::to_owned).collect();
        assert!(
            !found.iter().any(|line| line.trim().is_empty()),
            "{place}: empty line in {found:?}"
        );
        if found != block.expected {
            let _ = writeln!(report, "{place} {}\n{}", block.args.join(" "), diff(block, &found));
            block.expected = found;
        }
    }
    if report.is_empty() {
        return;
    }
    if std::env::var_os("REWRITE_SCRIPTS").is_some_and(|value| value == "1") {
        rewrite(path, &render(&blocks, &tail));
        return;
    }
    panic!("answers differ (- expected, + found; REWRITE_SCRIPTS=1 takes them over)\n\n{report}");
}

#[allow(clippy::disallowed_methods, reason = "scripts are sources, not database files")]
fn rewrite(path: &Path, text: &str) {
    if let Err(error) = std::fs::write(path, text) {
        panic!("could not rewrite {}: {error}", path.display());
    }
}

/// A line, and why it is not part of a script.
type Problem = (usize, &'static str);

/// The blocks, and the comments behind the last one; or the line where no script was found.
fn parse(text: &str) -> Result<(Vec<Block>, Vec<String>), Problem> {
    let mut blocks = Vec::new();
    let mut before = Vec::new();
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim_end()));
    while let Some((line, first)) = lines.next() {
        if first.is_empty() || first.starts_with('#') {
            before.push(first.to_owned());
            continue;
        }
        let mut words = first.split_whitespace().map(str::to_owned);
        let command = words.next().ok_or((line, "a block begins with a command"))?;
        let mut input = Vec::new();
        loop {
            match lines.next() {
                None => return Err((line, "the block has no ----")),
                Some((_, "----")) => break,
                Some((at, "")) => return Err((at, "empty line before ----")),
                Some((_, text)) => input.push(text.to_owned()),
            }
        }
        let output = lines.by_ref().take_while(|(_, line)| !line.is_empty());
        let expected = output.map(|(_, line)| line.to_owned()).collect();
        let before = std::mem::take(&mut before);
        blocks.push(Block { command, args: words.collect(), input, line, expected, before });
    }
    Ok((blocks, before))
}

fn render(blocks: &[Block], tail: &[String]) -> String {
    let mut text = String::new();
    for (at, block) in blocks.iter().enumerate() {
        let mut first = vec![block.command.clone()];
        first.extend(block.args.iter().cloned());
        let (first, rule) = ([first.join(" ")], ["----".to_owned()]);
        for line in block.before.iter().chain(&first).chain(&block.input).chain(&rule) {
            let _ = writeln!(text, "{line}");
        }
        for line in &block.expected {
            let _ = writeln!(text, "{line}");
        }
        if at + 1 < blocks.len() || !tail.is_empty() {
            text.push('\n');
        }
    }
    for line in tail {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// Lines that both share at the front and back, and between them what differs.
fn diff(block: &Block, found: &[String]) -> String {
    let expected = &block.expected;
    let front = expected.iter().zip(found).take_while(|(a, b)| a == b).count();
    let (old, new) = (&expected[front..], &found[front..]);
    let back = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let mut text = String::new();
    let parts = [
        ("  ", &expected[..front]),
        ("- ", &old[..old.len() - back]),
        ("+ ", &new[..new.len() - back]),
        ("  ", &old[old.len() - back..]),
    ];
    for (mark, lines) in parts {
        for line in lines {
            let _ = writeln!(text, "  {mark}{line}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "# Why.\nadd a=1 b=2\nin\n----\nout\n\nempty\n----\n\n\n# End.\n";

    #[test]
    fn a_script_comes_back_as_it_was() {
        let (blocks, tail) = parse(SCRIPT).unwrap();
        assert_eq!(blocks.len(), 2);
        assert_eq!((blocks[0].line, blocks[1].line), (2, 7));
        assert_eq!((blocks[0].number("b"), blocks[0].arg("c")), (Some(2), None));
        assert_eq!(blocks[0].input, ["in"]);
        assert_eq!(render(&blocks, &tail), SCRIPT);
    }

    #[test]
    fn what_is_no_script_is_named() {
        assert_eq!(parse("a\nb\n").unwrap_err().0, 1);
        assert_eq!(parse("a\n\n----\n").unwrap_err().0, 2);
    }

    #[test]
    fn a_difference_shows_its_lines() {
        let mut block = parse("a\n----\none\ntwo\nthree\n").unwrap().0.remove(0);
        let found = ["one", "2", "three"].map(str::to_owned);
        assert_eq!(diff(&block, &found), "    one\n  - two\n  + 2\n    three\n");
        block.expected.clear();
        assert_eq!(diff(&block, &[]), "");
    }
}
