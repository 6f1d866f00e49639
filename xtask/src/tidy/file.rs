//! One source file: its tokens, and which of them are there for tests only.

use std::fmt;

use super::lexer::{Comment, Token, lex};

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

pub(crate) struct File<'a> {
    /// From the root of the repository, with `/`.
    pub(crate) path: &'a str,
    pub(crate) lines: Vec<&'a str>,
    pub(crate) tokens: Vec<Token<'a>>,
    pub(crate) comments: Vec<Comment<'a>>,
    /// Lines that stand in the file for tests only.
    pub(crate) test_lines: usize,
}

impl<'a> File<'a> {
    pub(crate) fn new(path: &'a str, text: &'a str) -> Self {
        let mut lexed = lex(text);
        let lines: Vec<_> = text.lines().collect();
        let test_lines = if is_test_path(path) {
            lexed.tokens.iter_mut().for_each(|token| token.test = true);
            lines.len()
        } else {
            mark_tests(&mut lexed.tokens)
        };
        Self { path, lines, tokens: lexed.tokens, comments: lexed.comments, test_lines }
    }

    pub(crate) fn is_test(&self) -> bool {
        is_test_path(self.path)
    }

    pub(crate) fn code_lines(&self) -> usize {
        self.lines.len() - self.test_lines
    }

    pub(crate) fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: self.path.to_owned(), line, message: message.into() }
    }
}

fn is_test_path(path: &str) -> bool {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    name.ends_with("_test.rs")
        || name.starts_with("test_")
        || folders.split('/').any(|folder| folder == "tests")
}

/// The index after the bracket that closes the one at `open`.
pub(crate) fn skip_group(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Marks all that `#[cfg(test)]` stands before; how many lines that is.
fn mark_tests(tokens: &mut [Token<'_>]) -> usize {
    let mut lines = 0;
    let mut at = 0;
    while at < tokens.len() {
        if !is_cfg_test(&tokens[at..]) {
            at += 1;
            continue;
        }
        let end = item_end(tokens, at);
        tokens[at..end].iter_mut().for_each(|token| token.test = true);
        lines += tokens[end - 1].line - tokens[at].line + 1;
        at = end;
    }
    lines
}

/// Whether `#[cfg(test)]`, or `#[cfg(all(test, ..))]`, stands here.
fn is_cfg_test(tokens: &[Token<'_>]) -> bool {
    let texts: Vec<_> = tokens.iter().take(7).map(|token| token.text).collect();
    texts.starts_with(&["#", "[", "cfg", "(", "test", ")"])
        || texts.starts_with(&["#", "[", "cfg", "(", "all", "(", "test"])
}

/// The index after the item, field or statement whose first attribute is at `start`.
fn item_end(tokens: &[Token<'_>], start: usize) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token: &Token<'_>| token.text);
    let mut at = start;
    while text(at) == "#" {
        at = skip_group(tokens, at + 1);
    }
    if text(at) == "pub" {
        at += 1;
        if text(at) == "(" {
            at = skip_group(tokens, at);
        }
    }
    let constant = text(at) == "const" && !matches!(text(at + 1), "fn" | "unsafe");
    let ends_at_semicolon = constant || matches!(text(at), "use" | "static" | "type" | "let");
    let item = ends_at_semicolon
        || matches!(
            text(at),
            "fn" | "impl" | "struct" | "enum" | "trait" | "mod" | "unsafe" | "async" | "extern"
        )
        || matches!(text(at), "const" | "union" | "macro_rules");
    while at < tokens.len() {
        match text(at) {
            ";" => return at + 1,
            "," if !item => return at + 1,
            ")" | "]" | "}" => return at,
            "{" if !ends_at_semicolon => return skip_group(tokens, at),
            "(" | "[" | "{" => at = skip_group(tokens, at),
            _ => at += 1,
        }
    }
    at
}
