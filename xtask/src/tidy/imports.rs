//! Holds the imports of the crates against the table of layers.
//!
//! Every path is followed to the file that it means, through the re-exports of `mod.rs` and
//! `lib.rs`. Across rows of the table their layers decide. Inside a folder any order is good
//! that has no cycle. Tests import what they like.

use std::collections::BTreeMap;

use super::file::{File, Finding};
use super::layers::{Crate, Row};
use super::paths::Named;

/// How many re-exports a path is followed through.
const REEXPORTS_MAX: usize = 8;

/// For each source those of its own folder that it imports, and at which line first.
type Edges = BTreeMap<usize, BTreeMap<usize, usize>>;

pub(crate) fn check(specs: &[Crate<'_>], files: &[File]) -> Vec<Finding> {
    let mut findings: Vec<_> = specs.iter().flat_map(|spec| check_crate(spec, files)).collect();
    let is_listed = |path: &str| specs.iter().any(|spec| path.starts_with(&spec.below()));
    let is_root = |path: &str| {
        path.starts_with("crates/")
            && (path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs"))
    };
    let unlisted = files.iter().filter(|file| is_root(&file.path) && !is_listed(&file.path));
    findings.extend(unlisted.map(|file| file.finding(1, "this crate has no table of layers")));
    findings
}

fn check_crate(spec: &Crate<'_>, files: &[File]) -> Vec<Finding> {
    let tree = Tree::new(spec, files);
    let mut findings = tree.unlisted();
    let mut edges = Edges::new();
    for (from, source) in tree.sources.iter().enumerate() {
        for path in &source.file.walk.paths {
            if let Some(message) = tree.banned_outside(source, path) {
                findings.push(source.file.finding(path.line, message));
            }
            let Some(to) = tree.target(source, path).filter(|to| *to != from) else {
                continue;
            };
            if let Some(message) = verdict(source, path, &tree.sources[to]) {
                findings.push(source.file.finding(path.line, message));
            }
            if !source.is_face() && source.row == tree.sources[to].row {
                edges.entry(from).or_default().entry(to).or_insert(path.line);
            }
        }
    }
    findings.extend(cycle(edges.clone()).map(|cycle| tree.tell(&cycle, &edges)));
    findings
}

struct Source<'a> {
    file: &'a File,
    /// Below `src/`.
    name: &'a str,
    module: Vec<String>,
    row: Option<&'a Row<'a>>,
}

impl Source<'_> {
    /// Whether it only shows what other files hold.
    fn is_face(&self) -> bool {
        self.is_root() || self.name.ends_with("/mod.rs")
    }

    fn is_root(&self) -> bool {
        matches!(self.name, "lib.rs" | "main.rs")
    }
}

struct Tree<'a> {
    spec: &'a Crate<'a>,
    sources: Vec<Source<'a>>,
    modules: BTreeMap<Vec<String>, usize>,
}

impl<'a> Tree<'a> {
    fn new(spec: &'a Crate<'a>, files: &'a [File]) -> Self {
        let below = spec.below();
        let source = |file: &'a File| {
            let name = file.path.strip_prefix(&below)?;
            let row = spec.rows.iter().find(|row| row.holds(name));
            Some(Source { file, name, module: module(name), row })
        };
        let sources: Vec<_> = files.iter().filter_map(source).collect();
        let modules = sources.iter().enumerate().map(|(at, s)| (s.module.clone(), at)).collect();
        Self { spec, sources, modules }
    }

    /// Files without a row, and rows without a file.
    fn unlisted(&self) -> Vec<Finding> {
        let needs_row = |s: &&Source<'_>| s.row.is_none() && !s.is_root() && !s.file.is_test();
        let files = self.sources.iter().filter(needs_row);
        let files = files.map(|source| source.file.finding(1, "add it to the table of layers"));
        let without_file = |row: &&Row<'_>| !self.sources.iter().any(|s| row.holds(s.name));
        let rows = self.spec.rows.iter().filter(without_file).map(|row| Finding {
            path: self.spec.below() + row.name,
            line: 1,
            message: "the table of layers has it, and it does not exist".to_owned(),
        });
        files.chain(rows).collect()
    }

    /// What is forbidden of that which lies outside of the crate.
    fn banned_outside(&self, source: &Source<'_>, path: &Named) -> Option<String> {
        if source.row.is_some_and(|row| row.layer.is_none()) {
            return None;
        }
        let (never, may) = source.row.map(|row| (&row.never[..], &row.may[..])).unwrap_or_default();
        let named = path.segments.join("::") + "::";
        let mut banned = self.spec.never.iter().chain(never).filter(|banned| !may.contains(banned));
        let banned = banned.find(|banned| named.starts_with(&format!("{banned}::")))?;
        Some(format!("{} never names {banned}", source.row.map_or(self.spec.name, |row| row.name)))
    }

    /// The source that a path means; none if it lies outside of the crate.
    fn target(&self, source: &Source<'_>, path: &Named) -> Option<usize> {
        self.resolve(&self.absolute(&source.module, path)?, REEXPORTS_MAX)
    }

    /// The path from the root of the crate.
    fn absolute(&self, module: &[String], path: &Named) -> Option<Vec<String>> {
        let segments = &path.segments;
        let (base, rest) = match segments.first()?.as_str() {
            "crate" => (&[][..], &segments[1..]),
            "self" => (module, &segments[1..]),
            "super" => {
                let supers = segments.iter().take_while(|name| *name == "super").count();
                let up = supers.saturating_sub(path.depth);
                (&module[..module.len().saturating_sub(up)], &segments[supers..])
            }
            child => {
                let child = [module, &[child.to_owned()]].concat();
                self.modules.contains_key(&child).then_some((module, &segments[..]))?
            }
        };
        Some([base, rest].concat())
    }

    fn resolve(&self, absolute: &[String], reexports: usize) -> Option<usize> {
        let mut prefixes = (0..=absolute.len()).rev().map(|len| absolute.split_at(len));
        let (at, rest) =
            prefixes.find_map(|(prefix, rest)| Some((*self.modules.get(prefix)?, rest)))?;
        let source = &self.sources[at];
        let Some(name) = rest.first().filter(|_| source.is_face() && reexports > 0) else {
            return Some(at);
        };
        let shown = source.file.walk.paths.iter().find(|path| path.alias.as_ref() == Some(name));
        let followed = shown.and_then(|shown| {
            let path = [&self.absolute(&source.module, shown)?, &rest[1..]].concat();
            self.resolve(&path, reexports - 1)
        });
        Some(followed.unwrap_or(at))
    }

    /// The cycle file by file.
    fn tell(&self, cycle: &[usize], edges: &Edges) -> Finding {
        let name = |at: usize| self.sources[at].name;
        let step = |(from, to): (&usize, &usize)| {
            format!("\n    {}:{} imports {}", name(*from), edges[from][to], name(*to))
        };
        let next = cycle.iter().cycle().skip(1);
        let steps: String = cycle.iter().zip(next).map(step).collect();
        self.sources[cycle[0]].file.finding(1, format!("in a cycle of imports:{steps}"))
    }
}

/// Why one source may not import another.
fn verdict(from: &Source<'_>, path: &Named, to: &Source<'_>) -> Option<String> {
    if from.is_root() {
        return None;
    }
    let inside = from.row == to.row;
    if to.is_root() || inside && to.is_face() && !from.is_face() {
        let path = path.segments.join("::");
        return Some(format!("{path} leads to {} only: name the file that holds it", to.name));
    }
    if inside {
        return None;
    }
    let (above, below) = (from.row?, to.row?);
    let (importer, imported) = (above.title(), below.title());
    let (Some(high), Some(low)) = (above.layer, below.layer) else {
        return above.layer.map(|_| format!("{imported} is imported by tests only"));
    };
    let is_down = high > low || high == 0 && low == 0 && above.place < below.place;
    (!is_down).then(|| format!("{importer} may not import {imported}"))
}

/// A cycle, if there is one.
fn cycle(mut edges: Edges) -> Option<Vec<usize>> {
    // A source that imports nothing is in no cycle; nor is one that imports only such.
    loop {
        let left: Vec<_> = edges.keys().copied().collect();
        edges.values_mut().for_each(|to| to.retain(|to, _| left.binary_search(to).is_ok()));
        edges.retain(|_, to| !to.is_empty());
        if edges.len() == left.len() {
            break;
        }
    }
    // All that is left leads on for ever, so back to where it was.
    let mut way = vec![*edges.keys().next()?];
    loop {
        let next = *edges[way.last()?].keys().next()?;
        if let Some(start) = way.iter().position(|at| *at == next) {
            return Some(way.split_off(start));
        }
        way.push(next);
    }
}

fn module(name: &str) -> Vec<String> {
    let mut module: Vec<_> = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(name, "lib.rs" | "main.rs") || name.ends_with("/mod.rs") {
        module.pop();
    }
    module
}
