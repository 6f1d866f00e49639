//! Mutants as they are written down: text in, definitions out. Touches no file.
//!
//! ```text
//! mutant sync-forgets-newest-file
//! file wal/syncer.rs
//! breaks a sync covers every file that was written to
//! tests wal::syncer crash
//! | let files = «state.files.clone() ⇒ state.files[1..].to_vec()»;
//! ```
//!
//! The lines behind bars are a piece of the source, which must be there exactly once; white space
//! does not count. What stands between the marks is replaced while the mutant is on: an expression
//! by an expression, a statement by a statement, nothing by a statement or the other way round.
//! Where that cannot be said so, the right side holds both, told apart by the word `MUTANT`. A
//! mutant may have several places, of one or several files. Lines that begin with `#` are comments.

use crate::command::Result;

/// One mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mutant {
    pub(crate) name: String,
    /// The crate whose tests are to notice.
    pub(crate) package: String,
    /// The promise that it breaks: why it is wrong.
    pub(crate) breaks: String,
    /// Words of the paths of tests that are likely to notice: these run first.
    pub(crate) tests: Vec<String>,
    pub(crate) places: Vec<Place>,
}

/// One place of the source that a mutant changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// From the root of the workspace.
    pub(crate) file: String,
    pub(crate) pieces: Vec<Piece>,
}

/// A stretch of the source's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Stays as it is.
    Same(String),
    Changed {
        old: String,
        new: String,
    },
}

/// Reads the definitions of one file; they name files below the sources of `package`.
pub(crate) fn parse(package: &str, text: &str) -> Result<Vec<Mutant>> {
    let mut mutants: Vec<Mutant> = Vec::new();
    let (mut file, mut code) = (String::new(), String::new());
    // One line more, so that the last place is ended too.
    for (at, line) in text.lines().chain([""]).enumerate() {
        let wrong = |what: &str| format!("line {}: {what}: {line}", at + 1);
        if let Some(rest) = line.strip_prefix('|') {
            code.push_str(rest);
            code.push('\n');
            continue;
        }
        if !code.is_empty() {
            let mutant = mutants.last_mut().ok_or_else(|| wrong("code of no mutant above"))?;
            let pieces = pieces(&code).map_err(|error| wrong(&error))?;
            mutant.places.push(Place { file: file.clone(), pieces });
            code.clear();
        }
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once(' ').ok_or_else(|| wrong("a word is alone"))?;
        let rest = rest.trim().to_owned();
        if word == "mutant" {
            let (package, breaks) = (package.to_owned(), String::new());
            let (tests, places) = (Vec::new(), Vec::new());
            mutants.push(Mutant { name: rest, package, breaks, tests, places });
            continue;
        }
        let mutant = mutants.last_mut().ok_or_else(|| wrong("no mutant was begun"))?;
        match word {
            "file" => file = format!("crates/{package}/src/{rest}"),
            "breaks" => mutant.breaks = rest,
            "tests" => mutant.tests = rest.split_whitespace().map(str::to_owned).collect(),
            _ => return Err(wrong("an unknown word").into()),
        }
    }
    for mutant in &mutants {
        if mutant.breaks.is_empty() || mutant.tests.is_empty() || mutant.places.is_empty() {
            return Err(format!("mutant {} lacks a promise, tests or a place", mutant.name).into());
        }
    }
    Ok(mutants)
}

fn pieces(code: &str) -> std::result::Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = code;
    while let Some((same, marked)) = rest.split_once('«') {
        let (change, behind) = marked.split_once('»').ok_or("« without »")?;
        let (old, new) = change.split_once('⇒').ok_or("no ⇒ between « and »")?;
        let (old, new) = (old.trim().to_owned(), new.trim().to_owned());
        pieces.extend([Piece::Same(same.to_owned()), Piece::Changed { old, new }]);
        rest = behind;
    }
    if pieces.is_empty() {
        return Err("nothing is marked".to_owned());
    }
    pieces.push(Piece::Same(rest.to_owned()));
    Ok(pieces)
}
