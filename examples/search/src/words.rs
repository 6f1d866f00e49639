//! What a word is: a run of letters and digits of any script, in lower case.
//!
//! Everything else stands between words, the underscore too: `write_batch` is `write` and
//! `batch`. Runs that are longer than [`WORD_BYTES_MAX`] are encoded data rather than words;
//! they are not indexed, and a query for one is told so.

use std::collections::HashMap;

/// The longest word, in bytes.
pub(crate) const WORD_BYTES_MAX: usize = 128;

/// A word's place in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    /// How often it stands there.
    pub(crate) count: u32,
    /// The line where it stands first, from 1.
    pub(crate) line: u32,
}

/// Calls `found` with each run of letters and digits in `text`, in lower case, and its line.
/// A run that is too long is handed out as `None`.
pub(crate) fn each(text: &str, mut found: impl FnMut(Option<&str>, u32)) {
    let mut word = String::new();
    let mut line = 1;
    // The line break at the end finishes the last word.
    for c in text.chars().chain(['\n']) {
        if c.is_alphanumeric() {
            // One byte beyond the limit is enough to know.
            if word.len() <= WORD_BYTES_MAX {
                match c.is_ascii() {
                    true => word.push(c.to_ascii_lowercase()),
                    false => word.extend(c.to_lowercase()),
                }
            }
            continue;
        }
        if !word.is_empty() {
            found((word.len() <= WORD_BYTES_MAX).then_some(&word), line);
            word.clear();
        }
        line += u32::from(c == '\n');
    }
}

/// The distinct words of a text.
pub(crate) fn distinct(text: &str) -> HashMap<Box<str>, Hit> {
    let mut words: HashMap<Box<str>, Hit> = HashMap::new();
    each(text, |word, line| {
        let Some(word) = word else { return };
        match words.get_mut(word) {
            Some(hit) => hit.count += 1,
            None => drop(words.insert(word.into(), Hit { count: 1, line })),
        }
    });
    words
}
