//! Answers: the files that hold every word asked for.

use std::collections::HashMap;
use std::fmt;

use lsm_core::Snapshot;

use crate::Result;
use crate::changes::below;
use crate::index::{Index, decode_hit, id_of, path_of};
use crate::words::{self, Hit, WORD_BYTES_MAX};

/// One thing that a file must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Term {
    Word(String),
    /// Any word that begins like this.
    Prefix(String),
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "{word}"),
            Self::Prefix(start) => write!(f, "{start}*"),
        }
    }
}

/// A file that was found.
pub(crate) struct Match {
    pub(crate) path: String,
    pub(crate) hit: Hit,
}

/// Takes what the user typed apart, by the rules that took the files apart.
pub(crate) fn parse<'a>(typed: impl IntoIterator<Item = &'a str>) -> Result<Vec<Term>> {
    let mut terms = Vec::new();
    for part in typed {
        let (text, prefix) = match part.strip_suffix('*') {
            Some(text) => (text, true),
            None => (part, false),
        };
        let first = terms.len();
        let mut too_long = false;
        words::each(text, |word, _| match word {
            Some(word) => terms.push(Term::Word(word.to_owned())),
            None => too_long = true,
        });
        if too_long {
            let message = format!("words over {WORD_BYTES_MAX} bytes are not indexed: {part}");
            return Err(message.into());
        }
        if terms.len() == first {
            return Err(format!("there is no letter or digit in \"{part}\"").into());
        }
        // Of `std::fs*` only the last word is a beginning; `fs::*` has none.
        if prefix
            && text.ends_with(char::is_alphanumeric)
            && let Some(Term::Word(word)) = terms.pop()
        {
            terms.push(Term::Prefix(word));
        }
    }
    Ok(terms)
}

/// The files below `root` that hold all terms, those with the most hits first.
pub(crate) fn find(index: &Index, root: &str, terms: &[Term]) -> Result<Vec<Match>> {
    // One snapshot: postings and names are of the same moment.
    let now = index.db.snapshot();
    let (postings, names) = (now.keyspace(&index.postings)?, now.keyspace(&index.names)?);
    let mut found: Option<HashMap<u32, Hit>> = None;
    for term in terms {
        found = Some(holders(&postings, term, found.as_ref())?);
    }
    let mut matches = Vec::new();
    for (id, hit) in found.unwrap_or_default() {
        let path = path_of(&names, id)?;
        if path.starts_with(&below(root)) {
            matches.push(Match { path, hit });
        }
    }
    matches.sort_by(|a, b| b.hit.count.cmp(&a.hit.count).then_with(|| a.path.cmp(&b.path)));
    Ok(matches)
}

/// The files that hold a term, of those `among`; hits add up, the first line is the first
/// term's.
fn holders(
    postings: &Snapshot,
    term: &Term,
    among: Option<&HashMap<u32, Hit>>,
) -> Result<HashMap<u32, Hit>> {
    // Behind a whole word stands the zero byte; behind a beginning, anything.
    let prefix = match term {
        Term::Word(word) => format!("{word}\0"),
        Term::Prefix(start) => start.clone(),
    };
    let mut holders: HashMap<u32, Hit> = HashMap::new();
    let mut cursor = postings.cursor_in(prefix.as_bytes()..&*end_of(&prefix));
    while cursor.next()? {
        let (key, value) = cursor.entry().expect("the cursor stands on an entry");
        let (id, hit) = (id_of(key), decode_hit(value)?);
        let before = match among {
            None => None,
            Some(among) => match among.get(&id) {
                Some(before) => Some(*before),
                None => continue,
            },
        };
        let entry = holders.entry(id);
        let sum = entry.or_insert(before.unwrap_or(Hit { count: 0, line: u32::MAX }));
        sum.count = sum.count.saturating_add(hit.count);
        if before.is_none() {
            sum.line = sum.line.min(hit.line);
        }
    }
    Ok(holders)
}

/// The first key behind all that begin with `prefix`, whose last byte is never 255.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}
