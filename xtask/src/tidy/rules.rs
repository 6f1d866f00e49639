//! What holds for every Rust file of the repository, whatever its layer.

use super::file::{File, Finding, skip_group};
use super::layers::UNSAFE_FILES;
use super::lexer::{Kind, Token};

const FILE_LINES_MAX: usize = 800;
const FN_LINES_MAX: usize = 70;
/// Tests longer than this, and than the code they test, move to a file of their own.
const INLINE_TEST_LINES_MAX: usize = 100;

pub(crate) fn check(file: &File<'_>) -> Vec<Finding> {
    let mut findings = banned_words(file);
    findings.extend(unsafe_code(file));
    if file.path.ends_with("/mod.rs") && !file.is_test() {
        findings.extend(mod_rs(file));
    }
    if !file.is_test() {
        findings.extend(header(file));
        findings.extend(size(file));
        findings.extend(long_functions(file));
    }
    findings
}

fn text<'a>(file: &File<'a>, at: usize) -> &'a str {
    file.tokens.get(at).map_or("", |token| token.text)
}

fn banned_words(file: &File<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, token) in file.tokens.iter().enumerate() {
        let (next, after) = (text(file, at + 1), text(file, at + 2));
        let banned = match token.text {
            "todo" | "unimplemented" | "dbg" if next == "!" && after != "=" => {
                format!("{}! is for work in progress", token.text)
            }
            "#" if next == "[" && after == "ignore" => {
                "a test that is ignored guards nothing: run it or delete it".to_owned()
            }
            _ => continue,
        };
        findings.push(file.finding(token.line, banned));
    }
    findings
}

fn unsafe_code(file: &File<'_>) -> Vec<Finding> {
    let listed = UNSAFE_FILES.contains(&file.path);
    let mut findings = Vec::new();
    for (at, token) in file.tokens.iter().enumerate().filter(|(_, t)| t.text == "unsafe") {
        if !listed {
            let message = "unsafe stands only in the files of UNSAFE_FILES";
            findings.push(file.finding(token.line, message));
        } else if needs_proof(&file.tokens[at..]) && !has_proof(file, token.line) {
            findings.push(file.finding(token.line, "a SAFETY comment states the proof"));
        }
    }
    findings
}

/// All but attributes and the types of functions.
fn needs_proof(tokens: &[Token<'_>]) -> bool {
    let next = |n: usize| tokens.get(n).map_or("", |token| token.text);
    next(1) != "(" && !(next(1) == "fn" && next(2) == "(")
}

/// Whether the comment above the statement, or in its line, states the proof.
fn has_proof(file: &File<'_>, line: usize) -> bool {
    let states = |comment: &str| comment.contains("SAFETY:") || comment.contains("# Safety");
    let mut at = line;
    loop {
        if file.comments.iter().any(|comment| comment.line == at && states(comment.text)) {
            return true;
        }
        at -= 1;
        let Some(above) = at.checked_sub(1).map(|at| file.lines[at].trim()) else {
            return false;
        };
        let comment = above.starts_with("//") || above.starts_with("#[");
        if above.is_empty() || !comment && above.ends_with([';', '{', '}']) {
            return false;
        }
    }
}

/// Nothing but the header, declarations and re-exports.
fn mod_rs(file: &File<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut at = 0;
    while at < file.tokens.len() {
        let start = at;
        while text(file, at) == "#" {
            at += 1 + usize::from(text(file, at + 1) == "!");
            at = skip_group(&file.tokens, at);
        }
        let public = text(file, at) == "pub";
        if public {
            at += 1;
            if text(file, at) == "(" {
                at = skip_group(&file.tokens, at);
            }
        }
        let declares = text(file, at) == "mod" && text(file, at + 2) == ";";
        let shows = public && text(file, at) == "use";
        let token = &file.tokens[at.min(file.tokens.len() - 1)];
        if !declares && !shows && !token.test && at < file.tokens.len() {
            let message = "mod.rs holds the header, declarations and re-exports only";
            findings.push(file.finding(token.line, message));
            return findings;
        }
        while at < file.tokens.len() && text(file, at) != ";" {
            at = if text(file, at) == "{" { skip_group(&file.tokens, at) } else { at + 1 };
        }
        at = (at + 1).max(start + 1);
    }
    findings
}

/// The header is a `//!` before the first item.
fn header(file: &File<'_>) -> Option<Finding> {
    let mut at = 0;
    while text(file, at) == "#" && text(file, at + 1) == "!" {
        at = skip_group(&file.tokens, at + 2);
    }
    let first_item = file.tokens.get(at).map_or(usize::MAX, |token| token.line);
    let is_header = |text: &str| text.starts_with("//!") || text.starts_with("/*!");
    let found = file.comments.iter().any(|c| c.line <= first_item && is_header(c.text));
    (!found).then(|| file.finding(1, "a module opens with its header: `//!`"))
}

fn size(file: &File<'_>) -> Vec<Finding> {
    let (code, tests) = (file.code_lines(), file.test_lines);
    let mut findings = Vec::new();
    if code > FILE_LINES_MAX {
        let message = format!("{code} lines, tests apart: split past {FILE_LINES_MAX}");
        findings.push(file.finding(1, message));
    }
    if tests > code && tests > INLINE_TEST_LINES_MAX {
        let sibling = file.path.rsplit('/').next().unwrap_or_default().replace(".rs", "_test.rs");
        let message = format!("{tests} lines of tests outgrow {code} of code: move to {sibling}");
        findings.push(file.finding(1, message));
    }
    findings
}

fn long_functions(file: &File<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, token) in file.tokens.iter().enumerate() {
        let named = file.tokens.get(at + 1).is_some_and(|next| next.kind == Kind::Word);
        if token.text != "fn" || !named || token.test {
            continue;
        }
        let mut body = at;
        while !matches!(text(file, body), "{" | ";" | "") {
            let group = matches!(text(file, body), "(" | "[");
            body = if group { skip_group(&file.tokens, body) } else { body + 1 };
        }
        if text(file, body) != "{" {
            continue;
        }
        let end = skip_group(&file.tokens, body);
        let lines = file.tokens[end - 1].line - token.line + 1;
        if lines > FN_LINES_MAX {
            let name = text(file, at + 1);
            let message = format!("{name} has {lines} lines: a function fits {FN_LINES_MAX}");
            findings.push(file.finding(token.line, message));
        }
    }
    findings
}
