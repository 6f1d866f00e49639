//! Holds one crate's imports against the table of layers.
//!
//! Every path is followed to the file that it means, through the re-exports of `mod.rs` and
//! `lib.rs`. Across folders the rows of the table decide, inside a folder and among the rows
//! of L0 their order. Tests import what they like.

use std::collections::BTreeMap;

use super::file::{File, Finding};
use super::layers::{Crate, Layer, Row, parse};
use super::paths::{Named, named};

/// How many re-exports a path is followed through.
const REEXPORTS_MAX: usize = 8;

pub(crate) struct Checked {
    pub(crate) findings: Vec<Finding>,
    /// Rows of the table that no file stands for yet.
    pub(crate) without_file: Vec<String>,
}

/// Checks the files below the crate's `src/`.
pub(crate) fn check(spec: &Crate, files: &[&File<'_>]) -> Checked {
    let krate = Tree::new(spec, files);
    let mut findings = krate.unlisted();
    let mut edges: Edges = vec![BTreeMap::new(); krate.sources.len()];
    for (from, source) in krate.sources.iter().enumerate() {
        for path in &source.named {
            if let Some(message) = krate.banned_outside(source, path) {
                findings.push(source.file.finding(path.line, message));
                continue;
            }
            let Some(to) = krate.target(source, path) else {
                continue;
            };
            if let Some(message) = krate.verdict(source, path, &krate.sources[to]) {
                findings.push(source.file.finding(path.line, message));
            }
            if !source.is_face() && from != to {
                edges[from].entry(to).or_insert(path.line);
            }
        }
    }
    findings.extend(krate.cycles(&edges));
    Checked { findings, without_file: krate.without_file() }
}

/// For each source the sources that it imports, and at which line first.
type Edges = Vec<BTreeMap<usize, usize>>;

struct Source<'a> {
    file: &'a File<'a>,
    /// Below `src/`.
    name: &'a str,
    module: Vec<String>,
    named: Vec<Named>,
    row: Option<usize>,
}

impl Source<'_> {
    /// Whether it only shows what other files hold.
    fn is_face(&self) -> bool {
        self.name.ends_with("mod.rs") || self.is_root()
    }

    fn is_root(&self) -> bool {
        matches!(self.name, "lib.rs" | "main.rs")
    }
}

struct Tree<'a> {
    spec: &'a Crate,
    rows: Vec<Row>,
    sources: Vec<Source<'a>>,
    modules: BTreeMap<Vec<String>, usize>,
}

impl<'a> Tree<'a> {
    fn new(spec: &'a Crate, files: &[&'a File<'a>]) -> Self {
        let rows = parse(spec.table);
        let below = format!("crates/{}/src/", spec.name);
        let source = |file: &&'a File<'a>| {
            let name = file.path.strip_prefix(&below)?;
            let row = rows
                .iter()
                .position(|row| name == row.name || row.is_folder() && name.starts_with(row.name));
            Some(Source { file, name, module: module(name), named: named(&file.tokens), row })
        };
        let sources: Vec<_> = files.iter().filter_map(source).collect();
        let modules = sources.iter().enumerate().map(|(at, s)| (s.module.clone(), at)).collect();
        Self { spec, rows, sources, modules }
    }

    /// Files that the table lacks. Tests need no row beside the file that they are named for;
    /// tests of a folder as a whole are named for their topic, and have one.
    fn unlisted(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for source in &self.sources {
            if source.row.is_some_and(|row| self.lists(row, source)) {
                continue;
            }
            let message = match source.name.strip_suffix("_test.rs") {
                Some(subject) if self.has(&format!("{subject}.rs")) => continue,
                Some(subject) => format!("tests of nothing: there is no {subject}.rs"),
                None => "add it to the table of layers".to_owned(),
            };
            findings.push(source.file.finding(1, message));
        }
        findings
    }

    fn lists(&self, row: usize, source: &Source<'_>) -> bool {
        let row = &self.rows[row];
        let inner = source.name.strip_prefix(row.name).unwrap_or_default();
        !row.is_folder() || inner == "mod.rs" || row.files.contains(&inner)
    }

    fn has(&self, name: &str) -> bool {
        self.sources.iter().any(|source| source.name == name)
    }

    fn without_file(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for row in &self.rows {
            if row.is_folder() {
                let files = row.files.iter().map(|file| format!("{}{file}", row.name));
                missing.extend(files.filter(|name| !self.has(name)));
            } else if !self.has(row.name) {
                missing.push(row.name.to_owned());
            }
        }
        missing
    }

    /// What is forbidden of that which lies outside of the crate.
    fn banned_outside(&self, source: &Source<'_>, path: &Named) -> Option<String> {
        let first = path.segments.first()?;
        if self.spec.never.contains(&first.as_str()) {
            return Some(format!("{} never names {first}", self.spec.name));
        }
        let std_fs = first == "std" && path.segments.get(1).is_some_and(|name| name == "fs");
        let allowed = source
            .row
            .is_some_and(|row| self.rows[row].name == "fs/" || self.rows[row].layer == Layer::Any);
        (std_fs && self.spec.bans_std_fs && !allowed)
            .then(|| "std::fs appears only in fs/".to_owned())
    }

    /// The source that a path means; none if it lies outside of the crate or in this file.
    fn target(&self, source: &Source<'_>, path: &Named) -> Option<usize> {
        let absolute = self.absolute(&source.module, &path.segments, path.depth)?;
        self.resolve(&absolute, REEXPORTS_MAX)
    }

    /// The path from the root of the crate.
    fn absolute(
        &self,
        module: &[String],
        segments: &[String],
        depth: usize,
    ) -> Option<Vec<String>> {
        let (base, rest) = match segments.first()?.as_str() {
            "crate" => (&[][..], &segments[1..]),
            "self" => (module, &segments[1..]),
            "super" => {
                let supers = segments.iter().take_while(|name| *name == "super").count();
                let up = supers.saturating_sub(depth);
                (&module[..module.len().saturating_sub(up)], &segments[supers..])
            }
            child => {
                let child = [module, &[child.to_owned()]].concat();
                self.modules.contains_key(&child).then_some((module, segments))?
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
        let shown = source.named.iter().find(|n| n.alias.as_ref() == Some(name));
        let followed = shown.and_then(|shown| {
            let mut path = self.absolute(&source.module, &shown.segments, shown.depth)?;
            path.extend_from_slice(&rest[1..]);
            self.resolve(&path, reexports - 1)
        });
        Some(followed.unwrap_or(at))
    }

    /// Why one source may not import another.
    fn verdict(&self, from: &Source<'_>, path: &Named, to: &Source<'_>) -> Option<String> {
        if from.name == to.name || from.is_root() {
            return None;
        }
        let inside = from.row == to.row;
        if to.is_root() || inside && to.is_face() && !from.is_face() {
            let path = path.segments.join("::");
            return Some(format!("{path} leads to {} only: name the file that holds it", to.name));
        }
        let (from_row, to_row) = (from.row?, to.row?);
        let (above, below) = (&self.rows[from_row], &self.rows[to_row]);
        if inside {
            return verdict_inside(above, from, to);
        }
        if above.layer == Layer::Any {
            return None;
        }
        let (importer, imported) = (above.title(), below.title());
        if below.layer == Layer::Any {
            return Some(format!("{imported} is imported by tests only"));
        }
        if above.never.contains(&below.module()) {
            return Some(format!("{importer} never imports {imported}"));
        }
        let (Layer::Level(high), Layer::Level(low)) = (above.layer, below.layer) else {
            return None;
        };
        if high == 0 && low == 0 {
            return (from_row > to_row)
                .then(|| format!("{imported} stands above {importer} in the table"));
        }
        (high <= low).then(|| format!("{importer} may not import {imported}"))
    }

    /// Each cycle of imports once, told at the first line that closes it.
    fn cycles(&self, edges: &Edges) -> Vec<Finding> {
        let mut search =
            Search { edges, done: vec![false; edges.len()], stack: Vec::new(), cycles: Vec::new() };
        for from in 0..edges.len() {
            search.visit(from);
        }
        let tell = |cycle: &Vec<usize>| {
            let (first, last) = (cycle[0], cycle[cycle.len() - 1]);
            let names = cycle.iter().chain([&first]).map(|at| self.sources[*at].name);
            let message = format!("cycle of imports: {}", names.collect::<Vec<_>>().join(" -> "));
            self.sources[last].file.finding(edges[last][&first], message)
        };
        search.cycles.iter().map(tell).collect()
    }
}

fn verdict_inside(row: &Row, from: &Source<'_>, to: &Source<'_>) -> Option<String> {
    if from.is_face() {
        return None;
    }
    let position = |source: &Source<'_>| {
        row.files.iter().position(|file| source.name[row.name.len()..] == **file)
    };
    (position(from)? > position(to)?).then(|| {
        let name = |source: &Source<'_>| source.name[row.name.len()..].to_owned();
        format!("{} stands above {} in {}", name(to), name(from), row.name)
    })
}

/// Depth-first, so that an edge back into the stack closes a cycle.
struct Search<'a> {
    edges: &'a Edges,
    done: Vec<bool>,
    stack: Vec<usize>,
    cycles: Vec<Vec<usize>>,
}

impl Search<'_> {
    /// Recursion is bounded by the number of files.
    fn visit(&mut self, at: usize) {
        if let Some(start) = self.stack.iter().position(|other| *other == at) {
            self.cycles.push(self.stack[start..].to_vec());
            return;
        }
        if self.done[at] {
            return;
        }
        self.stack.push(at);
        for to in self.edges[at].keys() {
            self.visit(*to);
        }
        self.stack.pop();
        self.done[at] = true;
    }
}

fn module(name: &str) -> Vec<String> {
    let mut module: Vec<_> = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(name, "lib.rs" | "main.rs") || name.ends_with("/mod.rs") {
        module.pop();
    }
    module
}
