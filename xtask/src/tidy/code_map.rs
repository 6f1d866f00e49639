//! The code maps of `docs/ARCHITECTURE.md` name what there is.
//!
//! A crate is named as a whole, or each of its rows in the table of layers is. What stands in the
//! first column of a map is of the crate in front of it (`lsm-raft/node`), or of the one whose `src`
//! the text above named last.

use std::collections::BTreeSet;

use super::file::Finding;
use super::layers::Crate;

pub(crate) const PATH: &str = "docs/ARCHITECTURE.md";

pub(crate) fn check(table: &[Crate<'_>], document: &str) -> Vec<Finding> {
    let named = names(table, document);
    let is_named = |of: &str, name: &str| named.contains(&(of, name.trim_end_matches('/')));
    let mut findings = Vec::new();
    for krate in table {
        let missing = krate.rows.iter().filter(|row| !is_named(krate.name, row.name));
        let missing: Vec<_> = missing.map(|row| row.name).collect();
        if missing.is_empty() || missing.len() == krate.rows.len() && is_named(krate.name, "") {
            continue;
        }
        let message = format!("no code map names {} of {}", missing.join(", "), krate.name);
        findings.push(Finding { path: PATH.to_owned(), line: 1, message });
    }
    findings
}

/// Crates and what of them is named; nothing for a crate as a whole.
fn names<'a>(table: &[Crate<'_>], document: &'a str) -> BTreeSet<(&'a str, &'a str)> {
    let is_crate = |name: &str| table.iter().any(|krate| krate.name == name);
    let (mut named, mut in_map, mut current) = (BTreeSet::new(), false, "");
    for line in document.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            in_map = heading.starts_with("Code map");
        }
        if !in_map {
            continue;
        }
        let cell = line.strip_prefix('|').and_then(|row| row.split('|').next());
        // What stands in backticks is every second piece.
        for word in cell.unwrap_or(line).split('`').skip(1).step_by(2) {
            let (first, rest) = word.split_once('/').unwrap_or((word, ""));
            match cell {
                None => {
                    let source = word.strip_prefix("crates/").and_then(|w| w.strip_suffix("/src"));
                    current = source.unwrap_or(current);
                }
                Some(_) if is_crate(first) => {
                    current = first;
                    named.insert((current, rest.trim_end_matches('/')));
                }
                Some(_) => drop(named.insert((current, word.trim_end_matches('/')))),
            }
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::layers::parse;

    const TABLE: &str = "
one
    db/      L1
    a.rs     L0
two
    db/      L1
    a.rs     L0
three
    b.rs     L0
";

    fn found(document: &str) -> Vec<String> {
        check(&parse(TABLE), document).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn what_no_map_names_is_found() {
        let all = "## Code map\n`crates/one/src`:\n| `db/`, `a.rs` | x |\n## Code map, too\n\
            | `two/db`, `a.rs` | `three` |\n| `three` | y |\n";
        assert_eq!(found(all), [""; 0]);
        assert_eq!(found(&all.replace("`db/`, ", "")), ["no code map names db/ of one"]);
        assert_eq!(
            found(&all.replace("`two/db`, `a.rs`", "`two/db`")),
            ["no code map names a.rs of two"]
        );
        assert_eq!(
            found(&all.replace("| `three` | y", "| y")),
            ["no code map names b.rs of three"]
        );
        let none = all.replace("Code map", "Map");
        assert_eq!(found(&none).len(), 3);
    }
}
