//! Weaves mutants into a source: the text that holds all of them, each behind its switch. Pure.
//!
//! ```text
//! «a < b ⇒ a <= b»   ->   (if crate::mutant::is(7) { a <= b } else { a < b })
//! «sync()?; ⇒ »      ->   if !crate::mutant::is(7) { sync()?; }
//! ```

use std::ops::Range;

use super::definition::{Mutant, Piece, Place};

/// The word that stands for a mutant's switch where a definition spells out both ways.
const SWITCH: &str = "MUTANT";

/// One change of one mutant, found in the source.
#[derive(Clone, Debug)]
struct Change<'a> {
    name: &'a str,
    /// What the mutant is known by at run time.
    number: usize,
    range: Range<usize>,
    new: &'a str,
}

/// The source of `file` with all places in it that `mutants` have, numbered from 1 in their
/// order. An error names the mutants and says what is wrong with them, each in a line.
pub(crate) fn weave(file: &str, source: &str, mutants: &[Mutant]) -> Result<String, String> {
    let squeezed = squeeze(source);
    let (mut changes, mut stale) = (Vec::new(), Vec::new());
    for (mutant, number) in mutants.iter().zip(1..) {
        for place in mutant.places.iter().filter(|place| place.file == file) {
            let name = &*mutant.name;
            let change = |(range, new)| Change { name, number, range, new };
            match find(&squeezed, place) {
                Ok(found) => changes.extend(found.into_iter().map(change)),
                Err(error) => stale.push(format!("mutant {name} went stale: in {file} {error}")),
            }
        }
    }
    if !stale.is_empty() {
        return Err(stale.join("\n"));
    }
    changes.sort_by_key(|change| (change.range.start, change.range.end, change.number));
    let mut woven = String::new();
    let mut at = 0;
    for same in changes.chunk_by(|a, b| a.range == b.range) {
        let range = same[0].range.clone();
        if range.start < at {
            return Err(format!("mutant {}: its place overlaps another's", same[0].name));
        }
        woven.push_str(&source[at..range.start]);
        woven.push_str(&switch(same, &source[range.clone()])?);
        at = range.end;
    }
    woven.push_str(&source[at..]);
    Ok(woven)
}

/// The bytes of a text that are no white space, each with its place.
fn squeeze(text: &str) -> Vec<(u8, usize)> {
    let bytes = text.bytes().enumerate();
    bytes.filter(|(_, byte)| !byte.is_ascii_whitespace()).map(|(at, byte)| (byte, at)).collect()
}

/// Where a place lies: its changed ranges of the source, and what is to stand there.
fn find<'a>(
    source: &[(u8, usize)],
    place: &'a Place,
) -> Result<Vec<(Range<usize>, &'a str)>, String> {
    let mut needle = Vec::new();
    let mut marked = Vec::new();
    for piece in &place.pieces {
        let start = needle.len();
        match piece {
            Piece::Same(text) => needle.extend(squeeze(text)),
            Piece::Changed { old, new } => {
                needle.extend(squeeze(old));
                marked.push((start..needle.len(), &**new));
            }
        }
    }
    let same = |window: &&[(u8, usize)]| window.iter().zip(&needle).all(|(a, b)| a.0 == b.0);
    let mut found = source.windows(needle.len().max(1)).filter(same);
    let Some(window) = found.next() else {
        return Err("its text is not there".to_owned());
    };
    if found.next().is_some() {
        return Err("its text is there more than once".to_owned());
    }
    let place = |(range, new): (Range<usize>, &'a str)| {
        let behind = |at: usize| window[at].1 + 1;
        let place = match (range.is_empty(), window.get(range.start)) {
            // In front of what follows: what is before may be a comment, up to the line's end.
            (true, Some(&(_, at))) => at..at,
            (true, None) => behind(range.start - 1)..behind(range.start - 1),
            (false, _) => window[range.start].1..behind(range.end - 1),
        };
        (place, new)
    };
    Ok(marked.into_iter().map(place).collect())
}

/// What stands in the place of `old` for those mutants that change it.
fn switch(changes: &[Change<'_>], old: &str) -> Result<String, String> {
    let is = |change: &Change<'_>| format!("crate::mutant::is({})", change.number);
    if let [change] = changes
        && change.new.contains(SWITCH)
    {
        return Ok(change.new.replace(SWITCH, &is(change)));
    }
    let is_statement = |text: &str| text.is_empty() || text.ends_with([';', '}']);
    let mut woven = String::new();
    for change in changes {
        if change.new.contains(SWITCH) {
            return Err(format!("mutant {}: another one has the same place", change.name));
        }
        let is_link = |text: &str| text.starts_with('.') && !text.starts_with("..");
        if is_link(old) || is_link(change.new) {
            return Err(format!("mutant {}: a link of a chain: mark the chain", change.name));
        }
        if old.is_empty() && !is_statement(change.new) {
            return Err(format!("mutant {}: what is put in must be a statement", change.name));
        }
        woven.push_str(&format!("if {} {{ {} }} else ", is(change), change.new));
    }
    woven.push_str(&format!("{{ {old} }}"));
    let all_statements = is_statement(old) && changes.iter().all(|c| is_statement(c.new));
    Ok(if all_statements { woven } else { format!("({woven})") })
}
