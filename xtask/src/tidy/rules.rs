//! What holds for every Rust file of the repository, whatever its layer.

use syn::{Item, Visibility};

use super::file::{File, Finding};
use super::paths::line;

const FILE_LINES_MAX: usize = 800;
/// Tests longer than this, and than the code they test, move to a file of their own.
const INLINE_TEST_LINES_MAX: usize = 100;

pub(crate) fn check(file: &File) -> Vec<Finding> {
    let message = "a test that is ignored guards nothing: run it or delete it";
    let ignored = file.walk.ignored.iter().map(|line| file.finding(*line, message));
    let mut findings: Vec<_> = ignored.collect();
    if !file.is_test() {
        findings.extend(header(file));
        findings.extend(mod_rs(file));
        findings.extend(size(file));
    }
    findings
}

fn header(file: &File) -> Option<Finding> {
    let found = file.syntax.attrs.iter().any(|attribute| attribute.path().is_ident("doc"));
    (!found).then(|| file.finding(1, "a module opens with its header: `//!`"))
}

fn mod_rs(file: &File) -> Option<Finding> {
    let fits = |item: &Item| match item {
        Item::Mod(module) => module.content.is_none(),
        Item::Use(item) => !matches!(item.vis, Visibility::Inherited),
        _ => false,
    };
    let mut items = file.syntax.items.iter().filter(|_| file.path.ends_with("/mod.rs"));
    let other = items.find(|item| !fits(item))?;
    let message = "mod.rs holds the header, declarations and re-exports only";
    Some(file.finding(line(other), message))
}

fn size(file: &File) -> Vec<Finding> {
    let (code, tests) = (file.code_lines(), file.test_lines());
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
