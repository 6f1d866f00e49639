//! The paths that a file names, outside of its tests: in `use`, in code and inside of macros.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, ItemMod, ItemUse, Macro, Path, UseTree, VisRestricted};

/// A path, with all groups and aliases of `use` spelled out.
pub(crate) struct Named {
    pub(crate) line: usize,
    /// As written; the last segment of a glob is `*`.
    pub(crate) segments: Vec<String>,
    /// The name that `use` gives it here.
    pub(crate) alias: Option<String>,
    /// How many modules written out in this file stand around it.
    pub(crate) depth: usize,
}

/// What one walk over a file finds.
#[derive(Default)]
pub(crate) struct Walk {
    pub(crate) paths: Vec<Named>,
    /// Lines that `#[cfg(test)]` stands before.
    pub(crate) test_lines: usize,
    /// Where `#[ignore]` stands.
    pub(crate) ignored: Vec<usize>,
    in_test: bool,
    depth: usize,
}

impl Walk {
    pub(crate) fn over(file: &syn::File, in_test: bool) -> Self {
        let mut walk = Self { in_test, ..Self::default() };
        walk.visit_file(file);
        walk
    }

    fn enter<'ast, T: ToTokens>(&mut self, node: &'ast T, into: fn(&mut Self, &'ast T)) {
        if self.in_test || !is_test(node) {
            return into(self, node);
        }
        let span = node.span();
        self.test_lines += span.end().line - span.start().line + 1;
        self.in_test = true;
        into(self, node);
        self.in_test = false;
    }

    fn add(&mut self, line: usize, segments: Vec<String>, alias: Option<String>) {
        if !self.in_test {
            self.paths.push(Named { line, segments, alias, depth: self.depth });
        }
    }

    fn add_plain(&mut self, segments: &[Ident]) {
        if let [first, _, ..] = segments {
            self.add(line(first), segments.iter().map(Ident::to_string).collect(), None);
        }
    }

    fn add_leaves(&mut self, above: &[String], tree: &UseTree) {
        let below = |name: &str| [above, &[name.to_owned()]].concat();
        match tree {
            UseTree::Path(path) => self.add_leaves(&below(&path.ident.to_string()), &path.tree),
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.add_leaves(above, tree));
            }
            UseTree::Name(name) => {
                let alias = name.ident.to_string();
                self.add(line(name), below(&alias), Some(alias));
            }
            UseTree::Rename(name) => {
                let alias = name.rename.to_string();
                self.add(line(name), below(&name.ident.to_string()), Some(alias));
            }
            UseTree::Glob(glob) => self.add(line(glob), below("*"), None),
        }
    }

    /// A macro has a grammar of its own: names with `::` between them are taken for a path.
    fn add_from_tokens(&mut self, tokens: TokenStream) {
        let mut segments = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.add_plain(&segments);
                        segments.clear();
                    }
                    segments.push(ident);
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.add_plain(&segments);
                    segments.clear();
                    if let TokenTree::Group(group) = other {
                        self.add_from_tokens(group.stream());
                    }
                }
            }
        }
        self.add_plain(&segments);
    }
}

impl<'ast> Visit<'ast> for Walk {
    fn visit_item(&mut self, item: &'ast Item) {
        self.enter(item, visit::visit_item);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        self.enter(item, visit::visit_impl_item);
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        self.depth += 1;
        visit::visit_item_mod(self, module);
        self.depth -= 1;
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add_leaves(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.clone()).collect();
        self.add_plain(&segments);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        self.visit_path(&item.path);
        self.add_from_tokens(item.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("ignore") {
            self.ignored.push(line(attribute));
        }
    }

    /// `pub(in crate::a)` imports nothing.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}
}

pub(crate) fn line(node: &impl Spanned) -> usize {
    node.span().start().line
}

/// Whether `#[cfg(test)]`, or `#[cfg(all(test, ..))]`, stands before it.
fn is_test(node: &impl ToTokens) -> bool {
    let mut tokens = node.to_token_stream().into_iter();
    while matches!(tokens.next(), Some(TokenTree::Punct(punct)) if punct.as_char() == '#') {
        let attribute = tokens.next().map(|group| group.to_string().replace(' ', ""));
        let attribute = attribute.unwrap_or_default();
        if attribute == "[cfg(test)]" || attribute.starts_with("[cfg(all(test,") {
            return true;
        }
    }
    false
}
