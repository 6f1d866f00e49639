//! The paths that a file names: its `use` trees, and `crate::`, `super::`, `std::` in the code.

use super::file::skip_group;
use super::lexer::{Kind, Token};

/// A path outside of tests, with all its groups and aliases spelled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) line: usize,
    /// As written; the last segment of a glob is `*`.
    pub(crate) segments: Vec<String>,
    /// The name it goes by here; none for paths in the code.
    pub(crate) alias: Option<String>,
    /// How many modules written out in this file stand around it.
    pub(crate) depth: usize,
}

pub(crate) fn named(tokens: &[Token<'_>]) -> Vec<Named> {
    let text = |at: usize| tokens.get(at).map_or("", |token: &Token<'_>| token.text);
    let mut found = Vec::new();
    let mut braces = 0_usize;
    let mut modules: Vec<usize> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        let depth = modules.len();
        match token.text {
            "{" => braces += 1,
            "}" => {
                braces = braces.saturating_sub(1);
                modules.retain(|opened_at| *opened_at < braces + 1);
            }
            "mod" if text(at + 2) == "{" => modules.push(braces + 1),
            // Not the `use<..>` of a captured lifetime.
            "use" if text(at + 1) != "<" => {
                let first = found.len();
                let end = tree(tokens, at + 1, &[], depth, &mut found);
                if token.test {
                    found.truncate(first);
                }
                at = end;
                continue;
            }
            "crate" | "super" | "self" | "std"
                if text(at + 1) == "::" && !token.test && begins_path(tokens, at) =>
            {
                let (segments, end) = plain(tokens, at);
                found.push(Named { line: token.line, segments, alias: None, depth });
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Whether nothing stands before, as `a::std::b` would; `pub(in crate::x)` imports nothing.
fn begins_path(tokens: &[Token<'_>], at: usize) -> bool {
    let before = |n: usize| at.checked_sub(n).map_or("", |at| tokens[at].text);
    let rooted = before(1) == "::" && tokens[at].text == "std" && {
        at < 2 || tokens[at - 2].kind != Kind::Word
    };
    (before(1) != "::" || rooted) && !(before(1) == "in" && before(2) == "(")
}

fn plain(tokens: &[Token<'_>], start: usize) -> (Vec<String>, usize) {
    let mut segments = vec![tokens[start].text.to_owned()];
    let mut at = start + 1;
    while at + 1 < tokens.len() && tokens[at].text == "::" && tokens[at + 1].kind == Kind::Word {
        segments.push(tokens[at + 1].text.to_owned());
        at += 2;
    }
    (segments, at)
}

/// Adds the leaves of the `use` tree at `start`; the index after it.
fn tree(
    tokens: &[Token<'_>],
    start: usize,
    prefix: &[String],
    depth: usize,
    found: &mut Vec<Named>,
) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token: &Token<'_>| token.text);
    let mut segments = prefix.to_vec();
    let mut at = start;
    loop {
        match text(at) {
            "::" => at += 1,
            "{" => {
                let end = skip_group(tokens, at);
                at += 1;
                while at + 1 < end {
                    at = tree(tokens, at, &segments, depth, found);
                    at += usize::from(text(at) == ",");
                }
                return end;
            }
            word if word == "*" || tokens.get(at).is_some_and(|t| t.kind == Kind::Word) => {
                // `a::{self}` is `a` itself; `self::a` begins in this module.
                if word != "self" || segments.is_empty() {
                    segments.push(word.to_owned());
                }
                at += 1;
                if text(at) != "::" {
                    break;
                }
            }
            _ => return at + 1,
        }
    }
    let line = tokens[at - 1].line;
    let mut alias = segments.last().cloned();
    if text(at) == "as" {
        alias = Some(text(at + 1).to_owned());
        at += 2;
    }
    found.push(Named { line, segments, alias, depth });
    at
}

#[cfg(test)]
mod tests {
    use super::super::file::File;
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let file = File::new("x.rs", text);
        let show = |n: &Named| format!("{} {} {}", n.line, n.segments.join("::"), n.depth);
        named(&file.tokens).iter().map(show).collect()
    }

    #[test]
    fn groups_are_spelled_out() {
        let text = "use crate::{\n a::{self, B as C},\n d::*,\n};\nuse ::std::{fs, io};";
        let want = ["2 crate::a 0", "2 crate::a::B 0", "3 crate::d::* 0", "5 std::fs 0"];
        assert_eq!(paths(text)[..4], want);
    }

    #[test]
    fn code_counts_but_not_comments_strings_tests_or_visibility() {
        let text = "// use crate::a;\n\
            pub(in crate::b) fn f() -> impl X + use<'_> { crate::c::d(\"crate::e\") }\n\
            mod m { fn g() { super::h() } }\n\
            fn i() { ::std::fs::read(a::std::b) }\n\
            #[cfg(test)]\nmod tests { use crate::j; fn k() { crate::l() } }\n\
            #[cfg(test)] use crate::n; fn o() { super::p::Q::new() }";
        let want = ["2 crate::c::d 0", "3 super::h 1", "4 std::fs::read 0", "7 super::p::Q::new 0"];
        assert_eq!(paths(text), want);
    }
}
