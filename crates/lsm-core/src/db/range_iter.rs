//! The iterator over entries: two cursors that walk towards each other.

use lsm_log::error::{Error, Result};

use super::read::ReadPoint;
use super::scan::Cursor;
use crate::key::{Key, KeyRange};
use crate::value::Value;

/// Keys and values in key order, from either end; each item owns what it holds.
///
/// Sees the state of the moment it was made. After an error the iterator is at its end.
#[derive(Debug)]
pub struct Range {
    // Each stands on what was taken last from its end, and on nothing before that.
    front: Cursor,
    /// Made when the first entry is taken from the back.
    back: Option<Cursor>,
    done: bool,
}

impl Range {
    pub(crate) fn new(point: &ReadPoint<'_>, range: KeyRange) -> Self {
        let front = Cursor::new(point, range);
        Self { front, back: None, done: false }
    }

    fn finish<T>(&mut self, error: Option<Error>) -> Option<Result<T>> {
        self.done = true;
        error.map(Err)
    }
}

impl Iterator for Range {
    type Item = Result<(Key, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if let Err(error) = self.front.next() {
            return self.finish(Some(error));
        }
        let Some(key) = self.front.key() else { return self.finish(None) };
        if self.back.as_ref().and_then(Cursor::key).is_some_and(|back| key >= back) {
            return self.finish(None);
        }
        Some(Ok((Key::from(key), self.front.value_to_keep()?)))
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let back = self.back.get_or_insert_with(|| self.front.twin());
        if let Err(error) = back.prev() {
            return self.finish(Some(error));
        }
        let Some(key) = back.key() else { return self.finish(None) };
        if self.front.key().is_some_and(|front| key <= front) {
            return self.finish(None);
        }
        Some(Ok((Key::from(key), back.value_to_keep()?)))
    }
}
