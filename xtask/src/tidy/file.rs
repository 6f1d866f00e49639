//! One source file, parsed.

use std::fmt;

use super::paths::Walk;

/// What is wrong, and where.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
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

pub(crate) struct File {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) lines: usize,
    pub(crate) syntax: syn::File,
    pub(crate) walk: Walk,
}

impl File {
    pub(crate) fn parse(path: &str, text: &str) -> syn::Result<Self> {
        let syntax = syn::parse_file(text)?;
        let walk = Walk::over(&syntax, is_test_path(path));
        Ok(Self { path: path.to_owned(), lines: text.lines().count(), syntax, walk })
    }

    /// Whether it is there for tests only.
    pub(crate) fn is_test(&self) -> bool {
        is_test_path(&self.path)
    }

    pub(crate) fn test_lines(&self) -> usize {
        if self.is_test() { self.lines } else { self.walk.test_lines }
    }

    pub(crate) fn code_lines(&self) -> usize {
        self.lines - self.test_lines()
    }

    pub(crate) fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, message: message.into() }
    }
}

fn is_test_path(path: &str) -> bool {
    path.ends_with("_test.rs") || path.contains("/tests/") || path.contains("/test_")
}
