//! Rust source as tokens with their lines; comments and the insides of literals apart.
//!
//! Enough of the language to tell code from text: nested comments, raw and byte strings,
//! lifetimes against characters, raw identifiers. `::` is one token, other punctuation is a
//! token a character.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Word,
    Punct,
    Literal,
}

#[derive(Clone, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    /// Counted from one.
    pub(crate) line: usize,
    /// Whether it belongs to tests only; see `file`.
    pub(crate) test: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Comment<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

pub(crate) struct Lexed<'a> {
    pub(crate) tokens: Vec<Token<'a>>,
    pub(crate) comments: Vec<Comment<'a>>,
}

pub(crate) fn lex(text: &str) -> Lexed<'_> {
    let mut lexed = Lexed { tokens: Vec::new(), comments: Vec::new() };
    let mut at = 0;
    let mut line = 1;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let (len, kind) = if c.is_whitespace() {
            (c.len_utf8(), None)
        } else if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), None)
        } else if rest.starts_with("/*") {
            (block_comment_len(rest), None)
        } else if let Some(len) = literal_len(rest) {
            (len, Some(Kind::Literal))
        } else if is_word(c) {
            let start = if rest.starts_with("r#") { 2 } else { 0 };
            (start + word_len(&rest[start..]), Some(Kind::Word))
        } else if rest.starts_with("::") {
            (2, Some(Kind::Punct))
        } else {
            (c.len_utf8(), Some(Kind::Punct))
        };
        let piece = &rest[..len];
        match kind {
            Some(kind) => lexed.tokens.push(Token { kind, text: piece, line, test: false }),
            None if piece.starts_with('/') => lexed.comments.push(Comment { text: piece, line }),
            None => {}
        }
        line += piece.matches('\n').count();
        at += len;
    }
    lexed
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn word_len(text: &str) -> usize {
    text.find(|c| !is_word(c)).unwrap_or(text.len())
}

fn block_comment_len(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of the string, character, number or lifetime that `text` starts with.
fn literal_len(text: &str) -> Option<usize> {
    let prefix = word_len(text);
    let rest = &text[prefix..];
    match &text[..prefix] {
        "r" | "br" | "cr" if rest.starts_with(['"', '#']) => {
            raw_string_len(rest).map(|len| prefix + len)
        }
        "" | "b" | "c" if rest.starts_with('"') => Some(prefix + quoted_len(rest, '"')),
        "b" if rest.starts_with('\'') => Some(prefix + quoted_len(rest, '\'')),
        "" if rest.starts_with('\'') => Some(char_or_lifetime_len(rest)),
        word if word.starts_with(|c: char| c.is_ascii_digit()) => Some(prefix),
        _ => None,
    }
}

/// None where `#` starts a raw identifier instead.
fn raw_string_len(text: &str) -> Option<usize> {
    let hashes = text.len() - text.trim_start_matches('#').len();
    if !text[hashes..].starts_with('"') {
        return None;
    }
    let end = format!("\"{}", &text[..hashes]);
    let body = hashes + 1;
    Some(text[body..].find(&end).map_or(text.len(), |at| body + at + end.len()))
}

fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

fn char_or_lifetime_len(text: &str) -> usize {
    let mut chars = text[1..].chars();
    let first = chars.next();
    if first == Some('\\') || chars.next() == Some('\'') {
        quoted_len(text, '\'')
    } else {
        1 + word_len(&text[1..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<&str> {
        lex(text).tokens.iter().map(|token| token.text).collect()
    }

    #[test]
    fn code_is_told_from_text() {
        let text = r##"use a::b; /* x /* y */ z */ "use \" c" r#"d " e"# b'\'' '"' 'a r#type"##;
        let want = [
            "use",
            "a",
            "::",
            "b",
            ";",
            "\"use \\\" c\"",
            "r#\"d \" e\"#",
            "b'\\''",
            "'\"'",
            "'a",
            "r#type",
        ];
        assert_eq!(tokens(text), want);
        assert_eq!(tokens("x..=1.5e3 'é' // end"), ["x", ".", ".", "=", "1", ".", "5e3", "'é'"]);
    }

    #[test]
    fn lines_count_through_strings_and_comments() {
        let lexed = lex("a\n/* \n */ \"\n\" b // c\nd");
        let lines: Vec<_> = lexed.tokens.iter().map(|token| (token.text, token.line)).collect();
        assert_eq!(lines, [("a", 1), ("\"\n\"", 3), ("b", 4), ("d", 5)]);
        let comments: Vec<_> = lexed.comments.iter().map(|comment| comment.line).collect();
        assert_eq!(comments, [2, 4]);
    }
}
